"""Publishing on the Hugging Face Hub: a model's folder becomes a repository with a model card.

In: the folder of a model, or of the run that trained it. Out: the address of the repository.
All local checks come before the first upload. Only files with known names are sent: training states, incomplete files and
pictures in the folder are not.
"""

from __future__ import annotations

import logging
import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from fnmatch import fnmatch
from pathlib import Path
from typing import TYPE_CHECKING

import genlip
from genlip.export.card import model_card
from genlip.model.checkpoint import check
from genlip.model.download import failures, reason
from genlip.model.reading import read_json
from genlip.model.weights import index_of, weight_files
from genlip.terminal import program
from genlip.train.run_log import LOG

if TYPE_CHECKING:
    from huggingface_hub import HfApi

__all__ = ["LICENSE", "PushError", "UploadPlan", "push_model", "upload_plan"]

log = logging.getLogger(__name__)

LICENSE = "apache-2.0"
CARD = "README.md"
_SETTINGS = (
    "config.json", "generation_config.json", "preprocessing.json", "preprocessor_config.json", "processor_config.json",
    "genlip.json", "tokenizer*.json", "special_tokens_map.json", "added_tokens.json", "vocab.*", "merges.txt",
    "chat_template*", "LICENSE*", "NOTICE*",
)  # fmt: skip
_CODE = ("*_genlip.py", "*_genlip_*.py")  # code of the models, sent if config.json names it (auto_map)


class PushError(ValueError):
    """A model that cannot be published, or that the Hub did not accept. The message says why."""


@dataclass(frozen=True)
class UploadPlan:
    """The files that an upload sends.

    Attributes:
        folder: of the model.
        sizes: bytes of every file by name, the card included.
        card: text of the card.
        writes_card: the card is new, and is written to the folder for the upload.
    """

    folder: Path
    sizes: dict[str, int]
    card: str
    writes_card: bool


def push_model(
    folder: str | os.PathLike[str],
    name: str,
    *,
    private: bool = False,
    revision: str | None = None,
    message: str | None = None,
    license: str = LICENSE,
    data: str = "",
    create_pr: bool = False,
    overwrite_card: bool = False,
) -> str:
    """Publish a model as "owner/name" and return the address: of the repository, its branch, or the pull request.

    folder          of a model, or of a finished run
    private         create a private repository
    revision        branch to write to; created from main if it does not exist
    message         of the commit
    license         the Hub's name of the licence, for the card
    data            description of the training data, for the card
    create_pr       open a pull request to main
    overwrite_card  write a new card even if the folder has a README.md

    Raises `CheckpointError` if there is no complete checkpoint, `PushError` for all other failures.
    """
    if create_pr and revision is not None:
        raise PushError(f"create_pr opens a pull request to main: leave out revision (now {revision!r}), or create_pr")
    sent = upload_plan(folder, name, license=license, data=data, overwrite_card=overwrite_card)
    from huggingface_hub import HfApi, get_token

    if get_token() is None:
        raise PushError(
            f"{name}: the Hugging Face Hub needs a token for uploads: log in with `hf auth login` or set HF_TOKEN"
        )
    api = HfApi(library_name="genlip", library_version=genlip.__version__)
    with _one_line_each(name, revision):
        url = _repository(api, name, private, revision)
        with _card_in_place(sent):
            done = api.upload_folder(
                repo_id=name, folder_path=sent.folder, allow_patterns=list(sent.sizes), revision=revision,
                commit_message=message or f"Upload with genlip {genlip.__version__}", create_pr=create_pr,
            )  # fmt: skip
    return done.pr_url or url if create_pr else f"{url}/tree/{revision}" if revision else url


