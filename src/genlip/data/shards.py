"""Shards: any source -> WebDataset tar shards, which can be read with random access.

In: a source. Out: a folder of `00000.tar`, `00001.tar`, … with unchanged image files and their captions, and beside
each a small JSON with its counts. Shard n holds a fixed range of the source, so a stopped packing continues with the missing
shards. Each is written under a temporary name and renamed, so it is complete or absent.
"""

from __future__ import annotations

import io
import os
import tarfile
from collections import Counter
from collections.abc import Callable, Generator, Iterator, Mapping
from contextlib import AbstractContextManager, closing, contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal, TypedDict

from PIL import Image

from genlip.data.examples import Caption, Choice, Conversation, Example, ImageLike, Unusable
from genlip.data.folder_lock import own
from genlip.data.images import decode_pixels, file_suffix, read_file
from genlip.data.sources.base import Source
from genlip.data.sources.conversations import IMAGE_MARK
from genlip.data.sources.mixture import Mixture, lengths
from genlip.data.workers import in_turn
from genlip.model.fields import checked
from genlip.model.reading import read_json
from genlip.model.writing import naming, to_json, write_json, write_whole

__all__ = ["ShardConfig", "Written", "write_shards"]

_PLAN = "packing.json"


@dataclass(frozen=True, kw_only=True)
class ShardConfig:
    """How shards are written.

    Attributes:
        samples: number of examples in a shard.
        verify: leave out images that cannot be decoded.
        drawn_as: file format of images without a file: "png" keeps every pixel, "jpg" (quality 90) and "webp"
            (lossless) are smaller.
    """

    samples: int = 10_000
    verify: bool = False
    drawn_as: Literal["png", "jpg", "webp"] = "png"

    def __post_init__(self) -> None:
        if self.samples < 1 or self.drawn_as not in _DRAWN:
            raise ValueError(
                f"samples of a shard is {self.samples}: need at least 1; drawn_as is {self.drawn_as!r}: need one of "
                f"{', '.join(_DRAWN)}"
            )


_DRAWN: Mapping[str, Mapping[str, Any]] = {
    "png": {"format": "PNG", "compress_level": 3},
    "jpg": {"format": "JPEG", "quality": 90},
    "webp": {"format": "WEBP", "lossless": True, "method": 0},
}


@dataclass
class Written:
    """Contents of one shard, or of all.

    Attributes:
        shards: number of shards.
        samples: number of samples written.
        bytes: of the shards.
        skipped: number of examples left out, by reason.
        fields: number of captions in each field; name these fields to read the captions.
    """

    shards: int
    samples: int
    bytes: int
    skipped: Counter[str]
    fields: Counter[str]

    def __add__(self, other: Written) -> Written:
        return Written(
            self.shards + other.shards,
            self.samples + other.samples,
            self.bytes + other.bytes,
            self.skipped + other.skipped,
            self.fields + other.fields,
        )


def write_shards(
    source: Source,
    out: str | os.PathLike[str],
    config: ShardConfig | None = None,
    workers: int = 0,
    advance: Callable[[int], None] = lambda done: None,
) -> Written:
    """Write a source as tar shards; existing shards are kept. Returns the contents of all shards of the folder.

    workers  processes that write shards; 0 writes them in this one
    advance  is called with the number of newly finished examples, including those of existing shards

    Raises ValueError if the folder holds shards of another source or of other settings, or another process writes there, and
    OSError if a shard cannot be written.
    """
    folder, config = Path(out), config or ShardConfig()
    with own(folder, "packing"):
        _agree(folder, {"source": source.name, "fields": _fields(source), "examples": lengths(source), **asdict(config)})
        return _write_missing(_Shards(source, folder, config), workers, advance)


def _write_missing(shards: _Shards, workers: int, advance: Callable[[int], None]) -> Written:
    _remove_parts(shards.folder)
    total = Written(0, 0, 0, Counter(), Counter())
    workers = min(workers, len(shards))
    try:
        with closing(in_turn(shards.write, workers) if workers else shards.write(0, 1)) as each:
            for number, written in zip(range(len(shards)), each, strict=False):
                total += written
                advance(len(shards.examples(number)))
    finally:
        _remove_parts(shards.folder)
    return total


class _Counts(TypedDict):
    """Content of the counts file of a shard."""

    successes: int
    skipped: dict[str, int]
    fields: dict[str, int]


def _remove_parts(folder: Path) -> None:
    """Remove incomplete shards of a killed process."""
    for part in folder.glob("*.part"):
        part.unlink()


