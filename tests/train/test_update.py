"""`genlip.train.update`: what an update leaves out, names and reports."""

import pytest
import torch
from safetensors.torch import load_file

from genlip.data.sources import open_source
from genlip.recipes.tasks import TASKS
from genlip.train.checkpoints import latest
from genlip.train.loop import NonFinite, train_model
from genlip.train.parallel import World
from genlip.train.sample_log import read_samples
from genlip.train.state import begin
from genlip.train.tracking import read_log
from genlip.train.update import update

from .helpers import small_run
from .toy import ADAPTER, ENTRY, AdapterTask, toy_run


class Poison:
    """Makes what the last LayerNorm gives no number in the updates after these steps, once per call if `packs` says so."""

    def __init__(self, *steps, first_pack_only=False):
        self.steps, self.only, self.calls = steps, first_pack_only, 0
        self.before = {}

    def __call__(self, state):
        if not hasattr(self, "hook"):
            self.hook = state.model.ln_post.register_forward_hook(self.spoil)
        self.state, self.calls = state, 0
        if state.step in self.steps:
            self.before[state.step] = {name: p.detach().clone() for name, p in state.model.named_parameters()}
        if state.step - 1 in self.steps:
            before = self.before[state.step - 1]
            assert all(torch.equal(p, before[name]) for name, p in state.model.named_parameters())

    def spoil(self, module, inputs, output):
        if not module.training or self.state.step not in self.steps:
            return None
        self.calls += 1
        return output * float("nan") if self.calls == 1 or not self.only else None


@pytest.fixture
def toys(monkeypatch):
    monkeypatch.setitem(TASKS, "toy", ENTRY)
    monkeypatch.setitem(TASKS, "adapter", ADAPTER)


def test_an_update_whose_loss_is_no_number_is_left_out_and_its_samples_named(tmp_path):
    poison = Poison(2, first_pack_only=True)
    run = small_run(tmp_path, packing__batch="2 packs", packing__max_tokens=160, log_samples="true")
    model = train_model(run, on_step=poison)
    assert 2 in poison.before
    (event,) = read_log(tmp_path, "nonfinite")
    assert event["step"] == 3
    assert tuple(event["samples"]) == read_samples(tmp_path)[3, 0]  # the pack to blame, not its neighbour
    assert "ln_post.weight" in event["parameters"]
    assert all(torch.isfinite(value).all() for value in load_file(model / "model.safetensors").values())
    steps = [one["step"] for one in read_log(tmp_path, "train")]
    assert steps == [1, 2, 3, 4, 5, 6]
    assert [one["loss"] is None for one in read_log(tmp_path, "train")] == [False, False, True, False, False, False]


def test_too_many_in_a_row_stop_the_run_with_a_state_to_look_at(tmp_path):
    poison = Poison(2, 3, 4)
    run = small_run(tmp_path, max_nonfinite=3, steps=50)
    with pytest.raises(
        NonFinite, match=r"step 5: the loss is nan, .* in 3 updates in a row; .*step-00000005 holds the weights"
    ):
        train_model(run, on_step=poison)
    saved = load_file(latest(tmp_path) / "model.safetensors")
    assert all(torch.equal(saved[name], value) for name, value in poison.before[2].items())
    assert len(read_log(tmp_path, "nonfinite")) == 3


def test_ones_apart_do_not_stop_it(tmp_path):
    train_model(small_run(tmp_path, max_nonfinite=2), on_step=Poison(1, 3, 5))
    assert len(read_log(tmp_path, "nonfinite")) == 3


def test_a_spike_is_reported(tmp_path):
    def spoil(state):
        if state.step == 70:
            with torch.no_grad():
                state.model.lm_head.weight.mul_(-30)

    train_model(small_run(tmp_path, steps=72), on_step=spoil)
    assert [event["step"] for event in read_log(tmp_path, "spike")] == [71, 72]


def test_recomputing_blocks_gives_the_same_weights(tmp_path):
    settings = {"model__drop_path_rate": 0.3, "packing__batch": "2 packs"}
    kept = load_file(train_model(small_run(tmp_path / "kept", **settings)) / "model.safetensors")
    again = load_file(
        train_model(small_run(tmp_path / "again", activation_checkpointing="true", **settings)) / "model.safetensors"
    )
    assert all(torch.equal(kept[name], again[name]) for name in kept)


def test_frozen_parameters_stay_and_the_others_learn(tmp_path):
    first = {}

    def look(state):
        first.setdefault("weights", {name: p.detach().clone() for name, p in state.model.named_parameters()})

    model = train_model(
        small_run(tmp_path, freeze='["vision_embeddings.*", "visual.layers.0.*"]', optimizer__kind="muon"), on_step=look
    )
    learned = load_file(model / "model.safetensors")
    moved = {name for name, value in first["weights"].items() if not torch.equal(value, learned[name])}
    frozen = {name for name in learned if name.startswith(("vision_embeddings.", "visual.layers.0."))}
    assert moved == learned.keys() - frozen


@pytest.mark.parametrize(
    ("patterns", "message"), [('["blocks.*"]', "fits no parameter"), ('["*"]', "leaves nothing to train")]
)
def test_freezing_nothing_or_everything_is_refused(patterns, message, tmp_path):
    with pytest.raises(ValueError, match=message):
        train_model(small_run(tmp_path, freeze=patterns))


@pytest.mark.slow
def test_compiled_blocks_train_what_plain_ones_do(tmp_path):
    plain, compiled = (
        load_file(train_model(small_run(tmp_path / name, compile=name, model__drop_path_rate=0.2)) / "model.safetensors")
        for name in ("false", "true")
    )
    assert max(float((plain[name] - compiled[name]).abs().max()) for name in plain) < 1e-4


@pytest.mark.usefixtures("toys")
def test_a_trained_parameter_without_a_gradient_is_named(tmp_path, monkeypatch):
    state = begin(toy_run(tmp_path, task="adapter"), World(), open_source("scenes:0"), None)
    words = state.model.words.weight
    monkeypatch.setattr(AdapterTask, "loss", lambda self, model, pack: (words[pack.token_ids].sum(), 1))
    with pytest.raises(
        RuntimeError, match=r"update 1: these trained parameters have no gradient: projector\.weight, .*must use"
    ):
        update(state, state.loader.batches(), lambda *_: None, lambda: False)


@pytest.mark.usefixtures("toys")
def test_a_parameter_in_no_group_is_refused_at_the_start(tmp_path, monkeypatch):
    groups = AdapterTask.parameter_groups
    monkeypatch.setattr(AdapterTask, "parameter_groups", lambda self, model: groups(self, model)[1:])
    with pytest.raises(ValueError, match=r"in no group: projector\.weight, projector\.bias; every"):
        begin(toy_run(tmp_path, task="adapter"), World(), open_source("scenes:0"), None)
