"""Packing: the samples of a stream -> packs of at most `max_tokens` rows, nearly full.

In: a reader, an order, and the number of a stream. Out: `Batch` after `Batch`: a pack, what it was made of, what was skipped
on the way, and the state from which the stream goes on.

A stream looks a few samples ahead. It takes them as they come until there is room for half of those that wait; then a small
knapsack chooses what fills the rest best, the longest-waiting sample always among it, and the others wait for the next pack.
So the state is a position and the positions of those that wait.

Where a run ends after some epochs, a stream whose samples have all been read has too few left to choose from. A `Tail` packs
what is left of several streams together, so that a single pack of theirs is not full.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

from genlip.data.images import ImageConfig, ImageLike, Patches, image_patches
from genlip.data.order import Order
from genlip.data.samples import ReadSample, SampleReader, Skipped
from genlip.data.units import batch_size
from genlip.model.config import GenLIPConfig
from genlip.model.fields import check_fields
from genlip.model.pack import Pack, Sample

__all__ = [
    "MANY_SKIPPED", "Batch", "PackingConfig", "Stream", "StreamState", "Tail", "by_shape", "choose", "pack_images",
]  # fmt: skip

_CHUNK = 8  # samples that are read, and tokenized, at a time
MANY_SKIPPED = 256  # after so many, a stream reports rather than seeks on: nothing may be usable at all


@dataclass(frozen=True, kw_only=True)
class PackingConfig:
    """How samples are ordered and packed.

    Attributes:
        max_tokens: most rows of a pack: patches and text tokens.
        batch: what an update learns from, over all ranks: "4 packs", "8M tokens", or "32k samples of 270 tokens"; each pack
            is a micro-batch.
        packing_buffer: samples that wait to be placed; more fill packs better and cost memory.
        streams: virtual streams that the samples are dealt to, rounded up to a multiple of an update's packs; also the most
            worker processes that can prepare packs. The order depends on it, not on ranks or workers.
        block: neighbours in the source that stay together; for shards that are fetched from afar, as many as a shard holds.
            0 takes 64, or fewer where a stream would otherwise see less than 64 blocks in an epoch.
        shuffle_window: samples among which a stream shuffles.
        patch_schedule: most patches of a native image from a number of samples on, as in [[0, 256], [1000000, 1024]];
            empty keeps images.max_patches.
    """

    max_tokens: int = 16_384
    batch: str = "1 pack"
    packing_buffer: int = 16
    streams: int = 16
    block: int = 0
    shuffle_window: int = 2048
    patch_schedule: tuple[tuple[int, int], ...] = ()

    def __post_init__(self) -> None:
        check_fields(self, "packing.")
        for name in ("max_tokens", "packing_buffer", "streams", "block", "shuffle_window"):
            least = 0 if name == "block" else 1
            if getattr(self, name) < least:
                raise ValueError(f"packing.{name} is {getattr(self, name)}: it must be at least {least}")
        batch_size(self.batch, self.max_tokens)
        starts = [start for start, _ in self.patch_schedule]
        if starts and (starts[0] != 0 or sorted(set(starts)) != starts or min(p for _, p in self.patch_schedule) < 1):
            raise ValueError(
                f"packing.patch_schedule is {list(map(list, self.patch_schedule))}: need [samples, patches] pairs that "
                "start at 0 samples and rise, with at least 1 patch"
            )

    @property
    def packs(self) -> int:
        """Packs of an update, over all ranks."""
        return batch_size(self.batch, self.max_tokens).packs

    @property
    def tokens_per_sample(self) -> float:
        """Rows of a sample on average, as `batch` says; 0 where it does not."""
        return batch_size(self.batch, self.max_tokens).tokens_per_sample

    @property
    def all_streams(self) -> int:
        """`streams`, rounded up to a multiple of `packs`."""
        return -(-self.streams // self.packs) * self.packs

    def order(self, length: int, seed: int) -> Order:
        """The order of a source of so many examples."""
        return Order(length, seed, self.all_streams, self.block, self.shuffle_window)

    def max_patches(self, samples: int) -> int:
        """Most patches of a native image after so many samples; 0 where the image settings hold."""
        return next((patches for start, patches in reversed(self.patch_schedule) if start <= samples), 0)


class StreamState(NamedTuple):
    """Where a stream goes on: at position `next`, after the samples at the positions that wait."""

    next: int = 0
    waiting: tuple[int, ...] = ()


START = StreamState()


@dataclass(frozen=True)
class Batch:
    """A pack and where it came from.

    Attributes:
        pack: the samples; None where there were none.
        keys: of the samples' examples, in the pack's order.
        sources: names of their sources.
        skipped: the examples that could not be used, met since the stream's pack before.
        squeezed: how many of the images could not keep their shape.
        stream: the stream that it comes from.
        state: of the stream after it.
        ended: no pack follows in the stream; samples that wait in its state are left to a `Tail`.
    """

    pack: Pack | None
    keys: tuple[str, ...] = ()
    sources: tuple[str, ...] = ()
    skipped: tuple[Skipped, ...] = ()
    squeezed: int = 0
    stream: int = 0
    state: StreamState = START
    ended: bool = False

    @classmethod
    def of(cls, read: Sequence[ReadSample], skipped: Sequence[Skipped] = (), **place: Any) -> Batch:
        """Lay samples into a pack, in order of shape; `place` are the fields that say where it came from."""
        read = [read[i] for i in by_shape([one.sample for one in read])]
        return cls(
            pack=Pack.of([one.sample for one in read]) if read else None,
            keys=tuple(one.key for one in read),
            sources=tuple(one.source for one in read),
            skipped=tuple(skipped),
            squeezed=sum(one.squeezed for one in read),
            **place,
        )

    def pin_memory(self) -> Batch:
        """The same batch in page-locked memory, from which copies to a GPU do not wait."""
        return self if self.pack is None else dataclasses.replace(self, pack=self.pack.pin_memory())


class _Place(NamedTuple):
    stream: int
    position: int


class _Waiting(NamedTuple):
    place: _Place
    read: ReadSample


class Stream:
    """The packs of one stream, one after another.

    Attributes:
        state: where it goes on.
    """

    def __init__(
        self,
        reader: SampleReader,
        packing: PackingConfig,
        number: int,
        state: StreamState = START,
        epochs: int = 0,
        whole: bool = True,
    ) -> None:
        """`epochs` ends the stream after so many; 0 never does. Not `whole`, it leaves to a `Tail` what is not packed when
        all is read."""
        self.reader, self.packing, self.number, self.whole = reader, packing, number, whole
        self.order = packing.order(len(reader.source), reader.seed)
        self.end = self.order.end(number, epochs) if epochs else None
        self.next = state.next
        self._resume: tuple[int, ...] = state.waiting
        self._waiting: list[_Waiting] = []

    @property
    def state(self) -> StreamState:
        """Where the stream goes on."""
        return StreamState(self.next, self._resume + tuple(one.place.position for one in self._waiting))

    def next_batch(self) -> Batch:
        """The next pack; a batch without one once the stream has ended."""
        skipped: list[Skipped] = []
        taken = _take(self._waiting, self.packing.max_tokens, lambda: self._look_ahead(skipped))
        if not self.whole and self._read_all:
            self._waiting, taken = sorted([*taken, *self._waiting], key=lambda one: one.place), []
        return Batch.of([one.read for one in taken], skipped, stream=self.number, state=self.state, ended=self._ended)

    @property
    def _read_all(self) -> bool:
        return self.end is not None and self.next >= self.end

    @property
    def _ended(self) -> bool:
        return self._read_all and not (self.whole and self._waiting)

    def _look_ahead(self, skipped: list[Skipped]) -> bool:
        """ReadSample on until enough samples wait, or the stream has ended. Is there a sample, and sense in seeking on?"""
        if self._resume:
            positions, self._resume = self._resume, ()
            self._read(positions, skipped)
        while len(self._waiting) < self.packing.packing_buffer and len(skipped) < MANY_SKIPPED and not self._read_all:
            stop = self.next + _CHUNK if self.end is None else min(self.end, self.next + _CHUNK)
            positions, self.next = tuple(range(self.next, stop)), stop
            self._read(positions, skipped)
        return bool(self._waiting) and len(skipped) < MANY_SKIPPED

    def _read(self, positions: Sequence[int], skipped: list[Skipped]) -> None:
        places = [_Place(self.number, position) for position in positions]
        self._waiting += _read(self.reader, self.packing, self.order, places, skipped)


class Tail:
    """The packs of what several ended streams have left over, one stream's samples after another's.

    Its whole state is that of its streams.
    """

    def __init__(self, reader: SampleReader, packing: PackingConfig, states: Mapping[int, StreamState]) -> None:
        self.reader, self.packing = reader, packing
        self.order = packing.order(len(reader.source), reader.seed)
        self._next = {stream: state.next for stream, state in states.items()}
        self._unread = [_Place(stream, position) for stream in sorted(states) for position in states[stream].waiting]
        self._waiting: list[_Waiting] = []

    @property
    def states(self) -> dict[int, StreamState]:
        """Of its streams, with what is not packed yet."""
        left = [*(one.place for one in self._waiting), *self._unread]
        return {
            stream: StreamState(position, tuple(place.position for place in left if place.stream == stream))
            for stream, position in self._next.items()
        }

    def next_batch(self, stream: int) -> Batch:
        """The next pack, in the place of a stream; a batch without one once nothing is left."""
        skipped: list[Skipped] = []
        taken = _take(self._waiting, self.packing.max_tokens, lambda: self._look_ahead(skipped))
        return Batch.of([one.read for one in taken], skipped, stream=stream, state=self.states[stream], ended=True)

    def _look_ahead(self, skipped: list[Skipped]) -> bool:
        """ReadSample exactly as many as may wait: so those that wait follow from the state."""
        while self._unread and (free := self.packing.packing_buffer - len(self._waiting)) > 0:
            places, self._unread = self._unread[:free], self._unread[free:]
            self._waiting += _read(self.reader, self.packing, self.order, places, skipped)
        return bool(self._waiting)


def _take(waiting: list[_Waiting], room: int, packing_buffer: Callable[[], bool]) -> list[_Waiting]:
    """Take a pack's samples out of those that wait; `packing_buffer` reads on and tells whether any do."""
    taken: list[_Waiting] = []
    while packing_buffer():
        sizes = [one.read.size for one in waiting]
        if sum(sizes) < 2 * room and sizes[0] <= room:
            taken.append(waiting.pop(0))
            room -= sizes[0]
            continue
        last = choose(sizes, room)  # best where about half of those that wait can be taken
        taken += [waiting[i] for i in last]
        waiting[:] = [one for i, one in enumerate(waiting) if i not in last]
        break
    return taken


