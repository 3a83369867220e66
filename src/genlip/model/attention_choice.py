"""Which attention backend a run uses: the fastest that works on its device, or the one that was asked for.

In: "auto" or a name, the device, and the dtype and head dimension of queries. Out: a name of `BACKENDS`, or an error.
`varlen` and `flex` are used only after a trial on the device: a small pack, forward and backward, against the reference.
A kernel that aligns its causal mask to the start would otherwise train a wrong model without any error.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from functools import partial

import torch
from torch import Tensor

from genlip.model.attention import BACKENDS, reference
from genlip.model.pack import Pack, Sample

__all__ = ["ATTENTION_CHOICES", "disagreement", "resolve_attention"]

log = logging.getLogger(__name__)

ATTENTION_CHOICES = ("auto", *BACKENDS)

_PREFERRED = ("varlen", "flex")  # fastest first
_HALF = (torch.float16, torch.bfloat16)
_TOLERANCE = 0.1  # bfloat16 differs by 0.01 to 0.02, a causal mask that is off by one key by more than 1
# Trial samples (rows, columns, text): more than a kernel's block of keys, one of each, no text, more text than patches.
_TRIAL = ((12, 16, 70), (1, 1, 1), (2, 3, 0), (1, 2, 9), (1, 1, 200))


def resolve_attention(wanted: str, device: torch.device, dtype: torch.dtype, head_dim: int) -> str:
    """The backend to train with: a key of `BACKENDS`.

    wanted     "auto" or a backend
    dtype      precision of queries, keys and values, under autocast that of autocast
    head_dim   width d of one head

    "auto" tries `varlen`, then `flex`, then `sdpa`; on a GPU it logs why one was not taken. Raises ValueError if the wanted
    backend is unknown or cannot train here.
    """
    if wanted not in ATTENTION_CHOICES:
        raise ValueError(f"unknown attention backend {wanted!r}: choose one of {', '.join(ATTENTION_CHOICES)}")
    if wanted != "auto":
        if fault := _fault(wanted, device, dtype, head_dim):
            raise ValueError(f"attention {wanted} cannot train here: {fault}; set attention to auto, or to sdpa")
        return wanted
    for backend in _PREFERRED:
        fault = _fault(backend, device, dtype, head_dim)
        if not fault:
            return backend
        if device.type == "cuda":
            log.info("attention %s is passed over: %s", backend, fault)
    return "sdpa"


def _fault(backend: str, device: torch.device, dtype: torch.dtype, head_dim: int) -> str:
    """Why a backend cannot train here, empty if it can."""
    if backend not in _PREFERRED:
        return ""
    if device.type != "cuda":
        return f"it needs a CUDA GPU, and the device is {device}"
    if dtype not in _HALF:
        return f"it is used in float16 and bfloat16, and queries are {str(dtype).removeprefix('torch.')}"
    if (capability := torch.cuda.get_device_capability(device)) < (8, 0):
        return f"it needs a GPU of compute capability 8.0, and {torch.cuda.get_device_name(device)} has {capability}"
    if backend == "varlen" and (head_dim % 8 or head_dim > 256):
        return f"it needs a head dimension that is a multiple of 8, up to 256, and not {head_dim}"
    if backend == "flex" and head_dim < 16:
        return f"it needs a head dimension of at least 16, and not {head_dim}"
    try:
        strays = disagreement(BACKENDS[backend], device, dtype, head_dim)
    except Exception as error:  # a kernel or its compiler may raise anything on an unsuitable device
        return f"a trial failed with {type(error).__name__}: {str(error).strip().partition(chr(10))[0]}"
    if not strays < _TOLERANCE:
        return f"in a trial it strays from the reference by {strays:.2f}, and {_TOLERANCE} is allowed"
    return ""


def disagreement(
    backend: Callable[[Pack], Callable[..., Tensor]], device: torch.device, dtype: torch.dtype, head_dim: int
) -> float:
    """The largest error of a backend against the float32 reference on a small pack, in values and gradients, predicting or
    not.

    Of each row the norm of the error, divided by the row's norm or the mean norm of all rows, whichever is larger.
    """
    pack = _trial_pack().to(device)
    attend, generator = backend(pack), torch.Generator().manual_seed(0)
    strays: list[Tensor] = []
    for predicting in (False, True):
        rows = (len(pack.token_ids) if predicting else pack.num_rows, pack.num_rows, pack.num_rows)
        *inputs, upstream = (torch.randn(n, 2, head_dim, generator=generator).to(device, dtype) for n in (*rows, rows[0]))
        exact = _with_gradients(partial(reference, pack=pack, predicting=predicting), inputs, upstream, torch.float32)
        tried = _with_gradients(partial(attend, predicting=predicting), inputs, upstream, dtype)
        for got, expected in zip(tried, exact, strict=True):
            error, length = (x.flatten(1).norm(dim=1) for x in (got.float() - expected, expected))
            strays.append((error / torch.maximum(length, length.mean())).max())
    return float(torch.stack(strays).max())


def _trial_pack() -> Pack:
    """A small pack of zeros: only its shapes matter."""
    return Pack.of([Sample(torch.zeros(h * w, 1), (h, w), [0] * text, [True] * text) for h, w, text in _TRIAL])


def _with_gradients(
    attend: Callable[..., Tensor], inputs: list[Tensor], upstream: Tensor, dtype: torch.dtype
) -> tuple[Tensor, ...]:
    with torch.enable_grad(), torch.autocast(upstream.device.type, enabled=False):
        leaves = [x.detach().to(dtype).requires_grad_() for x in inputs]
        read = attend(*leaves)
        return (read.detach(), *torch.autograd.grad(read, leaves, upstream.to(dtype)))
