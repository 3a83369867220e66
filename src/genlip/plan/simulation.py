"""Simulation: where the time of an update goes when many ranks wait for data and for one another.

In: what packs cost (drawn from sizes of samples), how many ranks and workers, and what the collectives take. Out: seconds of
an update, and what it would take with data always ready and with links that take no time. The difference to these two says
what the bottleneck is, without a rule for whose fault a wait was.

The model: rank r of R computes its packs one after another, ceil(packs / R) at most. Worker w of W of a rank makes every
W-th of its packs, at most `PREFETCH` packs ahead. Sharded models meet after every pack, copied ones after the last; an
all-reduce hides behind the backward pass of the last pack, a gather behind the computing of its pack.
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass

import numpy as np

from genlip.model.config import GenLIPConfig
from genlip.model.flops import Load, step_flops
from genlip.plan.memory_model import Sharing

__all__ = ["LOSS", "Collectives", "Outcome", "Packs", "Sizes", "collectives", "draw_packs", "ring_seconds", "simulate"]

PREFETCH = 2  # packs that each worker makes ahead: one has arrived, one is being sent
BACKWARD = 2 / 3  # of a pack's computing
LOSS = 0.1  # share of an update, from which on a loss is a bottleneck
HOP = 5e-6  # seconds of one step around a ring


@dataclass(frozen=True)
class Sizes:
    """How long samples are, and how long they take to read.

    Attributes:
        patches: mean number of an image.
        patch_limits: fewest and most; equal ones make all images alike.
        text: mean number of text tokens.
        max_text: the longest text.
        decode: mean seconds that one worker needs to read, decode and tokenize a sample.
        spread: standard deviation over mean, of patches, of text and of decoding; 0 draws nothing.
    """

    patches: float
    patch_limits: tuple[float, float]
    text: float
    max_text: float
    decode: float
    spread: float = 0.5


@dataclass(frozen=True)
class Packs:
    """Costs of drawn packs.

    Attributes:
        flops: Float[m], of training on each once.
        decode: Float[m], seconds that one worker needs for each.
        samples: Float[m], in each.
    """

    flops: np.ndarray
    decode: np.ndarray
    samples: np.ndarray


def draw_packs(
    config: GenLIPConfig, sizes: Sizes, max_tokens: int, activation_checkpointing: bool, number: int = 512, seed: int = 0
) -> Packs:
    """So many packs of samples of random length, each filled up to `max_tokens` rows as samples come."""
    random = np.random.default_rng(seed)
    likely = int(number * (max_tokens / max(1.0, sizes.patches + sizes.text) + 1) * 1.5) + 16
    patches = np.clip(_lognormal(random, sizes.patches, sizes.spread, likely), *sizes.patch_limits)
    text = np.clip(_lognormal(random, sizes.text, sizes.spread, likely), min(1, sizes.text), sizes.max_text)
    decode = _lognormal(random, sizes.decode, sizes.spread, likely)
    cuts = _cuts(patches + text, max_tokens, number)
    pairs = patches**2 + text * patches + text * (text + 1) / 2
    loads = np.stack([patches, text, pairs, pairs - patches**2 - text])
    units = [
        step_flops(config, Load(*unit)).total(activation_checkpointing) for unit in np.eye(4)
    ]  # work is linear in a load
    return Packs(
        flops=np.add.reduceat((np.array(units) @ loads)[: cuts[-1]], cuts[:-1]),
        decode=np.add.reduceat(decode[: cuts[-1]], cuts[:-1]),
        samples=np.diff(cuts).astype(float),
    )


def _cuts(rows: np.ndarray, max_tokens: int, number: int) -> list[int]:
    """Where packs begin and end when samples of so many rows fill them as they come."""
    ends, cuts = np.cumsum(rows), [0]
    while len(cuts) <= number:
        before = ends[cuts[-1] - 1] if cuts[-1] else 0.0
        filled = int(np.searchsorted(ends, before + max_tokens * (1 + 1e-9), "right"))
        if filled >= len(ends):
            break
        cuts.append(max(filled, cuts[-1] + 1))
    return cuts


@dataclass(frozen=True)
class Collectives:
    """Seconds on the links.

    Attributes:
        per_pack: to gather weights, and to sum and scatter gradients, of a sharded model: for every pack.
        per_update: to sum gradients of copies: once.
    """

    per_pack: float = 0.0
    per_update: float = 0.0


def collectives(sharing: Sharing, parameters: float, link: float, network: float) -> Collectives:
    """Of a model with so many float32 parameters; `link` within a node and `network` between nodes in bytes/s of a rank."""
    size, ranks, node = 4.0 * parameters, sharing.ranks, min(sharing.node, sharing.ranks)
    across = link if ranks <= node else min(link, network * node)  # the rings of a node use all its network cards
    if sharing.strategy == "ddp":
        return Collectives(per_update=2 * ring_seconds(size, ranks, across))
    if sharing.strategy == "fsdp":  # weights twice, gradients once
        return Collectives(per_pack=3 * ring_seconds(size, ranks, across))
    if sharing.strategy == "hybrid":
        between = 2 * ring_seconds(size / node, ranks // node, network)
        return Collectives(per_pack=3 * ring_seconds(size, node, link), per_update=between)
    return Collectives()


def ring_seconds(size: float, ranks: int, bandwidth: float) -> float:
    """Of an all-gather or a reduce-scatter of `size` bytes in all; an all-reduce is one of each."""
    return (ranks - 1) * (size / ranks / bandwidth + HOP)


@dataclass(frozen=True)
class Outcome:
    """Seconds of an update, on average.

    Attributes:
        seconds: as simulated.
        ready: with data always ready.
        free: with collectives that take no time.
        ideal: with work alone, shared evenly.
    """

    seconds: float
    ready: float
    free: float
    ideal: float

    @property
    def lost(self) -> dict[str, float]:
        """Shares of an update: waiting for the `loader`, for `collectives`, and for other ranks, whose packs are more or
        larger (`uneven packs`)."""
        loader, links = (max(0.0, 1 - without / self.seconds) for without in (self.ready, self.free))
        return {"loader": loader, "collectives": links, "uneven packs": max(0.0, 1 - self.efficiency - loader - links)}

    @property
    def efficiency(self) -> float:
        """Of an update, spent on work that an even share would also take."""
        return self.ideal / self.seconds

    @property
    def bottleneck(self) -> str:
        """What loses most, if it loses at least `LOSS` of an update; else "compute"."""
        what, share = max(self.lost.items(), key=lambda item: item[1])
        return what if share >= LOSS else "compute"


def simulate(
    drawn: Packs,
    packs: int,
    ranks: int,
    workers: int,
    rate: float,
    links: Collectives,
    *,
    jitter: float = 0.0,
    optimizer: float = 0.0,
    updates: int = 0,
    seed: int = 0,
) -> Outcome:
    """Updates of `packs` packs on `ranks` ranks.

    workers    of each rank; 0 makes packs between the steps
    rate       FLOP/s that a rank reaches
    jitter     standard deviation of a pack's computing over its mean
    optimizer  seconds of the optimizer's own work
    updates    how many; 0 takes as many as draw some ten thousand packs
    """
    random = np.random.default_rng(seed)
    updates = updates or int(np.clip(10_000 // packs, 8, 200))
    rows = -(-packs // ranks)
    which = random.integers(len(drawn.flops), size=(updates, rows, ranks))
    idle = np.arange(rows * ranks).reshape(rows, ranks) >= packs  # rank r owns rows r, r + ranks, …
    compute = np.where(idle, 0.0, drawn.flops[which] / rate * _lognormal(random, 1.0, jitter, which.shape))
    decode = np.where(idle, 0.0, drawn.decode[which])
    timing = _Timing(compute, decode, workers, links, optimizer)
    return Outcome(
        seconds=timing.seconds(),
        ready=dataclasses.replace(timing, decode=np.zeros_like(decode)).seconds(),
        free=dataclasses.replace(timing, links=Collectives()).seconds(),
        ideal=float(drawn.flops.mean()) / rate * packs / ranks + optimizer,
    )


@dataclass(frozen=True)
class _Timing:
    """One simulated run; compute and decode are Float[updates, rows, ranks], in seconds."""

    compute: np.ndarray
    decode: np.ndarray
    workers: int
    links: Collectives
    optimizer: float

    def seconds(self) -> float:
        """Of an update, on average over all but the first quarter, in which the queues fill."""
        updates, rows, ranks = self.compute.shape
        made = np.zeros((updates * rows, ranks))  # when a pack was ready
        taken = np.zeros((updates * rows, ranks))  # when the rank began with it
        now, ends = np.zeros(ranks), np.zeros(updates)
        for update in range(updates):
            for row in range(rows):
                number, compute = update * rows + row, self.compute[update, row]
                made[number] = self._made(number, now, made, taken) + self.decode[update, row]
                taken[number] = np.maximum(now, made[number])
                now = taken[number] + compute
                if self.links.per_pack:
                    now = np.full(ranks, max(now.max(), taken[number].max() + self.links.per_pack))
            hidden = BACKWARD * compute.max()
            now = np.full(ranks, now.max() + max(0.0, self.links.per_update - hidden) + self.optimizer)
            ends[update] = now[0]
        first = updates // 4
        return float((ends[-1] - ends[first]) / (updates - 1 - first))

    def _made(self, number: int, now: np.ndarray, made: np.ndarray, taken: np.ndarray) -> np.ndarray:
        """When the making of a pack begins: its worker is done with the one before, and there is room for it."""
        if not self.workers:
            return now
        ahead = PREFETCH * self.workers
        begun = made[number - self.workers] if number >= self.workers else np.zeros_like(now)
        return np.maximum(begun, taken[number - ahead]) if number >= ahead else begun


def _lognormal(random: np.random.Generator, mean: float, spread: float, size: int | tuple[int, ...]) -> np.ndarray:
    """Positive numbers of this mean, with this standard deviation over mean."""
    variance = np.log1p(spread**2)
    return mean * np.exp(random.normal(-variance / 2, np.sqrt(variance), size)) if spread else np.full(size, float(mean))
