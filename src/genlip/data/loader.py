"""Loader: the batches of each update of a run, prepared in advance by worker processes.

In: a reader and a `PackingConfig`. Out: for each update, the packs of this rank.

    update n holds `packs` rows; row i of it comes from stream (n · packs + i) mod streams; rank r owns rows r, r + ranks, …

So the run's settings alone decide which samples are in which update. Workers own streams and prepare batches in advance.
Every batch carries the state of its stream after it, and the loader keeps the states of the batches that were taken. Batches
that were prepared but not taken are prepared again after a restart: nothing is lost or repeated, with any number of ranks
and workers.

If the run ends after some epochs and several streams feed a row, the row's `Tail` packs their last samples together. So only
the last pack of each row is not full.
"""

from __future__ import annotations

import json
import logging
import os
from collections.abc import Callable, Generator, Iterable, Iterator, Mapping
from contextlib import closing, nullcontext
from dataclasses import asdict, dataclass
from typing import Any

import torch

from genlip.data.packing import Batch, PackingConfig, Stream, StreamState, Tail
from genlip.data.samples import Reader
from genlip.data.sources.mixture import lengths
from genlip.data.workers import in_turn

__all__ = ["Loader", "merge_states"]

log = logging.getLogger(__name__)


class Loader:
    """Yields the batches of one update after another, one for each row that this rank owns.

    If the run ends after some epochs, streams end one by one; then their rows have no pack. When iterating over updates, a
    single process stops when all streams have ended. With several ranks, each continues with empty rows, since a single rank
    does not know when the others have ended.

    Attributes:
        rows: the rows of every update that this rank owns.
        ended: whether all its streams have ended.
    """

    def __init__(
        self,
        reader: Reader,
        packing: PackingConfig,
        *,
        workers: int = 0,
        rank: int = 0,
        ranks: int = 1,
        epochs: int = 0,
        state: Mapping[str, Any] | None = None,
    ) -> None:
        """`workers` processes prepare packs, 0 uses this process; `epochs` 0 never ends; `state` is where to continue."""
        if not 0 <= rank < ranks <= packing.packs:
            raise ValueError(
                f"rank {rank} of {ranks} with {packing.packs} packs an update: every rank needs at least one; "
                "raise packing.batch"
            )
        self.reader = reader.limited(packing.max_tokens)
        self.packing, self.epochs = packing, epochs
        self.ranks = ranks
        self.rows = range(rank, packing.packs, ranks)
        self._turns = packing.all_streams // packing.packs
        self.streams = [turn * packing.packs + row for turn in range(self._turns) for row in self.rows]
        self.workers = min(workers, len(self.streams))
        if self.workers < workers:
            log.warning(
                "%d workers for %d streams: the other workers would be idle; raise packing.streams",
                workers,
                len(self.streams),
            )
        order = {"packs": packing.packs, **asdict(packing)}
        del order["batch"]  # `packs` holds its value
        decides = {"examples": lengths(reader.source), "seed": reader.seed, **order}
        self._decides = json.loads(json.dumps(decides))  # as it is read from a checkpoint
        self._step, self._states = 0, {number: StreamState() for number in self.streams}
        self._ended: set[int] = set()
        self._tails: dict[int, Tail] = {}
        if state is not None:
            self._load(state)
        self._before = self.state()

    @property
    def waiting(self) -> int:
        """Number of samples of this rank's streams that were read but not packed yet."""
        return sum(len(state.waiting) for state in self._states.values())

    @property
    def ended(self) -> bool:
        """Whether all streams of this rank have ended."""
        return len(self._ended) == len(self.streams) and not self.waiting

    def state(self) -> dict[str, Any]:
        """What is needed to continue, as JSON: the number of updates taken, and the position of each stream.

        Valid only between updates, when the batches of all `rows` were taken.
        """
        streams = {str(number): [state.next, *state.waiting] for number, state in self._states.items()}
        return {
            "of": self._decides,
            "step": self._step,
            "streams": streams,
            "epochs": self.epochs,
            "ended": sorted(self._ended),
        }

    def undo(self) -> None:
        """Go back to the state before the last update, taken completely or in part. Ends `batches`."""
        self._load(self._before)
        self._tails.clear()

    def __iter__(self) -> Generator[list[Batch], None, None]:
        with closing(self.batches()) as batches:
            while self.ranks > 1 or not self.ended:
                update = [next(batches) for _ in self.rows]
                if self.ranks > 1 or any(batch.pack is not None or batch.skipped for batch in update):
                    yield update

    def batches(self, waiting: Callable[[], None] = lambda: None) -> Generator[Batch, None, None]:
        """The batches one by one, without end, so that an update need not be in memory at once. Each update has one batch
        for each of this rank's `rows`.

        `waiting` is called every second while this process waits for workers; an error that it raises ends the waiting.
        """
        with closing(self._batches(waiting)) as prepared:
            while True:
                self._before = self.state()
                for place, row in enumerate(self.rows, start=1):
                    batch = next(prepared)
                    if batch.stream in self._ended:
                        batch = self._after_the_end(row, batch.stream)
                    self._states[batch.stream] = batch.state
                    if batch.ended:
                        self._ended.add(batch.stream)
                    self._step += place == len(self.rows)
                    yield batch

    def _after_the_end(self, row: int, stream: int) -> Batch:
        """The batch in place of an ended stream: a pack of the row's tail, once all streams of the row have ended."""
        together = [number for number in self.streams if number % self.packing.packs == row]
        if self._ended.issuperset(together):
            if row not in self._tails:
                states = {number: self._states[number] for number in together}
                self._tails[row] = Tail(self.reader, self.packing, states)
            batch = self._tails[row].next_batch(stream)
            self._states |= self._tails[row].states
            return batch
        return Batch(None, stream=stream, state=self._states[stream], ended=True)

    def _load(self, state: Mapping[str, Any]) -> None:
        changed = [
            f"{name} {state['of'][name]} then, {now} now" for name, now in self._decides.items() if state["of"][name] != now
        ]
        if changed:
            raise ValueError(
                f"the data has changed since the run stopped ({'; '.join(changed)}): its order would be another"
            )
        if missing := {str(number) for number in self.streams} - state["streams"].keys():
            raise ValueError(f"the state lacks streams {', '.join(sorted(missing))}: merge the states of all ranks")
        self._step = state["step"]
        still = state.get("epochs") == self.epochs  # with more epochs, all streams continue
        self._ended = set(state["ended"]) & set(self.streams) if still else set()
        for number in self.streams:
            position, *waiting = state["streams"][str(number)]
            self._states[number] = StreamState(position, tuple(waiting))

    def _batches(self, waiting: Callable[[], None]) -> Generator[Batch, None, None]:
        """The batches of this rank's rows, from the next update on."""
        first = self._step % self._turns * len(self.rows)
        make = _Streams(
            self.reader, self.packing, self.streams, dict(self._states), self.epochs, first,
            ended=frozenset(self._ended), whole=self._turns == 1,
        )  # fmt: skip
        finish = _pinned(torch.cuda.current_device()) if torch.cuda.is_available() else _as_it_is
        if self.workers:  # otherwise tokenizers warn about the fork in every worker
            os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
            items: Iterator[Batch | None] = in_turn(make, self.workers, finish, waiting)
        else:
            items = map(finish, make(0, 1))
        with closing(items) if isinstance(items, Generator) else nullcontext():
            yield from (item for item in items if item is not None)


