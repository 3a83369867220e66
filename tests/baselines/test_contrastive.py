"""Two towers: losses against slow loops in float64, vectors that do not depend on the pack, and the folder."""

import math

import pytest
import torch
import torch.nn.functional as F

import genlip
from genlip.baselines.contrastive import clip_loss, recall_at_1, siglip_loss
from genlip.data.sources import open_source
from genlip.train.loop import train_model

from ..model.helpers import EXACT
from ..train.helpers import small_run
from .helpers import SHAPES, built, gradients, pack_of, task_of


def vectors(number=7, width=5):
    drawn = torch.randn(2, number, width, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    return F.normalize(drawn, dim=-1).unbind(0)


def number(value):
    return torch.tensor([value], dtype=torch.float64)


def test_the_sigmoid_loss_is_that_of_a_loop_over_pairs():
    images, texts = vectors()
    temperature, bias = 3.0, -1.5
    expected = 0.0
    for i, image in enumerate(images):
        for j, text in enumerate(texts):
            logit = temperature * float(image @ text) + bias
            expected += math.log1p(math.exp(-logit if i == j else logit))
    found = siglip_loss(images, texts, number(math.log(temperature)), number(bias))
    assert float(found) == pytest.approx(expected, abs=1e-10)


def test_the_softmax_loss_is_that_of_a_loop_over_pairs():
    images, texts = vectors()
    temperature = 3.0
    similar = [[temperature * float(image @ text) for text in texts] for image in images]
    expected = 0.0
    for i in range(len(images)):
        row, column = similar[i], [other[i] for other in similar]
        for some in (row, column):
            expected += (math.log(sum(map(math.exp, some))) - some[i]) / 2
    found = clip_loss(images, texts, number(math.log(temperature)))
    assert float(found) == pytest.approx(expected, abs=1e-10)


def test_recall_counts_the_nearest_and_no_equal_ones():
    images = torch.eye(3, dtype=torch.float64)
    assert recall_at_1(images, images) == (1.0, 1.0)
    assert recall_at_1(images, images[[1, 0, 2]]) == (1 / 3, 1 / 3)
    assert recall_at_1(images[[0, 0, 0]], images[[0, 0, 0]]) == (0.0, 0.0)


@pytest.mark.parametrize("task", ["siglip", "clip"])
def test_a_sample_has_the_same_vectors_in_any_pack(task, tmp_path):
    task = task_of(tmp_path, task)
    model = built(task)
    whole = model(pack_of(task))
    assert whole.shape == (len(SHAPES), 2, 32)
    torch.testing.assert_close(whole.norm(dim=-1), torch.ones_like(whole[..., 0]))
    alone = pack_of(task, SHAPES[:2])  # the same first samples
    torch.testing.assert_close(model(alone), whole[:2], **EXACT)


def test_the_text_tower_sees_later_tokens_unless_it_is_causal(tmp_path):
    for causal in (False, True):
        task = task_of(tmp_path, "clip", pairs__causal=causal)
        text = built(task).text
        pack = pack_of(task, [(1, 1, 6)])
        states = []
        hook = text.layers[-1].register_forward_hook(lambda _, __, state, states=states: states.append(state))
        text(pack)
        pack.token_ids[-1] = (pack.token_ids[-1] + 1) % 300
        text(pack)
        hook.remove()
        same = bool(((states[0] - states[1]).abs().amax(1) == 0)[:-1].all())
        assert same == causal


@pytest.mark.parametrize("task", ["siglip", "clip"])
def test_every_trained_parameter_has_a_gradient(task, tmp_path):
    task = task_of(tmp_path, task)
    model = built(task)
    loss, terms = task.full_precision_loss(model, task.embed(model, pack_of(task)))
    assert terms == len(SHAPES)
    loss.backward()
    # At LayerScale's start all have one; of the keys' bias softmax takes the gradient away.
    assert {name for name, value in gradients(model).items() if not value.abs().max() > 0} == set()
    frozen = {name for name, p in model.named_parameters() if not p.requires_grad}
    assert all(name.startswith("encoder.") for name in frozen - {"bias"})
    assert ("bias" in frozen) == (task.run.task == "clip")


def test_the_folder_is_an_encoder_for_every_measurement(tmp_path):
    folder = train_model(small_run(tmp_path / "run", task="siglip", steps=2))
    speaker = genlip.Speaker.load(folder)
    assert not speaker.speaks
    (features,) = speaker.encode([open_source("scenes:0")[0].image])
    assert features.patches.shape[1] == 32
    names = ["model.safetensors", "preprocessing.json", "recipe.yaml", "tokenizer.json"]
    assert sorted(path.name for path in (folder / "arm").iterdir()) == names


def test_a_run_resumes_with_its_tokenizer(tmp_path):
    run = small_run(tmp_path / "run", task="clip", steps=6)
    first = train_model(run)
    before = (first / "model.safetensors").read_bytes()
    for newest in sorted((tmp_path / "run/checkpoints").iterdir())[1:]:
        for file in sorted(newest.rglob("*"), reverse=True):
            file.unlink() if file.is_file() else file.rmdir()
        newest.rmdir()
    assert (train_model(run) / "model.safetensors").read_bytes() == before


def test_other_models_are_refused_as_a_start(tmp_path):
    with pytest.raises(ValueError, match="runs of task siglip start from random weights; set --init_from ''"):
        task_of(tmp_path, "siglip", init_from="x")
