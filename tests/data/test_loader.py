"""`genlip.data.loader`: the updates of the slow model, whoever reads them, wherever they stop, however they are killed."""

import dataclasses
import json
import os
import random
import signal
import subprocess
import sys
import time
from contextlib import closing
from itertools import islice
from pathlib import Path
from traceback import clear_frames

import pytest
import torch

from genlip.data.examples import Example
from genlip.data.loader import Loader, merge_states
from genlip.data.packing import PackingConfig
from genlip.data.sources import Files, Mixture

from . import slow_order
from .helpers import InMemory
from .small_run import LENGTH, PACKING, broken, example, mixture, reader, size, told

ROOT = Path(__file__).parents[2]
EPOCHS = 4
SIZES = {index: size(index) for index in range(LENGTH) if not broken(index)}


def loaded(ranks=1, workers=0, of=None, states=(), epochs=0, number=None) -> tuple[list, list]:
    """(updates of all ranks put together, states after them), each update as `told`, rows in order."""
    loaders = [
        Loader(reader(of), PACKING, workers=workers, rank=rank, ranks=ranks, epochs=epochs, state=states or None)
        for rank in range(ranks)
    ]
    updates = [[told(update) for update in islice(loader, number)] for loader in loaders]
    rows = [[batch for row in zip_longest_rows(parts) for batch in row] for parts in zip(*updates, strict=True)]
    return rows, merge_states(loader.state() for loader in loaders)


def zip_longest_rows(parts: list[list]) -> list[list]:
    """Rows dealt to ranks in turn, laid back in order; the last ranks may own one less."""
    longest = max(map(len, parts))
    return [[part[i] for part in parts if i < len(part)] for i in range(longest)]


def slow_updates(epochs: int, length=LENGTH, sizes=SIZES, packing=PACKING) -> list[list]:
    """Every update of a run that ends, from the slow model; rows of ended streams are empty."""
    drawn = [
        slow_order.stream(length, 3, packing.all_streams, packing.block, packing.shuffle_window, number, epochs)
        for number in range(packing.all_streams)
    ]
    rows = [
        slow_order.row(drawn[row :: packing.packs], sizes, packing.max_tokens, packing.packing_buffer)
        for row in range(packing.packs)
    ]
    turns, updates = packing.all_streams // packing.packs, []
    for step in range(max(map(len, rows))):
        stands = [
            (step % turns * packing.packs + number, *(row[step][1:] if step < len(row) else ([], [])))
            for number, row in enumerate(rows)
        ]
        if any(pack or lost for _, pack, lost in stands):
            updates.append([[n, sorted(str(i) for _, i in pack), sorted(map(str, lost))] for n, pack, lost in stands])
    return updates


@pytest.fixture(scope="module")
def endless() -> list:
    """The first updates of a run over a mixture that has no end."""
    return loaded(of=mixture(), number=30)[0]


@pytest.mark.parametrize("workers", [0, 1, 2])
def test_a_run_is_that_of_the_slow_model_and_ends_cleanly(workers):
    updates, _ = loaded(workers=workers, epochs=EPOCHS)
    assert [[[n, sorted(keys), lost] for n, keys, lost, _ in update] for update in updates] == slow_updates(EPOCHS)
    keys = sorted(key for update in updates for _, keys, _, _ in update for key in keys)
    assert keys == sorted(EPOCHS * [str(index) for index in SIZES])


@pytest.mark.parametrize("workers", [0, 1, 2])
@pytest.mark.parametrize("ranks", [1, 2, 3, 4])
def test_ranks_and_workers_do_not_change_the_updates(ranks, workers, endless):
    assert loaded(ranks, workers, mixture(), number=9)[0] == endless[:9]


