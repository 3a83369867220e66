"""Arithmetic of a training step: parameters and matrix-product work, as pure functions of sizes.

In: a `GenLIPConfig`, and how many rows and attended pairs there are. Out: counts by part.
Work is counted as PyTorch's FlopCounterMode does: 2 for every multiply-add of a matrix product, nothing for biases, norms,
softmax or activations. Only pairs that a row may attend to are counted, even if a kernel also computes masked ones. So the
count depends on the method and not on the backend.

Axes: p patches, t text tokens, n = p + t rows; D trunk width, I feed-forward width, E text width, V vocabulary.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

from genlip.model.config import GenLIPConfig
from genlip.model.pack import Pack

__all__ = [
    "Flops", "Load", "Parameters", "StepFlops", "encoder_flops", "feed_forward_flops", "parameters", "row_flops",
    "step_flops", "training_flops",
]  # fmt: skip


class Load(NamedTuple):
    """The size of the input: of a pack, of a sample, or of an average sample. Loads can be added and scaled.

    Attributes:
        patches: rows p that are patches.
        text: rows t that are text tokens.
        pairs: (query, key) pairs that attention computes in a block: p² + t·p + t(t + 1)/2 of each sample.
        last_pairs: the same in the last block, where only the t rows that predict text have a query: t·p + t(t - 1)/2.
    """

    patches: float
    text: float
    pairs: float
    last_pairs: float

    @classmethod
    def of_samples(cls, sizes: Iterable[tuple[float, float]]) -> Load:
        """The load of samples of (patches, text tokens)."""
        shapes = tuple(sizes)
        patches, text = sum(p for p, _ in shapes), sum(t for _, t in shapes)
        pairs = sum(p * p + t * p + t * (t + 1) / 2 for p, t in shapes)
        return cls(patches, text, pairs, sum(t * p + t * (t - 1) / 2 for p, t in shapes))

    @classmethod
    def of_pack(cls, pack: Pack) -> Load:
        """The load of a real pack."""
        return cls.of_samples(zip(pack.patch_counts, pack.text_lengths, strict=True))

    @property
    def rows(self) -> float:
        """n, patches and text tokens."""
        return self.patches + self.text

    def times(self, number: float) -> Load:
        """The load of `number` times this input."""
        return Load(*(part * number for part in self))


class Flops(NamedTuple):
    """Work by part: the patch embedding; in the blocks attention's four projections (with the gate), its scores and sums
    of values, and the feed-forward network; the head with the maps between text width and trunk width."""

    patch_embedding: float
    projections: float
    scores: float
    feed_forward: float
    head: float

    @property
    def total(self) -> float:
        """All parts together."""
        return sum(self)


class StepFlops(NamedTuple):
    """Work of a training step in its three passes; `recomputed` is the additional work of activation checkpointing."""

    forward: Flops
    backward: Flops
    recomputed: Flops

    def total(self, activation_checkpointing: bool) -> float:
        """Forward and backward, with or without the recomputation."""
        return self.forward.total + self.backward.total + activation_checkpointing * self.recomputed.total


def step_flops(config: GenLIPConfig, load: Load) -> StepFlops:
    """Work of training on this load once."""
    forward = _forward(config, load)
    # Each product needs two more backward, but no gradient flows into pixels.
    backward = Flops(forward.patch_embedding, *(2 * part for part in forward[1:]))
    return StepFlops(forward, backward, forward._replace(patch_embedding=0, head=0))


def training_flops(config: GenLIPConfig, pack: Pack, activation_checkpointing: bool = False) -> float:
    """Work of a forward and backward pass over one pack; `activation_checkpointing` adds the blocks' second forward pass.

    Divided by the seconds and by the device's peak rate, it is the model FLOPs utilisation.
    """
    return step_flops(config, Load.of_pack(pack)).total(activation_checkpointing)


def encoder_flops(config: GenLIPConfig, patch_counts: Iterable[int]) -> float:
    """Work of a forward pass of `GenLIP.encode` over images of so many patches: no text, and every block is whole."""
    counts, width = tuple(patch_counts), config.hidden_size
    of_blocks = row_flops(config) * sum(counts) + 4 * width * sum(count**2 for count in counts)
    return 2 * config.patch_dim * width * sum(counts) + config.num_hidden_layers * of_blocks


def row_flops(config: GenLIPConfig) -> float:
    """Work of the matrices of a block for one row: attention's projections, with the gate, and the feed-forward network."""
    squares = (2 if config.gated_attention else 1) + 3  # each of width D x D
    return 2 * squares * config.hidden_size**2 + feed_forward_flops(config)


def feed_forward_flops(config: GenLIPConfig) -> float:
    """Work of a block's feed-forward network for one row."""
    return 2 * (3 if config.use_swiglu_ffn else 2) * config.hidden_size * config.intermediate_size


def _forward(config: GenLIPConfig, load: Load) -> Flops:
    width, text_width = config.hidden_size, config.text_embed_dim or config.hidden_size
    blocks = config.num_hidden_layers - 1  # the last one has queries at text only
    queried = blocks * load.rows + load.text  # rows of all blocks with a query and a feed-forward
    keyed = (blocks + 1) * load.rows  # rows with a key and a value
    query = 2 if config.gated_attention else 1
    matrices = 3 if config.use_swiglu_ffn else 2
    maps = 2 * width * text_width if text_width != width else 0  # in_proj and proj
    return Flops(
        patch_embedding=2 * config.patch_dim * width * load.patches,
        projections=2 * width**2 * ((query + 1) * queried + 2 * keyed),
        scores=4 * width * (blocks * load.pairs + load.last_pairs),
        feed_forward=2 * matrices * width * config.intermediate_size * queried,
        head=2 * (text_width * config.vocab_size + maps) * load.text,
    )


class Parameters(NamedTuple):
    """Parameters by part, biases with their matrix.

    The trunk is everything except the token embedding, the head and the maps to them.
    """

    patch_embedding: int
    attention: int
    gate: int
    feed_forward: int
    norms_and_scales: int
    token_embedding: int
    text_maps: int
    head: int

    @property
    def total(self) -> int:
        """All parts together."""
        return sum(self)

    @property
    def trunk(self) -> int:
        """The parameters of the vision encoder."""
        return self.patch_embedding + self.attention + self.gate + self.feed_forward + self.norms_and_scales


def parameters(config: GenLIPConfig) -> Parameters:
    """The number of a model's parameters, by part."""
    width, hidden, blocks = config.hidden_size, config.intermediate_size, config.num_hidden_layers
    text_width = config.text_embed_dim or width
    square = width * width + width
    inner = 2 if config.use_swiglu_ffn else 1
    scales = 2 if config.ls_init_value else 0
    return Parameters(
        patch_embedding=(config.patch_dim + 1) * width,
        attention=blocks * 4 * square,
        gate=blocks * square if config.gated_attention else 0,
        feed_forward=blocks * (inner * (width + 1) * hidden + (hidden + 1) * width),
        norms_and_scales=(blocks * (4 + scales) + 2) * width,
        token_embedding=config.vocab_size * text_width,
        text_maps=(2 * width * text_width + width + text_width) if text_width != width else 0,
        head=config.vocab_size * text_width,
    )
