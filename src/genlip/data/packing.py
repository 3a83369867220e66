"""Packing: the samples of a stream -> packs of at most `max_tokens` rows, nearly full.

In: a reader, an order, and the number of a stream. Out: one `Batch` after another: a pack, the keys of its samples, the
skipped examples, and the state of the stream after it.

A stream has a small buffer of waiting samples. It takes them in order until half of the waiting ones fit into the rest of
the pack. Then a small knapsack chooses those that fill the rest best, always with the longest-waiting sample; the others
wait for the next pack. So the state is a position and the positions of the waiting samples.

If a run ends after some epochs, few samples are left at the end of a stream. A `Tail` packs the last samples of several
streams together, so that only one of their packs is not full.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

from genlip.data.images import ImageConfig, ImageLike, Patches, image_patches
from genlip.data.order import Order
from genlip.data.samples import Packable, Packed, Reader, ReadSample, Skipped
from genlip.data.units import batch_size
from genlip.model.config import GenLIPConfig
from genlip.model.fields import check_fields
from genlip.model.pack import Pack, Sample

__all__ = [
    "MANY_SKIPPED", "Batch", "PackingConfig", "Stream", "StreamState", "Tail", "by_shape", "choose", "pack_images",
    "packs_by_shape",
]  # fmt: skip

_CHUNK = 8  # samples that are read and tokenized together
MANY_SKIPPED = 256  # after so many, a stream returns a batch instead of reading on: perhaps no sample can be used


@dataclass(frozen=True, kw_only=True)
class PackingConfig:
    """How samples are ordered and packed.

    Attributes:
        max_tokens: most rows of a pack: patches and text tokens.
        batch: batch size over all ranks: "4 packs", "8M tokens", or "32k samples of 270 tokens"; each pack is a
            micro-batch.
        packing_buffer: number of waiting samples; more of them fill packs better and need more memory.
        streams: virtual streams among which samples are divided, rounded up to a multiple of the packs of an update. Also
            the largest useful number of worker processes. The order depends on it, not on ranks or workers.
        block: neighbours in the source that stay together; for remote shards, as many as a shard holds. 0 takes 64, or fewer
            if a stream would have fewer than 64 blocks per epoch.
        shuffle_window: samples among which a stream shuffles.
        patch_schedule: [samples, patches] pairs: most patches of a native image from that number of samples on, as in
            [[0, 256], [1000000, 1024]]. Empty keeps images.max_patches.
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
                "start at 0 samples and increase, with at least 1 patch"
            )

    @property
    def packs(self) -> int:
        """Packs of an update, over all ranks."""
        return batch_size(self.batch, self.max_tokens).packs

    @property
    def tokens_per_sample(self) -> float:
        """Mean rows of a sample, from `batch`; 0 if it does not give it."""
        return batch_size(self.batch, self.max_tokens).tokens_per_sample

    @property
    def all_streams(self) -> int:
        """`streams`, rounded up to a multiple of `packs`."""
        return -(-self.streams // self.packs) * self.packs

    def order(self, length: int, seed: int) -> Order:
        """The order of a source of `length` examples."""
        return Order(length, seed, self.all_streams, self.block, self.shuffle_window)

    def max_patches(self, samples: int) -> int:
        """Most patches of a native image after `samples` samples; 0 if the image settings apply."""
        return next((patches for start, patches in reversed(self.patch_schedule) if start <= samples), 0)


class StreamState(NamedTuple):
    """State of a stream: the `next` position to read, and the positions of the waiting samples, which come first."""

    next: int = 0
    waiting: tuple[int, ...] = ()


START = StreamState()


@dataclass(frozen=True)
class Batch:
    """A pack and its origin.

    Attributes:
        pack: the samples; None if there are none.
        keys: of the samples' examples, in the pack's order.
        sources: names of their sources.
        skipped: the examples that could not be used, since the previous pack of the stream.
        squeezed: number of images whose aspect ratio was changed.
        stream: number of its stream.
        state: of the stream after it.
        ended: whether it is the last of its stream; waiting samples in the state are left to a `Tail`.
    """

    pack: Packed | None
    keys: tuple[str, ...] = ()
    sources: tuple[str, ...] = ()
    skipped: tuple[Skipped, ...] = ()
    squeezed: int = 0
    stream: int = 0
    state: StreamState = START
    ended: bool = False

    @classmethod
    def of(cls, reader: Reader, read: Sequence[ReadSample], skipped: Sequence[Skipped] = (), **place: Any) -> Batch:
        """Lay samples into a pack, in order of shape; `place` are the fields that say where it came from."""
        read = [read[i] for i in by_shape([one.sample for one in read])]
        return cls(
            pack=reader.pack([one.sample for one in read]) if read else None,
            keys=tuple(one.key for one in read),
            sources=tuple(one.source for one in read),
            skipped=tuple(skipped),
            squeezed=sum(one.squeezed for one in read),
            **place,
        )

    def pin_memory(self) -> Batch:
        """The same batch in page-locked memory, from which copies to a GPU are asynchronous."""
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
        state: the position and the waiting samples.
    """

    def __init__(
        self,
        reader: Reader,
        packing: PackingConfig,
        number: int,
        state: StreamState = START,
        epochs: int = 0,
        whole: bool = True,
    ) -> None:
        """`epochs`: the stream ends after so many; 0 never ends. If not `whole`, the samples that wait when all are read are
        left to a `Tail`."""
        self.reader, self.packing, self.number, self.whole = reader, packing, number, whole
        self.order = packing.order(len(reader.source), reader.seed)
        self.end = self.order.end(number, epochs) if epochs else None
        self.next = state.next
        self._resume: tuple[int, ...] = state.waiting
        self._waiting: list[_Waiting] = []

    @property
    def state(self) -> StreamState:
        """The position and the waiting samples."""
        return StreamState(self.next, self._resume + tuple(one.place.position for one in self._waiting))

    def next_batch(self) -> Batch:
        """The next pack; a batch without a pack after the end of the stream."""
        skipped: list[Skipped] = []
        taken = _take(self._waiting, self.packing.max_tokens, lambda: self._look_ahead(skipped))
        if not self.whole and self._read_all:
            self._waiting, taken = sorted([*taken, *self._waiting], key=lambda one: one.place), []
        return Batch.of(
            self.reader, [one.read for one in taken], skipped, stream=self.number, state=self.state, ended=self._ended
        )

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
    """The packs of the last samples of several ended streams, one stream after another.

    It has no state besides those of its streams.
    """

    def __init__(self, reader: Reader, packing: PackingConfig, states: Mapping[int, StreamState]) -> None:
        self.reader, self.packing = reader, packing
        self.order = packing.order(len(reader.source), reader.seed)
        self._next = {stream: state.next for stream, state in states.items()}
        self._unread = [_Place(stream, position) for stream in sorted(states) for position in states[stream].waiting]
        self._waiting: list[_Waiting] = []

    @property
    def states(self) -> dict[int, StreamState]:
        """The states of its streams, with the samples that are not packed yet."""
        left = [*(one.place for one in self._waiting), *self._unread]
        return {
            stream: StreamState(position, tuple(place.position for place in left if place.stream == stream))
            for stream, position in self._next.items()
        }

    def next_batch(self, stream: int) -> Batch:
        """The next pack, in place of a stream; a batch without a pack once nothing is left."""
        skipped: list[Skipped] = []
        taken = _take(self._waiting, self.packing.max_tokens, lambda: self._look_ahead(skipped))
        return Batch.of(
            self.reader, [one.read for one in taken], skipped, stream=stream, state=self.states[stream], ended=True
        )

    def _look_ahead(self, skipped: list[Skipped]) -> bool:
        """ReadSample exactly as many as may wait: so those that wait follow from the state."""
        while self._unread and (free := self.packing.packing_buffer - len(self._waiting)) > 0:
            places, self._unread = self._unread[:free], self._unread[free:]
            self._waiting += _read(self.reader, self.packing, self.order, places, skipped)
        return bool(self._waiting)


def _take(waiting: list[_Waiting], room: int, look_ahead: Callable[[], bool]) -> list[_Waiting]:
    """Take the samples of a pack from the waiting ones; `look_ahead` reads more, and returns whether any wait."""
    taken: list[_Waiting] = []
    while look_ahead():
        sizes = [one.read.size for one in waiting]
        if sum(sizes) < 2 * room and sizes[0] <= room:
            taken.append(waiting.pop(0))
            room -= sizes[0]
            continue
        last = choose(sizes, room)  # works best when about half of the waiting samples fit
        taken += [waiting[i] for i in last]
        waiting[:] = [one for i, one in enumerate(waiting) if i not in last]
        break
    return taken


def _read(
    reader: Reader, packing: PackingConfig, order: Order, places: Sequence[_Place], skipped: list[Skipped]
) -> list[_Waiting]:
    """The usable samples at places of streams."""
    draws = [draw for stream, position in places for draw in order.draws(stream, [position])]
    budgets = [packing.max_patches(place.position * packing.all_streams) for place in places]
    usable = []
    for place, one in zip(places, reader.read(draws, budgets), strict=True):
        if isinstance(one, Skipped):
            skipped.append(one)
        elif one.size > packing.max_tokens:  # it would fit into no pack
            raise ValueError(
                f"{one.key} takes {one.size} rows of a pack of {packing.max_tokens}: give the reader max_tokens"
            )
        else:
            usable.append(_Waiting(place, one))
    return usable


def choose(sizes: Sequence[int], room: int) -> list[int]:
    """Indices of the sizes that fill the room best, in order. The first is chosen if it fits; earlier ones are preferred.

    Subset sums as bits of whole numbers: bit n of `reached[k]` is set if some of the first k sizes sum to n.
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


def by_shape(samples: Sequence[Packable]) -> list[int]:
    """The order in which samples of one shape are neighbours: attention takes these in one call."""
    return sorted(range(len(samples)), key=lambda i: samples[i].shape)


def packs_by_shape(samples: Sequence[Packable], rows: int) -> list[list[int]]:
    """Numbers of samples in order of shape, cut where a pack would pass `rows`; for measurements, which need no state."""
    packs: list[list[int]] = []
    used = 0
    for number in by_shape(samples):
        size = samples[number].num_rows
        if not packs or used + size > rows:
            packs.append([])
            used = 0
        packs[-1].append(number)
        used += size
    return packs


def pack_images(
    images: Sequence[ImageLike | Patches],
    image_config: ImageConfig,
    model_config: GenLIPConfig,
    prompt_ids: Sequence[int] = (),
) -> Pack:
    """A pack of images in the order given, each with the prompt as its text, for generation and encoding.

    Images are decoded and resized one by one, so only one is held at full size. Raises `ImageError`.
    """
    samples = [Sample(*image_patches(image, image_config, model_config)) for image in images]
    return Pack.of([s.with_text(prompt_ids, [False] * len(prompt_ids)) for s in samples])
