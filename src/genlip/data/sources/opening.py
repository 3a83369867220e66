"""Opening: the name or path of a source -> the source."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

from genlip.data.sources.base import Source
from genlip.data.sources.coco import holds_object, open_captions
from genlip.data.sources.fields import CaptionFields
from genlip.data.sources.mixture import Mixture
from genlip.data.sources.procedural import KINDS, Procedural, is_procedural
from genlip.data.sources.tables import READERS, open_folder, open_tables
from genlip.model.fields import shown
from genlip.model.files import expanded, is_folder_name, printable
from genlip.model.reading import read_yaml

__all__ = ["open_source"]

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
    .yaml                         a mixture: `sources`, a list of `source` with, if wanted, `fields`, `images`, `weight`

    Files may be globs, brace ranges such as "{00000..00127}.tar", and (tar, Parquet) URLs of any fsspec file system.
    `fields` names the fields of captions and their probabilities, as in "re_caption=0.8,org_caption=0.2". A mixture
    passes it to parts without `fields`, except folders. The captions of COCO files have no field name.
    `images` is the folder of the images of COCO and TextCaps files, if it is not beside them.
    `allow_outside` allows tables and COCO files to name images outside their folders.

    Raises FileNotFoundError or ValueError that say what was found and needed.
    """
    return _open(spec, fields, images, _Opening(allow_outside))


@dataclass
class _Opening:
    """State while mixtures open their parts.

    Attributes:
        allow_outside: as `open_source` has it.
        above: the mixtures that are being opened, outermost first.
        parts: number of opened parts.
    """

    allow_outside: bool
    above: tuple[Path, ...] = ()
    parts: int = 0


def _open(spec: str, fields: str, images: str, opening: _Opening) -> Source:
    path, suffix = expanded(spec), _suffix(spec)
    if images and suffix != ".json":
        raise ValueError(f"{spec}: images {images!r} is for captions files of COCO and TextCaps (.json); leave it out")
    if is_procedural(spec):
        return Procedural.open(spec, fields)
    if path.is_dir():
        return open_folder(path, CaptionFields.parse(fields))
    if suffix in (".yaml", ".yml"):
        return _open_mixture(path, fields, opening)
    return _open_files(spec, suffix, CaptionFields.parse(fields), images, opening.allow_outside)


def _suffix(spec: str) -> str:
    path = (
        spec.partition("?")[0] if spec.startswith(("http://", "https://")) else spec
    )  # in other paths it is part of a glob
    return PurePosixPath(path).suffix.lower()


def _open_files(spec: str, suffix: str, fields: CaptionFields, images: str, allow_outside: bool) -> Source:
    folder = is_folder_name(spec)
    if folder or suffix not in (*READERS, ".tar", ".parquet"):
        if (not suffix or folder) and not expanded(spec).exists():
            raise FileNotFoundError(f"{spec}: no such {'folder' if folder else 'source'}; need {_FORMS}")
        raise ValueError(f"{spec}: cannot read captions from {suffix or 'a file without suffix'}; need {_FORMS}")
    from genlip.data.sources.paths import expand, is_remote  # these import fsspec, which scenes and folders do not need

    files = expand(spec)
    if suffix in READERS and any(map(is_remote, files)):
        raise ValueError(f"{spec}: tables are read from local disk, beside their images; .tar and .parquet from anywhere")
    if suffix == ".tar":
        from genlip.data.sources.tar import TarShards

        return TarShards.open(files, fields, spec)
    if suffix == ".parquet":
        from genlip.data.sources.parquet import ParquetTables

        return ParquetTables.open(files, fields, spec)
    if suffix == ".json" and any(map(holds_object, files)):
        return open_captions(files, images, spec, allow_outside)
    if images:
        raise ValueError(
            f"{spec}: images {images!r} is for captions files of COCO and TextCaps; rows have paths of their own"
        )
    return open_tables(files, fields, spec, allow_outside)


def _open_mixture(path: Path, fields: str, opening: _Opening) -> Mixture:
    entries = _entries(path)
    weights = [entry["weight"] for entry in entries if "weight" in entry]
    if weights and len(weights) < len(entries):
        raise ValueError(f"{path}: {len(weights)} of {len(entries)} sources have a weight: give it to all or to none")
    if (here := path.resolve()) in opening.above:
        raise ValueError(f"{path}: lists itself, or a mixture that lists it")
    if len(opening.above) >= _MAX_DEPTH:
        raise ValueError(f"{path}: lies {_MAX_DEPTH} mixtures deep, which is the limit; list its sources in one file")
    above, opening.above = opening.above, (*opening.above, here)
    parts = [_open_part(path, entry, fields, opening) for entry in entries]
    opening.above = above
    return Mixture(parts, weights or None, printable(str(path)))


def _entries(path: Path) -> list[dict[str, Any]]:
    """The entries of a mixture file."""
    try:
        stored = read_yaml(path)
    except FileNotFoundError:
        raise FileNotFoundError(f"{path}: no such mixture") from None
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
        return f"found {shown(entry)}; need `source`, a text, and if wanted `fields`, `images` and `weight`"
    if unknown := entry.keys() - {"source", "fields", "images", "weight"}:
        return f"unknown key {', '.join(sorted(map(str, unknown)))}; need source, fields, images or weight"
    if not isinstance(entry.get("fields", ""), (str, dict)):
        return f"fields {shown(entry['fields'])}; need a text or field: chance"
    if not isinstance(entry.get("images", ""), str):
        return f"images {shown(entry['images'])}; need a text, the path of a folder"
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


def _open_part(mixture: Path, entry: Mapping[str, Any], fields: str, opening: _Opening) -> Source:
    """A part of a mixture; its paths are relative to the mixture file, its fields replace those of the mixture."""
    opening.parts += 1
    if opening.parts > _MAX_PARTS:
        raise ValueError(
            f"{mixture}: more than {_MAX_PARTS} parts in all, with those of the mixtures in it; name files by globs"
        )
    spec, images = entry["source"], entry.get("images", "")
    if not is_procedural(spec) and "://" not in spec:
        spec = str(mixture.parent / expanded(spec))
    fields = _fields(entry) if "fields" in entry else "" if Path(spec).is_dir() else fields
    return _open(spec, fields, str(mixture.parent / expanded(images)) if images else "", opening)
