"""Likelihood: the log-probability of each of many captions for each image of a pack.

In: images, each with its prompt, and captions as token ids. Out: a log-probability for each pair.
Each image is read once. The captions form a trie (prefix tree), which stores a common beginning once. Its nodes are rows
that attend to the cached keys and values of their image, and to their ancestors. So a hundred names in one sentence cost a
few rows each, not a hundred sequences. Leaves of the trie are predicted, but are not input rows.

Axes: s images, C captions, l length of the longest, m rows of the trie, k nodes, h heads, d head dimension, D trunk width.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import takewhile
from operator import eq

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from genlip.model.cache import Cache
from genlip.model.genlip import GenLIP
from genlip.model.pack import Pack
from genlip.model.positions import rotary_tables

__all__ = ["caption_likelihoods"]

_NODES = 256  # most nodes of one trie: the mask grows with the square, and is mostly empty
_ROWS = 2048  # most rows in the trunk at once: enough for a GPU, and on a CPU faster than more
_LOGITS = 2**25  # at once: 128 MiB in float32


@torch.inference_mode()
def caption_likelihoods(model: GenLIP, pack: Pack, captions: Sequence[Sequence[int]]) -> Tensor:
    """Float[s C], log-probability in nats of each caption after each image and its prompt; float32 or better.

    pack      images, each with its prompt as text, or none; neighbours of equal shape are one batch
    captions  token ids, with the end tokens if these are to count

    Raises ValueError where there is no caption, or one without a token.
    """
    plain = [tuple(int(token) for token in caption) for caption in captions]
    if not plain or not all(plain):
        empty = f"caption {plain.index(())} of {len(plain)} has no tokens" if plain else "no captions"
        raise ValueError(f"{empty}: a likelihood needs at least 1 caption, and of each at least 1 token")
    cache = Cache.of(model, pack)
    found = torch.empty(len(cache.lengths), len(plain), dtype=_at_least_float32(model), device=model.device)
    for group in _groups(plain):
        trie, columns = _Trie.of([plain[i] for i in group]), torch.tensor(group, device=model.device)
        for images in _slices(pack, max(1, _ROWS // max(1, len(trie.token_ids)))):
            rows = _read(model, cache, images, trie)
            found[images, columns] = _path_sums(_node_likelihoods(model, rows, trie), trie)
    return found


@dataclass(frozen=True)
class _Trie:
    """Captions as a prefix tree. Row 0 is each image's last row; the rows of the trie follow.

    Attributes:
        token_ids: Int64[m], input tokens of the trie's rows, level by level.
        depths: Int64[m], their positions in the captions, from 0.
        sees: Bool[m m], may the row attend to the column: is it an ancestor, or itself?
        predictors: Int64[k], the row in [0, m] that predicts each node, in ascending order.
        targets: Int64[k], the token of each node.
        paths: Int64[C l], the nodes of each caption, counted from 1; 0 after its end.
    """

    token_ids: np.ndarray
    depths: np.ndarray
    sees: np.ndarray
    predictors: np.ndarray
    targets: np.ndarray
    paths: np.ndarray

    @classmethod
    def of(cls, captions: Sequence[tuple[int, ...]]) -> _Trie:
        """The trie of captions with at least one token each."""
        edges, paths = _edges(captions)
        parents, targets = np.array(edges, dtype=np.int64).T
        inner, predictors = np.unique(parents, return_inverse=True)  # node 0, the root, comes first
        inner = inner[1:]
        sees, depths = np.eye(len(inner), dtype=bool), np.zeros(len(inner), dtype=np.int64)
        for row, above in enumerate(predictors[inner - 1] - 1):
            if above >= 0:
                sees[row] |= sees[above]
                depths[row] = depths[above] + 1
        return cls(targets[inner - 1], depths, sees, predictors, targets, paths)


def _edges(captions: Sequence[tuple[int, ...]]) -> tuple[list[tuple[int, int]], np.ndarray]:
    """(parent, token) of each node from node 1 on, level by level and so ordered by parent; and the paths."""
    edges: list[tuple[int, int]] = []
    paths = np.zeros((len(captions), max(map(len, captions))), dtype=np.int64)
    at = [0] * len(captions)
    for depth in range(paths.shape[1]):
        steps = {i: (at[i], caption[depth]) for i, caption in enumerate(captions) if depth < len(caption)}
        level = sorted(set(steps.values()))
        number = {edge: len(edges) + place for place, edge in enumerate(level, start=1)}
        for i, edge in steps.items():
            at[i] = paths[i, depth] = number[edge]
        edges += level
    return edges, paths


def _groups(captions: Sequence[tuple[int, ...]]) -> list[list[int]]:
    """Groups of captions of about `_NODES` nodes; captions with the same beginning are together."""
    groups: list[list[int]] = []
    nodes, before = _NODES, tuple[int, ...]()
    for i in sorted(range(len(captions)), key=captions.__getitem__):
        new = len(captions[i]) - sum(takewhile(bool, map(eq, captions[i], before)))
        if nodes + new > _NODES:
            groups.append([])
            nodes, new = 0, len(captions[i])
        groups[-1].append(i)
        nodes, before = nodes + new, captions[i]
    return groups


def _slices(pack: Pack, batch_size: int) -> Iterator[slice]:
    """Slices of neighbouring images with equally many rows, at most `batch_size`: they share one mask."""
    start = 0
    for run in pack.runs:
        end = start + run.samples
        yield from (slice(first, min(first + batch_size, end)) for first in range(start, end, batch_size))
        start = end


def _read(model: GenLIP, cache: Cache, images: slice, trie: _Trie) -> Tensor:
    """Float[s 1+m D] after the last block: each image's last row, and the trie's rows after it."""
    device, last = model.device, cache.last[images]
    depths, sees = torch.from_numpy(trie.depths).to(device), torch.from_numpy(trie.sees).to(device)
    x = model.embed_tokens(torch.from_numpy(trie.token_ids).to(device)).to(last.dtype).repeat(len(last), 1)
    positions = (cache.starts[images, None] + depths).flatten().expand(3, -1)
    rotary = rotary_tables(positions, model.config, torch.float64 if x.dtype == torch.float64 else torch.float32)
    length = cache.lengths[images.start]
    visible = F.pad(sees, (length, 0), value=True)
    for block, stored in zip(model.blocks, cache.store[:, :, images, :, :length], strict=True):
        # `forward`, not a call: a compiled block would be recompiled for every shape of trie
        x = block.forward(x, rotary, partial(_attend, stored, visible))
    return torch.cat([last[:, None], x.unflatten(0, (len(last), -1))], dim=1)


def _attend(stored: Tensor, visible: Tensor, q: Tensor, k: Tensor, v: Tensor, predicting: bool = False) -> Tensor:
    """Float[s*m h d] rows attend to the stored rows of their image, Float[2 s h length d], and to the visible ones among
    themselves."""
    q, k, v = (part.unflatten(0, (stored.shape[1], -1)).transpose(1, 2) for part in (q, k, v))
    keys, values = (torch.cat(parts, dim=2) for parts in zip(stored, (k, v), strict=True))
    return F.scaled_dot_product_attention(q, keys, values, visible).transpose(1, 2).flatten(0, 1)


def _node_likelihoods(model: GenLIP, rows: Tensor, trie: _Trie) -> Tensor:
    """Float[s k], the log-probability of each node after its ancestors; Float[s 1+m D] rows predict them."""
    starts = np.arange(len(rows))[:, None] * rows.shape[1]
    predictors, targets = (starts + trie.predictors).ravel(), np.tile(trie.targets, len(rows))
    size, found = max(1, _LOGITS // model.config.vocab_size), []
    for first, some in zip(range(0, len(rows) * rows.shape[1], size), rows.flatten(0, 1).split(size), strict=True):
        logits = model.speak(model.ln_post(some)).to(_at_least_float32(model))
        here = slice(*np.searchsorted(predictors, [first, first + size]))
        asked, token = (torch.from_numpy(part).to(model.device) for part in (predictors[here] - first, targets[here]))
        found.append(logits[asked, token] - logits.logsumexp(dim=-1)[asked])
    return torch.cat(found).view(len(rows), -1)


def _path_sums(likely: Tensor, trie: _Trie) -> Tensor:
    """Float[s k] of the nodes -> Float[s C] of the captions."""
    return F.pad(likely, (1, 0))[:, torch.from_numpy(trie.paths).to(likely.device)].sum(dim=-1)


def _at_least_float32(model: GenLIP) -> torch.dtype:
    return torch.promote_types(model.ln_post.weight.dtype, torch.float32)
