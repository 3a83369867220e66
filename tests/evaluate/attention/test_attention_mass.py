"""Where attention goes: against loops over heads and rows, and models whose attention is known beforehand."""

from fractions import Fraction
from functools import partial

import numpy as np
import pytest
import torch
from torch import Tensor

from genlip.evaluate.attention.attention_mass import MASSES, attention_mass, predicts_supervised
from genlip.model.attention import reference
from genlip.model.genlip import GenLIP
from genlip.model.pack import Pack, Sample
from genlip.model.positions import rotary_tables
from tests.model.helpers import EXACT, Shape, mask_by_loop, random_samples, small_config, small_model

SHAPES: list[Shape] = [(2, 3, 5), (1, 2, 4), (2, 3, 5), (1, 1, 2), (3, 2, 5)]
MARKS = [(0, 0, 1, 1, 1), (1, 1, 1, 1), (0, 1, 0, 0, 1), (0, 1), (1, 0, 0, 1, 0)]


def some_samples(model: GenLIP) -> list[Sample]:
    """Of several shapes, with prompts, with a supervised first token, and with text that is asked in between."""
    samples = random_samples(model.config, SHAPES)
    return [one.with_text(one.token_ids, [bool(x) for x in marks]) for one, marks in zip(samples, MARKS, strict=True)]


def asked_rows(sample: Sample) -> list[int]:
    """Places in the sample of text that predicts a supervised token."""
    patches = len(sample.patches)
    return [patches + k for k in range(len(sample.token_ids) - 1) if sample.supervised[k + 1]]


def shares_by_loop(weights: list[list[float]], sample: Sample) -> list[float]:
    """The masses of one head, from its rows of weights."""
    patches, asked = len(sample.patches), asked_rows(sample)
    return [
        sum(weights[row][0] for row in range(patches)) / patches,
        sum(weights[row][0] for row in asked) / len(asked),
        sum(sum(weights[row][1:patches]) for row in asked) / len(asked),
        sum(sum(weights[row][:patches]) for row in asked) / len(asked),
        sum(sum(weights[row][patches:]) for row in asked) / len(asked),
    ]


def heads_by_loop(q: Tensor, k: Tensor, sample: Sample) -> list[list[float]]:
    """Each head's masses, one row at a time: queries and keys of one sample's rows, Float64[l h d]."""
    rows, columns = sample.grid
    mask, found = mask_by_loop([(rows, columns, len(sample.token_ids))]), []
    for head in range(q.shape[1]):
        weights = []
        for row, visible in enumerate(mask):
            scores = [float(q[row, head] @ k[j, head]) / q.shape[2] ** 0.5 for j in range(len(mask))]
            most = [np.exp(score) if seen else 0.0 for score, seen in zip(scores, visible, strict=True)]
            weights.append([one / sum(most) for one in most])
        found.append(shares_by_loop(weights, sample))
    return found


@torch.no_grad()
def by_loop(model: GenLIP, sample: Sample) -> tuple[list[list[list[float]]], list[list[float]], list[float]]:
    """Masses of each layer and head, gates at patches and asked text, length of the first patch: block after block."""
    pack = Pack.of([sample])
    patches, asked = len(sample.patches), asked_rows(sample)
    x, rotary = model.embed(pack), rotary_tables(pack.positions, model.config, torch.float64)
    masses, gates, norms = [], [], []

    def attend(q: Tensor, k: Tensor, v: Tensor, predicting: bool) -> Tensor:
        masses.append(heads_by_loop(q, k, sample))
        return reference(q, k, v, pack)

    for block in model.blocks:
        width = x.shape[1]
        logits = block.layer_norm1(x) @ block.self_attn.q_proj.weight[width:].T + block.self_attn.q_proj.bias[width:]
        gate = 1 / (1 + torch.exp(-logits))
        gates.append([float(gate[:patches].mean()), float(gate[asked].mean())])
        x = block(x, rotary, attend)
        lengths = [float((row @ row) ** 0.5) for row in x[:patches]]
        norms.append(lengths[0] / float(np.median(lengths)))
    return masses, gates, norms


@pytest.mark.parametrize("gated", [True, False])
def test_masses_gates_and_norms_are_those_of_a_loop(gated: bool) -> None:
    model = small_model(gated_attention=gated)
    samples = some_samples(model)
    found = attention_mass(model, samples)
    assert found.masses.shape == (5, 2, 2, len(MASSES))
    assert (found.gates is not None) == gated
    for i, sample in enumerate(samples):
        if gated:
            masses, gates, norms = by_loop(model, sample)
            np.testing.assert_allclose(found.gates[i], gates, **EXACT)
        else:
            masses, norms = by_loop_without_gate(model, sample)
        np.testing.assert_allclose(found.masses[i], masses, **EXACT)
        np.testing.assert_allclose(found.norms[i], norms, **EXACT)


def by_loop_without_gate(model: GenLIP, sample: Sample) -> tuple[list[list[list[float]]], list[float]]:
    """A gate that the loop only looks at is a matrix of no rows here."""
    masses, gates, norms = by_loop(model, sample)
    assert all(np.isnan(gate).all() for gate in gates)
    return masses, norms


