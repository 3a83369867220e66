"""Runs of a study: each is one of the training engine in a folder of its own, and trained once.

In: a `Run`. Out: what it cost, and how it ended. A study that was interrupted goes on where it stopped, since the engine
continues the run that was being trained, and those that have ended are only read.
"""

from __future__ import annotations

import csv
import io
import logging
import math
import re
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from genlip.model.writing import write_text
from genlip.recipes.run import Run
from genlip.train.checkpoints import latest, read_progress
from genlip.train.loop import NonFinite, train_model
from genlip.train.resume import checkpoint_to_resume
from genlip.train.run_log import read_log

__all__ = ["Trained", "check_own", "folder_name", "rows_to_csv", "train_once"]

log = logging.getLogger(__name__)


class Trained(NamedTuple):
    """A run that has ended.

    Attributes:
        run: its settings.
        loss: the last held-out loss; infinite where it is no number, or training stopped because it diverged.
        samples: that were used.
        tokens: patches and text that were used.
        seconds: of training, without measuring.
    """

    run: Run
    loss: float
    samples: int
    tokens: int
    seconds: float

    @property
    def model(self) -> Path:
        """The folder of the model."""
        return Path(self.run.out) / "model"


def check_own(overrides: Sequence[str], own: Collection[str]) -> None:
    """Raise ValueError if settings of the recipe are among those that a study sets itself."""
    given = [word.removeprefix("--").partition("=")[0] for word in overrides if word.startswith("--")]
    if wrong := [name for name in given if name in own]:
        raise ValueError(f"--{wrong[0]}: this study sets it itself; leave it out ({', '.join(sorted(own))})")


def train_once(run: Run) -> Trained:
    """Train a run to its end, unless it has ended already. One that diverges ends with an infinite loss.

    Raises as `train_model` does otherwise.
    """
    if not _ended(run):
        try:
            train_model(run)
        except NonFinite as error:
            log.warning("%s: %s", run.out, error)
            newest = latest(run.out)
            counts: dict[str, Any] = read_progress(newest) if newest else {"samples": 0, "tokens": 0, "seconds": 0.0}
            return Trained(run, math.inf, counts["samples"], counts["tokens"], counts["seconds"])
    (end,) = read_log(run.out, "end")[-1:]
    loss = read_log(run.out, "held_out")[-1]["loss"]
    found = math.inf if loss is None or math.isnan(loss) else loss
    return Trained(run, found, sum(end["used"].values()), int(end["tokens"]), float(end["seconds"]))


def _ended(run: Run) -> bool:
    """Whether the folder holds the whole run. Raises ValueError if it holds one with other settings."""
    newest = checkpoint_to_resume(run, "auto")
    if newest is None or not (Path(run.out) / "model").is_dir():
        return False
    ends = read_log(run.out, "end")
    return bool(ends) and ends[-1]["step"] == read_progress(newest)["step"]


def folder_name(*parts: object) -> str:
    """Parts of a name as a folder, without signs that folders cannot have."""
    return "-".join(re.sub(r"[^A-Za-z0-9.=]+", "_", f"{part:g}" if isinstance(part, float) else str(part)) for part in parts)


def rows_to_csv(path: Path, rows: Sequence[Mapping[str, Any]]) -> None:
    """Write rows with all of their columns, in the order in which they first occur."""
    columns = list(dict.fromkeys(name for row in rows for name in row))
    text = io.StringIO()
    writer = csv.DictWriter(text, columns, restval="", lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    write_text(path, text.getvalue())