def test_going_on_with_other_ranks_and_workers_equals_never_stopping(endless):
    """Stopped twice, at every kind of place."""
    lots = random.Random(0)
    for first in range(1, 12):
        second = lots.randint(first + 1, 20)
        updates, state, done = [], (), 0
        for stop in (first, second, 24):
            ranks, workers = lots.randint(1, 4), lots.choice([0, 0, 0, 2])
            some, state = loaded(ranks, workers, mixture(), json.loads(json.dumps(state)), number=stop - done)
            updates += some
            done = stop
        assert updates == endless[:24]


SMALL_SET = 60  # examples: each of 16 streams holds three or four an epoch, a pack about eight
FEW = PackingConfig(max_tokens=150, streams=16)


def small_set() -> InMemory:
    return InMemory([example(index) for index in range(SMALL_SET)])


@pytest.mark.parametrize(("epochs", "batch"), [(1, "1 pack"), (3, "1 pack"), (3, "2 packs")])
def test_packs_of_a_small_set_are_full_but_the_last_of_each_row(epochs, batch):
    packing = dataclasses.replace(FEW, batch=batch)
    updates = list(Loader(reader(small_set()), packing, epochs=epochs))
    keys = sorted(key for update in updates for batch in update for key in batch.keys)
    assert keys == sorted(epochs * [str(i) for i in range(SMALL_SET) if not broken(i)])
    for row in range(packing.packs):
        *fills, _ = [update[row].pack.num_rows / 150 for update in updates if update[row].pack is not None]
        assert 150 - 150 * min(fills) < max(SIZES.values())  # or another sample would have fitted


def test_a_run_that_ends_goes_on_at_every_update_as_if_it_had_never_stopped():
    """Also within the tails, on other numbers of ranks and workers."""
    lots = random.Random(1)
    packing = dataclasses.replace(FEW, batch="2 packs")

    def some(state, ranks=1, workers=0, number=None):
        settings = {"epochs": 2, "ranks": ranks, "workers": workers, "state": state}
        loaders = [Loader(reader(small_set()), packing, rank=rank, **settings) for rank in range(ranks)]
        parts = [[(told(update), loader.state()) for update in islice(loader, number)] for loader in loaders]
        return [
            ([batch for rows in zip_longest_rows([rows for rows, _ in step]) for batch in rows],
             merge_states(state for _, state in step))
            for step in zip(*parts, strict=True)
        ]  # fmt: skip

    whole = some(None)
    for stop in range(1, len(whole)):
        state = json.loads(json.dumps(whole[stop - 1][1]))
        rest = some(state, ranks=lots.choice([1, 2]), workers=lots.choice([0, 0, 2]), number=len(whole) - stop)
        assert rest == whole[stop:]


def test_an_update_that_is_left_comes_again_whole():
    loader = Loader(reader(), PACKING, epochs=2)
    updates, again = [], []
    for n in range(100):
        with closing(loader.batches()) as batches:
            for _ in range(1 + n % 4):  # of its four rows
                next(batches)
            loader.undo()
        with closing(loader.batches()) as batches:
            again.append(told([next(batches) for _ in range(4)]))
        if loader.ended:
            break
    updates, _ = loaded(epochs=2)
    assert [update for update in again if any(keys or lost for _, keys, lost, _ in update)] == updates


def test_several_ranks_go_on_with_empty_rows_until_they_are_told_to_stop():
    alone, _ = loaded(epochs=2)
    together, _ = loaded(ranks=3, epochs=2, number=len(alone) + 5)
    assert together[: len(alone)] == alone
    assert all(keys == [] and rows == 0 for update in together[len(alone) :] for _, keys, _, rows in update)


def run_until_killed(out: Path, updates: int, workers: int, rank: int, ranks: int, state) -> list:
    """What a process had read when it was killed without warning; the last line may be cut."""
    command = [sys.executable, "-m", "tests.data.small_run", str(out), str(workers), str(rank), str(ranks)]
    process = subprocess.Popen([*command, *([json.dumps(state)] if state else [])], cwd=ROOT, start_new_session=True)
    while not out.exists() or out.read_bytes().count(b"\n") < updates:
        assert process.poll() is None
        time.sleep(0.01)
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    return [json.loads(line) for line in out.read_text().splitlines(keepends=True) if line.endswith("\n")]


