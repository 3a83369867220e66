"""`genlip.train.passes`: a loss of all pairs over packs and ranks, against one large batch written out in float64."""

import json
from itertools import pairwise
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from genlip.data.packing import Batch
from genlip.data.sources import open_source
from genlip.model.pack import Pack
from genlip.recipes.tasks import TASKS
from genlip.train import passes
from genlip.train.parallel import World
from genlip.train.passes import run_passes
from genlip.train.state import begin
from genlip.train.update import update
from genlip.train.validation import held_out_set, measure

from .distributed import program
from .toy import ADAPTER, ENTRY, AdapterTask, ToyTask, resumed, toy_run, updates


@pytest.fixture(autouse=True)
def toy(monkeypatch):
    monkeypatch.setitem(TASKS, "toy", ENTRY)
    monkeypatch.setitem(TASKS, "adapter", ADAPTER)


@pytest.fixture
def double():
    torch.set_default_dtype(torch.float64)
    yield
    torch.set_default_dtype(torch.float32)


def samples(state, number):
    found, _ = state.loader.reader.some(number)
    return found


def gradients(state):
    return {name: p.grad.clone() for name, p in state.model.named_parameters()}


@pytest.mark.usefixtures("double")
@pytest.mark.parametrize(("packs", "scale_embeddings"), [(1, False), (2, False), (3, False), (3, True)])
def test_loss_and_gradients_of_packs_are_those_of_one_large_batch(packs, scale_embeddings, tmp_path):
    """Also where embeddings and loss use the same parameter."""
    changes = {"pairs__dropout": 0, "pairs__scale_embeddings": scale_embeddings}
    run = toy_run(tmp_path, packing__batch=f"{packs} packs", packing__max_tokens=400, **changes)
    state = begin(run, World(), open_source("scenes:0"), None)
    some = samples(state, 12)
    cuts = [0, 5, 9, 12] if packs == 3 else [0, 7, 12] if packs == 2 else [0, 12]  # packs of different sizes
    batches = [Batch(Pack.of(some[a:b]), keys=("key",) * (b - a)) for a, b in pairwise(cuts)]
    loss, terms = state.task.loss_of_all(state.model, state.task.embed(state.model, Pack.of(some)))
    loss.backward()
    whole = gradients(state)
    assert float(whole["log_temperature"].abs()) > 0.01
    state.model.zero_grad()
    sums = run_passes(state, iter(batches), lambda *_: None)
    assert (int(sums.terms), sums.samples, sums.packs) == (terms, 12, packs)
    assert float(sums.loss) == pytest.approx(float(loss.detach()), abs=1e-9)
    for name, gradient in gradients(state).items():
        torch.testing.assert_close(gradient, whole[name], rtol=0, atol=1e-9)


@pytest.mark.usefixtures("double")
def test_dropout_is_the_same_in_both_passes(tmp_path):
    """The gradient is the numerical derivative of the reported loss: random numbers follow from seed, update, row."""
    state = begin(toy_run(tmp_path, packing__batch="2 packs"), World(), open_source("scenes:0"), None)
    some = samples(state, 8)
    batches = [Batch(Pack.of(some[:5])), Batch(Pack.of(some[5:]))]

    def loss():
        state.model.zero_grad()
        return float(run_passes(state, iter(batches), lambda *_: None).loss)

    first = loss()
    found = gradients(state)
    assert loss() == first
    for name in ("images_out.weight", "texts.bias", "bias"):
        parameter, step = state.model.get_parameter(name), 1e-6
        direction = torch.randn(parameter.shape, generator=torch.Generator().manual_seed(0))
        parameter.data += step * direction
        above = loss()
        parameter.data -= 2 * step * direction
        below = loss()
        parameter.data += step * direction
        assert (above - below) / (2 * step) == pytest.approx(float((found[name] * direction).sum()), rel=1e-6)


@pytest.fixture(scope="module")
def alone(tmp_path_factory):
    """Three updates of six packs in one process, dropout included."""
    out = tmp_path_factory.mktemp("alone")
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(TASKS, "toy", ENTRY)
        updates(out, 3)
    return out


@pytest.mark.parametrize(("ranks", "strategy"), [(2, "ddp"), (3, "ddp"), (2, "fsdp"), (3, "fsdp")])
def test_several_ranks_compute_what_one_does(ranks, strategy, alone, tmp_path):
    compare(tmp_path, alone, ranks, parallel=strategy)


@pytest.mark.parametrize("strategy", ["ddp", "fsdp"])
def test_ranks_with_unequally_many_packs(strategy, tmp_path):
    """Five packs on three ranks: one of them runs an idle pack."""
    updates(tmp_path / "one", 3, packing__batch="5 packs", packing__streams=5)
    compare(tmp_path / "three", tmp_path / "one", 3, packing__batch="5 packs", packing__streams=5, parallel=strategy)


@pytest.mark.parametrize("strategy", ["ddp", "fsdp"])
def test_a_frozen_encoder_and_a_rank_without_images(strategy, tmp_path):
    """A loss of packs; the encoder is frozen, the projector and the language model with tied weights are trained. Of five
    packs on two ranks, those of the second rank hold no image, and its third pass is an idle one."""
    changes = {"task": "adapter", "packing__batch": "5 packs", "packing__streams": 5}
    updates(tmp_path / "one", 3, **changes)
    found = compare(tmp_path / "two", tmp_path / "one", 2, parallel=strategy, **changes)
    assert float(found["gradient.projector.weight"].abs().max()) > 0.01
    assert not any(name.startswith("gradient.encoder") for name in found)


