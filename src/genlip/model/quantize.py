"""Encoding in 8 bits on a CPU: weights as int8, with one range for each; activations quantised as they come.

In: a model in float32. Out: the same model, whose blocks multiply in int8; features alone, since captions read the
weights as they are. The activations of a call share one range, so an image's features depend a little on the other images
of its batch. PyTorch calls this dynamic quantisation, has declared it deprecated and still ships it: where a later release
does not, the error names ONNX Runtime's, which `genlip export --to onnx --int8` writes.
"""

from __future__ import annotations

import warnings

import torch
from torch import nn

from genlip.model.genlip import GenLIP
from genlip.terminal import program

__all__ = ["quantize_encoder"]


def quantize_encoder(model: GenLIP) -> GenLIP:
    """Replace the linear maps of every block by int8 ones, in place, and return the model.

    Raises ValueError where the model is not in float32 on a CPU, or where PyTorch cannot do it.
    """
    weight = model.ln_post.weight
    if weight.device.type != "cpu" or weight.dtype != torch.float32:
        kind = str(weight.dtype).removeprefix("torch.")
        raise ValueError(f"int8 encoding needs a model in float32 on a CPU, and this one is in {kind} on {weight.device}")
    try:
        from torch.ao.quantization import quantize_dynamic
    except ImportError:
        raise ValueError(
            f"PyTorch {torch.__version__} has no dynamic quantisation; use {program()} export … --to onnx --int8"
        ) from None
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message=r".*deprecated", module=r"torch\..*|genlip\..*")
        quantize_dynamic(model.visual, {nn.Linear}, dtype=torch.qint8, inplace=True)
    return model
