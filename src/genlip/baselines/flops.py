"""Work of the baselines' parts, counted as `genlip.model.flops` does: 2 for every multiply-add of a matrix product.

In: sizes, and rows of each sample. Out: work of a forward pass, unless the name says training.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from genlip.model.config import GenLIPConfig
from genlip.model.flops import encoder_flops, feed_forward_flops, row_flops

__all__ = ["cross_flops", "encoder_training_flops", "last_block_flops", "pool_flops", "rows_flops"]


def encoder_training_flops(config: GenLIPConfig, counts: Sequence[int]) -> float:
    """Work of a forward and a backward pass of an encoder; no gradient flows into pixels."""
    return 3 * encoder_flops(config, counts) - 2 * config.patch_dim * config.hidden_size * sum(counts)


def rows_flops(config: GenLIPConfig, lengths: Iterable[int], causal: bool, layers: int) -> float:
    """Work of so many blocks over samples of so many rows."""
    lengths = tuple(lengths)
    pairs = sum(n * (n + 1) / 2 if causal else n * n for n in lengths)
    return layers * (row_flops(config) * sum(lengths) + 4 * config.hidden_size * pairs)


def last_block_flops(config: GenLIPConfig, lengths: Sequence[int], queries: Sequence[int]) -> float:
    """Work of a causal block with keys at all rows, and queries at the last rows of each sample but one."""
    width = config.hidden_size
    pairs = sum(q * (n - q) + q * (q - 1) / 2 for n, q in zip(lengths, queries, strict=True))
    return (row_flops(config) - 4 * width**2) * sum(queries) + 4 * width**2 * sum(lengths) + 4 * width * pairs


def pool_flops(config: GenLIPConfig, counts: Sequence[int]) -> float:
    """Work of attention pooling: keys and values of all patches, one query of each image, and its feed-forward network."""
    width = config.hidden_size
    of_image = 2 * width**2 + feed_forward_flops(config)
    return (4 * width**2 + 4 * width) * sum(counts) + of_image * len(counts)


def cross_flops(config: GenLIPConfig, read_width: int, patches: Sequence[int], text: Sequence[int]) -> float:
    """Work of the cross-attention of all blocks: queries and outputs of text, keys and values of patches."""
    width = config.hidden_size
    pairs = sum(p * t for p, t in zip(patches, text, strict=True))
    of_layer = 4 * width**2 * sum(text) + 4 * read_width * width * sum(patches) + 4 * width * pairs
    return config.num_hidden_layers * of_layer
