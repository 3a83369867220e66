"""The sample log: the samples of every update, written when `log_samples` is set.

In: batches. Out: `samples-<rank>.jsonl` in the run's folder, a line for each pack; and all lines read back. With it one can
check that an interrupted run lost and repeated no sample, and find the samples of an update.
"""

from __future__ import annotations

import json
from pathlib import Path
from types import TracebackType
from typing import TypedDict

from genlip.data.packing import Batch
from genlip.model.fields import checked
from genlip.model.reading import parse_json
from genlip.train.tracking import writing

__all__ = ["SampleLog", "read_samples"]


class _Line(TypedDict):
    update: int
    row: int
    keys: list[str]


class SampleLog:
    """Writes the keys of samples; use as a context."""

    def __init__(self, out: Path, rank: int, wanted: bool) -> None:
        self.path = out / f"samples-{rank}.jsonl"
        self.file = self.path.open("a", encoding="utf8", errors="backslashreplace") if wanted else None
        if self.file and self.file.tell():
            self.file.write("\n")  # the last line of a process that was killed may be incomplete

    def __enter__(self) -> SampleLog:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        if self.file:
            with writing(self.path):  # closing writes what is left
                self.file.close()

    def add(self, update: int, row: int, batch: Batch) -> None:
        """Write down the samples of row `row` of an update."""
        if self.file:
            line = json.dumps({"update": update, "row": row, "keys": batch.keys}, ensure_ascii=False)
            with writing(self.path):
                self.file.write(f"{line}\n")

    def flush(self) -> None:
        """Pass everything written so far to the system."""
        if self.file:
            with writing(self.path):
                self.file.flush()


def read_samples(out: str | Path) -> dict[tuple[int, int], tuple[str, ...]]:
    """(update, row) -> keys, from the logs of all ranks. Updates that were repeated after a stop count once.

    Raises ValueError if a repeated update had other samples than before: the data must have changed.
    """
    rows: dict[tuple[int, int], tuple[str, ...]] = {}
    for file in sorted(Path(out).glob("samples-*.jsonl")):
        for text in file.read_bytes().split(b"\n"):  # keys may hold other line separators
            try:
                line = checked(parse_json(text.decode(), str(file)), _Line, "a line")
            except ValueError:  # empty, incomplete, or not UTF-8
                continue
            place, found = (line["update"], line["row"]), tuple(line["keys"])
            if rows.setdefault(place, found) != found:
                raise ValueError(f"{file}: row {place[1]} of update {place[0]} was done twice with different samples")
    return dict(sorted(rows.items()))
