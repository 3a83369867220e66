"""Retrieval: which text an image of a set goes with, and which image a text, by the vectors of two towers.

In: the folder of a run of task siglip or clip, and images with captions. Out: a `Result` with recall at 1 and 5 in both
directions. Where several images have the same caption, each of them counts as right.

Axes: i images, D width.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path

import torch
from torch import Tensor

from genlip.baselines.arm_task import load_arm
from genlip.baselines.contrastive import TwoTowers
from genlip.data.order import Draw
from genlip.data.samples import ReadSample, SampleReader
from genlip.data.sources import Source, open_source
from genlip.evaluate.image_batches import spread
from genlip.evaluate.requirements import opened
from genlip.evaluate.result import Result
from genlip.evaluate.scores import Scores
from genlip.machine import machine, versions

__all__ = ["hits", "measure_retrieval"]

_RANKS = (1, 5)


def measure_retrieval(
    folder: str | Path,
    data: Source | str | Path,
    *,
    limit: int = 1000,
    batch_size: int = 64,
    advance: Callable[[int], None] = lambda done: None,
) -> Result:
    """Recall at 1 and 5 among the images of a set and their captions.

    folder   the model of a run of task siglip or clip
    data     a text or path is opened by `genlip.open_source`
    limit    how many images, spread evenly over the set; recall depends on it
    advance  is called with the number of images done

    Raises ValueError where the folder is another, or fewer than two images can be used.
    """
    if batch_size < 1 or limit < 2:
        raise ValueError(f"batch_size {batch_size} must be at least 1, limit {limit} at least 2")
    started, source = time.perf_counter(), opened(data, open_source)
    task, model = load_arm(folder)
    if not isinstance(model, TwoTowers):
        raise ValueError(f"{folder}: task {task.run.task} has no text tower; retrieval needs siglip or clip")
    reader, chosen = task.reader(source), spread(len(source), limit)
    vectors, keys, texts = [], list[str](), list[tuple[int, ...]]()
    for start in range(0, len(chosen), batch_size):
        some = chosen[start : start + batch_size]
        read = [one for one in reader.read([Draw(0, n) for n in some]) if isinstance(one, ReadSample)]
        if read:
            vectors.append(_vectors(model, reader, read))
        keys += [one.key for one in read]
        texts += [tuple(one.sample.token_ids.tolist()) for one in read]
        advance(len(some))
    if len(keys) < 2:
        raise ValueError(f"{source.name}: {len(keys)} usable images with captions: need at least 2")
    images, captions = torch.cat(vectors).unbind(1)
    number = {text: place for place, text in enumerate(dict.fromkeys(texts))}
    same = torch.tensor([number[text] for text in texts])
    found = {
        f"{name} at {rank}": Scores.mean(hits(queries, keys_of, same, rank).double().tolist())
        for name, queries, keys_of in (("image to text", images, captions), ("text to image", captions, images))
        for rank in _RANKS
    }
    about = {"machine": machine(model.encoder.device), "versions": versions(), "seconds": time.perf_counter() - started}
    settings = {"images": limit}
    return Result(
        measurement="retrieval", model=str(folder), data=source.name, settings=settings, scores=found, keys=keys, about=about
    )


@torch.inference_mode()
def _vectors(model: TwoTowers, reader: SampleReader, read: list[ReadSample]) -> Tensor:
    """Float[i 2 D], unit vectors of the images and of the texts."""
    return model(reader.pack([one.sample for one in read]).to(model.encoder.device)).cpu()


def hits(queries: Tensor, others: Tensor, same: Tensor, rank: int) -> Tensor:
    """Bool[i], whether fewer than `rank` others are at least as near to a query as the best of its own.

    queries, others  Float[i D]  unit vectors
    same             Int64[i]    equal numbers belong together
    """
    similar = queries @ others.T
    own = same[:, None] == same[None, :]
    best = similar.masked_fill(~own, -torch.inf).amax(1, keepdim=True)
    return ((similar >= best) & ~own).sum(1) < rank
