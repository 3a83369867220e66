"""Held-out loss against a loop over single samples, and what dealing images must and must not change."""

import math

import numpy as np
import pytest
import torch

from genlip.evaluate.held_out import (
    HeldOut,
    deal_images,
    held_out,
    held_out_scores,
    mean_loss,
    paired_losses,
    sample_losses,
)
from genlip.model.genlip import GenLIP
from genlip.model.pack import Pack, Sample
from tests.model.helpers import EXACT, Shape, random_samples, small_model

SHAPES: list[Shape] = [(2, 3, 5), (1, 1, 2), (2, 3, 5), (4, 1, 0), (1, 4, 6), (2, 3, 1), (3, 3, 4)]


@pytest.fixture
def model() -> GenLIP:
    return small_model()


@pytest.fixture
def samples(model: GenLIP) -> list[Sample]:
    return random_samples(model.config, SHAPES)


def loss_by_loop(model: GenLIP, samples: list[Sample]) -> float:
    """Each sample on its own, its probabilities from the logits by hand."""
    total, tokens = 0.0, 0
    for sample in samples:
        if not len(sample.token_ids):
            continue
        for logits, token, counts in zip(
            model.logits(Pack.of([sample])).tolist(), sample.token_ids, sample.supervised, strict=True
        ):
            if counts:
                total += math.log(sum(math.exp(x) for x in logits)) - logits[token]
                tokens += 1
    return total / tokens


@pytest.mark.parametrize("rows", [1, 20, 8192])
def test_the_mean_is_over_tokens_however_samples_are_packed(model: GenLIP, samples: list[Sample], rows: int) -> None:
    assert mean_loss(model, samples, rows) == pytest.approx(loss_by_loop(model, samples), rel=EXACT["rtol"])


def test_both_losses_are_those_of_the_loop(model: GenLIP, samples: list[Sample]) -> None:
    measured = held_out(model, samples)
    assert measured.loss == pytest.approx(loss_by_loop(model, samples), rel=EXACT["rtol"])
    assert measured.loss_other_image == pytest.approx(loss_by_loop(model, deal_images(samples)), rel=EXACT["rtol"])


def test_picture_gain_is_what_the_right_image_saves() -> None:
    assert HeldOut(loss=0.5, loss_other_image=2.0).picture_gain == 1.5


def test_images_that_are_all_the_same_give_no_gain(model: GenLIP, samples: list[Sample]) -> None:
    image = samples[0]
    same = [Sample(image.patches, image.grid, s.token_ids, s.supervised) for s in samples]
    assert held_out(model, same).picture_gain == pytest.approx(0, abs=EXACT["atol"])


def test_measuring_neither_trains_nor_drops_paths(samples: list[Sample]) -> None:
    model = small_model(drop_path_rate=0.9)
    quiet = mean_loss(model.eval(), samples)
    assert mean_loss(model.train(), samples) == quiet
    assert model.training
    assert all(parameter.grad is None for parameter in model.parameters())


def test_progress_counts_each_sample_in_both_measurements(model: GenLIP, samples: list[Sample]) -> None:
    done: list[int] = []
    held_out(model, samples, rows=20, advance=done.append)
    assert sum(done) == 2 * len(samples)


@pytest.mark.parametrize("number", [2, 3, 10])
@pytest.mark.parametrize("seed", range(5))
def test_every_caption_gets_another_image_and_every_image_is_used(number: int, seed: int) -> None:
    samples = [Sample(np.full((i + 1, 48), i), (1, i + 1), [i], [True]) for i in range(number)]
    dealt = deal_images(samples, seed)
    images = [int(sample.patches[0, 0]) for sample in dealt]
    assert sorted(images) == list(range(number))
    assert all(image != caption for caption, image in enumerate(images))
    assert [sample.grid for sample in dealt] == [(1, image + 1) for image in images]
    assert [sample.token_ids for sample in dealt] == [[i] for i in range(number)]


def test_the_same_seed_deals_the_same_way(model: GenLIP) -> None:
    samples = random_samples(model.config, [(1, 1, 1)] * 20)
    first, again, other = ([id(sample.patches) for sample in deal_images(samples, seed)] for seed in (3, 3, 4))
    assert first == again != other


def test_a_single_sample_cannot_be_dealt(samples: list[Sample]) -> None:
    with pytest.raises(ValueError, match="1 held-out samples: dealing images to other captions needs at least 2"):
        deal_images(samples[:1])


def test_gradients_are_off(model: GenLIP, samples: list[Sample]) -> None:
    seen: list[bool] = []
    model.register_forward_pre_hook(lambda *_: seen.append(torch.is_grad_enabled()))
    mean_loss(model, samples)
    assert seen == [False]


@pytest.mark.parametrize("rows", [1, 20, 8192])
def test_the_losses_of_samples_are_those_of_each_alone(model: GenLIP, samples: list[Sample], rows: int) -> None:
    losses = sample_losses(model, samples, rows)
    for (loss, tokens), sample in zip(losses, samples, strict=True):
        assert tokens == sum(sample.supervised)
        if tokens:
            assert loss / tokens == pytest.approx(loss_by_loop(model, [sample]), rel=EXACT["rtol"])
        else:
            assert loss == 0


def test_scores_of_a_set_are_its_held_out_loss_and_picture_gain(model: GenLIP, samples: list[Sample]) -> None:
    scores, found = held_out_scores(paired_losses(model, samples)), held_out(model, samples)
    assert scores["loss"].score == pytest.approx(found.loss, rel=EXACT["rtol"])
    assert scores["picture gain"].score == pytest.approx(found.picture_gain, rel=EXACT["rtol"])


def test_the_picture_gain_of_a_sample_is_what_its_own_image_saves_it(model: GenLIP, samples: list[Sample]) -> None:
    gains = held_out_scores(paired_losses(model, samples))["picture gain"].per_image
    for gain, sample, dealt in zip(gains, samples, deal_images(samples), strict=True):
        if any(sample.supervised):
            saved = loss_by_loop(model, [dealt]) - loss_by_loop(model, [sample])
            assert gain == pytest.approx(saved, rel=1e-8)
        else:
            assert math.isnan(gain)


def test_losses_of_samples_leave_the_model_as_it_was(samples: list[Sample]) -> None:
    model = small_model(drop_path_rate=0.9)
    quiet = sample_losses(model.eval(), samples)
    assert (sample_losses(model.train(), samples) == quiet).all()
    assert model.training


def test_losses_of_a_model_in_bfloat16_are_summed_exactly(samples: list[Sample]) -> None:
    model = small_model().bfloat16()
    losses = sample_losses(model, samples, rows=1)
    for (loss, _), sample in zip(losses, samples, strict=True):
        if len(sample.token_ids):
            per_token = model.token_losses(Pack.of([sample]))
            assert per_token.dtype == torch.float32
            assert loss == sum(per_token.tolist())