@dataclass(frozen=True)
class _Shards:
    """The shards of a source, written on demand."""

    source: Source
    folder: Path
    config: ShardConfig

    def __len__(self) -> int:
        return -(-len(self.source) // self.config.samples)

    def write(self, first: int, step: int) -> Generator[Written, None, None]:
        """Shards `first`, `first + step`, …: writes each missing one, and yields its contents."""
        return (self._written(number) for number in range(first, len(self), step))

    def _written(self, number: int) -> Written:
        shard = self.folder / f"{number:05d}.tar"
        counts = shard.with_name(f"{shard.stem}_stats.json")
        if not (shard.exists() and counts.exists()):
            stored = self._write(shard, self.examples(number))
            write_json(counts, stored, indent=None)
        stored = checked(read_json(counts), _Counts, str(counts))
        size = shard.stat().st_size
        return Written(1, stored["successes"], size, Counter(stored["skipped"]), Counter(stored["fields"]))

    def examples(self, number: int) -> range:
        """The examples of a shard."""
        return range(number * self.config.samples, min((number + 1) * self.config.samples, len(self.source)))

    def _write(self, shard: Path, examples: range) -> dict[str, Any]:
        skipped, fields = Counter[str](), Counter[str]()
        with _tar(shard) as add:
            samples = sum(_add(add, self.source, number, self.config, skipped, fields) for number in examples)
        return {"successes": samples, "skipped": skipped, "fields": fields}


def _fields(source: Source) -> Any:
    """The caption fields of a source, part by part."""
    if isinstance(source, Mixture):
        return [_fields(part) for part in source.sources]
    return dict(source.fields.chances) if hasattr(source, "fields") else {}


def _agree(folder: Path, plan: dict[str, Any]) -> None:
    """Write the settings of the packing into the folder. Raises ValueError if it holds another packing."""
    file = folder / _PLAN
    if not file.exists():
        if any(folder.glob("*.tar")):
            raise ValueError(f"{folder} holds tar files, but no {_PLAN} that says what of: choose an empty folder")
        write_json(file, plan)
    if (found := checked(read_json(file), dict[str, Any], str(file))) != plan:
        differs = [f"{key}: {found.get(key)} there, {value} now" for key, value in plan.items() if found.get(key) != value]
        raise ValueError(f"{folder} holds another packing ({'; '.join(differs)}): choose another folder")


@contextmanager
def _tar(shard: Path) -> Iterator[Callable[[str, bytes], None]]:
    """A function that adds a member to a shard. The shard is complete at the end, or absent."""
    with write_whole(shard) as part:
        with _naming(shard):
            tar = tarfile.open(part, "w", format=tarfile.USTAR_FORMAT)  # noqa: SIM115  closed below

        def add(name: str, content: bytes) -> None:
            entry = tarfile.TarInfo(name)
            entry.size = len(content)
            with _naming(shard):
                tar.addfile(entry, io.BytesIO(content))

        try:
            yield add
        finally:
            with _naming(shard):
                tar.close()


def _naming(file: Path) -> AbstractContextManager[None]:
    """Name the file that could not be written."""
    return naming(file, "make room, and the same command goes on with it")


def _add(
    add: Callable[[str, bytes], None],
    source: Source,
    number: int,
    config: ShardConfig,
    skipped: Counter[str],
    fields: Counter[str],
) -> bool:
    """Add an example to a shard, or count the reason why not."""
    try:
        example = source[number]
        data, suffix = _encoded(example, config)
        if not example.caption:
            raise Unusable("no caption", f"{example.key}: no caption")
        if config.verify:
            decode_pixels(data)
    except Unusable as error:
        skipped[error.reason] += 1
        return False
    kind, text = _written_caption(example.caption, fields)
    for name, content in ((suffix, data), (kind, text.encode("utf8"))):
        add(f"{number:09d}.{name}", content)
    return True


def _encoded(example: Example, config: ShardConfig) -> tuple[bytes, str]:
    """The bytes of the image's file and its suffix. Raises `Unusable`."""
    image: ImageLike = example.image
    if isinstance(image, Image.Image):
        buffer = io.BytesIO()
        image.save(buffer, **_DRAWN[config.drawn_as])
        return buffer.getvalue(), config.drawn_as
    data = image if isinstance(image, bytes) else read_file(image)
    return data, file_suffix(data)


def _written_caption(caption: Caption, fields: Counter[str]) -> tuple[str, str]:
    """(suffix, content) of the member that holds a caption: a text unchanged, everything else as fields of a JSON object."""
    if isinstance(caption, str):
        fields["txt"] += 1
        return "txt", caption
    choice = caption if isinstance(caption, Choice) else Choice((caption,), (1.0,), ("conversations",))
    names = choice.fields or ("captions",) * len(choice.captions)
    record: dict[str, Any] = {}
    for name in dict.fromkeys(names):
        held = [_plain(one) for one, of in zip(choice.captions, names, strict=True) if of == name]
        record[name] = held[0] if len(held) == 1 else held
        fields[name] += 1
    return "json", to_json(record)


def _plain(caption: str | Conversation) -> str | list[dict[str, str]]:
    """A caption as a JSON value; a conversation in its published form."""
    if isinstance(caption, str):
        return caption
    messages = [{"from": "gpt" if turn.learned else "human", "value": turn.text} for turn in caption]
    if not caption[0].learned:
        messages[0]["value"] = f"{IMAGE_MARK}\n{messages[0]['value']}"
    return messages
