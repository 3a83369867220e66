"""Memory model: the memory of an update on one accelerator, by part.

In: a `GenLIPConfig`, the load of a pack, and the parallel strategy. Out: bytes by part.
Weights, gradients, optimizer and residual stream are float32; products are bfloat16 under autocast, or float32. The table
`KEPT` lists the tensors that a block keeps for its backward pass; tests compare it with real steps. The sum assumes that all
parts reach their maximum at once, which overestimates by the memory of one block.

Axes: p patches, t text tokens, n = p + t rows; D trunk width, I feed-forward width, E text width, V vocabulary, h heads.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

from genlip.model.config import GenLIPConfig
from genlip.model.flops import Load, parameters
from genlip.model.objective import chunk_logits

if TYPE_CHECKING:
    from genlip.train.parallel import Strategy

__all__ = ["KEPT", "Kept", "Memory", "Sharing", "activations", "encoder_activations", "matrix_parameters", "memory"]


class Kept(NamedTuple):
    """A tensor that a block keeps between its forward and its backward pass.

    Attributes:
        what: description.
        width: number of channels: "D" or "I".
        queries: only at rows with a query, which are t in the last block; else at all n.
        residual: always float32; else in the products' precision.
        needs: variants that have it: "gate", "scale", "swiglu"; "middle", all blocks except the last; "text", packs with
            text; "cast", autocast makes a copy for each product.
    """

    what: str
    width: str = "D"
    queries: bool = True
    residual: bool = False
    needs: tuple[str, ...] = ()


# Adjust this table when the blocks change. Attention is fused: it keeps no attention weights.
KEPT = (
    Kept("input of norm 1", queries=False, residual=True),
    Kept("input of q, k, v", queries=False),
    Kept("its copy for k", queries=False, needs=("cast",)),
    Kept("its copy for q", needs=("cast",)),
    Kept("q after rotary embedding"),
    Kept("k after rotary embedding", queries=False, needs=("middle",)),
    Kept("v", queries=False, needs=("middle",)),
    Kept("keys of text and its patches", queries=False, needs=("text",)),
    Kept("values of text and its patches", queries=False, needs=("text",)),
    Kept("attention of patches and of text"),
    Kept("both concatenated"),
    Kept("sigmoid of the gate", needs=("gate",)),
    Kept("gated attention", needs=("gate",)),
    Kept("output of attention", needs=("scale",)),
    Kept("input of norm 2", residual=True),
    Kept("input of the feed-forward"),
    Kept("its copy for the gate", needs=("cast", "swiglu")),
    Kept("before the activation", width="I"),
    Kept("after the activation", width="I"),
    Kept("second factor of SwiGLU", width="I", needs=("swiglu",)),
    Kept("their product", width="I", needs=("swiglu",)),
    Kept("output of the feed-forward", needs=("scale",)),
)


@dataclass(frozen=True)
class Sharing:
    """How a model is distributed over accelerators.

    Attributes:
        strategy: "single", "ddp" (a copy on each), "fsdp" (sharded over all), "hybrid" (sharded in a node, a copy per node).
        ranks: number of accelerators.
        node: number of accelerators of a node.
    """

    strategy: Strategy = "single"
    ranks: int = 1
    node: int = 1

    @property
    def shards(self) -> int:
        """Number of accelerators over which the weights are sharded."""
        return {"fsdp": self.ranks, "hybrid": self.node}.get(self.strategy, 1)


class Memory(NamedTuple):
    """Bytes on one accelerator, by part.

    Attributes:
        weights: float32, this rank's shard.
        gradients: the same.
        optimizer: two states per weight for AdamW, one for Muon's matrices.
        average: moving average of the weights (EMA).
        gathered: full weights of a sharded model: those outside the blocks, of the current block, and of the next.
        casts: bfloat16 copies of all matrices, which autocast keeps for the backward pass.
        activations: tensors kept by the blocks, with or without activation checkpointing.
        logits: of one chunk, with the gradient of the head that is computed with them.
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
        """Sum of all parts."""
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
    """Memory of an update whose packs have this `load`; `product_bytes` is 2 for bfloat16 and 4 for float32 products."""
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
    """Number of weights and biases of the linear layers that autocast copies: blocks, patch embedding, and text maps."""
    found = parameters(config)
    return found.patch_embedding + found.attention + found.gate + found.feed_forward + found.text_maps