def upload_plan(
    folder: str | os.PathLike[str], name: str, *, license: str = LICENSE, data: str = "", overwrite_card: bool = False
) -> UploadPlan:
    """The files of a folder that `push` sends, found without a connection. Raises `CheckpointError` and `PushError`."""
    _check_name(name)
    model, run = _model_and_run(Path(folder))
    check(model)
    names = _files(model)
    kept = (model / CARD).is_file() and not overwrite_card
    if kept and (data or license != LICENSE):
        log.warning("%s exists and is sent unchanged, without the data and licence given now: overwrite it", model / CARD)
    card = (model / CARD).read_text(encoding="utf8") if kept else model_card(model, name, run, license, data)
    sizes = {file: (model / file).stat().st_size for file in names} | {CARD: len(card.encode())}
    return UploadPlan(model, dict(sorted(sizes.items())), card, writes_card=not kept)


def _check_name(name: str) -> None:
    if not re.fullmatch(r"[A-Za-z0-9._-]+/[A-Za-z0-9._-]+", name):
        raise PushError(f"{name!r}: need the name of a repository as owner/name, of letters, digits, dots and dashes")


def _model_and_run(folder: Path) -> tuple[Path, Path | None]:
    """The folder of the model, and the folder of its run if it can be found."""
    if not folder.is_dir():
        raise PushError(f"{folder}: no such folder; need the folder of a model, or of a run with a model/ in it")
    if not (folder / "config.json").is_file() and (folder / "model").is_dir():
        folder = folder / "model"
    run = folder.absolute().parent
    return folder, run if folder.absolute().name == "model" and (run / LOG).is_file() else None


def _files(folder: Path) -> list[str]:
    """The files that belong to a published model, by name."""
    weights = weight_files(folder)
    if weights[0].suffix != ".safetensors":
        raise PushError(
            f"{folder}: its weights are pickle files, which should not be published: write safetensors with "
            f"`{program()} export {folder} OUT --to published` and push that"
        )
    index = index_of(weights)
    keys = read_json(folder / "config.json")
    patterns = [*_SETTINGS, *_CODE] if "auto_map" in keys else _SETTINGS
    settings = [file.name for file in folder.iterdir() if file.is_file() and any(fnmatch(file.name, p) for p in patterns)]
    names = [*settings, *(file.relative_to(folder).as_posix() for file in [*weights, *([index] if index else [])])]
    _check_inside(folder, names)
    return names


def _check_inside(folder: Path, names: list[str]) -> None:
    """Refuse links to files outside the folder: they may be private.

    Links of the Hub's own cache are accepted: they lead from the folder of a revision to the `blobs` folder.
    """
    resolved = folder.resolve()
    allowed = [resolved, resolved.parents[1] / "blobs"] if resolved.parent.name == "snapshots" else [resolved]
    for name in [*names, CARD]:
        real = (folder / name).resolve()
        if not any(real.is_relative_to(one) for one in allowed):
            raise PushError(
                f"{folder / name} is a link to {real}, outside its folder: put the file itself there, or remove it"
            )


@contextmanager
def _one_line_each(name: str, revision: str | None) -> Iterator[None]:
    """Turn the Hub's errors into a `PushError` of one line."""
    try:
        yield
    except PushError:
        raise
    except failures() as error:
        raise PushError(f"{name}: the Hugging Face Hub did not accept it: {reason(error, name, revision)}") from error
    except ValueError as error:  # raised by huggingface_hub for an invalid header of the card
        raise PushError(f"{name}: the Hugging Face Hub did not accept it: {' '.join(str(error).split())}") from error


def _repository(api: HfApi, name: str, private: bool, revision: str | None) -> str:
    """The address of the repository. Repository and branch are created if they do not exist."""
    url = str(api.create_repo(name, private=private, exist_ok=True))
    if private and not api.model_info(name).private:
        raise PushError(f"{name} exists and is public: make it private in its settings, or push it without private")
    if revision is not None and not revision.startswith("refs/"):
        api.create_branch(name, branch=revision, exist_ok=True)
    return url


@contextmanager
def _card_in_place(sent: UploadPlan) -> Iterator[None]:
    """Put the card into the folder. If the upload fails, the folder is restored, so that the next try writes a new card."""
    file = sent.folder / CARD
    before = file.read_bytes() if file.is_file() else None
    if sent.writes_card:
        file.write_text(sent.card, encoding="utf8", newline="\n")
    try:
        yield
    except BaseException:
        file.unlink() if before is None else file.write_bytes(before)
        raise
