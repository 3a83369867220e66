"""`genlip.train.state`: how a run begins, how far it is, and that a save gives all of it back."""

import dataclasses
from collections import Counter

import pytest
import torch

from genlip.data.sample_counts import SampleCounts
from genlip.data.sources import open_source
from genlip.train.checkpoints import Checkpoints
from genlip.train.parallel import World
from genlip.train.state import begin
from genlip.train.update import update

from .helpers import small_run

COUNTS = ("step", "seconds", "tokens", "samples", "seen", "nonfinite", "precision", "attention", "progress")


def start(run, newest=None):
    return begin(run, World(), open_source("scenes:0"), newest)


def steps(state, number):
    batches = state.loader.batches()
    for _ in range(number):
        update(state, batches, lambda *_: None, lambda: False)


def test_a_saved_state_is_begun_again_whole(tmp_path):
    run = small_run(tmp_path, ema=0.9, optimizer__kind="muon")
    state = start(run)
    steps(state, 3)
    state.sample_counts, state.nonfinite = SampleCounts(Counter(scenes=5)), 2
    to = Checkpoints(run, state.world)
    folder = state.save(to)
    to.finish()
    again = start(run, folder)
    assert [getattr(again, name) for name in COUNTS] == [getattr(state, name) for name in COUNTS]
    assert again.sample_counts.to_json() == state.sample_counts.to_json()
    assert again.loader.state() == state.loader.state()
    assert all(torch.equal(a, b) for a, b in zip(again.model.parameters(), state.model.parameters(), strict=True))
    assert all(torch.equal(again.average.weights[name], value) for name, value in state.average.weights.items())
    steps(state, 1)
    steps(again, 1)  # the optimizers' states, too
    assert all(torch.equal(a, b) for a, b in zip(again.model.parameters(), state.model.parameters(), strict=True))


def test_progress_is_by_the_end_that_is_nearest(tmp_path):
    state = start(small_run(tmp_path, steps=10, samples=100, tokens=4000))
    state.step, state.samples, state.tokens = 2, 50, 1000
    assert state.progress == 0.5
    state.tokens = 3000
    assert state.progress == 0.75
    state.step = 11
    assert state.progress == 1


def test_the_seed_decides_the_weights_and_init_from_replaces_them(tmp_path):
    one, same, other = (start(small_run(tmp_path, seed=seed)) for seed in (3, 3, 4))
    assert torch.equal(one.model.lm_head.weight, same.model.lm_head.weight)
    assert not torch.equal(one.model.lm_head.weight, other.model.lm_head.weight)
    one.task.export(tmp_path / "model", one.weights())
    begun = start(small_run(tmp_path, seed=4, init_from=tmp_path / "model"))
    assert torch.equal(begun.model.lm_head.weight, one.model.lm_head.weight)


def test_weights_are_the_averaged_ones_in_memory_of_their_own(tmp_path):
    state = start(small_run(tmp_path, ema=0.5))
    steps(state, 2)
    found = state.weights()
    assert found.keys() == dict(state.model.named_parameters()).keys()
    assert all(torch.equal(found[name], value) for name, value in state.average.weights.items())
    state.average.weights["lm_head.weight"].zero_()
    assert found["lm_head.weight"].abs().sum() > 0
    assert not state.sharded


def test_a_resumed_run_keeps_its_precision(tmp_path):
    run = small_run(tmp_path, precision="float32")
    state = start(run)
    steps(state, 1)
    to = Checkpoints(run, state.world)
    folder = state.save(to)
    to.finish()
    assert start(dataclasses.replace(run, precision="bfloat16"), folder).precision == "float32"
    assert start(dataclasses.replace(run, precision="bfloat16")).precision == "bfloat16"


def test_patterns_freeze_parameters_that_the_optimizer_then_does_not_hold(tmp_path):
    state = start(small_run(tmp_path, freeze='["embeddings.*"]'))
    assert not state.model.embeddings.weight.requires_grad
    held = {id(p) for optimizer in state.optimizers for group in optimizer.param_groups for p in group["params"]}
    assert held == {id(p) for p in state.model.parameters()} - {id(state.model.embeddings.weight)}
    with pytest.raises(ValueError, match="fits no parameter"):
        start(small_run(tmp_path, freeze='["nothing"]'))