def _trunk_weights(config: GenLIPConfig) -> int:
    """Number of weights in the blocks' matrices, without biases: the ones that Muon trains."""
    width, inner = config.hidden_size, 2 if config.use_swiglu_ffn else 1
    squares = (5 if config.gated_attention else 4) * width * width
    return config.num_hidden_layers * (squares + (inner + 1) * width * config.intermediate_size)


def activations(config: GenLIPConfig, load: Load, product_bytes: int, activation_checkpointing: bool) -> float:
    """Bytes kept between forward and backward pass. Activation checkpointing keeps the blocks' inputs, and one block.

    Of that block, only the excess over the logits counts, since the logits are freed before.
    """
    middle, ends = _block(config, load, product_bytes), _ends(config, load, product_bytes)
    if activation_checkpointing:
        inputs = config.num_hidden_layers * 4 * load.rows * config.hidden_size
        return inputs + max(0.0, middle - _logits(config, load, product_bytes)) + ends
    return (config.num_hidden_layers - 1) * middle + _block(config, load, product_bytes, last=True) + ends


def encoder_activations(config: GenLIPConfig, patches: float, product_bytes: int, activation_checkpointing: bool) -> float:
    """Bytes that `GenLIP.encode` keeps of so many patches. Activation checkpointing keeps the blocks' inputs alone."""
    load, width = Load(patches, 0, 0, 0), config.hidden_size
    each = 4 * patches * width if activation_checkpointing else _block(config, load, product_bytes)
    last_norm = 4 * patches * (width + 2)
    return config.num_hidden_layers * each + _ends(config, load, product_bytes) + last_norm


def _block(config: GenLIPConfig, load: Load, product_bytes: int, last: bool = False) -> float:
    """Bytes that one block keeps, by the table; the last block has queries only at text rows."""
    has = {
        "gate": config.gated_attention,
        "scale": config.ls_init_value > 0,
        "swiglu": config.use_swiglu_ffn,
        "middle": not last,
        "text": load.text > 0,
        "cast": product_bytes == 2,
    }
    queries = load.text if last else load.rows
    small = 4 * (2 * load.rows + 2 * queries + config.num_attention_heads * queries)  # of norms, and the softmax's sums
    return small + sum(
        (queries if kept.queries else load.rows)
        * (config.intermediate_size if kept.width == "I" else config.hidden_size)
        * (4 if kept.residual else product_bytes)
        for kept in KEPT
        if all(has[need] for need in kept.needs)
    )


def _ends(config: GenLIPConfig, load: Load, product_bytes: int) -> float:
    """Bytes kept before the first block and after the last: pixels, cosines and sines, and the head's input."""
    width, text_width = config.hidden_size, config.text_embed_dim or config.hidden_size
    maps = (text_width + width) * product_bytes if text_width != width else 0
    rotary = 4 * config.head_dim * (load.rows + load.text)
    return (
        load.patches * config.patch_dim * product_bytes
        + rotary
        + load.text * (4 * width + text_width * product_bytes + maps)
    )


def _logits(config: GenLIPConfig, load: Load, product_bytes: int) -> float:
    """Bytes of a chunk of logits and of the head's gradient, both float32.

    With bfloat16 products, there is also a bfloat16 copy of the logits, of the head, and of one chunk's head gradient.
    """
    weights = config.vocab_size * (config.text_embed_dim or config.hidden_size)
    logits = min(chunk_logits("cuda"), load.text * config.vocab_size)
    cast = product_bytes if product_bytes == 2 else 0
    return logits * (4 + cast) + weights * (4 + 2 * cast)
