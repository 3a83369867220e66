"""An MLLM's plan against the model that training builds: parameters, bytes of weights and states, and what a step holds."""

import dataclasses
import json
from unittest import mock

import numpy as np
import pytest
import torch

from genlip.data.dialogues import Dialogue, Message
from genlip.data.dialogues.opening import open_dialogues
from genlip.mllm.batch import MLLMPack, MLLMSample
from genlip.mllm.flops import training_flops
from genlip.mllm.language import language_config, recompute_blocks
from genlip.mllm.vision import ImageBatch
from genlip.model import attention, objective
from genlip.model.flops import parameters
from genlip.plan import mllm_workload
from genlip.plan.kept_tensors import LivingBytes, without_storage
from genlip.plan.memory_model import Sharing
from genlip.plan.mllm_workload import MLLMWorkload
from genlip.plan.planner import plan_run
from genlip.plan.text import plan_text
from genlip.plan.workload import Assumptions
from genlip.recipes.recipe import load_recipe
from genlip.train.mllm_task import MLLMTask
from genlip.train.parallel import World
from genlip.train.state import begin
from genlip.train.update import update

from ..train.mllm import made, mllm_run

TEXT, SUPERVISED, SAMPLES = 24, 0.5, 6
EVERYTHING = "[encoder, projector, language]"
PRECISIONS = {2: torch.bfloat16, 4: torch.float32}


@pytest.fixture(autouse=True)
def fused_attention(monkeypatch):
    """As on GPUs; on CPU short sequences in bfloat16 keep attention's weights instead."""
    monkeypatch.setattr(attention, "_SHORT", 0)


def tiny(**changes):
    """The run of the CPU recipe: an encoder of 64 pixels and a language model with random weights."""
    settings = {"init_from": "", **{key.replace("__", "."): value for key, value in changes.items()}}
    return load_recipe("mllm_instruct_1p5b_cpu", [f"--{key}={value}" for key, value in settings.items()])


def planned(workload, product_bytes, samples=SAMPLES, text=TEXT, supervised=SUPERVISED):
    assumed, _ = workload.fill_in(Assumptions(text=text, supervised=supervised))
    rows = round(samples * workload.rows(assumed))
    again = workload.run.activation_checkpointing
    return workload.memory(assumed, rows, Sharing(), product_bytes, again)


def trained_model(run, product_bytes):
    """The model as training prepares it."""
    words = [Dialogue("a", (), (Message("user", "how many"), Message("assistant", "two circles")))]
    task = MLLMTask(run, MLLMTask.find_processor(run, words, None))
    model = task.build("sdpa")
    task.load_initial(model)
    task.store_frozen(model, PRECISIONS[product_bytes])
    return model.train()


