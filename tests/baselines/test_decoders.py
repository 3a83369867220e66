"""Encoders with a decoder: what a token may see, what training drops or masks, sizes, and the loss of a learnt run."""

import dataclasses
import json

import pytest
import torch

from genlip.baselines.decoders import decoder_config
from genlip.model.pack import Pack
from genlip.train.loop import train_model

from ..model.helpers import EXACT
from ..train.helpers import small_run
from .helpers import SHAPES, built, gradients, pack_of, task_of

TASKS = ["encoder_decoder", "cap"]


def changed(pack, **tensors):
    return dataclasses.replace(pack, **tensors)


@pytest.mark.parametrize("name", TASKS)
def test_a_token_is_predicted_from_its_image_and_the_tokens_before(name, tmp_path):
    task = task_of(tmp_path, name)
    model, pack = built(task).eval(), pack_of(task, [(2, 3, 6)])
    losses = model.token_losses(changed(pack, supervised=torch.ones(6, dtype=torch.bool)))
    for place in range(6):
        tokens = pack.token_ids.clone()
        tokens[place:] = (tokens[place:] + 7) % 300
        other = model.predictions(changed(pack, token_ids=tokens))
        torch.testing.assert_close(other[: place + 1], model.predictions(pack)[: place + 1], **EXACT)
        if place < 5:
            assert (other[place + 1 :] - model.predictions(pack)[place + 1 :]).abs().amax(1).min() > 1e-9
    patches = pack.patches.clone()
    patches[3] = patches[3] // 2 + 60
    assert (model.predictions(changed(pack, patches=patches)) - model.predictions(pack)).abs().amax(1).min() > 1e-9
    assert losses.shape == (6,)


@pytest.mark.parametrize("name", TASKS)
def test_a_sample_has_the_same_losses_in_any_pack(name, tmp_path):
    task = task_of(tmp_path, name)
    model, pack = built(task).eval(), pack_of(task)
    whole = changed(pack, supervised=torch.ones_like(pack.supervised))
    one = pack_of(task, SHAPES[:1])
    one = changed(one, supervised=torch.ones_like(one.supervised))
    losses = model.token_losses(whole)
    torch.testing.assert_close(model.token_losses(one), losses[:5], **EXACT)
    torch.testing.assert_close(model(whole), losses.sum(), **EXACT)


@pytest.mark.parametrize("name", TASKS)
def test_every_trained_parameter_has_a_gradient(name, tmp_path):
    task = task_of(tmp_path, name)
    model = built(task)
    loss, _ = task.loss(model, pack_of(task))
    loss.backward()
    without = {name for name, value in gradients(model).items() if not value.abs().max() > 0}
    assert without == set()


def test_the_decoder_reads_a_share_of_the_outputs_in_training_alone(tmp_path):
    task = task_of(tmp_path, "encoder_decoder", decoder__kept=0.35)
    model, pack = built(task), pack_of(task, [(4, 5, 3)])
    seen = []
    model.decoder.blocks[0].register_forward_hook(lambda _, inputs, __: seen.append(len(inputs[0])))
    model.train()(pack)
    model.eval()(pack)
    assert seen == [7 + 3, 20 + 3]


def test_texts_are_predicted_in_parallel_from_masked_inputs(tmp_path):
    task = task_of(tmp_path, "cap", decoder__parallel=0.75)
    model, pack = built(task), pack_of(task, [(1, 1, 3)] * 400)
    torch.manual_seed(0)
    inputs = model.train()._inputs(pack).view(400, 3)
    masked = inputs == 301
    assert bool((masked.all(1) | ~masked.any(1)).all())
    assert float(masked.all(1).double().mean()) == pytest.approx(0.75, abs=0.06)
    plain = inputs[~masked.all(1)]
    assert bool((plain[:, 0] == 300).all())
    expected = pack.token_ids.view(400, 3)[~masked.all(1)]
    assert torch.equal(plain[:, 1:], expected[:, :2])
    assert not (model.eval()._inputs(pack) == 301).any()


def test_sizes_of_the_decoder_follow_the_encoder(tmp_path):
    run = small_run(tmp_path, task="cap", model__num_hidden_layers=6)
    config = decoder_config(run)
    assert (config.hidden_size, config.num_hidden_layers, config.num_attention_heads) == (32, 3, 2)
    run = small_run(tmp_path, task="cap", decoder__width=64, decoder__layers=2)
    config = decoder_config(run)
    assert (config.hidden_size, config.intermediate_size, config.head_dim, config.num_hidden_layers) == (64, 96, 16, 2)


@pytest.mark.parametrize("name", TASKS)
def test_a_run_learns(name, tmp_path):
    train_model(small_run(tmp_path, task=name, steps=40, evaluate_every=40, optimizer__learning_rate=5e-3))
    events = [json.loads(line) for line in (tmp_path / "log.jsonl").read_text().splitlines()]
    losses = [event["loss"] for event in events if event["event"] == "train"]
    assert losses[-1] < 0.8 * losses[0]
    assert any(event["event"] == "held_out" and "picture_gain" in event for event in events)


@pytest.mark.parametrize("name", TASKS)
def test_the_idle_pack_has_no_loss(name, tmp_path):
    task = task_of(tmp_path, name)
    model = built(task)
    idle = task.idle()
    assert isinstance(idle, Pack)
    loss, terms = task.loss(model, idle)
    loss.backward()
    assert (float(loss.detach()), int(terms)) == (0.0, 0)
    assert all(not value.any() for value in gradients(model).values())


def test_tokens_that_are_predicted_in_parallel_know_their_place(tmp_path):
    task = task_of(tmp_path, "cap", decoder__parallel=1.0)
    model, pack = built(task).train(), pack_of(task, [(2, 3, 5)])
    read = model.predictions(pack)
    assert (read[:, None] - read).abs().amax(-1).add(torch.eye(5)).min() > 1e-6
    tokens = (pack.token_ids + 7) % 300
    torch.testing.assert_close(model.predictions(changed(pack, token_ids=tokens)), read, **EXACT)


@pytest.mark.parametrize("setting", ["compile", "activation_checkpointing"])
def test_settings_that_only_a_part_would_have_are_refused(setting, tmp_path):
    with pytest.raises(ValueError, match=f"{setting} True: runs of task cap do not have it in all of their parts"):
        task_of(tmp_path, "cap", **{setting: "true"})
