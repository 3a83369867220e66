"""Training of a multimodal LLM: ranks, resume, frozen parts, stages, recipes."""

import dataclasses
import json
import multiprocessing
import os
import signal
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from genlip.data.dialogues import Dialogue, Message
from genlip.data.dialogues.opening import open_dialogues
from genlip.mllm.batch import MLLMPack
from genlip.mllm.folder import read_folder
from genlip.mllm.language import language_config
from genlip.model.checkpoint import CheckpointError
from genlip.recipes.recipe import load_recipe
from genlip.train.loop import train_model
from genlip.train.mllm_task import MLLMTask, first_question
from genlip.train.parallel import World
from genlip.train.run_log import read_log
from genlip.train.state import begin
from genlip.train.update import update

from ..mllm.helpers import language_folder, starcoder
from .distributed import program
from .mllm import made, mllm_run, updates


@pytest.fixture(scope="module")
def data(tmp_path_factory) -> Path:
    return made(tmp_path_factory.mktemp("mllm"))


def started(data, out, **changes):
    run = mllm_run(data, out, **changes)
    return begin(run, World(), MLLMTask.open_source(run, run.data.source), None)


@pytest.mark.parametrize("train", ["[projector]", "[projector, language]", "[encoder, projector, language]"])
def test_the_parts_that_are_named_are_trained(data, tmp_path, train):
    state = started(data, tmp_path, train=train)
    before = {name: p.detach().clone() for name, p in state.model.named_parameters()}
    batches = state.loader.batches()
    for _ in range(2):
        update(state, batches, lambda *_: None, lambda: False)
    changed = {name.partition(".")[0] for name, p in state.model.named_parameters() if not torch.equal(p, before[name])}
    assert changed == {part.replace("encoder", "vision") for part in train.strip("[]").split(", ")}
    trained = {id(p) for optimizer in state.optimizers for group in optimizer.param_groups for p in group["params"]}
    assert trained == {id(p) for p in state.model.parameters() if p.requires_grad}


def test_each_part_has_its_learning_rate(data, tmp_path):
    state = started(
        data, tmp_path, train="[encoder, projector, language]", learning_rates__encoder=2e-4, learning_rates__language=5e-4
    )
    groups = state.task.parameter_groups(state.model)
    assert [group.rate_scale for group in groups] == pytest.approx([0.2, 1.0, 0.5])


def test_frozen_parts_are_stored_in_bfloat16(data, tmp_path):
    state = started(data, tmp_path, train="[projector]", precision="bfloat16")
    kinds = {name.partition(".")[0]: p.dtype for name, p in state.model.named_parameters()}
    assert kinds == {"vision": torch.bfloat16, "language": torch.bfloat16, "projector": torch.float32}
    batches = state.loader.batches()
    losses = [update(state, batches, lambda *_: None, lambda: False).loss for _ in range(8)]
    assert losses[-1] < losses[0]


def test_in_float32_frozen_parts_stay_as_they_are(data, tmp_path):
    state = started(data, tmp_path, train="[projector]")
    assert {p.dtype for p in state.model.parameters()} == {torch.float32}


@pytest.mark.parametrize(
    ("strategy", "ranks", "more"),
    [
        ("ddp", 2, {}),
        ("ddp", 3, {"train": "[encoder, projector, language]", "model__tiles": "[[1, 2], [2, 1]]", "images__size": 8}),
        ("fsdp", 2, {"train": "[encoder, projector, language]", "activation_checkpointing": "true"}),
        ("fsdp", 3, {}),
    ],
)
def test_several_ranks_train_as_one(data, tmp_path, strategy, ranks, more):
    """In float64, to 1e-9: loss, gradients and weights. Some ranks have packs without an image, and idle ones."""
    changes = {"packing__batch": "5 packs", "packing__streams": 5, "packing__max_tokens": 40} | more
    updates(data, tmp_path / "one", 3, **changes)
    arguments = [str(data), str(tmp_path / "many"), json.dumps(changes | {"parallel": strategy})]
    program(Path(__file__).with_name("mllm.py"), arguments, ranks)
    for here, there in zip(
        *(json.loads((tmp_path / name / "found.json").read_text()) for name in ("many", "one")), strict=True
    ):
        assert here["loss"] == pytest.approx(there["loss"], abs=1e-9)
        assert here["gradient_norm"] == pytest.approx(there["gradient_norm"], abs=1e-9)
        assert (here["samples"], here["tokens"]) == (there["samples"], there["tokens"])
    here, there = (load_file(tmp_path / name / "found.safetensors") for name in ("many", "one"))
    assert here.keys() == there.keys()
    assert max(float((here[name] - there[name]).abs().max()) for name in here) < 1e-9
    images = json.loads((tmp_path / "many" / "images.json").read_text())
    assert any(0 in of_rank for of_rank in images)
    assert any(max(of_rank) > 0 for of_rank in images)


