"""Opening: the name or path of a source -> the source."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path, PurePosixPath
from typing import Any, cast

from genlip.data.sources.base import Indexed, Source
from genlip.data.sources.coco import holds_object, open_captions
from genlip.data.sources.degraded import Degraded
from genlip.data.sources.fields import CaptionFields
from genlip.data.sources.mixture import Mixture
from genlip.data.sources.procedural import KINDS, Procedural, is_procedural
from genlip.data.sources.tables import READERS, open_folder, open_tables
from genlip.model.fields import shown
from genlip.model.files import expanded, is_folder_name, printable
from genlip.model.reading import read_yaml
from genlip.synthetic.degradation import DEGRADATIONS

__all__ = ["Opener", "open_source"]

_MAX_DEPTH, _MAX_PARTS = 16, 10_000  # of mixtures in mixtures
_FORMS = (
    f"{', '.join(repr(kind) for kind in KINDS)}, a folder of images with .txt captions, .csv, .tsv, .json or .jsonl tables, "
    ".tar shards, .parquet files, or a .yaml mixture"
)


def open_source(spec: str, fields: str = "", images: str = "", allow_outside: bool = False) -> Source:
    """Open a source by its name or path.

    "scenes" or another of `procedural.KINDS`, also with a seed as in "charts:7"   procedural images
    a folder                      images, each beside a .txt of the same name with its caption
    .csv, .tsv, .json or .jsonl   rows with a path (relative to the file) and a caption
    .json of COCO or TextCaps     images with all their captions, see `genlip.data.sources.coco`
    .tar                          WebDataset shards, as img2dataset writes them
    .parquet                      rows with an image and a caption, as on the Hub
    .yaml                         a mixture: `sources`, a list of `source` with, if wanted, `fields`, `images`, `weight`, and
                                  `degrade`: print, drawings or line, which shows each image in 64 variants, see `Degraded`

    Files may be globs, brace ranges such as "{00000..00127}.tar", and (tar, Parquet) URLs of any fsspec file system.
    `fields` names the fields of captions and their probabilities, as in "re_caption=0.8,org_caption=0.2". A mixture
    passes it to parts without `fields`, except folders. The captions of COCO files have no field name.
    `images` is the folder of the images of COCO and TextCaps files, if it is not beside them.
    `allow_outside` allows tables and COCO files to name images outside their folders.

    Raises FileNotFoundError or ValueError that say what was found and needed.
    """
    return cast(Source, Opener(allow_outside).open(spec, fields, images))


class Opener:
    """Opens sources by their names: one method for each form, and the state while mixtures open their parts.

    A subclass that reads something else than captions overrides methods of forms.

    Attributes:
        allow_outside: as `open_source` has it.
        takes_images: suffixes of files whose images may be in a folder of their own, and what such files are.
    """

    takes_images: tuple[tuple[str, ...], str] = ((".json",), "captions files of COCO and TextCaps (.json)")

    def __init__(self, allow_outside: bool) -> None:
        self.allow_outside = allow_outside
        self._above: tuple[Path, ...] = ()  # the mixtures that are being opened, outermost first
        self._parts = 0  # opened so far

    def open(self, spec: str, fields: str = "", images: str = "") -> Indexed:
        """A source by its name or path, as `open_source` describes it."""
        path, suffix = expanded(spec), _suffix(spec)
        if images and suffix not in self.takes_images[0]:
            raise ValueError(f"{spec}: images {images!r} is for {self.takes_images[1]}; leave it out")
        if is_procedural(spec):
            return self.procedural(spec, fields)
        if path.is_dir():
            return self.folder(path, fields)
        if suffix in (".yaml", ".yml"):
            return self._list(path, fields)
        return self._files(spec, suffix, CaptionFields.parse(fields), images)

    # -- forms

    def procedural(self, spec: str, fields: str) -> Indexed:
        """Images of a kind."""
        return Procedural.open(spec, fields)

    def folder(self, path: Path, fields: str) -> Indexed:
        """Images with captions beside them."""
        return open_folder(path, CaptionFields.parse(fields))

    def shards(self, files: Sequence[str], fields: CaptionFields, name: str) -> Indexed:
        """Tar shards."""
        from genlip.data.sources.tar import TarShards

        return TarShards.open(files, fields, name)

    def parquet(self, files: Sequence[str], fields: CaptionFields, name: str) -> Indexed:
        """Parquet files."""
        from genlip.data.sources.parquet import ParquetTables

        return ParquetTables.open(files, fields, name)

    def coco(self, files: Sequence[str], images: str, name: str) -> Indexed:
        """Captions files of COCO and TextCaps."""
        return open_captions(files, images, name, self.allow_outside)

    def tables(self, files: Sequence[str], fields: CaptionFields, images: str, name: str) -> Indexed:
        """Tables with paths of images."""
        if images:
            raise ValueError(
                f"{name}: images {images!r} is for captions files of COCO and TextCaps; rows have paths of their own"
            )
        return open_tables(files, fields, name, self.allow_outside)

    def listed(self, path: Path, stored: Any, fields: str) -> Indexed:
        """What a .yaml file lists: a mixture."""
        entries = _entries(path, stored)
        weights = [entry["weight"] for entry in entries if "weight" in entry]
        if weights and len(weights) < len(entries):
            raise ValueError(f"{path}: {len(weights)} of {len(entries)} sources have a weight: give it to all or to none")
        parts = [self.part(path, entry, fields) for entry in entries]
        return Mixture(parts, weights or None, printable(str(path)))

    def part(self, listing: Path, entry: Mapping[str, Any], fields: str) -> Indexed:
        """An entry of a .yaml file; its paths are relative to the file, its fields replace those given for all."""
        self._parts += 1
        if self._parts > _MAX_PARTS:
            raise ValueError(
                f"{listing}: more than {_MAX_PARTS} parts in all, with those of the mixtures in it; name files by globs"
            )
        spec, images = entry["source"], entry.get("images", "")
        if not is_procedural(spec) and "://" not in spec:
            spec = str(listing.parent / expanded(spec))
        fields = _fields(entry) if "fields" in entry else "" if Path(spec).is_dir() else fields
        found = self.open(spec, fields, str(listing.parent / expanded(images)) if images else "")
        return self.degraded(found, entry["degrade"]) if "degrade" in entry else found

    def degraded(self, source: Indexed, kind: str) -> Indexed:
        """A source of which a mixture says `degrade`."""
        return Degraded(cast(Source, source), kind)

    # -- what all forms share

    def _files(self, spec: str, suffix: str, fields: CaptionFields, images: str) -> Indexed:
        folder = is_folder_name(spec)
        if folder or suffix not in (*READERS, ".tar", ".parquet"):
            if (not suffix or folder) and not expanded(spec).exists():
                raise FileNotFoundError(f"{spec}: no such {'folder' if folder else 'source'}; need {_FORMS}")
            raise ValueError(f"{spec}: cannot read captions from {suffix or 'a file without suffix'}; need {_FORMS}")
        from genlip.data.sources.paths import expand, is_remote  # these import fsspec, which scenes and folders do not need

        files = expand(spec)
        if suffix in READERS and any(map(is_remote, files)):
            raise ValueError(
                f"{spec}: tables are read from local disk, beside their images; .tar and .parquet from anywhere"
            )
        if suffix == ".tar":
            return self.shards(files, fields, spec)
        if suffix == ".parquet":
            return self.parquet(files, fields, spec)
        if suffix == ".json" and any(map(holds_object, files)):
            return self.coco(files, images, spec)
        return self.tables(files, fields, images, spec)

    def _list(self, path: Path, fields: str) -> Indexed:
        try:
            stored = read_yaml(path)
        except FileNotFoundError:
            raise FileNotFoundError(f"{path}: no such mixture") from None
        if (here := path.resolve()) in self._above:
            raise ValueError(f"{path}: lists itself, or a mixture that lists it")
        if len(self._above) >= _MAX_DEPTH:
            raise ValueError(f"{path}: lies {_MAX_DEPTH} mixtures deep, which is the limit; list its sources in one file")
        above, self._above = self._above, (*self._above, here)
        found = self.listed(path, stored, fields)
        self._above = above
        return found


def _suffix(spec: str) -> str:
    path = (
        spec.partition("?")[0] if spec.startswith(("http://", "https://")) else spec
    )  # in other paths it is part of a glob
    return PurePosixPath(path).suffix.lower()


def _entries(path: Path, stored: Any) -> list[dict[str, Any]]:
    """The entries of a mixture file."""
    entries = stored.get("sources") if isinstance(stored, dict) and len(stored) == 1 else None
    if not isinstance(entries, list) or not entries:
        raise ValueError(f"{path}: not a mixture: need `sources`, a list of `source`, and nothing beside it")
    for number, entry in enumerate(entries, start=1):
        if wrong := _wrong(entry):
            raise ValueError(f"{path}, source {number}: {wrong}")
    return entries


def _wrong(entry: Any) -> str:
    """What is wrong with an entry of a mixture; empty if nothing."""
    if not isinstance(entry, dict) or not isinstance(entry.get("source"), str):
        return f"found {shown(entry)}; need `source`, a text, and if wanted `fields`, `images`, `weight` and `degrade`"
    if unknown := entry.keys() - {"source", "fields", "images", "weight", "degrade"}:
        return f"unknown key {', '.join(sorted(map(str, unknown)))}; need source, fields, images, weight or degrade"
    if not isinstance(entry.get("fields", ""), (str, dict)):
        return f"fields {shown(entry['fields'])}; need a text or field: chance"
    if not isinstance(entry.get("images", ""), str):
        return f"images {shown(entry['images'])}; need a text, the path of a folder"
    if entry.get("degrade", "print") not in DEGRADATIONS:
        return f"degrade {shown(entry['degrade'])}; need one of {', '.join(DEGRADATIONS)}"
    try:
        CaptionFields.parse(_fields(entry))
    except ValueError as error:
        return str(error)
    if "\0" in entry["source"]:
        return f"source {shown(entry['source'])}; need a path, which has no such character"
    weight = entry.get("weight", 1)
    if isinstance(weight, bool) or not isinstance(weight, (int, float)):
        return f"weight {shown(weight)}; need a number"
    if not abs(weight) < 2**63:
        return f"weight {shown(weight)}; need a finite number"
    return ""


def _fields(entry: Mapping[str, Any]) -> str:
    fields = entry.get("fields", "")
    return fields if isinstance(fields, str) else ",".join(f"{field}={chance}" for field, chance in fields.items())
