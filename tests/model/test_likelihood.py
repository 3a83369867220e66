"""Likelihoods of many captions equal a full pass over each image and each caption."""

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from genlip.model import likelihood
from genlip.model.genlip import GenLIP
from genlip.model.likelihood import caption_likelihoods
from genlip.model.pack import Pack, Sample

from .helpers import VARIANTS, examples, random_samples, sample_shapes, seeds, small_config, small_model

SHAPES = {
    "no prompt, one grid": [(2, 3, 0)] * 3,
    "different grids, prompts of one length": [(2, 3, 2), (2, 3, 2), (3, 2, 2), (1, 1, 2), (4, 5, 2)],
    "prompts of different lengths": [(1, 4, 3), (4, 1, 0), (2, 2, 1)],
}
# Shared beginnings, one caption that is another's beginning, a single token, the same caption twice, in no order.
CAPTIONS = [[5, 2, 7, 1], [3], [5, 2, 9, 1], [5, 2], [3, 3, 3], [0, 16], [5, 2, 7, 1], [5, 4, 7, 1]]
CLOSE = {"rtol": 1e-9, "atol": 1e-9}


@pytest.fixture
def model() -> GenLIP:
    return small_model()


def by_full_passes(model: GenLIP, samples: list[Sample], captions: list[list[int]]) -> torch.Tensor:
    """Each pair a sample of its own, through the losses that training reads."""
    pairs = []
    for sample in samples:
        prompt = [int(token) for token in sample.token_ids]
        pairs += [sample.with_text(prompt + c, [False] * len(prompt) + [True] * len(c)) for c in captions]
    losses = model.token_losses(Pack.of(pairs)).detach().split([len(pair.token_ids) for pair in pairs])
    return -torch.stack([loss.sum() for loss in losses]).view(len(samples), len(captions))


@pytest.mark.parametrize("shapes", SHAPES.values(), ids=SHAPES)
@pytest.mark.parametrize("variant", VARIANTS.values(), ids=VARIANTS)
def test_likelihoods_equal_full_passes(variant, shapes):
    model = small_model(**variant)
    samples = random_samples(model.config, shapes)
    found = caption_likelihoods(model, Pack.of(samples), CAPTIONS)
    torch.testing.assert_close(found, by_full_passes(model, samples, CAPTIONS), **CLOSE)


@examples(30)
@given(
    captions=st.lists(st.lists(st.integers(0, 2), min_size=1, max_size=5), min_size=1, max_size=8),
    shapes=st.lists(sample_shapes, min_size=1, max_size=3),
    seed=seeds,
    limits=st.tuples(st.integers(1, 12), st.integers(1, 20), st.integers(1, 100)),
)
def test_any_trie_of_any_images_equals_full_passes_however_it_is_cut(captions, shapes, seed, limits):
    model = small_model()
    samples = random_samples(model.config, shapes, seed)
    with pytest.MonkeyPatch.context() as patch:
        for name, limit in zip(("_NODES", "_ROWS", "_LOGITS"), limits, strict=True):
            patch.setattr(likelihood, name, limit)
        found = caption_likelihoods(model, Pack.of(samples), captions)
    torch.testing.assert_close(found, by_full_passes(model, samples, captions), **CLOSE)


def test_all_captions_of_two_tokens_have_a_probability_of_1_together(model):
    words = range(model.config.vocab_size)
    pack = Pack.of(random_samples(model.config, [(2, 3, 2), (3, 3, 0)]))
    for captions in ([[a] for a in words], [[a, b] for a in words for b in words]):
        total = caption_likelihoods(model, pack, captions).exp().sum(dim=1)
        assert total.tolist() == pytest.approx([1.0, 1.0], abs=1e-12)


def test_what_captions_share_is_read_once_and_their_last_tokens_never(model, monkeypatch):
    read: list[list[int]] = []
    embed = model.embed_tokens
    monkeypatch.setattr(model, "embed_tokens", lambda ids: (read.append(ids.tolist()), embed(ids))[1])
    pack = Pack.of(random_samples(model.config, [(2, 3, 0)] * 4))
    caption_likelihoods(model, pack, [[1, 2, 3], [1, 2, 4, 5], [6], [1, 2]])
    assert read == [[], [1, 2, 4]]  # the pack's own text, then the trie, for all images alike


def test_images_are_read_once_however_many_groups_of_captions_there_are(model, monkeypatch):
    monkeypatch.setattr(likelihood, "_NODES", 2)
    passes: list[Pack] = []
    trunk = model.trunk
    monkeypatch.setattr(model, "trunk", lambda pack, **how: (passes.append(pack), trunk(pack, **how))[1])
    pack = Pack.of(random_samples(model.config, [(2, 3, 1), (2, 2, 1)]))
    caption_likelihoods(model, pack, CAPTIONS)
    assert passes == [pack]


def test_never_more_logits_at_once_than_allowed(model, monkeypatch):
    rows: list[int] = []
    speak = model.speak
    monkeypatch.setattr(likelihood, "_LOGITS", 5 * model.config.vocab_size)
    monkeypatch.setattr(model, "speak", lambda features: (rows.append(len(features)), speak(features))[1])
    caption_likelihoods(model, Pack.of(random_samples(model.config, [(2, 3, 0)] * 3)), CAPTIONS)
    assert max(rows) == 5
    assert sum(rows) == 3 * 10  # of each image the last patch and nine tokens that others follow


def test_a_bfloat16_model_gives_float32_near_the_exact_ones(model):
    samples = random_samples(small_config(), SHAPES["different grids, prompts of one length"])
    exact = by_full_passes(model, samples, CAPTIONS)
    found = caption_likelihoods(model.bfloat16(), Pack.of(samples), CAPTIONS)
    assert found.dtype == torch.float32
    torch.testing.assert_close(found.double(), exact, rtol=0.1, atol=0.5)


def test_autocast_gives_float32_near_the_exact_ones(model):
    samples = random_samples(small_config(), [(2, 3, 2), (3, 3, 0)])
    exact = by_full_passes(model, samples, CAPTIONS)
    model.float()
    with torch.autocast("cpu", torch.bfloat16):
        found = caption_likelihoods(model, Pack.of(samples), CAPTIONS)
    assert found.dtype == torch.float32
    torch.testing.assert_close(found.double(), exact, rtol=0.1, atol=0.5)


def test_raw_pixels_and_numbers_of_numpy_are_read_as_well(model):
    sample = random_samples(model.config, [(2, 2, 1)])[0]
    pixels = Sample(((sample.patches + 1) * 127.5).astype("uint8"), sample.grid, sample.token_ids, sample.supervised)
    found = caption_likelihoods(model, Pack.of([pixels]), [sample.token_ids, [4, 4]])
    wanted = by_full_passes(model, [pixels], [sample.token_ids.tolist(), [4, 4]])
    # bytes become numbers in float32
    torch.testing.assert_close(found, wanted, rtol=1e-6, atol=1e-6)


def test_no_gradient_is_kept(model):
    found = caption_likelihoods(model, Pack.of(random_samples(model.config, [(1, 1, 0)])), [[1]])
    assert not found.requires_grad
    assert math.isfinite(found.item())


@pytest.mark.parametrize(
    ("captions", "message"),
    [
        ([], "no captions: a likelihood needs at least 1 caption, and of each at least 1 token"),
        ([[1], [], [2]], "caption 1 of 3 has no tokens: a likelihood needs"),
    ],
)
def test_captions_without_tokens_are_refused(model, captions, message):
    with pytest.raises(ValueError, match=message):
        caption_likelihoods(model, Pack.of(random_samples(model.config, [(1, 1, 0)])), captions)