@pytest.mark.parametrize("strategy", ["ddp", "fsdp"])
def test_a_loss_of_all_that_draws_random_numbers_draws_the_same_on_every_rank(strategy, tmp_path):
    updates(tmp_path / "one", 3, pairs__loss_noise=0.5)
    compare(tmp_path / "two", tmp_path / "one", 2, pairs__loss_noise=0.5, parallel=strategy)


@pytest.mark.parametrize("strategy", ["ddp", "fsdp"])
def test_embeddings_may_use_parameters_of_the_loss(strategy, tmp_path):
    updates(tmp_path / "one", 3, pairs__scale_embeddings=True)
    compare(tmp_path / "two", tmp_path / "one", 2, pairs__scale_embeddings=True, parallel=strategy)


@pytest.mark.parametrize("task", ["toy", "adapter"])
def test_a_run_is_saved_after_an_update_without_packs_and_resumed_from_shards_with_an_average(task, tmp_path):
    """With the same weights, averages, optimizer states and held-out figures."""
    changes = {"task": task, "parallel": "fsdp", "ema": 0.5}
    program(Path(__file__).with_name("toy.py"), [str(tmp_path), json.dumps(changes), "resume"], 2)
    here, there = json.loads((tmp_path / "resumed.json").read_text())
    assert here == there
    assert here["sharded"]
    assert here["held_out"][0] != here["held_out"][1]
    assert here["loss"] > 0


def test_a_resumed_run_with_tied_weights_in_one_process(tmp_path):
    resumed(tmp_path, task="adapter", ema=0.5)
    here, there = json.loads((tmp_path / "resumed.json").read_text())
    assert here == there
    assert "head.weight" not in here["weights"]  # its first name is words.weight


def test_an_idle_pack_with_terms_is_refused(monkeypatch, tmp_path):
    run = toy_run(tmp_path, task="adapter", packing__batch="1 pack")
    state = begin(run, World(), open_source("scenes:0"), None)
    monkeypatch.setattr(AdapterTask, "loss", lambda self, model, pack: (model(pack, has_image=False).sum() * 0, 1))
    idle = passes._Pass(state.task.idle(), None, 0, last=True)
    with pytest.raises(RuntimeError, match="the idle pack of AdapterTask has 1 terms: its loss must have 0 terms"):
        passes._train_on_pack(state, state.task, idle, passes.Passes(state.world.device))


def test_a_loss_of_all_is_computed_in_full_precision_outside_autocast(monkeypatch, tmp_path):
    """In training and in `full_precision_loss`, which a measurement calls."""
    state = begin(toy_run(tmp_path, packing__batch="1 pack"), World(), open_source("scenes:0"), None)
    found = []

    def loss(self, model, embeddings):
        found.append((embeddings.dtype, (embeddings[:, 0] @ embeddings[:, 1].T).dtype))
        return (embeddings * model.bias * model.log_temperature).sum(), len(embeddings)

    monkeypatch.setattr(ToyTask, "loss_of_all", loss)
    state.precision = "bfloat16"
    update(state, iter([Batch(Pack.of(samples(state, 4)))]), lambda *_: None, lambda: False)
    measure(state, held_out_set(state.task.reader(open_source("scenes:1")), state.run))
    assert found == [(torch.float32, torch.float32)] * 2


def compare(out: Path, alone: Path, ranks: int, **changes):
    program(Path(__file__).with_name("toy.py"), [str(out), json.dumps(changes)], ranks)
    for here, there in zip(*(json.loads((folder / "found.json").read_text()) for folder in (out, alone)), strict=True):
        assert here["loss"] == pytest.approx(there["loss"], abs=1e-9)
        assert here["gradient_norm"] == pytest.approx(there["gradient_norm"], abs=1e-9)
        assert (here["samples"], here["tokens"]) == (there["samples"], there["tokens"])
    here, there = load_file(out / "found.safetensors"), load_file(alone / "found.safetensors")
    assert here.keys() == there.keys()
    assert max(float((here[name] - there[name]).abs().max()) for name in here) < 1e-9
    return here


def test_a_pack_with_an_embedding_that_is_nan_is_named(tmp_path):
    state = begin(toy_run(tmp_path, packing__batch="2 packs"), World(), open_source("scenes:0"), None)
    some = samples(state, 6)
    others = some[1:]
    own = {*map(int, some[0].token_ids)}.difference(*(map(int, one.token_ids) for one in others)).pop()
    with torch.no_grad():
        state.model.words.weight[own] = float("nan")
    before = {name: p.detach().clone() for name, p in state.model.named_parameters()}
    batches = [Batch(Pack.of(some[:1]), keys=("bad",)), Batch(Pack.of(others), keys=("good",) * len(others))]
    done = update(state, iter(batches), lambda *_: None, lambda: False)
    assert not done.finite
    assert done.suspects == ("bad",)
    assert all(torch.equal(p.nan_to_num(), before[name].nan_to_num()) for name, p in state.model.named_parameters())