def pack_of(model, shuffle=1, side=4, samples=SAMPLES, text=TEXT, supervised=SUPERVISED):
    """Samples of one image and `text` tokens each."""
    tower, random = model.tower, np.random.default_rng(0)
    image, tokens = tower.empty_image(side), (-(-side // shuffle)) ** 2
    is_visual = np.arange(tokens + text) < tokens
    learned = np.arange(tokens + text) >= tokens + text - round(text * supervised)
    ids = random.integers(0, 700, tokens + text)
    sample = MLLMSample((image,), np.arange(tokens), ids, learned, is_visual)
    return MLLMPack.of([sample] * samples, tower.collate, tower.empty_image(), shuffle)


def step(model, pack, product_bytes):
    with torch.autocast("cpu", torch.bfloat16, enabled=product_bytes == 2):
        loss = model(pack)
    loss.backward()


def bytes_kept(model, pack, product_bytes):
    """By autograd from forward to backward, each storage once; neither parameters nor the pack's own tensors."""
    given = [*model.parameters(), pack.visual, pack.token_ids, pack.predictors]
    ours, found = {t.untyped_storage().data_ptr() for t in given}, {}

    def keep(tensor):
        storage = tensor.untyped_storage()
        found[storage.data_ptr()] = storage.nbytes()
        return tensor

    with (
        torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor),
        torch.autocast("cpu", torch.bfloat16, enabled=product_bytes == 2),
    ):
        loss = model(pack)
    assert loss.requires_grad  # and its graph still holds all that was found
    return sum(size for place, size in found.items() if place not in ours)


def peak(model, pack, product_bytes):
    """Of a step, all that lives in memory: weights, gradients, states of AdamW, and what the step makes."""
    trained = [p for p in model.parameters() if p.requires_grad]
    states = [torch.empty_like(p) for p in trained for _ in range(2)]
    for parameter in trained:
        parameter.grad = torch.zeros_like(parameter)
    given = [*model.parameters(), *model.buffers(), *states, *(p.grad for p in trained)]
    with LivingBytes(given) as living:
        step(model, pack, product_bytes)
    return living.most


# -- parameters, weights and states


def test_parameters_of_the_recipes():
    """Of the language models as published; `So/16` without its text is the encoder. No weights and no network are needed."""
    language = {"1p5b": (1_543_714_304, 1536), "7b": (7_615_616_512, 3584)}
    encoder = parameters(load_recipe("stage2_so16").model).trunk
    for name in ("align_1p5b", "instruct_1p5b", "align_7b", "instruct_7b"):
        workload = MLLMWorkload(load_recipe(f"mllm_{name}"))
        size, hidden = language[name.split("_")[1]]
        projector = 1152 * hidden + hidden * hidden + 2 * hidden
        assert workload.parameters == (encoder, projector, size)
        assert workload.trained == projector + ("instruct" in name) * size


@pytest.mark.parametrize("product_bytes", PRECISIONS)
@pytest.mark.parametrize("kind", ["adamw", "muon"])
@pytest.mark.parametrize("train", ["[projector]", "[projector, language]", EVERYTHING])
def test_weights_and_states_are_those_of_training(train, kind, product_bytes, tmp_path):
    data = made(tmp_path)
    precision = str(PRECISIONS[product_bytes]).removeprefix("torch.")
    run = mllm_run(data, tmp_path / "run", train=train, precision=precision, optimizer__kind=kind, ema=0.9)
    state = begin(run, World(), open_dialogues(run.data.source), None)
    update(state, state.loader.batches(), lambda *_: None, lambda: False)
    states = [one for optimizer in state.optimizers for one in optimizer.state.values()]
    trained = [p for p in state.model.parameters() if p.requires_grad]
    found = planned(MLLMWorkload(run), product_bytes)
    assert found.trained_weights == sum(p.nbytes for p in trained)
    assert found.frozen_weights == sum(p.nbytes for p in state.model.parameters() if not p.requires_grad)
    assert found.gradients == sum(p.grad.nbytes for p in trained)
    assert found.optimizer == sum(
        t.nbytes for one in states for t in one.values() if isinstance(t, torch.Tensor) and t.dim()
    )
    assert found.average == sum(value.nbytes for value in state.average.weights.values())


# -- activations


@pytest.mark.parametrize("product_bytes", PRECISIONS)
@pytest.mark.parametrize(
    ("train", "shuffle"),
    [("[projector]", 1), ("[language]", 1), ("[encoder, projector]", 1), ("[projector, language]", 2), (EVERYTHING, 2)],
)
def test_activations_are_what_autograd_keeps(train, shuffle, product_bytes):
    """Within 0.2 %: the indices of rows and predictors are not counted."""
    run = tiny(train=train, model__pixel_shuffle=shuffle)
    workload, model = MLLMWorkload(run), trained_model(run, product_bytes)
    pack, found = pack_of(model, shuffle), planned(workload, product_bytes)
    gradients = len(pack.targets) * workload.sizes.hidden * product_bytes  # which the loss computes ahead
    gradients += ("language" in train) * 4 * model.head.numel()
    casts = found.casts - 2 * sum(p.numel() for p in only_cast(model)) if product_bytes == 2 else 0
    expected = found.visual_activations + found.decoder_activations + casts + gradients
    assert expected == pytest.approx(bytes_kept(model, pack, product_bytes), rel=0.002)


def only_cast(model):
    """Trained weights whose copies no gradient needs: biases, and the first trained layer; autocast keeps them anyway."""
    trained = {name: p for name, p in model.named_parameters() if p.requires_grad}
    encoder = any(name.startswith("vision") for name in trained)
    first = "vision.vision_embeddings.patch_embedding.weight" if encoder else "projector.linear_1.weight"
    for name, parameter in trained.items():
        if name == first or (name.endswith("bias") and "norm" not in name and "ln_" not in name):
            yield parameter


@pytest.mark.parametrize("again", [False, True])
@pytest.mark.parametrize("product_bytes", PRECISIONS)
@pytest.mark.parametrize("train", ["[projector]", EVERYTHING])
def test_the_total_is_the_peak_of_an_update(train, product_bytes, again):
    """Within 5 %: the sum takes parts together that do not all peak at once, and leaves some passing gradients out."""
    run = tiny(train=train, activation_checkpointing=again)
    model = trained_model(run, product_bytes)
    found = planned(MLLMWorkload(run), product_bytes).total
    assert found == pytest.approx(peak(model, pack_of(model), product_bytes), rel=0.05)


@pytest.mark.parametrize("again", [False, True])
@pytest.mark.parametrize("recipe", ["mllm_align_1p5b", "mllm_instruct_7b"])
def test_the_total_at_real_size(recipe, again, monkeypatch):
    """Widths and packs of the recipes, with two decoder layers, on tensors that have shapes and no numbers."""
    shallow = language_config(load_recipe(recipe).model.language_model, sizes_only=True)
    shallow = type(shallow).from_dict(shallow.to_dict() | {"num_hidden_layers": 2, "layer_types": ["full_attention"] * 2})
    monkeypatch.setattr(mllm_workload, "language_config", lambda *_, **__: shallow)
    workload = MLLMWorkload(load_recipe(recipe, [f"--activation_checkpointing={again}"]))
    size = {"samples": 8, "text": 400, "supervised": 0.25}
    as_on_a_gpu = mock.patch.dict(objective._CHUNK_LOGITS, cpu=objective.chunk_logits("cuda"))
    pack = pack_of(workload.model, side=24, **size)
    with as_on_a_gpu, without_storage(workload.model, 2) as model:
        model._tower = (model.tower,)
        if again:
            recompute_blocks(model.language)
        measured = peak(model.train(), pack, 2)
    assert measured > 2e9
    assert planned(workload, 2, **size).total == pytest.approx(measured, rel=0.015)


def test_sharding_divides_weights_and_gathers_blocks():
    ddp, fsdp = (plan_run("mllm_instruct_7b", ["--parallel", how], gpus=16) for how in ("ddp", "fsdp"))
    for part in ("trained_weights", "frozen_weights", "gradients", "optimizer"):
        assert getattr(fsdp.memory, part) == getattr(ddp.memory, part) / 16
    assert fsdp.memory.decoder_activations == ddp.memory.decoder_activations
    outside = 2 * 152_064 * 3584 + 3584 + fsdp.parameters.projector  # embedding, head, norm, projector: trained
    block = (fsdp.parameters.language - 2 * 152_064 * 3584 - 3584) / 28
    encoder = 1152 * (768 + 1) + 2 * 1152  # patch embedding and last norm: frozen
    assert (ddp.memory.gathered, fsdp.memory.gathered) == (0, 4 * (outside + 2 * block) + 2 * encoder)
    gathered = fsdp.workload.gathered(2)
    blocks = fsdp.parameters.encoder - encoder
    assert gathered == 4 * fsdp.workload.trained + 2 * encoder + 2 * blocks / 2  # blocks of the encoder: forward alone


# -- samples and work


@pytest.mark.parametrize("train", ["[projector]", EVERYTHING])
def test_work_of_a_sample_is_that_of_a_pack(train):
    run = tiny(train=train, model__pixel_shuffle=2)
    workload, model = MLLMWorkload(run), trained_model(run, 4)
    assumed, _ = workload.fill_in(Assumptions(text=TEXT, supervised=SUPERVISED))
    expected = training_flops(model.tower, workload.config, pack_of(model, 2), run.train, 2)
    assert SAMPLES * workload.flops(assumed).total(False) == pytest.approx(expected)


def test_lengths_come_from_the_recipe_or_are_named_as_guesses():
    def filled(recipe, *overrides, **given):
        workload = MLLMWorkload(load_recipe(recipe, overrides))
        assumed, guesses = workload.fill_in(Assumptions(**given))
        return assumed.patches, assumed.text, workload.rows(assumed), assumed.supervised, guesses

    half, image = "50% of the text supervised (--supervised)", "one image a sample (--patches)"
    assert filled("mllm_align_1p5b") == (576, pytest.approx(34), pytest.approx(610), 1, ())
    assert filled("mllm_instruct_1p5b") == (576, 424, 1000, 0.5, (image, half))
    assert filled("mllm_instruct_1p5b", "--model.pixel_shuffle=2", supervised=0.3) == (576, 856, 1000, 0.3, (image,))
    assert filled("mllm_instruct_1p5b", "--packing.batch=8 packs", patches=288, text=100)[:3] == (288, 100, 388)
    short = filled("mllm_instruct_1p5b", "--packing.batch=8 packs")
    assert short[1] == 400
    assert short[4] == (image, "400 text tokens a sample (--text)", half)
    native = filled("mllm_instruct_1p5b", "--images.resize=native", "--images.max_patches=900")
    assert native[:3] == (600, 400, 1000)
    assert native[4][0] == "600 patches an image (--patches)"


def test_tiles_are_those_of_usual_images():
    """Four usual images in LLaVA-NeXT's tiles of 24 x 24 patches, counted as its processor counts."""
    workload = MLLMWorkload(load_recipe("mllm_instruct_1p5b", ["--model.tiles=[[1, 2], [2, 1], [2, 2]]"]))
    assumed, guesses = workload.fill_in(Assumptions(text=100))
    assert assumed.patches == 576 * 5  # 2 x 2 tiles and the whole image, each time
    wide = 576 + 36 * (48 + 1)  # 4 to 3: 12 of 48 rows of patches are padding
    high = 576 + 48 * (36 + 1)
    assert workload.rows(assumed) - 100 == pytest.approx((2 * wide + high + 576 + 48 * 49) / 4)
    assert guesses[0] == "tiles of images of 640 x 480, 480 x 640, 1024 x 768, 1000 x 1000 pixels, equally often (--patches)"
    one = workload.model.tower.flops(ImageBatch(torch.empty(0), ((24, 24),)))
    assert workload.flops(assumed).forward.encoder == pytest.approx(5 * one)


@pytest.mark.parametrize("images", [["--images.resize=fixed"], ["--images.resize=native", "--images.max_patches=4096"]])
def test_drawn_packs_have_the_mean_work(images):
    workload = MLLMWorkload(load_recipe("mllm_instruct_1p5b", [*images, "--packing.max_tokens=16384"]))
    assumed, _ = workload.fill_in(Assumptions(spread=0.3))
    drawn = workload.draw(assumed)
    assert drawn.samples.mean() == pytest.approx(16_384 / workload.rows(assumed), rel=0.06)
    work = workload.flops(assumed).total(False)
    assert drawn.flops.sum() / drawn.samples.sum() == pytest.approx(work, rel=0.06)
    exact = workload.draw(dataclasses.replace(assumed, spread=0))
    assert exact.flops == pytest.approx(exact.samples * work)


# -- whole plans


def test_a_plan_in_words_and_as_json():
    plan = plan_run("mllm_instruct_7b", gpus=8, gpu="h100", assume=Assumptions(examples=4_000_000))
    text = plan_text(plan, "mllm_instruct_7b")
    for words in ("467 M encoder (frozen) + 17 M projector + 7.62 B language model", "7.63 B trained", "fits"):
        assert words in " ".join(text.split())
    assert "576 patches + 424 text tokens (212 supervised)" in text
    assert max(map(len, text.splitlines())) <= 100
    found = json.loads(json.dumps(plan.to_json()))
    assert found["parameters"]["trained"] == {
        "encoder": 0, "projector": plan.parameters.projector, "language": plan.parameters.language,
        "total": plan.workload.trained,
    }  # fmt: skip
    assert found["flops_per_sample"]["backward"]["encoder"] == found["flops_per_sample"]["recomputed"]["head"] == 0
    assert plan.updates == pytest.approx(4e6 / plan.samples_per_update, abs=1)


def test_what_does_not_fit_says_what_does():
    plan = plan_run("mllm_instruct_7b", ["--activation_checkpointing=false", "--parallel=ddp"], gpus=8, gpu="h100")
    (warning,) = (text for text in plan.warnings if text.startswith("does not fit"))
    assert "--activation_checkpointing true --parallel fsdp needs " in warning
    assert plan_run("mllm_instruct_7b", gpus=8, gpu="h100").warnings == (
        "the run ends after epochs of a source of unknown length: give --examples",
    )


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        (["--model.encoder="], "model.encoder is empty: name one with --model.encoder"),
        (["--packing.max_tokens=500"], r"576 patches \+ 424 text tokens .* does not fit a pack of 500 rows"),
        (["--images.size=385"], "no multiple of the patch size 16"),
    ],
)
def test_impossible_runs(settings, message):
    with pytest.raises(ValueError, match=message):
        plan_run("mllm_instruct_7b", settings)


def test_a_language_model_with_experts_is_refused(tmp_path):
    (tmp_path / "config.json").write_text(
        json.dumps({"model_type": "mixtral", "hidden_size": 32, "num_hidden_layers": 2, "num_local_experts": 2})
    )
    with pytest.raises(ValueError, match="has experts, and a plan needs a dense language model"):
        MLLMWorkload(tiny(model__language_model=tmp_path))
