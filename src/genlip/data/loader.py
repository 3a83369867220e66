"""The loader: the updates of a run, prepared ahead by worker processes.

In: a reader and how to pack. Out: for each update, the packs of this rank.

    update n holds `packs` rows; row i of it comes from stream (n · packs + i) mod streams; rank r owns rows r, r + ranks, …

So which samples stand in which update follows from the run's settings alone. Workers own streams and prepare them ahead;
every batch carries the state of its stream after it, and the loader keeps the states of what was handed out. What was only
prepared is prepared again after a stop: nothing is lost or repeated, on the same number of ranks and workers or on another.
"""

from __future__ import annotations

import logging
import os
import signal
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import torch
from torch.utils.data import DataLoader, IterableDataset, get_worker_info

from genlip.data.packing import Batch, PackingConfig, Stream, StreamState
from genlip.data.samples import SampleReader

__all__ = ["Loader", "leave_signals_to_the_parent", "merge_states"]

log = logging.getLogger(__name__)


class Loader:
    """Yields the batches of one update after another, one for each row that this rank owns.

    Where the run ends after some epochs, streams end one by one: their rows come without a pack. A single process
    stops when all have ended; one of several ranks goes on with empty rows, since only all together know the end.
    """

    def __init__(
        self,
        reader: SampleReader,
        packing: PackingConfig,
        *,
        workers: int = 0,
        rank: int = 0,
        ranks: int = 1,
        epochs: int = 0,
        state: Mapping[str, Any] | None = None,
    ) -> None:
        """`workers` processes prepare packs ahead, 0 prepares them here; `epochs` 0 never ends; `state` goes on."""
        if not 0 <= rank < ranks <= packing.packs:
            raise ValueError(
                f"rank {rank} of {ranks} with {packing.packs} packs an update: every rank needs at least one; "
                "raise packing.packs"
            )
        self.reader, self.packing, self.epochs = reader, packing, epochs
        self.ranks = ranks
        self.rows = range(rank, packing.packs, ranks)
        turns = packing.all_streams // packing.packs
        self.streams = [turn * packing.packs + row for turn in range(turns) for row in self.rows]
        self.workers = min(workers, len(self.streams))
        if self.workers < workers:
            log.warning(
                "%d workers for %d streams: the others would idle; raise packing.streams", workers, len(self.streams)
            )
        self._settings = {"examples": len(reader.source), "packs": packing.packs, "streams": packing.all_streams}
        self._step, self._states = 0, {number: StreamState() for number in self.streams}
        if state is not None:
            self._load(state)

    def state(self) -> dict[str, Any]:
        """All that going on needs, as JSON can hold it: the updates handed out, and each stream's place."""
        streams = {str(number): [state.next, *state.waiting] for number, state in self._states.items()}
        return {"of": self._settings, "step": self._step, "streams": streams}

    def __iter__(self) -> Iterator[list[Batch]]:
        ended: set[int] = set()
        batches = self._batches()
        while self.ranks > 1 or len(ended) < len(self.streams):
            update = [next(batches) for _ in self.rows]
            ended.update(batch.stream for batch in update if batch.ended)
            self._states.update((batch.stream, batch.state) for batch in update)
            self._step += 1
            if self.ranks > 1 or any(batch.pack is not None or batch.skipped for batch in update):
                yield update

    def _load(self, state: Mapping[str, Any]) -> None:
        for name, value in self._settings.items():
            if state["of"][name] != value:
                raise ValueError(
                    f"the data has changed since the run stopped: {state['of'][name]} {name} then, {value} now; "
                    "the order would be another one"
                )
        self._step = state["step"]
        for number in self.streams:
            position, *waiting = state["streams"][str(number)]
            self._states[number] = StreamState(position, tuple(waiting))

    def _batches(self) -> Iterator[Batch]:
        """The batches of this rank's rows, from the next update on."""
        if self.workers:  # tokenizers warn of a fork in every worker unless this is settled
            os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
        first = self._step % (len(self.streams) // len(self.rows)) * len(self.rows)
        loaded = DataLoader(
            _Streams(self.reader, self.packing, self.streams, dict(self._states), self.epochs, first),
            batch_size=None,
            num_workers=self.workers,
            prefetch_factor=2 if self.workers else None,
            worker_init_fn=leave_signals_to_the_parent,
            pin_memory=torch.cuda.is_available(),
        )
        return (batch for batch in loaded if batch is not None)


class _Streams(IterableDataset[Batch | None]):
    """The streams of a rank, one batch of each in turn, round after round.

    `DataLoader` asks its workers in turn. Worker w owns the streams at places w, w + workers, …; rounds are filled up with
    None to a multiple of the workers, and before the place where the first round begins.
    """

    def __init__(
        self,
        reader: SampleReader,
        packing: PackingConfig,
        numbers: list[int],
        states: dict[int, StreamState],
        epochs: int,
        first: int,
    ) -> None:
        self.reader, self.packing, self.numbers, self.states = reader, packing, numbers, states
        self.epochs, self.first = epochs, first

    def __iter__(self) -> Iterator[Batch | None]:
        info = get_worker_info()
        worker, workers = (info.id, info.num_workers) if info else (0, 1)
        places = range(worker, -(-len(self.numbers) // workers) * workers, workers)
        streams = {place: self._stream(self.numbers[place]) for place in places if place < len(self.numbers)}
        first = self.first
        while True:
            for place in places:
                yield streams[place].next_batch() if place in streams and place >= first else None
            first = 0

    def _stream(self, number: int) -> Stream:
        return Stream(self.reader, self.packing, number, self.states[number], self.epochs)


def merge_states(states: Iterable[Mapping[str, Any]]) -> dict[str, Any]:
    """The state of a run from the states of all its ranks."""
    states = list(states)
    streams = {number: place for state in states for number, place in state["streams"].items()}
    return {**states[0], "streams": dict(sorted(streams.items(), key=lambda item: int(item[0])))}


def leave_signals_to_the_parent(worker: int) -> None:
    """Ctrl-C reaches every process of a terminal; only the run itself should hear it, and finish its update."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