@pytest.mark.parametrize("strategy", ["ddp", "fsdp"])
def test_a_frozen_language_model_in_bfloat16_is_shared_too(data, tmp_path, strategy):
    changes = {"packing__batch": "2 packs", "train": "[projector]", "precision": "bfloat16", "parallel": strategy}
    arguments = [str(data), str(tmp_path), json.dumps(changes)]
    program(Path(__file__).with_name("mllm.py"), arguments, 2)
    assert all(np.isfinite(one["loss"]) for one in json.loads((tmp_path / "found.json").read_text()))


def train_until(run, at):
    """Train, and be killed after an update."""
    torch.set_num_threads(1)
    train_model(run, on_step=lambda state: os.kill(os.getpid(), signal.SIGKILL) if state.step == at else None)


def killed(run, at):
    """Train in another process, which is killed. It is no fork: the threads of autograd may run in this one already."""
    child = multiprocessing.get_context("spawn").Process(target=train_until, args=(run, at))
    child.start()
    child.join()
    assert child.exitcode == -signal.SIGKILL


def test_a_killed_run_goes_on_bit_for_bit(data, tmp_path):
    torch.set_num_threads(1)
    whole = train_model(mllm_run(data, tmp_path / "whole", threads=1, log_samples="true"))
    run = mllm_run(data, tmp_path / "parts", threads=1, log_samples="true")
    killed(run, 5)
    assert len(list((tmp_path / "parts/checkpoints").glob("step-*"))) == 1
    parts = train_model(run)
    assert (parts / "model.safetensors").read_bytes() == (whole / "model.safetensors").read_bytes()
    figures = [[{**event, "time": 0} for event in read_log(tmp_path / name, "held_out")] for name in ("whole", "parts")]
    assert figures[0][-1] == figures[1][-1]


def test_two_stages(data, tmp_path):
    """The second begins with the weights, and the tokenizer, of the first."""
    changes = {"chat__template": "plain", "steps": 3, "data__held_out_samples": 20}
    align = train_model(mllm_run(data, tmp_path / "align", train="[projector]", **changes))
    state = started(data, tmp_path / "instruct", init_from=align)
    stored = read_folder(align).weights
    for name, parameter in state.model.named_parameters():
        if name in stored:
            assert torch.equal(parameter, stored[name]), name
    first = read_log(tmp_path / "align", "held_out")[-1]
    assert {"loss", "picture_gain"} <= first.keys()
    instruct = train_model(mllm_run(data, tmp_path / "instruct", init_from=align, steps=3))
    assert not torch.equal(
        read_folder(instruct).weights["language.model.layers.0.mlp.c_fc.weight"],
        stored["language.model.layers.0.mlp.c_fc.weight"],
    )


def test_a_model_of_other_parts_is_refused(data, tmp_path):
    align = train_model(mllm_run(data, tmp_path / "align", train="[projector]", steps=1))
    with pytest.raises((ValueError, CheckpointError), match="pixel_shuffle"):
        started(data, tmp_path / "other", init_from=align, model__pixel_shuffle=2)


def test_a_folder_that_lacks_weights_is_refused(data, tmp_path):
    """Weights that nothing fills would hold whatever was in memory."""
    align = train_model(mllm_run(data, tmp_path / "align", train="[projector]", steps=1))
    deeper = language_folder(tmp_path / "deeper", starcoder, num_hidden_layers=3)
    with pytest.raises(CheckpointError, match=r"lacks \d+ weights that this model has, such as language\.model\.layers\.2"):
        started(data, tmp_path / "instruct", init_from=align, model__language_model=deeper)


