"""The model against a slow reference: encode, project, and Transformers' own forward pass, one sample at a time."""

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from transformers import AutoModelForCausalLM

from genlip.data.images import ImageConfig, Patches
from genlip.mllm.batch import NEWLINE, MLLMPack, MLLMSample, shuffled_grid
from genlip.mllm.language import build_language_model, language_config, load_language_weights
from genlip.mllm.model import MLLM
from genlip.mllm.vision import VisionTower
from genlip.speaker import Speaker

from ..model.helpers import small_model
from .helpers import language_folder, starcoder


@pytest.fixture
def float64():
    torch.set_default_dtype(torch.float64)
    yield
    torch.set_default_dtype(torch.float32)


def built(tmp_path, shuffle=1, newline=False):
    folder = language_folder(tmp_path / "lm", starcoder)
    language = build_language_model(language_config(str(folder)), 0)
    load_language_weights(language, str(folder))
    torch.manual_seed(0)
    tower = VisionTower(Speaker(small_model(num_hidden_layers=2).double(), ImageConfig()))
    plain = AutoModelForCausalLM.from_pretrained(folder, attn_implementation="sdpa", dtype=torch.float64)
    return MLLM(tower, language, shuffle, newline), plain


def samples(model, shuffle=1, newline=False):
    """Dialogues of two images, one image, none; with newlines where they are wanted."""
    random, found = np.random.default_rng(0), []
    config = model.tower.encoder.model.config
    for grids, text in (([(2, 3), (1, 1)], 4), ([(3, 3)], 6), ([], 5), ([(2, 2)], 3)):
        images = tuple(
            Patches(random.integers(0, 255, (rows * columns, config.patch_dim), np.uint8), (rows, columns), False)
            for rows, columns in grids
        )
        visual = np.arange(sum(int(np.prod(shuffled_grid(grid, shuffle))) for grid in grids))
        if newline and len(visual):
            visual = np.append(visual, NEWLINE)
        before = random.integers(1, 2)
        is_visual = np.zeros(before + len(visual) + text, bool)
        is_visual[before : before + len(visual)] = True
        ids = random.integers(0, 250, len(is_visual))
        found.append(MLLMSample(images, visual, ids, ~is_visual & (random.random(len(ids)) < 0.7), is_visual))
    return found


def slow_loss(model, plain, sample, shuffle):
    """By definition."""
    parts = []
    for image in sample.images:
        features = model.tower.encoder.model.encode(model.tower.collate([image]).images)
        rows, columns = image.grid
        high, wide = shuffled_grid(image.grid, shuffle)
        padded = torch.zeros(high * shuffle, wide * shuffle, features.shape[1])
        padded[:rows, :columns] = features.view(rows, columns, -1)
        for row in range(high):
            for column in range(wide):
                square = padded[row * shuffle : (row + 1) * shuffle, column * shuffle : (column + 1) * shuffle]
                parts.append(square.flatten())
    embedded = plain.get_input_embeddings()(torch.from_numpy(sample.token_ids)).clone()
    if parts:
        projector = model.projector
        projected = projector.linear_2(F.gelu(projector.linear_1(torch.stack(parts))))
        rows = [projector.newline if number == NEWLINE else projected[number] for number in sample.visual]
        embedded = embedded.clone()
        embedded[torch.from_numpy(sample.is_visual)] = torch.stack(rows)
    logits = plain(inputs_embeds=embedded[None], use_cache=False).logits[0]
    labels = torch.from_numpy(np.where(sample.supervised, sample.token_ids, -100))
    return F.cross_entropy(logits[:-1], labels[1:], ignore_index=-100, reduction="sum")


@pytest.mark.parametrize(("shuffle", "newline"), [(1, False), (1, True), (2, False)])
def test_loss_and_gradients_equal_separate_samples(tmp_path, float64, shuffle, newline):
    model, plain = built(tmp_path, shuffle, newline)
    some = samples(model, shuffle, newline)
    pack = MLLMPack.of(some, model.tower.collate, model.tower.empty_image(), shuffle)
    loss = model(pack)
    loss.backward()
    found = {name: p.grad.clone() for name, p in model.named_parameters() if p.grad is not None}
    model.zero_grad()
    expected = sum(slow_loss(model, plain, one, shuffle) for one in some)
    expected.backward()
    assert torch.allclose(loss, expected, rtol=1e-12)
    theirs = {f"language.{name}": p.grad for name, p in plain.named_parameters()}
    compared = 0
    for name, value in found.items():
        other = theirs[name] if name.startswith("language.") else dict(model.named_parameters())[name].grad
        assert torch.allclose(value, other, atol=1e-10), name
        compared += bool(value.abs().sum() > 0)
    assert compared == len(found) > 40


def test_token_losses_sum_to_the_loss(tmp_path, float64):
    model, _ = built(tmp_path)
    pack = MLLMPack.of(samples(model), model.tower.collate, model.tower.empty_image())
    assert torch.allclose(model.token_losses(pack).sum(), model(pack), rtol=1e-12)


def test_without_an_image_all_parts_get_gradients_of_zero(tmp_path, float64):
    model, _ = built(tmp_path, newline=True)
    text = samples(model)[2]
    pack = MLLMPack.of([text], model.tower.collate, model.tower.empty_image())
    model(pack).backward()
    for name, parameter in model.named_parameters():
        assert parameter.grad is not None, name
        if not name.startswith("language."):
            assert not parameter.grad.any(), name


def test_a_frozen_encoder_keeps_no_graph(tmp_path, float64):
    model, _ = built(tmp_path)
    model.vision.requires_grad_(False)
    seen = []
    model.projector.linear_1.register_forward_hook(lambda module, arguments, found: seen.append(arguments[0]))
    pack = MLLMPack.of(samples(model), model.tower.collate, model.tower.empty_image())
    model(pack).backward()
    assert not seen[0].requires_grad
    assert model.projector.linear_1.weight.grad.abs().sum() > 0


def test_parameters_have_the_names_of_their_parts(tmp_path):
    model, _ = built(tmp_path, newline=True)
    names = [name for name, _ in model.named_parameters()]
    assert {name.partition(".")[0] for name in names} == {"vision", "projector", "language"}
    assert [name for name in names if name.startswith("projector")] == [
        "projector.newline", "projector.linear_1.weight", "projector.linear_1.bias", "projector.linear_2.weight",
        "projector.linear_2.bias",
    ]  # fmt: skip
    assert "vision.ln_post.weight" in names


def test_answers_end_at_an_end_token(tmp_path):
    model, _ = built(tmp_path)
    model = model.float()
    one = samples(model)[1]
    pack = MLLMPack.of([one], model.tower.collate, model.tower.empty_image())
    (tokens,) = model.answers([pack], 6, [-1])
    assert len(tokens) == 6
    (shorter,) = model.answers([pack], 6, [tokens[2]])
    assert shorter == tokens[: tokens.index(tokens[2])]


def test_a_frozen_encoder_stays_in_evaluation_mode(tmp_path):
    model, _ = built(tmp_path)
    assert model.train().vision.training
    model.vision.requires_grad_(False)
    assert not model.train().vision.training
    assert model.language.training
