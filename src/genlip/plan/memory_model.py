"""Footprint: the memory of an update on one accelerator, by part.

In: a `GenLIPConfig`, what a pack holds, and how the model is shared. Out: bytes by part.
Weights, gradients, optimizer and residual stream are float32; products are bfloat16 under autocast, or float32. What a block
keeps for its backward pass is the table `KEPT`, held against real steps by the tests. Parts are added up as if all peaked
at once, which errs on the safe side by what a single block needs.

Axes: p patches, t text tokens, n = p + t rows; D trunk width, I feed-forward width, E text width, V vocabulary, h heads.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, NamedTuple

from genlip.model.config import GenLIPConfig
from genlip.model.flops import Load, parameters
from genlip.model.objective import chunk_logits

__all__ = ["KEPT", "Kept", "Memory", "Sharing", "Strategy", "activations", "matrix_parameters", "memory"]

Strategy = Literal["single", "ddp", "fsdp", "hybrid"]


class Kept(NamedTuple):
    """A tensor that a block keeps between its forward and its backward pass.

    Attributes:
        what: it is.
        width: number of channels: "D" or "I".
        asked: only at rows with a query, which are t in the last block; else at all n.
        residual: float32 in any case; else in the products' precision.
        needs: variants that have it: "gate", "scale", "swiglu"; "middle", all blocks but the last; "cast", where autocast
            makes a copy for each product.
    """

    what: str
    width: str = "D"
    asked: bool = True
    residual: bool = False
    needs: tuple[str, ...] = ()


# The table to adjust when the blocks change. Attention is fused: it keeps no weights.
KEPT = (
    Kept("input of norm 1", asked=False, residual=True),
    Kept("input of q, k, v", asked=False),
    Kept("its copy for k", asked=False, needs=("cast",)),
    Kept("its copy for q", needs=("cast",)),
    Kept("turned q"),
    Kept("turned k", asked=False, needs=("middle",)),
    Kept("v", asked=False, needs=("middle",)),
    Kept("keys of text and its patches", asked=False),
    Kept("values of text and its patches", asked=False),
    Kept("what patches and text read"),
    Kept("both joined"),
    Kept("sigmoid of the gate", needs=("gate",)),
    Kept("gated", needs=("gate",)),
    Kept("output of attention", needs=("scale",)),
    Kept("input of norm 2", residual=True),
    Kept("input of the feed-forward"),
    Kept("its copy for the gate", needs=("cast", "swiglu")),
    Kept("before the activation", width="I"),
    Kept("after the activation", width="I"),
    Kept("what it multiplies", width="I", needs=("swiglu",)),
    Kept("their product", width="I", needs=("swiglu",)),
    Kept("output of the feed-forward", needs=("scale",)),
)


@dataclass(frozen=True)
class Sharing:
    """How a model is shared among accelerators.

    Attributes:
        strategy: "single", "ddp" (a copy on each), "fsdp" (shards over all), "hybrid" (shards in a node, copies between).
        ranks: accelerators.
        node: accelerators of a node.
    """

    strategy: Strategy = "single"
    ranks: int = 1
    node: int = 1

    @property
    def shards(self) -> int:
        """Over how many accelerators the weights are divided."""
        return {"fsdp": self.ranks, "hybrid": self.node}.get(self.strategy, 1)


class Memory(NamedTuple):
    """Bytes on one accelerator, by part.

    Attributes:
        weights: float32, this rank's shard.
        gradients: the same.
        optimizer: two states a weight for AdamW, one for Muon's matrices.
        average: of the weights (EMA).
        gathered: whole weights of a sharded model: all that lies outside blocks, the block in use, and the next.
        casts: bfloat16 copies of all matrices, which autocast keeps for the backward pass.
        activations: what blocks keep, with or without recomputation.
        logits: of one chunk, with the gradient of the head that is computed beside them.
    """

    weights: float
    gradients: float
    optimizer: float
    average: float
    gathered: float
    casts: float
    activations: float
    logits: float

    @property
    def total(self) -> float:
        """All parts together."""
        return sum(self)


def memory(
    config: GenLIPConfig,
    load: Load,
    sharing: Sharing,
    *,
    product_bytes: int,
    activation_checkpointing: bool,
    muon: bool,
    average: bool,
) -> Memory:
    """Of an update whose packs each hold `load`; `product_bytes` is 2 for bfloat16 and 4 for float32 products."""
    found, shards = parameters(config), sharing.shards
    matrices = matrix_parameters(config)
    block = (found.attention + found.gate + found.feed_forward) / config.num_hidden_layers
    outside = found.total - config.num_hidden_layers * block
    return Memory(
        weights=4 * found.total / shards,
        gradients=4 * found.total / shards,
        optimizer=(8 * found.total - muon * 4 * _trunk_weights(config)) / shards,
        average=average * 4 * found.total / shards,
        gathered=(shards > 1) * 4 * (outside + 2 * block),
        casts=2 * matrices if product_bytes == 2 else 0,
        activations=activations(config, load, product_bytes, activation_checkpointing),
        logits=_logits(config, load, product_bytes),
    )


def matrix_parameters(config: GenLIPConfig) -> int:
    """Weights and biases of the linear maps that autocast copies: those of the blocks, the patches, and the text maps."""
    found = parameters(config)
    return found.patch_embedding + found.attention + found.gate + found.feed_forward + found.text_maps


def _trunk_weights(config: GenLIPConfig) -> int:
    """Numbers in the blocks' matrices, biases left out: what Muon trains."""
    width, inner = config.hidden_size, 2 if config.use_swiglu_ffn else 1
    squares = (5 if config.gated_attention else 4) * width * width
    return config.num_hidden_layers * (squares + (inner + 1) * width * config.intermediate_size)