def test_killed_runs_go_on_without_loss_or_repetition(endless, tmp_path):
    """Killed twice, with workers; the second time on two ranks of which one had read further than the other."""
    first = run_until_killed(tmp_path / "first", 4, 2, 0, 1, None)[:7]
    updates, states = [update for update, _ in first], [state for _, state in first]
    ranks = [run_until_killed(tmp_path / f"second{rank}", 3, 1, rank, 2, states[-1]) for rank in (0, 1)]
    both = min(map(len, ranks))  # a checkpoint is of all ranks at one update
    updates += [[batch for row in zip_longest_rows([rank[i][0] for rank in ranks]) for batch in row] for i in range(both)]
    state = merge_states(rank[both - 1][1] for rank in ranks)
    updates += loaded(3, 0, mixture(), state, number=5)[0]
    assert updates == loaded(of=mixture(), number=len(updates))[0]


def test_another_collection_is_not_gone_on_with():
    _, state = loaded(number=3)
    smaller = InMemory([example(i) for i in range(LENGTH - 1)])
    with pytest.raises(ValueError, match=rf"changed since the run stopped \(examples {LENGTH} then, {LENGTH - 1} now\)"):
        Loader(reader(smaller), PACKING, state=state)


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"shuffle_window": 9}, "shuffle_window 5 then, 9 now"), ({"block": 0}, "block 3 then, 0 now"),
        ({"max_tokens": 90}, "max_tokens 70 then, 90 now"), ({"packing_buffer": 5}, "packing_buffer 4 then, 5 now"),
        ({"batch": "2 packs"}, "packs 4 then, 2 now"),
    ],
)  # fmt: skip
def test_another_packing_or_seed_is_not_gone_on_with(change, told):
    _, state = loaded(number=3)
    with pytest.raises(ValueError, match=rf"since the run stopped \({told}\)"):
        Loader(reader(), dataclasses.replace(PACKING, **change), state=state)
    with pytest.raises(ValueError, match=r"since the run stopped \(seed 3 then, 4 now\)"):
        Loader(dataclasses.replace(reader(), seed=4), PACKING, state=state)


def test_a_mixture_with_other_weights_is_not_gone_on_with():
    _, state = loaded(of=mixture(), number=3)
    parts = mixture().sources
    with pytest.raises(ValueError, match=r"\(examples \[\[36, 20\], \[15, 31\]\] then, \[\[26, 20\], \[25, 31\]\] now\)"):
        Loader(reader(Mixture(parts, [0.5, 0.5])), PACKING, state=state)


def test_states_of_ranks_belong_together():
    loaders = [Loader(reader(), PACKING, rank=rank, ranks=2) for rank in (0, 1)]
    states = []
    for updates, loader in zip((2, 1), loaders, strict=True):
        list(islice(loader, updates))
        states.append(loader.state())
    with pytest.raises(ValueError, match="states of updates 1, 2: all ranks must have stopped at the same"):
        merge_states(states)
    with pytest.raises(ValueError, match="lacks streams 1, 3, 5, 7: merge the states of all ranks"):
        Loader(reader(), PACKING, rank=1, ranks=2, state=states[0])


def test_a_reader_with_another_limit_is_brought_into_line():
    unlimited = dataclasses.replace(reader(), max_tokens=None)
    (update,) = islice(Loader(unlimited, dataclasses.replace(PACKING, max_tokens=12)), 1)
    assert all(batch.pack.num_rows <= 12 for batch in update)


def test_very_many_packs_leave_file_descriptors():
    packing = PackingConfig(max_tokens=70, batch="150 packs", streams=150, packing_buffer=1)
    (update,) = islice(Loader(reader(), packing, workers=1), 1)
    assert len(update) == 150
    assert len(list(Path("/proc/self/fd").iterdir())) < 150


