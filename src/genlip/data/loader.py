"""The loader: the updates of a run, prepared ahead by worker processes.

In: a reader and how to pack. Out: for each update, the packs of this rank.

    update n holds `packs` rows; row i of it comes from stream (n · packs + i) mod streams; rank r owns rows r, r + ranks, …

So which samples stand in which update follows from the run's settings alone. Workers own streams and prepare them ahead;
every batch carries the state of its stream after it, and the loader keeps the states of what was handed out. What was only
prepared is prepared again after a stop: nothing is lost or repeated, on the same number of ranks and workers or on another.
"""

from __future__ import annotations

import dataclasses
import json
import logging
import os
import signal
from collections.abc import Generator, Iterable, Iterator, Mapping
from contextlib import closing
from dataclasses import asdict
from typing import Any

import torch
from torch.utils.data import DataLoader, IterableDataset, get_worker_info

from genlip.data.packing import Batch, PackingConfig, Stream, StreamState
from genlip.data.samples import SampleReader
from genlip.data.sources.mixture import lengths

__all__ = ["Loader", "leave_signals_to_the_parent", "merge_states"]

log = logging.getLogger(__name__)


class Loader:
    """Gives the batches of one update after another, one for each row that this rank owns.

    Where the run ends after some epochs, streams end one by one: their rows come without a pack. Iterating over updates, a
    single process stops when all have ended; one of several ranks goes on with empty rows, since only all know the end.

    Attributes:
        rows: of every update, those that this rank owns.
        ended: nothing follows in any of its streams.
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
                "raise packing.batch"
            )
        self.reader = dataclasses.replace(reader, max_tokens=packing.max_tokens)
        self.packing, self.epochs = packing, epochs
        self.ranks = ranks
        self.rows = range(rank, packing.packs, ranks)
        turns = packing.all_streams // packing.packs
        self.streams = [turn * packing.packs + row for turn in range(turns) for row in self.rows]
        self.workers = min(workers, len(self.streams))
        if self.workers < workers:
            log.warning(
                "%d workers for %d streams: the others would idle; raise packing.streams", workers, len(self.streams)
            )
        order = {"packs": packing.packs, **asdict(packing)}
        del order["batch"]  # one size, however it was written
        decides = {"examples": lengths(reader.source), "seed": reader.seed, **order}
        self._decides = json.loads(json.dumps(decides))  # as a checkpoint gives it back
        self._step, self._states = 0, {number: StreamState() for number in self.streams}
        self._ended: set[int] = set()
        if state is not None:
            self._load(state)

    @property
    def waiting(self) -> int:
        """Samples of this rank's streams that were read and are not packed yet."""
        return sum(len(state.waiting) for state in self._states.values())

    @property
    def ended(self) -> bool:
        """Nothing follows in any of this rank's streams."""
        return len(self._ended) == len(self.streams)

    def state(self) -> dict[str, Any]:
        """All that going on needs, as JSON can hold it: the updates handed out, and each stream's place.

        It holds between updates, when the batches of all `rows` were taken.
        """
        streams = {str(number): [state.next, *state.waiting] for number, state in self._states.items()}
        return {"of": self._decides, "step": self._step, "streams": streams}

    def __iter__(self) -> Generator[list[Batch], None, None]:
        with closing(self.batches()) as batches:
            while self.ranks > 1 or not self.ended:
                update = [next(batches) for _ in self.rows]
                if self.ranks > 1 or any(batch.pack is not None or batch.skipped for batch in update):
                    yield update

    def batches(self) -> Generator[Batch, None, None]:
        """The batches one by one, without end, so that an update need not be held at once: each update has one for each of
        this rank's `rows`."""
        with closing(self._batches()) as prepared:
            while True:
                for place, _ in enumerate(self.rows, start=1):
                    batch = next(prepared)
                    self._states[batch.stream] = batch.state
                    if batch.ended:
                        self._ended.add(batch.stream)
                    self._step += place == len(self.rows)
                    yield batch

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
        for number in self.streams:
            position, *waiting = state["streams"][str(number)]
            self._states[number] = StreamState(position, tuple(waiting))

    def _batches(self) -> Generator[Batch, None, None]:
        """The batches of this rank's rows, from the next update on."""
        if self.workers:  # tokenizers warn of a fork in every worker unless this is settled
            os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
        first = self._step % (len(self.streams) // len(self.rows)) * len(self.rows)
        pinned = torch.cuda.is_available()
        loaded = DataLoader(
            _Streams(self.reader, self.packing, self.streams, dict(self._states), self.epochs, first),
            batch_size=None,
            num_workers=self.workers,
            prefetch_factor=2 if self.workers else None,
            worker_init_fn=leave_signals_to_the_parent,
            pin_memory=pinned,
        )
        for item in loaded:
            if isinstance(item, Exception):
                raise item
            if item is not None:
                yield item if pinned or not self.workers else _own(item)


def _own(batch: Batch) -> Batch:
    """A batch in this process's own memory: what workers share takes file descriptors, and an update may hold many packs."""
    return batch if batch.pack is None else dataclasses.replace(batch, pack=batch.pack.clone())


class _Streams(IterableDataset[Batch | Exception | None]):
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

    def __iter__(self) -> Iterator[Batch | Exception | None]:
        info = get_worker_info()
        worker, workers = (info.id, info.num_workers) if info else (0, 1)
        places = range(worker, -(-len(self.numbers) // workers) * workers, workers)
        streams = {place: self._stream(self.numbers[place]) for place in places if place < len(self.numbers)}
        first = self.first
        while True:
            for place in places:
                yield _next_batch(streams[place]) if place in streams and place >= first else None
            first = 0

    def _stream(self, number: int) -> Stream:
        return Stream(self.reader, self.packing, number, self.states[number], self.epochs)


def _next_batch(stream: Stream) -> Batch | Exception:
    """The next batch, or what is wrong with the data: from a worker, an error would come wrapped in its traceback."""
    try:
        return stream.next_batch()
    except (ValueError, OSError) as error:
        return error


def merge_states(states: Iterable[Mapping[str, Any]]) -> dict[str, Any]:
    """The state of a run from the states of all its ranks."""
    states = list(states)
    if len(steps := {state["step"] for state in states}) > 1:
        raise ValueError(f"states of updates {', '.join(map(str, sorted(steps)))}: all ranks must have stopped at the same")
    streams = {number: place for state in states for number, place in state["streams"].items()}
    return {**states[0], "streams": dict(sorted(streams.items(), key=lambda item: int(item[0])))}


def leave_signals_to_the_parent(worker: int) -> None:
    """A signal to all processes of a terminal or a job is for the run itself, which finishes its update and saves.

    Workers outlive the first SIGTERM, and end with the run, or by a second one.
    """
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, lambda *_: signal.signal(signal.SIGTERM, signal.SIG_DFL))