def activations(config: GenLIPConfig, load: Load, product_bytes: int, activation_checkpointing: bool) -> float:
    """Bytes between the forward and the backward pass; recomputation keeps the blocks' inputs, and one block at a time.

    Of that block counts what exceeds the logits, which are gone by then.
    """
    middle, ends = _block(config, load, product_bytes), _ends(config, load, product_bytes)
    if activation_checkpointing:
        inputs = config.num_hidden_layers * 4 * load.rows * config.hidden_size
        return inputs + max(0.0, middle - _logits(config, load, product_bytes)) + ends
    return (config.num_hidden_layers - 1) * middle + _block(config, load, product_bytes, last=True) + ends


def _block(config: GenLIPConfig, load: Load, product_bytes: int, last: bool = False) -> float:
    """Bytes that one block keeps, by the table; the last one asks at text rows only."""
    has = {
        "gate": config.gated_attention,
        "scale": config.ls_init_value > 0,
        "swiglu": config.use_swiglu_ffn,
        "middle": not last,
        "cast": product_bytes == 2,
    }
    asked = load.text if last else load.rows
    small = 4 * (2 * load.rows + 2 * asked + config.num_attention_heads * asked)  # of norms, and the softmax's sums
    return small + sum(
        (asked if kept.asked else load.rows)
        * (config.intermediate_size if kept.width == "I" else config.hidden_size)
        * (4 if kept.residual else product_bytes)
        for kept in KEPT
        if all(has[need] for need in kept.needs)
    )


def _ends(config: GenLIPConfig, load: Load, product_bytes: int) -> float:
    """Bytes kept before the first block and after the last: pixels, cosines and sines, and what the head reads."""
    width, text_width = config.hidden_size, config.text_embed_dim or config.hidden_size
    maps = (text_width + width) * product_bytes if text_width != width else 0
    rotary = 4 * config.head_dim * (load.rows + load.text)
    return (
        load.patches * config.patch_dim * product_bytes
        + rotary
        + load.text * (4 * width + text_width * product_bytes + maps)
    )


def _logits(config: GenLIPConfig, load: Load, product_bytes: int) -> float:
    """Bytes of a chunk of logits (float32, and once in the products' precision if it is another), and of the head's gradient
    (float32), with one chunk's share of it and a copy of the head if products have another precision."""
    weights = config.vocab_size * (config.text_embed_dim or config.hidden_size)
    logits = min(chunk_logits("cuda"), load.text * config.vocab_size)
    cast = product_bytes if product_bytes == 2 else 0
    return logits * (4 + cast) + weights * (4 + 2 * cast)