def _read(
    reader: SampleReader, packing: PackingConfig, order: Order, places: Sequence[_Place], skipped: list[Skipped]
) -> list[_Waiting]:
    """The usable samples at places of streams."""
    draws = [draw for stream, position in places for draw in order.draws(stream, [position])]
    budgets = [packing.max_patches(place.position * packing.all_streams) for place in places]
    usable = []
    for place, one in zip(places, reader.read(draws, budgets), strict=True):
        if isinstance(one, Skipped):
            skipped.append(one)
        elif one.size > packing.max_tokens:  # or no pack would ever take it
            raise ValueError(
                f"{one.key} takes {one.size} rows of a pack of {packing.max_tokens}: give the reader max_tokens"
            )
        else:
            usable.append(_Waiting(place, one))
    return usable


def choose(sizes: Sequence[int], room: int) -> list[int]:
    """Which of the sizes fill the room best, in order; the first is among them if it fits, and earlier ones go first.

    Subset sums as bits of whole numbers: bit n of `reached[k]` says that some of the first k sizes sum to n.
    """
    within = (1 << (room + 1)) - 1
    reached = [1]
    for place, size in enumerate(sizes):
        before = reached[-1]
        added = (before << size) & within
        reached.append(added if place == 0 and added else before | added)
    total = reached[-1].bit_length() - 1
    chosen = []
    for place in range(len(sizes) - 1, -1, -1):
        if not reached[place] >> total & 1:
            chosen.append(place)
            total -= sizes[place]
    return chosen[::-1]


def by_shape(samples: Sequence[Sample]) -> list[int]:
    """The order in which samples of one shape are neighbours: attention takes these in one call."""
    return sorted(range(len(samples)), key=lambda i: (len(samples[i].patches), len(samples[i].token_ids)))


def pack_images(
    images: Sequence[ImageLike | Patches],
    image_config: ImageConfig,
    model_config: GenLIPConfig,
    prompt_ids: Sequence[int] = (),
) -> Pack:
    """Images in the order given, each with the prompt as its text: what generation and encoding read.

    Each is resized as it is decoded: one at a time is held at its full size.
    """
    samples = [Sample(*image_patches(image, image_config, model_config)) for image in images]
    return Pack.of([s.with_text(prompt_ids, [False] * len(prompt_ids)) for s in samples])