def _as_it_is(batch: Batch | None) -> Batch | None:
    return batch


def _pinned(device: int) -> Callable[[Batch | None], Batch | None]:
    """A function that moves batches into page-locked memory, from any thread."""

    def pin(batch: Batch | None) -> Batch | None:
        torch.cuda.set_device(device)  # otherwise the first call of a thread creates a context on GPU 0
        return batch and batch.pin_memory()

    return pin


@dataclass(frozen=True)
class _Streams:
    """The streams of a rank: one batch of each in turn, round after round.

    Workers are read in turn. Worker w owns the streams at places w, w + workers, … Rounds are padded with None to a multiple
    of the workers, and before the place where the first round begins.
    """

    reader: Reader
    packing: PackingConfig
    numbers: list[int]
    states: dict[int, StreamState]
    epochs: int
    first: int
    ended: frozenset[int]
    whole: bool

    def __call__(self, worker: int, workers: int) -> Iterator[Batch | None]:
        """The batches of a worker."""
        places = range(worker, -(-len(self.numbers) // workers) * workers, workers)
        streams = {place: self._stream(self.numbers[place]) for place in places if place < len(self.numbers)}
        first = self.first
        while True:
            for place in places:
                yield self._next(place, streams) if place in streams and place >= first else None
            first = 0

    def _next(self, place: int, streams: Mapping[int, Stream]) -> Batch:
        number = self.numbers[place]
        return Batch(None, stream=number, ended=True) if number in self.ended else streams[place].next_batch()

    def _stream(self, number: int) -> Stream:
        return Stream(self.reader, self.packing, number, self.states[number], self.epochs, self.whole)


def merge_states(states: Iterable[Mapping[str, Any]]) -> dict[str, Any]:
    """The state of a run from the states of all its ranks."""
    states = list(states)
    if len(steps := {state["step"] for state in states}) > 1:
        raise ValueError(f"states of updates {', '.join(map(str, sorted(steps)))}: all ranks must have stopped at the same")
    streams = {number: place for state in states for number, place in state["streams"].items()}
    ended = sorted(number for state in states for number in state.get("ended", ()))
    return {**states[0], "streams": dict(sorted(streams.items(), key=lambda item: int(item[0]))), "ended": ended}
