"""Simulation: the time of an update when many ranks wait for data and for each other.

In: costs of packs (from random sizes of samples), numbers of ranks and workers, and times of collectives. Out: seconds of an
update, and the same without waiting for data, and with collectives that take no time. The differences show the bottleneck.

The model: rank r of R computes its packs one after another, at most ceil(packs / R). Worker w of W of a rank prepares every
W-th of its packs, at most `PREFETCH` packs ahead. Ranks of sharded models synchronise after every pack, ranks with copies
after the last pack. An all-reduce overlaps with the backward pass of the last pack, an all-gather with the computing of its
pack.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from genlip.model.config import GenLIPConfig
from genlip.model.flops import Load, step_flops
from genlip.plan.memory_model import Sharing

__all__ = [
    "LOSS",
    "Collectives",
    "Outcome",
    "Packs",
    "Sizes",
    "collectives",
    "draw",
    "draw_packs",
    "ring_seconds",
    "simulate",
]

PREFETCH = 2  # packs that each worker prepares ahead
BACKWARD = 2 / 3  # of a pack's computing
LOSS = 0.1  # share of an update from which a loss of time is called a bottleneck
HOP = 5e-6  # seconds of one step around a ring


@dataclass(frozen=True)
class Sizes:
    """Lengths of samples, and the time to read them.

    Attributes:
        patches: mean number of patches of an image.
        patch_limits: fewest and most patches; all images are equal if both are equal.
        text: mean number of text tokens.
        max_text: the longest text.
        decode: mean seconds that one worker needs to read, decode and tokenize a sample.
        spread: standard deviation over mean, of patches, of text and of decoding; 0 for no randomness.
    """

    patches: float
    patch_limits: tuple[float, float]
    text: float
    max_text: float
    decode: float
    spread: float = 0.5


@dataclass(frozen=True)
class Packs:
    """Costs of randomly drawn packs.

    Attributes:
        flops: Float[m], of one training step on each pack.
        decode: Float[m], seconds that one worker needs for each pack.
        samples: Float[m], number in each pack.
    """

    flops: np.ndarray
    decode: np.ndarray
    samples: np.ndarray


# Patches and text tokens of samples -> their rows in a pack, and the FLOPs of training on each.
Costs = Callable[[np.ndarray, np.ndarray], tuple[np.ndarray, np.ndarray]]


def draw_packs(
    config: GenLIPConfig, sizes: Sizes, max_tokens: int, activation_checkpointing: bool, number: int = 512, seed: int = 0
) -> Packs:
    """Packs of GenLIP's samples; see `draw`."""
    units = np.array([step_flops(config, Load(*unit)).total(activation_checkpointing) for unit in np.eye(4)])

    def costs(patches: np.ndarray, text: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        pairs = patches**2 + text * patches + text * (text + 1) / 2
        loads = np.stack([patches, text, pairs, pairs - patches**2 - text])
        return patches + text, units @ loads  # work is linear in a load

    return draw(costs, sizes, max_tokens, number, seed)


def draw(costs: Costs, sizes: Sizes, max_tokens: int, number: int = 512, seed: int = 0) -> Packs:
    """`number` packs of samples of random length, each filled up to `max_tokens` rows in the order of samples."""
    random = np.random.default_rng(seed)
    mean = float(costs(np.array([sizes.patches]), np.array([sizes.text]))[0].item())
    likely = int(number * (max_tokens / max(1.0, mean) + 1) * 1.5) + 16
    patches = np.clip(_lognormal(random, sizes.patches, sizes.spread, likely), *sizes.patch_limits)
    text = np.clip(_lognormal(random, sizes.text, sizes.spread, likely), min(1, sizes.text), sizes.max_text)
    decode = _lognormal(random, sizes.decode, sizes.spread, likely)
    rows, flops = costs(patches, text)
    cuts = _cuts(rows, max_tokens, number)
    return Packs(
        flops=np.add.reduceat(flops[: cuts[-1]], cuts[:-1]),
        decode=np.add.reduceat(decode[: cuts[-1]], cuts[:-1]),
        samples=np.diff(cuts).astype(float),
    )


def _cuts(rows: np.ndarray, max_tokens: int, number: int) -> list[int]:
    """Indices of samples at which packs begin and end, when packs are filled in the order of samples."""
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
    """Seconds of communication.

    Attributes:
        per_pack: all-gather of weights and reduce-scatter of gradients of a sharded model, for every pack.
        per_update: all-reduce of gradients of copies, once per update.
    """

    per_pack: float = 0.0
    per_update: float = 0.0


def collectives(
    sharing: Sharing, parameters: float, link: float, network: float, gathered: float | None = None
) -> Collectives:
    """Times for a model with `parameters` trained float32 numbers; `link` (in a node) and `network` are bytes/s of a rank.

    gathered  bytes of weights that a sharded model gathers in each of two passes; None if all weights are trained
    """
    size, ranks, node = 4.0 * parameters, sharing.ranks, min(sharing.node, sharing.ranks)
    weights = size if gathered is None else gathered
    across = link if ranks <= node else min(link, network * node)  # the rings of a node use all its network cards
    if sharing.strategy == "ddp":
        return Collectives(per_update=2 * ring_seconds(size, ranks, across))
    if sharing.strategy == "fsdp":
        return Collectives(per_pack=2 * ring_seconds(weights, ranks, across) + ring_seconds(size, ranks, across))
    if sharing.strategy == "hybrid":
        between = 2 * ring_seconds(size / node, ranks // node, network)
        within = 2 * ring_seconds(weights, node, link) + ring_seconds(size, node, link)
        return Collectives(per_pack=within, per_update=between)
    return Collectives()


def ring_seconds(size: float, ranks: int, bandwidth: float) -> float:
    """Seconds of an all-gather or a reduce-scatter of `size` bytes in total; an all-reduce takes both."""
    return (ranks - 1) * (size / ranks / bandwidth + HOP)


@dataclass(frozen=True)
class Outcome:
    """Seconds of an update, on average.

    Attributes:
        seconds: as simulated.
        ready: without waiting for data.
        free: with collectives that take no time.
        ideal: only computing, distributed evenly.
    """

    seconds: float
    ready: float
    free: float
    ideal: float

    @property
    def lost(self) -> dict[str, float]:
        """Lost shares of an update: waiting for the `loader`, for `collectives`, and for ranks with more work (`uneven
        packs`)."""
        loader, links = (max(0.0, 1 - without / self.seconds) for without in (self.ready, self.free))
        return {"loader": loader, "collectives": links, "uneven packs": max(0.0, 1 - self.efficiency - loader - links)}

    @property
    def efficiency(self) -> float:
        """Share of an update that is useful work, distributed evenly."""
        return self.ideal / self.seconds

    @property
    def bottleneck(self) -> str:
        """The largest loss, if it is at least `LOSS` of an update; else "compute"."""
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
    """Simulate updates of `packs` packs on `ranks` ranks.

    workers    of each rank; with 0 the rank itself prepares packs between the steps
    rate       FLOP/s that a rank reaches
    jitter     standard deviation of a pack's computing time over its mean
    optimizer  seconds of the optimizer's own work
    updates    number; 0 means enough for about ten thousand packs
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
        """Mean seconds of an update, without the first quarter, in which the queues fill."""
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
        """The time at which a worker starts a pack: its previous pack is finished, and the queue has room."""
        if not self.workers:
            return now
        ahead = PREFETCH * self.workers
        begun = made[number - self.workers] if number >= self.workers else np.zeros_like(now)
        return np.maximum(begun, taken[number - ahead]) if number >= ahead else begun


def _lognormal(random: np.random.Generator, mean: float, spread: float, size: int | tuple[int, ...]) -> np.ndarray:
    """Random positive numbers with this mean; `spread` is their standard deviation over the mean."""
    variance = np.log1p(spread**2)
    return mean * np.exp(random.normal(-variance / 2, np.sqrt(variance), size)) if spread else np.full(size, float(mean))