def test_even_shares_are_counted_by_hand() -> None:
    model = small_model()
    (found,) = attention_mass(model, [some_samples(model)[0]]).even
    # 6 patches, 5 tokens of which the third to the last are supervised: rows 7 to 9 are asked, and see 8 to 10 rows.
    seen = [Fraction(1, 8), Fraction(1, 9), Fraction(1, 10)]
    first = sum(seen) / 3
    text = (2 * seen[0] + 3 * seen[1] + 4 * seen[2]) / 3
    expected = [Fraction(1, 6), first, 5 * first, 6 * first, text]
    np.testing.assert_allclose(found, [float(share) for share in expected], **EXACT)


@torch.no_grad()
def test_queries_of_zero_attend_evenly() -> None:
    model = small_model()
    for block in model.blocks:
        block.self_attn.q_proj.weight[:24] = 0
        block.self_attn.q_proj.bias[:24] = 0
    found = attention_mass(model, some_samples(model))
    np.testing.assert_allclose(found.masses, np.broadcast_to(found.even[:, None, None], found.masses.shape), **EXACT)


@torch.no_grad()
def model_with_a_sink(pull: float) -> GenLIP:
    """Every query asks for what only a white patch's key has, in a rotary channel that hardly turns."""
    model = GenLIP(small_config(rope_theta=1e30, hidden_size=24)).double().eval()
    for parameter in model.parameters():
        parameter.zero_()
    model.patch_embedding.weight[0] = 1
    for block in model.blocks:
        block.layer_norm1.weight.fill_(1)
        for head in range(2):
            block.self_attn.q_proj.bias[12 * head + 1] = pull
            block.self_attn.k_proj.weight[12 * head + 1, 0] = 1
    return model


def white_then_black(rows: int, columns: int, text: int) -> Sample:
    patches = -np.ones((rows * columns, 48))
    patches[0] = 1
    return Sample(patches, (rows, columns)).with_text([0] * text)


def test_a_planted_sink_takes_all() -> None:
    found = attention_mass(model_with_a_sink(30.0), [white_then_black(3, 4, 5), white_then_black(2, 2, 3)])
    first, text_to_first, others, patches, text = np.moveaxis(found.masses, -1, 0)
    assert first.min() > 0.999999
    assert text_to_first.min() > 0.999999
    assert others.max() < 1e-6
    assert text.max() < 1e-6
    assert patches.min() > 0.999999


def test_a_weak_pull_takes_what_its_scores_say() -> None:
    pull = 0.1
    found = attention_mass(model_with_a_sink(pull), [white_then_black(2, 2, 3)])
    score = pull * 23**0.5 / 12**0.5  # LayerNorm of a vector with one entry; 1e-6 in its variance, and a turn of 1e-5 rad
    white, black = np.exp(score), np.exp(-score)
    assert found.masses[0, 0, 0, 0] == pytest.approx(white / (white + 3 * black), rel=1e-4)
    # Two text rows are asked, and see one and two tokens of score 0.
    expected = np.mean([white / (white + 3 * black + tokens) for tokens in (1, 2)])
    assert found.masses[0, 0, 0, 1] == pytest.approx(expected, rel=1e-4)


def test_text_divides_its_attention_among_patches_and_text() -> None:
    model = small_model()
    _, first, others, patches, text = np.moveaxis(attention_mass(model, some_samples(model)).masses, -1, 0)
    np.testing.assert_allclose(first + others, patches, **EXACT)
    np.testing.assert_allclose(patches + text, 1, **EXACT)


def test_company_in_a_pack_changes_nothing() -> None:
    model = small_model()
    samples = some_samples(model)
    together, alone = attention_mass(model, samples), [attention_mass(model, [one]) for one in samples]
    for field in ("masses", "even", "gates", "norms"):
        np.testing.assert_allclose(getattr(together, field), np.concatenate([getattr(one, field) for one in alone]), **EXACT)


def test_a_bfloat16_model_is_measured_nearly_alike() -> None:
    model = small_model()
    samples = some_samples(model)
    exact, model = attention_mass(model, samples), model.to(torch.bfloat16)
    found = attention_mass(model, samples)
    assert found.masses.dtype == np.float64
    np.testing.assert_allclose(found.masses[:, 0], exact.masses[:, 0], atol=0.1)
    np.testing.assert_allclose(found.masses[..., 3:].sum(axis=-1), 1, atol=1e-5)


def test_measuring_leaves_no_trace_in_the_model() -> None:
    model = small_model()
    attention_mass(model, some_samples(model))
    assert not any(module._forward_hooks for module in model.modules())
    fail = partial(attention_mass, model, [Sample(np.zeros((1, 5)), (1, 1), [0, 0], [False, True])])
    with pytest.raises(ValueError, match="patches of 5 numbers"):
        fail()
    assert not any(module._forward_hooks for module in model.modules())


@pytest.mark.parametrize(("marks", "can"), [((), False), ((1,), False), ((1, 0), False), ((0, 1), True), ((1, 1), True)])
def test_a_sample_predicts_supervised_if_text_predicts_a_supervised_token(marks: tuple[int, ...], can: bool) -> None:
    sample = Sample(np.zeros((1, 48)), (1, 1), [0] * len(marks), [bool(x) for x in marks])
    assert predicts_supervised(sample) is can
    if not can:
        with pytest.raises(ValueError, match="sample 0 has no text row that predicts a supervised token"):
            attention_mass(small_model(), [sample])
