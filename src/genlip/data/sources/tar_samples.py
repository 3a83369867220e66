"""Tar samples: which members of a shard belong to one sample.

In: the members of a shard, in its order. Out: an image and its caption for each sample, and counts of what is left out.

    000.jpg 000.txt                          WebDataset's rule: adjacent members with the same name up to the first dot
    v1.000.jpg v1.000.txt v1.001.jpg …       dots in names: the same name up to the last dot
    000.image.jpg 000.txt                    a suffix of two parts: the only image and the only caption of a name
    000.jpg 001.jpg 000.txt 001.txt          not adjacent: found by name, if the name is unique

If a case is ambiguous, the members are left out, and counted by reason.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, NamedTuple

from genlip.data.file_search import is_hidden
from genlip.data.images import IMAGE_SUFFIXES
from genlip.data.sources.tables import TEXT_SUFFIXES
from genlip.model.files import printable

__all__ = ["KINDS", "Member", "Problems", "TarSample", "runs", "samples_of", "shown_name"]

# A regular file: name, offset of its headers, offset of its data, bytes of data. Plain tuples, as there are millions.
Member = tuple[bytes, int, int, int]
_IMAGE, _TEXT, _JSON = range(3)
KINDS = (  # of members that are read, by their suffixes: 0 images, 1 texts, 2 JSON
    {suffix[1:].encode(): _IMAGE for suffix in IMAGE_SUFFIXES}
    | {suffix[1:].encode(): _TEXT for suffix in TEXT_SUFFIXES}
    | {b"json": _JSON}
)
_MAIN_IMAGES = (b"image", b"img")  # names of the main image if a sample has several, such as masks


class TarSample(NamedTuple):
    """The members of a sample."""

    image: Member
    text: Member | None
    json: Member | None


class Problems:
    """What an index leaves out: the number of each kind, and the first place."""

    def __init__(self) -> None:
        self.found: dict[str, tuple[int, str]] = {}

    def add(self, what: str, where: str, times: int = 1) -> None:
        """Count `times` things of one kind that are left out."""
        count, first = self.found.get(what, (0, where))
        self.found[what] = (count + times, first)

    def messages(self) -> list[str]:
        """A line for each kind."""
        return [f"{count} {what}, first {where}" for what, (count, where) in self.found.items()]

    def to_json(self) -> dict[str, list[Any]]:
        """The counts as a JSON object."""
        return {what: [*entry] for what, entry in self.found.items()}

    @classmethod
    def from_json(cls, stored: Mapping[str, Any]) -> Problems:
        """The counts from the object of `to_json`."""
        problems = cls()
        for what, (count, first) in stored.items():
            problems.add(what, str(first), int(count))
        return problems


class _Found:
    """Members with the same name; of each kind, the first is used."""

    def __init__(self, name: bytes) -> None:
        self.name = name
        self.members: list[Member | None] = [None, None, None]
        self.others: list[bytes] = []  # suffixes that are not read

    @property
    def has_image(self) -> bool:
        return self.members[_IMAGE] is not None

    @property
    def has_caption(self) -> bool:
        return self.members[_TEXT] is not None or self.members[_JSON] is not None

    def add(self, kind: int, member: Member, problems: Problems) -> None:
        if self.members[kind] is None:
            self.members[kind] = member
        else:
            problems.add("members of a sample that has one of their kind already", shown_name(member[0]))


def samples_of(members: Iterable[Member], problems: Problems) -> list[TarSample]:
    """The samples of a shard, in the order of their images."""
    pictures: list[_Found] = []
    captions: list[_Found] = []
    for run in runs(members):
        for found in _split(run, problems):
            if found.has_image:
                pictures.append(found)
            else:
                captions.append(found)
    if captions:
        _join(pictures, captions, problems)
    repeated = Counter(found.name for found in pictures)
    if len(repeated) < len(pictures):
        name, _ = repeated.most_common(1)[0]
        problems.add(
            "samples with the name of another one, which are all read", shown_name(name), len(pictures) - len(repeated)
        )
    samples = [TarSample(*found.members) for found in pictures]  # type: ignore[arg-type]
    return sorted(samples, key=lambda sample: sample.image[2])


_MAY_HIDE = re.compile(rb"(?:^|/)[._@$lS]")  # all names that `is_hidden` finds begin with these


def runs(members: Iterable[Member]) -> Iterator[list[tuple[int, Member]]]:
    """Runs of adjacent members with the same name up to the first dot, each with the position of that dot; no hidden
    ones."""
    base, run = b"", list[tuple[int, Member]]()
    for member in members:
        name = member[0]
        start = name.rfind(b"/") + 1
        dot = name.find(b".", start)
        if dot <= start or (_MAY_HIDE.search(name) and _is_hidden(name)):
            continue
        if name[:dot] != base:
            if run:
                yield run
            base, run = name[:dot], []
        run.append((dot, member))
    if run:
        yield run


def _is_hidden(name: bytes) -> bool:
    parts = name.decode(errors="replace").split("/")
    return any(is_hidden(part) for part in parts if part.strip("."))


def _split(run: list[tuple[int, Member]], problems: Problems) -> list[_Found]:
    """The samples of a run, and its captions that belong to none of its images."""
    if any(b"." in member[0][dot + 1 :] for dot, member in run):
        return _split_dotted(run, problems)
    dot, (first, *_) = run[0]
    found = _Found(first[:dot])
    for _, member in run:
        suffix = member[0][dot + 1 :].lower()
        kind = KINDS.get(suffix)
        if kind is None:
            found.others.append(suffix)
        else:
            found.add(kind, member, problems)
    if found.has_image or found.has_caption:
        return [found]
    _count("samples without an image", [found], problems)
    return []


def _split_dotted(run: list[tuple[int, Member]], problems: Problems) -> list[_Found]:
    """The same for names with more dots: complete samples by the last dot, then the only image with the only caption."""
    dot, (first, *_) = run[0]
    base, groups = first[:dot], dict[bytes, _Found]()
    for _, member in run:
        stem, _, suffix = member[0].rpartition(b".")
        kind = KINDS.get(suffix.lower())
        if kind is not None:
            groups.setdefault(stem, _Found(stem)).add(kind, member, problems)
    whole = [found for found in groups.values() if found.has_image and found.has_caption]
    images = [found for found in groups.values() if found.has_image and not found.has_caption]
    captions = [found for found in groups.values() if not found.has_image]
    if base in groups and groups[base] in whole:
        _count("further members of samples, which are not read", [*images, *captions], problems)
        return whole
    images = [found for found in images if found.name == base or found.name[dot + 1 :] in _MAIN_IMAGES] or images
    if len(images) == len(captions) == 1:
        images[0].members[1:] = captions[0].members[1:]
        return [*whole, *images]
    if len(images) > 1 and any(found.name == base for found in captions):
        _count("images of which it is not clear which one their caption means", images, problems)
        return whole
    return [*whole, *images, *captions]


def _join(pictures: list[_Found], captions: list[_Found], problems: Problems) -> None:
    """Join captions that are not adjacent to the images of their names."""
    named, times = {found.name: found for found in pictures}, Counter(found.name for found in [*pictures, *captions])
    files = {found.name.rpartition(b"/")[2] for found in pictures}
    apart, alone, elsewhere, unclear = list[_Found](), list[_Found](), list[_Found](), list[_Found]()
    for found in captions:
        picture = named.get(found.name)
        if picture is None:
            (elsewhere if found.name.rpartition(b"/")[2] in files else alone).append(found)
        elif times[found.name] > 2 or any(a and b for a, b in zip(picture.members[1:], found.members[1:], strict=True)):
            unclear.append(found)
        else:
            picture.members[1:] = [a or b for a, b in zip(picture.members[1:], found.members[1:], strict=True)]
            apart.append(found)
    _count("captions not side by side with their images, found by name; tar --sort=name orders them", apart, problems)
    _count("captions in another folder than the images of their names; put them side by side", elsewhere, problems)
    _count("captions of a name that stands several times, which are not read", unclear, problems)
    _count("samples without an image", alone, problems)


def _count(what: str, some: list[_Found], problems: Problems) -> None:
    if some:
        first = some[0]
        beside = f" with {b', '.join(first.others).decode(errors='replace')}" if first.others else ""
        problems.add(what, printable(shown_name(first.name) + beside), len(some))


def shown_name(name: bytes) -> str:
    """The name of a member for messages."""
    return printable(name.decode(errors="surrogateescape"))
