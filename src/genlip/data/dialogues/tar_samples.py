"""Tar samples: which members of a shard are one dialogue.

In: the members of a shard, in its order. Out: the text, the JSON and the images of each dialogue, and counts of what is left
out.

    000.jpg 000.json                         WebDataset's rule: adjacent members with the same name up to the first dot
    000.0.jpg 000.1.jpg 000.json             several images, in the order of the numbers in their names, else of the shard
    000.json                                 text alone
    v1.000.jpg v1.000.json v1.001.json …     dots in names: if a name has several texts, an image belongs to that which its
                                             own name begins with
    000.jpg 001.jpg 000.json 001.json        not adjacent: found by name, if the name is unique
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field

import numpy as np

from genlip.data.sources.tar_index import BLOCK, LARGEST, Layout
from genlip.data.sources.tar_samples import KINDS, Member, Problems, runs, shown_name

__all__ = ["DIALOGUES", "MEMBER", "SPAN", "TarDialogue", "dialogues_of"]

# A dialogue: its first row among those of members, and their number.
SPAN = np.dtype([("first", "<u4"), ("count", "<u4")])
# A member: its kind (0 image, 1 text, 2 JSON), the first block of its data, its bytes, the number of its header blocks.
MEMBER = np.dtype([("kind", "u1"), ("data", "<u4"), ("bytes", "<u4"), ("headers", "u1")])
_NUMBER = re.compile(rb"\d{1,18}")


@dataclass
class TarDialogue:
    """The members of a dialogue.

    Attributes:
        name: what their names begin with.
        texts: the first text and the first JSON member, None where there is none.
        images: in the order in which the dialogue shows them.
    """

    name: bytes
    texts: list[Member | None] = field(default_factory=lambda: [None, None])
    images: list[Member] = field(default_factory=list)

    @property
    def has_text(self) -> bool:
        """Whether there is any text."""
        return any(self.texts)

    @property
    def members(self) -> Iterator[tuple[int, Member]]:
        """(kind, member), texts first."""
        yield from ((kind, member) for kind, member in enumerate(self.texts, start=1) if member)
        yield from ((0, member) for member in self.images)

    def numbers(self, image: Member) -> tuple[int, ...]:
        """The numbers that the name of an image has and that of the dialogue lacks."""
        stem = image[0].rpartition(b".")[0]
        return tuple(int(digits) for digits in _NUMBER.findall(stem[len(self.name) :]))

    def add(self, kind: int, member: Member, problems: Problems) -> None:
        """Add a member; a second one of a kind of text is left out."""
        if kind == 0:
            self.images.append(member)
        elif self.texts[kind - 1] is None:
            self.texts[kind - 1] = member
        else:
            problems.add("members of a sample that has one of their kind already", shown_name(member[0]))


def dialogues_of(members: Iterable[Member], problems: Problems) -> list[TarDialogue]:
    """The dialogues of a shard, in the order of their first images, or of their texts without images."""
    found = [dialogue for run in runs(members) for dialogue in _split(run, problems)]
    found = _joined(found, problems)
    repeated = Counter(dialogue.name for dialogue in found)
    if len(repeated) < len(found):
        name, _ = repeated.most_common(1)[0]
        problems.add(
            "samples with the name of another one, which are all read", shown_name(name), len(found) - len(repeated)
        )
    return sorted(found, key=lambda dialogue: min(member[2] for member in dialogue.images or filter(None, dialogue.texts)))


def _split(run: Sequence[tuple[int, Member]], problems: Problems) -> list[TarDialogue]:
    """The dialogues of a run of members with the same name up to the first dot."""
    dot, (first, *_) = run[0]
    named = [(member[0].rpartition(b"."), member) for _, member in run]
    read = [(KINDS[suffix.lower()], stem, member) for (stem, _, suffix), member in named if suffix.lower() in KINDS]
    if not read:
        problems.add("samples without a text or an image", shown_name(first))
    counts = Counter(kind for kind, *_ in read)
    if counts[1] <= 1 and counts[2] <= 1:
        found = {first[:dot]: TarDialogue(first[:dot])}
    else:
        found = {stem: TarDialogue(stem) for kind, stem, _ in read if kind}
    for kind, stem, member in read:
        owner = _owner(stem, found)
        found.setdefault(owner, TarDialogue(owner)).add(kind, member, problems)
    for dialogue in found.values():
        dialogue.images.sort(key=dialogue.numbers)
    return [dialogue for dialogue in found.values() if dialogue.has_text or dialogue.images]


def _owner(stem: bytes, names: Iterable[bytes]) -> bytes:
    """The longest of these names that a stem is, or begins with up to a dot; the stem itself if there is none."""
    shorter = stem
    while shorter not in names and b"." in shorter:
        shorter = shorter.rpartition(b".")[0]
    return shorter if shorter in names else stem


def _joined(found: Sequence[TarDialogue], problems: Problems) -> list[TarDialogue]:
    """Join texts that are not adjacent to the images of their names. Leave out texts and images that belong to none."""
    times = Counter(dialogue.name for dialogue in found)
    bare = {dialogue.name: dialogue for dialogue in found if not dialogue.has_text}
    kept, apart, alone, unclear = list[TarDialogue](), list[bytes](), list[bytes](), list[bytes]()
    for dialogue in found:
        pictured = bare.get(dialogue.name)
        if not dialogue.has_text:
            continue
        if dialogue.images:
            kept.append(dialogue)
        elif pictured and times[dialogue.name] == 2:
            kept.append(TarDialogue(dialogue.name, dialogue.texts, pictured.images))
            apart.append(bare.pop(dialogue.name).name)
        elif pictured:
            unclear.append(dialogue.name)
        elif dialogue.texts[1]:
            kept.append(dialogue)
        else:
            alone.append(dialogue.name)
    _count("texts not side by side with their images, found by name; tar --sort=name orders them", apart, problems)
    _count("texts of a name that stands several times, which are not read", unclear, problems)
    _count("captions without an image", alone, problems)
    _count("images without a text", list(bare), problems)
    return kept


def _count(what: str, names: Sequence[bytes], problems: Problems) -> None:
    if names:
        problems.add(what, shown_name(names[0]), len(names))


def _arrays(members: Iterable[Member], problems: Problems) -> tuple[np.ndarray, dict[str, np.ndarray]]:
    """Span[dialogues], and Member[members] of all of them."""
    spans, rows = list[tuple[int, int]](), list[tuple[int, int, int, int]]()
    for dialogue in dialogues_of(members, problems):
        first = len(rows)
        for kind, (_, headers, data, size) in dialogue.members:
            rows.append((kind, data // BLOCK, min(size, LARGEST), min((data - headers) // BLOCK, 255)))
        spans.append((first, len(rows) - first))
    return np.array(spans, dtype=SPAN), {".members": np.array(rows, dtype=MEMBER)}


DIALOGUES = Layout("dialogues-1", SPAN, _arrays)
