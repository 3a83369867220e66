"""The objective: next-token cross-entropy on captions, fused with the language head.

In: the input of the head for each token. Out: losses in nats.
The loss of an update is the **sum** over the supervised tokens of the whole update (all packs, accumulation steps and ranks)
divided by their number. A model returns the sum of one pack. It is divided by the number of supervised tokens of all packs;
divided by its own, a pack with few tokens would weigh as much as one with many.

Logits are held for a chunk of rows at a time: at V = 151,936, all of them would need more memory than the model. PyTorch's
own `linear_cross_entropy` does the same, but sums in the input's precision and is slower on CPU (benchmarks/head_memory.md).

Axes: t text tokens, E text width, V vocabulary.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

__all__ = ["caption_loss", "caption_losses", "chunk_logits"]

# At most this many logits at once, in float32 128 MiB on CPU and 512 MiB elsewhere: each chunk reads and writes the whole
# gradient of the head, which took 47 ms of a 476 ms update on an H200 with the smaller one (benchmarks/gpu.md).
_CHUNK_LOGITS = {"cpu": 2**25}
_CHUNK_LOGITS_ELSEWHERE = 2**27


def caption_loss(hidden: Tensor, head: Tensor, token_ids: Tensor, supervised: Tensor) -> Tensor:
    """Float[], the summed cross-entropy of the supervised tokens, in nats, in float32 or better.

    hidden      Float[t E]  input of the head for each token
    head        Float[V E]  weight of the language head
    token_ids   Int64[t]    the tokens to predict
    supervised  Bool[t]     where the loss is applied

    Differentiable once in `hidden` and `head`.
    """
    kind = hidden.device.type
    if torch.is_autocast_enabled(kind):
        hidden = hidden.to(torch.get_autocast_dtype(kind))
    wanted = (hidden.requires_grad and torch.is_grad_enabled(), head.requires_grad and torch.is_grad_enabled())
    return _CaptionLoss.apply(hidden, head, token_ids, supervised, wanted)


def caption_losses(hidden: Tensor, head: Tensor, token_ids: Tensor, supervised: Tensor) -> Tensor:
    """Float[t], the loss of each token on its own; 0 where it is not supervised. For measuring, not for training."""
    losses = [
        F.cross_entropy(_logits(hidden[rows], head), token_ids[rows], reduction="none")
        for rows in _chunks(len(token_ids), head)
    ]
    return torch.cat(losses) * supervised if losses else hidden.sum(dim=-1)


class _CaptionLoss(torch.autograd.Function):
    """Computes the gradients together with the loss, chunk by chunk, while the logits exist: softmax minus one-hot."""

    @staticmethod
    def forward(
        ctx: Any, hidden: Tensor, head: Tensor, token_ids: Tensor, supervised: Tensor, wanted: tuple[bool, bool]
    ) -> Tensor:
        grad_hidden = torch.empty_like(hidden) if wanted[0] else None
        grad_head = torch.zeros_like(head) if wanted[1] else None
        weight = head.to(hidden.dtype)
        total = torch.zeros((), dtype=torch.promote_types(hidden.dtype, torch.float32), device=hidden.device)
        for rows in _chunks(len(token_ids), head):
            loss, error = _loss_and_error(hidden[rows], weight, token_ids[rows, None], supervised[rows, None], any(wanted))
            total += loss
            if grad_hidden is not None:
                torch.mm(error, weight, out=grad_hidden[rows])
            if grad_head is not None:
                _add_product(grad_head, error.T, hidden[rows])
            del error  # frees its memory before the next chunk's logits
        ctx.spent = False
        ctx.save_for_backward(grad_hidden, grad_head)
        return total

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:  # type: ignore[override]
        if ctx.spent:
            raise RuntimeError("caption_loss keeps its gradients in one place: it can be differentiated once")
        ctx.spent = True
        return (
            *(None if saved is None else saved.mul_(grad.to(saved.dtype)) for saved in ctx.saved_tensors),
            None,
            None,
            None,
        )


def _loss_and_error(
    hidden: Tensor, weight: Tensor, target: Tensor, counts: Tensor, error_too: bool
) -> tuple[Tensor, Tensor]:
    """Float[], the summed loss of a chunk; and Float[t V], softmax minus one-hot in the precision of `hidden`, if wanted.

    target  Int64[t 1]
    counts  Bool[t 1]
    """
    logits = _logits(hidden, weight)
    logits.sub_(logits.amax(dim=1, keepdim=True))
    wanted_logit = logits.gather(1, target)
    total_weight = logits.exp_().sum(dim=1, keepdim=True)  # in place: no other tensor of this size
    loss = ((total_weight.log() - wanted_logit) * counts).sum()
    if error_too:
        logits.div_(total_weight).scatter_add_(1, target, -torch.ones_like(total_weight)).mul_(counts)
    return loss, logits.to(hidden.dtype) if error_too else logits


def chunk_logits(device_type: str) -> int:
    """How many logits are held at once on a device of this type."""
    return _CHUNK_LOGITS.get(device_type, _CHUNK_LOGITS_ELSEWHERE)


def _chunks(rows: int, head: Tensor) -> Iterator[slice]:
    size = max(1, chunk_logits(head.device.type) // len(head))
    return (slice(start, min(start + size, rows)) for start in range(0, rows, size))


def _logits(hidden: Tensor, head: Tensor) -> Tensor:
    """Float32[t V] (float64 for float64), however the product was computed."""
    logits = F.linear(hidden, head.to(hidden.dtype))
    return logits.to(torch.promote_types(logits.dtype, torch.float32))


def _add_product(total: Tensor, left: Tensor, right: Tensor) -> None:
    """total += left @ right; in one pass if the precisions agree."""
    if total.dtype == right.dtype:
        total.addmm_(left, right)
    else:
        total.add_(left @ right)
