"""`genlip.model.attention_choice`: what is chosen on devices that are only pretended, and what a trial finds out."""

import logging
import math
from unittest import mock

import pytest
import torch
from torch import Tensor

from genlip.model import attention_choice
from genlip.model.attention import BACKENDS
from genlip.model.attention_choice import disagreement, resolve_attention
from genlip.model.attention_varlen import VarlenAttention

CPU, GPU = torch.device("cpu"), torch.device("cuda", 0)


@pytest.fixture
def gpu(monkeypatch):
    """Pretends a GPU on which every trial ends as its entry says: a disagreement, or an error."""
    trials: dict[str, float | Exception] = {"varlen": 0.01, "flex": 0.01}

    def trial(backend, device, dtype, head_dim) -> float:
        outcome = trials[next(name for name, known in BACKENDS.items() if known is backend)]
        if isinstance(outcome, Exception):
            raise outcome
        return outcome

    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda device: (9, 0))
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda device: "Pretended 1000")
    monkeypatch.setattr(attention_choice, "disagreement", trial)
    return trials


def kernel_aligned(offset_to_end: int | None):
    """A kernel whose causal rule is so many keys off the end, or, with None, aligned to the start."""

    def kernel(q, k, v, q_ends, k_ends, longest_q, longest_k, *, window_size=(-1, -1)) -> Tensor:
        cuts = [x.tensor_split(ends[1:-1].tolist()) for x, ends in ((q, q_ends), (k, k_ends), (v, k_ends))]
        read = []
        for qs, ks, vs in zip(*cuts, strict=True):
            scores = torch.einsum("qhd,khd->hqk", qs, ks) * q.shape[-1] ** -0.5
            if window_size == (-1, 0):
                shift = 0 if offset_to_end is None else max(0, len(ks) - len(qs) + offset_to_end)
                scores = scores.masked_fill(~torch.ones(scores.shape[1:], dtype=torch.bool).tril(shift), -torch.inf)
            read.append(torch.einsum("hqk,khd->qhd", scores.softmax(-1), vs))
        return torch.cat(read)

    return kernel


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
@pytest.mark.parametrize("head_dim", [16, 64, 72])
def test_a_trial_tells_rounding_from_a_causal_rule_that_is_off_by_one(dtype, head_dim):
    def strays(offset):
        return disagreement(lambda pack: VarlenAttention(pack, kernel_aligned(offset)), CPU, dtype, head_dim)

    tolerance = attention_choice._TOLERANCE
    assert strays(0) < tolerance / 3
    assert min(strays(1), strays(-1), strays(None)) > 5 * tolerance


def test_auto_takes_the_first_that_works(gpu, caplog):
    caplog.set_level(logging.INFO)
    assert resolve_attention("auto", GPU, torch.bfloat16, 64) == "varlen"
    assert resolve_attention("auto", GPU, torch.float32, 64) == "sdpa"
    assert resolve_attention("auto", GPU, torch.bfloat16, 68) == "flex"
    assert "varlen is passed over: it needs a head dimension that is a multiple of 8, up to 256, and not 68" in caplog.text
    gpu["varlen"] = 3.5
    assert resolve_attention("auto", GPU, torch.bfloat16, 64) == "flex"
    assert "varlen is passed over: in a trial it strays from the reference by 3.50" in caplog.text
    gpu["flex"] = RuntimeError("no Triton\nand a long story")
    assert resolve_attention("auto", GPU, torch.bfloat16, 64) == "sdpa"
    assert "flex is passed over: a trial failed with RuntimeError: no Triton\n" in caplog.text
    assert resolve_attention("auto", CPU, torch.bfloat16, 64) == "sdpa"


def test_what_is_not_a_number_never_passes(gpu):
    def broken(*args, **kwargs):
        return kernel_aligned(0)(*args, **kwargs) * torch.nan

    assert math.isnan(disagreement(lambda pack: VarlenAttention(pack, broken), CPU, torch.bfloat16, 64))
    gpu["varlen"] = math.nan
    assert resolve_attention("auto", GPU, torch.bfloat16, 64) == "flex"


def test_what_was_asked_for_is_taken_where_it_works(gpu):
    assert [resolve_attention(name, GPU, torch.bfloat16, 64) for name in BACKENDS] == list(BACKENDS)
    assert [resolve_attention(name, CPU, torch.float32, 64) for name in ("sdpa", "reference")] == ["sdpa", "reference"]


@pytest.mark.parametrize(
    ("wanted", "device", "dtype", "head_dim", "because"),
    [
        ("flash", CPU, torch.float32, 64, "unknown attention backend 'flash': choose one of auto, sdpa, varlen, flex, ref"),
        ("varlen", CPU, torch.bfloat16, 64, "attention varlen cannot train here: it needs a CUDA GPU, .* cpu; set .* sdpa"),
        ("flex", CPU, torch.bfloat16, 64, "attention flex cannot train here: it needs a CUDA GPU, and the device is cpu"),
        ("varlen", GPU, torch.float32, 64, "it is used in float16 and bfloat16, and queries are float32"),
        ("varlen", GPU, torch.bfloat16, 264, "a multiple of 8, up to 256, and not 264"),
        ("flex", GPU, torch.bfloat16, 12, "at least 16, and not 12"),
    ],
)
def test_what_cannot_work_is_refused_in_one_line(gpu, wanted, device, dtype, head_dim, because):
    with pytest.raises(ValueError, match=rf"^.*{because}.*$"):
        resolve_attention(wanted, device, dtype, head_dim)


def test_an_old_gpu_is_named(gpu):
    with (
        mock.patch.object(torch.cuda, "get_device_capability", return_value=(7, 5)),
        pytest.raises(ValueError, match=r"compute capability 8\.0, and Pretended 1000 has \(7, 5\)"),
    ):
        resolve_attention("varlen", GPU, torch.bfloat16, 64)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
@pytest.mark.parametrize("head_dim", [64, 72, 96])
@pytest.mark.parametrize("backend", ["varlen", "flex"])
def test_on_a_real_gpu_the_trial_succeeds(backend, head_dim):
    assert resolve_attention(backend, GPU, torch.bfloat16, head_dim) == backend
