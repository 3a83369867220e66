"""`genlip.train.validation`: which weights and samples are measured."""

import pytest
import torch
from torch import nn

from genlip.data.sources import open_source
from genlip.recipes.tasks import TASKS
from genlip.train.ema import EMA
from genlip.train.parallel import World
from genlip.train.state import begin
from genlip.train.validation import held_out_set, measure

from .helpers import small_run
from .test_loop import images
from .toy import ENTRY, toy_run


@pytest.fixture
def state(tmp_path, monkeypatch):
    monkeypatch.setitem(TASKS, "toy", ENTRY)
    return begin(toy_run(tmp_path), World(), open_source("scenes:0"), None)


def test_the_model_itself_is_measured_and_returned_to_training(state):
    on = held_out_set(state.task.reader(open_source("scenes:1")), state.run)
    assert len(on.samples) == 8
    assert on.source.name == open_source("scenes:1").name
    found = measure(state, on)
    assert state.model.training
    again = state.task.validate(state.model, on)
    assert (found.figures, found.unit) == (again.figures, "nats per image")


def test_averaged_weights_are_measured_if_there_are_any(state):
    on = held_out_set(state.task.reader(open_source("scenes:1")), state.run)
    plain = measure(state, on).figures
    state.average = EMA(state.model, 0.5)
    assert measure(state, on).figures == plain
    with torch.no_grad():
        for parameter in state.model.parameters():
            parameter.mul_(3)
    assert measure(state, on).figures == plain  # those of the average, which the model has left
    state.average = None
    assert measure(state, on).figures != plain


def test_a_copy_for_measuring_has_the_buffers_of_the_model(state):
    """One that is stored with the weights and one that is not: a model on the meta device has neither."""

    class WithBuffers(nn.Module):
        def __init__(self):
            super().__init__()
            self.inner = nn.Linear(2, 2)
            self.inner.register_buffer("stored", torch.ones(2))
            self.register_buffer("derived", torch.arange(3.0), persistent=False)

    class Task:
        def build(self, attention):
            return WithBuffers()

        def validate(self, model, on):
            return model

    state.task, state.model = Task(), WithBuffers()
    state.model.derived += 1
    state.average = EMA(state.model, 0.5)
    copy = measure(state, held_out_set(state.loader.reader, state.run))
    assert torch.equal(copy.derived, torch.tensor([1.0, 2.0, 3.0]))
    assert torch.equal(copy.inner.stored, torch.ones(2))
    assert torch.equal(copy.inner.weight, state.model.inner.weight)


def test_a_copy_with_other_parameters_is_refused(state, monkeypatch):
    class Lazy(nn.Linear):
        def _load_from_state_dict(self, *_):
            pass

    state.model = nn.Linear(2, 2)
    state.average = EMA(state.model, 0.5)
    on = held_out_set(state.task.reader(open_source("scenes:1")), state.run)
    monkeypatch.setattr(state.task, "build", lambda attention: Lazy(2, 2))
    with pytest.raises(RuntimeError, match="no values for the parameters weight, bias: `build` must make"):
        measure(state, on)
    monkeypatch.setattr(state.task, "build", lambda attention: nn.Linear(2, 2, bias=False))
    with pytest.raises(RuntimeError, match="Unexpected key"):
        measure(state, on)


def test_other_ranks_measure_nothing(state):
    assert measure(state, None) is None


def test_unusable_held_out_samples_are_named_and_one_alone_is_refused(tmp_path, monkeypatch, caplog):
    monkeypatch.setitem(TASKS, "toy", ENTRY)
    state = begin(toy_run(tmp_path / "out"), World(), open_source("scenes:0"), None)
    source = open_source(str(images(tmp_path / "in", good=1, bad=1)))
    with pytest.raises(ValueError, match="1 usable held-out samples: need at least 2"):
        held_out_set(state.task.reader(source), small_run(tmp_path))
    assert "skipped held-out" in caplog.text
