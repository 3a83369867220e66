"""Opening: the name or path of conversations with images -> the source of dialogues."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path, PurePath
from typing import Any, cast

from genlip.data.dialogues.captioned import Captioned
from genlip.data.dialogues.dialogue import DialogueSource
from genlip.data.dialogues.fields import DialogueFields
from genlip.data.dialogues.sampling import check_strategy, sampled
from genlip.data.dialogues.tables import open_dialogue_tables
from genlip.data.sources.base import Indexed, Source
from genlip.data.sources.fields import CaptionFields
from genlip.data.sources.mixture import Mixture
from genlip.data.sources.opening import Opener
from genlip.data.sources.tables import READERS
from genlip.model.fields import shown
from genlip.model.files import printable
from genlip.suggestions import did_you_mean

__all__ = ["open_dialogues"]

_KEYS = ("json_path", "sampling_strategy", "image_folder")


def open_dialogues(spec: str, fields: str = "", *, allow_outside: bool = False) -> DialogueSource:
    """Open conversations with images, or captioned images as conversations, by their name or path.

    .json, .jsonl, .csv or .tsv   rows with a conversation, and `image` or `images`: paths relative to the file; LLaVA's form
    .tar                          WebDataset shards: a .json with the conversation (or a .txt with a caption), and images
    .parquet                      rows with a conversation, and a column of images or of lists of images, as on the Hub
    .yaml of `sources`            a mixture, see `genlip.data.sources.open_source`; `images` may name a table's image folder
    .yaml of `datasets`           LLaVA's list of `json_path` with `sampling_strategy`: all, first:N, end:N, random:N, or a
                                  share as in first:10%; and if wanted `image_folder`, for one or at the top for all
    all other sources             what `open_source` opens: folders, COCO, procedural images; with `fields` "conversations",
                                  scenes, documents and charts give their questions

    A conversation is a list of {from, value} or {role, content}, whose content may be parts of type text, image or
    image_url; or a list of {user, assistant} or {question, answer}. Marks "<image>" say where images are read. Pairs without
    marks, and captions, are about all images of their record, which come first. A record may have no image, or several.
    See `genlip.data.dialogues.arranging` for what is corrected, and the reasons of what is refused.

    `fields` names the fields that are read and their probabilities, as in `open_source`; empty takes conversations before
    captions. Of several in a record, one is taken by its probability, always the same one.
    `allow_outside` allows tables to name images outside their folders.

    Files may be globs, brace ranges and (tar, Parquet) URLs. Raises FileNotFoundError or ValueError that say what was found
    and needed.
    """
    return cast(DialogueSource, _DialogueOpener(allow_outside).open(spec, fields))


class _DialogueOpener(Opener):
    """Opens the same names as `open_source` as dialogues."""

    takes_images = (tuple(READERS), "tables, and captions files of COCO and TextCaps")

    def procedural(self, spec: str, fields: str) -> Indexed:
        return Captioned(cast(Source, super().procedural(spec, fields)))

    def folder(self, path: Path, fields: str) -> Indexed:
        return Captioned(cast(Source, super().folder(path, fields)))

    def coco(self, files: Sequence[str], images: str, name: str) -> Indexed:
        return Captioned(cast(Source, super().coco(files, images, name)))

    def shards(self, files: Sequence[str], fields: CaptionFields, name: str) -> Indexed:
        from genlip.data.dialogues.tar import TarDialogues

        return TarDialogues.open(files, DialogueFields(fields), name)

    def parquet(self, files: Sequence[str], fields: CaptionFields, name: str) -> Indexed:
        from genlip.data.dialogues.parquet import ParquetDialogues

        return ParquetDialogues.open(files, DialogueFields(fields), name)

    def tables(self, files: Sequence[str], fields: CaptionFields, images: str, name: str) -> Indexed:
        return open_dialogue_tables(files, DialogueFields(fields), name, images, self.allow_outside)

    def degraded(self, source: Indexed, kind: str) -> Indexed:
        raise ValueError(f"{source.name}: degrade {kind!r} is for sources of captions, not for dialogues; leave it out")

    def listed(self, path: Path, stored: Any, fields: str) -> Indexed:
        if not isinstance(stored, dict) or "datasets" not in stored:
            return super().listed(path, stored, fields)
        folder = stored.get("image_folder", "")
        parts = []
        for entry in _entries(path, stored):
            is_table = PurePath(entry["json_path"]).suffix.lower() in READERS  # other files hold their images
            part = {"source": entry["json_path"], "images": entry.get("image_folder", folder if is_table else "")}
            parts.append(sampled(self.part(path, part, fields), entry.get("sampling_strategy", "all")))
        return Mixture(parts, name=printable(str(path)))


def _entries(path: Path, stored: Mapping[str, Any]) -> list[dict[str, Any]]:
    """The entries of LLaVA's list. Raises ValueError."""
    entries = stored["datasets"]
    if unknown := stored.keys() - {"datasets", "image_folder"}:
        raise ValueError(
            f"{path}: unknown key {', '.join(sorted(map(str, unknown)))}; need datasets, and image_folder at most"
        )
    if not isinstance(entries, list) or not entries or not isinstance(stored.get("image_folder", ""), str):
        raise ValueError(f"{path}: need `datasets`, a list of `json_path`, and if wanted `image_folder`, a text")
    for number, entry in enumerate(entries, start=1):
        if wrong := _wrong(entry):
            raise ValueError(f"{path}, data set {number}: {wrong}")
    return entries


def _wrong(entry: Any) -> str:
    """What is wrong with an entry of LLaVA's list; empty if nothing."""
    if not isinstance(entry, dict) or not isinstance(entry.get("json_path"), str):
        return f"found {shown(entry)}; need `json_path`, a text, and if wanted `sampling_strategy` and `image_folder`"
    if unknown := sorted(map(str, entry.keys() - set(_KEYS))):
        return f"unknown key {', '.join(unknown)}; need {', '.join(_KEYS)}{did_you_mean(unknown[0], _KEYS)}"
    if "\0" in entry["json_path"]:
        return f"json_path {shown(entry['json_path'])}; need a path, which has no such character"
    if not isinstance(entry.get("image_folder", ""), str):
        return f"image_folder {shown(entry['image_folder'])}; need a text, the path of a folder"
    return check_strategy(entry.get("sampling_strategy", "all"))