def test_a_language_model_without_an_image_token_gets_one_more_row(data, tmp_path):
    language = language_folder(tmp_path / "language", bare=True)
    changes = {"model__language_model": language, "chat__template": "plain", "train": "[projector]", "steps": 1}
    folder = train_model(mllm_run(data, tmp_path / "run", **changes))
    size = language_config(str(language)).vocab_size
    stored = read_folder(folder)
    assert stored.language_config.vocab_size == size + 1
    assert stored.weights["language.model.embed_tokens.weight"].shape[0] == size + 1
    assert stored.tokenizer.convert_tokens_to_ids("<image>") == size
    again = started(data, tmp_path / "again", init_from=folder, **changes)
    assert again.task.image_token == "<image>"


def test_missing_names_are_asked_for(data, tmp_path):
    with pytest.raises(ValueError, match=r"model\.language_model is empty: name one with --model\.language_model"):
        started(data, tmp_path, model__language_model="")


def test_a_bad_sample_is_named_and_counted(data, tmp_path):
    records = json.loads((data / "data.json").read_text())
    records[4]["conversations"][0]["value"] = "<image>\nwhat is it"
    records[7]["conversations"][0]["from"] = "narrator"
    file = data / "bad.json"
    file.write_text(json.dumps(records))
    run = mllm_run(data, tmp_path, data__source=file)
    reader = started(data, tmp_path).task.reader(MLLMTask.open_source(run, str(file)))
    _, skipped = reader.some(60)
    assert len(skipped) == 2
    fifth, eighth = sorted(skip.message for skip in skipped)
    assert fifth.startswith(f"{file}, row 5")
    assert eighth.startswith(f"{file}, row 8")
    assert "narrator" in eighth


def test_a_dialogue_is_no_longer_than_the_positions_of_the_language_model(data, tmp_path):
    state = started(data, tmp_path)
    reader = state.task.reader(state.loader.reader.source)
    assert reader.max_positions == state.task.language_config.max_position_embeddings
    short = dataclasses.replace(reader, max_tokens=1000, max_positions=8)
    _, skipped = short.some(5)
    assert {skip.reason for skip in skipped} == {"too large for a pack"}


def test_the_idle_pack_has_no_terms_and_no_gradients(data, tmp_path):
    state = started(data, tmp_path)
    pack = state.task.idle()
    assert isinstance(pack, MLLMPack)
    loss, terms = state.task.loss(state.model, pack)
    loss.backward()
    assert (float(loss), terms) == (0.0, 0)
    assert not any(p.grad is not None and p.grad.any() for p in state.model.parameters())


def test_the_first_question_ends_before_its_answer():
    first = (Message("user", "<image>\none?"), Message("assistant", "1"))
    dialogue = Dialogue("k", ("a", "b"), (*first, Message("user", "<image> two?"), Message("assistant", "2")))
    asked, answer = first_question(dialogue)
    assert asked == Dialogue("k", ("a",), (Message("user", "<image>\none?"),))
    assert answer == "1"


@pytest.mark.parametrize("size", ["1p5b", "7b"])
def test_the_small_versions_of_the_recipes_run(tmp_path, size):
    align = train_model(load_recipe(f"mllm_align_{size}_cpu", ["--out", str(tmp_path / "align"), "--steps", "2"]))
    changes = ["--out", str(tmp_path / "instruct"), "--steps", "2", "--init_from", str(align)]
    instruct = train_model(load_recipe(f"mllm_instruct_{size}_cpu", changes))
    for folder, train in ((align, ["projector"]), (instruct, ["projector", "language"])):
        assert (folder / "config.json").is_file()
        assert read_log(folder.parent, "end")[-1]["step"] == 2
        assert read_log(folder.parent, "start")[0]["run"]["train"] == train


@pytest.mark.slow
def test_the_small_recipes_learn(tmp_path):
    align = train_model(load_recipe("mllm_align_1p5b_cpu", ["--out", str(tmp_path / "align")]))
    train_model(load_recipe("mllm_instruct_1p5b_cpu", ["--out", str(tmp_path / "instruct"), "--init_from", str(align)]))
    losses = [event["loss"] for event in read_log(tmp_path / "instruct", "held_out")]
    assert losses[-1] < losses[0]


def test_the_sources_are_dialogues(data):
    run = mllm_run(data, data / "unused")
    source = MLLMTask.open_source(run, run.data.source)
    assert source[0] == open_dialogues(run.data.source)[0]
