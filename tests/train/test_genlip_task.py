"""`genlip.train.genlip_task`: what the engine is told of GenLIP, against the model's own functions."""

import torch
from safetensors.torch import load_file

import genlip
from genlip.data.sources import open_source
from genlip.evaluate.held_out import held_out
from genlip.model.flops import training_flops
from genlip.model.pack import Pack
from genlip.train.genlip_task import GenLIPTask
from genlip.train.validation import held_out_set

from .helpers import small_run


def make(out, **changes):
    run, source = small_run(out, **changes), open_source("scenes:0")
    return run, source, GenLIPTask(run, GenLIPTask.find_processor(run, source, None))


def test_the_idle_pack_has_a_loss_and_gradients_of_exactly_zero(tmp_path):
    _, _, task = make(tmp_path)
    model = task.build("sdpa").train()
    loss, terms = task.loss(model, task.idle())
    loss.backward()
    assert (float(loss.detach()), int(terms)) == (0.0, 0)
    assert all(torch.count_nonzero(p.grad) == 0 for p in model.parameters() if p.grad is not None)


def test_loss_work_and_figures_are_those_of_the_model(tmp_path):
    run, source, task = make(tmp_path, activation_checkpointing="true")
    model = task.build("sdpa").eval()
    assert model.activation_checkpointing
    some, _ = task.reader(source).some(6)
    pack = Pack.of(some)
    loss, terms = task.loss(model, pack)
    assert terms == int(pack.supervised.sum())
    torch.testing.assert_close(loss, model.token_losses(pack).sum())
    assert task.flops(pack) == training_flops(run.model, pack)
    assert task.matrices(model) == [p for p in model.blocks.parameters() if p.dim() == 2]
    found, by_hand = (
        task.validate(model, held_out_set(task.reader(source), run)),
        held_out(model, task.reader(source).some(8)[0]),
    )
    assert found.figures == {"loss": by_hand.loss, "picture_gain": by_hand.picture_gain}
    assert [one.key for one in found.spoken] == [source[i].key for i in range(run.spoken)]


def test_the_exported_folder_is_the_model_and_gives_the_tokenizer_back(tmp_path):
    run, source, task = make(tmp_path / "run")
    model = task.build("sdpa")
    task.export(tmp_path / "model", dict(model.state_dict()))
    loaded = genlip.load(tmp_path / "model", dtype=torch.float32)
    weights = load_file(tmp_path / "model/model.safetensors")
    assert all(torch.equal(value, weights[name]) for name, value in loaded.state_dict().items())
    assert GenLIPTask.find_processor(run, source, tmp_path / "model") == task.captions.tokenizer.to_str()
    other = task.build("sdpa")
    second = small_run(tmp_path / "two", init_from=tmp_path / "model")
    GenLIPTask(second, GenLIPTask.find_processor(second, source, None)).load_initial(other)
    assert all(torch.equal(value, weights[name]) for name, value in other.state_dict().items())