def test_what_is_wrong_with_the_data_arrives_from_a_worker_as_it_was():
    class Broken(InMemory):
        def __getitem__(self, index):
            raise OSError("the disk is gone")

    with pytest.raises(OSError, match=r"^the disk is gone$"):
        next(iter(Loader(reader(Broken([example(0)])), PACKING, workers=1)))


@pytest.mark.parametrize(("rank", "ranks"), [(0, 5), (2, 2), (-1, 2)])
def test_more_ranks_than_packs_are_refused(rank, ranks):
    with pytest.raises(ValueError, match=r"4 packs an update: every rank needs at least one; raise packing\.batch"):
        Loader(reader(), PACKING, rank=rank, ranks=ranks)


def test_workers_beyond_the_streams_are_not_started(caplog):
    loader = Loader(reader(), PACKING, rank=3, ranks=4, workers=5)
    assert loader.workers == 2
    assert "5 workers for 2 streams" in caplog.text


def test_a_ten_file_folder_feeds_as_many_streams_as_one_likes():
    few = InMemory([example(i) for i in (0, 1, 2)])
    packing = PackingConfig(max_tokens=70, streams=16, packing_buffer=1)
    updates = list(islice(Loader(reader(few), packing), 160))
    assert all(batch.pack is not None for (batch,) in updates)
    counts = [sum(batch.keys.count(str(i)) for (batch,) in updates) for i in range(3)]
    assert max(counts) < 1.3 * min(counts)


@pytest.mark.parametrize("workers", [0, 1])
def test_mistakes_in_a_source_stop_the_reader(workers, tmp_path):
    without_captions = Files([tmp_path / "a.png"], [])
    with pytest.raises(IndexError) as error:
        next(iter(Loader(reader(without_captions), PACKING, workers=workers)))
    clear_frames(error.tb)  # they hold the worker, which would take ten seconds to end when another test collects them


def test_batches_from_workers_are_the_same_to_the_last_pixel():
    here, there = (list(islice(Loader(reader(), PACKING, workers=workers), 3)) for workers in (0, 2))
    for a, b in zip((b for u in here for b in u), (b for u in there for b in u), strict=True):
        for name in ("patches", "token_ids", "supervised", "positions"):
            assert torch.equal(getattr(a.pack, name), getattr(b.pack, name))


def test_an_image_that_vanishes_while_it_waits_is_skipped_and_counted(tmp_path):
    def source(gone: bool) -> InMemory:
        return InMemory([e._replace(image=b"gone") if gone and i in WAITING else e for i, e in enumerate(ALL)])

    ALL = [Example(str(i), example(0).image, f"number {i}") for i in range(40)]
    packing = PackingConfig(max_tokens=70, streams=1, packing_buffer=4)
    first = Loader(reader(source(gone=False)), packing)
    next(iter(first))
    state = first.state()
    waiting = state["streams"]["0"][1:]
    order = packing.order(40, 3)
    WAITING = {order.draws(0, [position])[0].number for position in waiting}
    assert WAITING
    ((batch,),) = islice(Loader(reader(source(gone=True)), packing, state=state), 1)
    assert {int(skip.key) for skip in batch.skipped} == WAITING


def test_the_data_loader_can_pin_batches(monkeypatch):
    """As it does where there is a GPU; without one, copies stand for pinned memory."""
    pinned = []
    monkeypatch.setattr(torch.Tensor, "pin_memory", lambda tensor, *_: pinned.append(tensor.shape) or tensor.clone())
    (update,) = islice(Loader(reader(), dataclasses.replace(PACKING, batch="1 pack")), 1)
    (there,) = (torch.utils.data._utils.pin_memory.pin_memory(batch) for batch in update)
    assert pinned == [getattr(update[0].pack, name).shape for name in ("patches", "token_ids", "supervised", "positions")]
    assert (there.keys, there.state, there.pack.grids) == (update[0].keys, update[0].state, update[0].pack.grids)
    assert torch.equal(there.pack.patches, update[0].pack.patches)
    assert torch.utils.data._utils.pin_memory.pin_memory(None) is None  # what fills up rounds
