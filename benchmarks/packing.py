"""How full packs are: our packing beside taking samples as they come, and beside padding a batch to its longest sample.

    python benchmarks/packing.py [--packs 200]

Sizes are drawn like those of stage 1 (196 patches, 40 to 110 tokens) and stage 2 (16 to 1,024 patches, 50 to 600 tokens),
for packs of 16,384 rows. Only sizes matter here, so patches are one number wide. The last line is JSON.
"""

from __future__ import annotations

import argparse
import json
import statistics
import time
from collections.abc import Sequence

import numpy as np

from genlip.data.order import Draw
from genlip.data.packing import PackingConfig, Stream
from genlip.data.samples import ReadSample
from genlip.model.pack import Sample

MAX_TOKENS = 16_384
STAGES = {"stage 1": ((196, 196), (40, 110)), "stage 2": ((16, 1024), (50, 600))}


class Sizes:
    """Stands for a reader: samples of drawn sizes, a million of them."""

    seed = 0
    source = range(1_000_000)

    def __init__(self, stage: str) -> None:
        patches, text = STAGES[stage]
        rng = np.random.default_rng(0)
        self.patches = rng.integers(patches[0], patches[1] + 1, len(self.source))
        self.text = rng.integers(text[0], text[1] + 1, len(self.source))

    def read(self, draws: Sequence[Draw], budgets: Sequence[int] = ()) -> list[ReadSample]:
        """Samples as large as they should be, and empty."""
        return [self._sample(draw.number) for draw in draws]

    def _sample(self, number: int) -> ReadSample:
        patches, text = int(self.patches[number]), int(self.text[number])
        sample = Sample(np.zeros((patches, 1), np.uint8), (1, patches), np.zeros(text, np.int64), np.ones(text, bool))
        return ReadSample(str(number), sample, "sizes", False)


def measure(stage: str, packs: int) -> dict[str, float]:
    """Mean and least share of rows in use, samples per pack, and milliseconds per pack."""
    stream = Stream(Sizes(stage), PackingConfig(max_tokens=MAX_TOKENS), 0)
    began = time.perf_counter()
    batches = [stream.next_batch() for _ in range(packs)]
    seconds = time.perf_counter() - began
    fills = [batch.pack.num_rows / MAX_TOKENS for batch in batches]
    return {
        "fill": round(statistics.mean(fills), 5),
        "least": round(min(fills), 5),
        "samples": round(statistics.mean(len(batch.keys) for batch in batches), 1),
        "ms": round(1000 * seconds / packs, 2),
    }


def as_they_come(stage: str, packs: int) -> float:
    """Share of rows in use where a pack is closed at the first sample that does not fit."""
    sizes, used, room, closed, place = Sizes(stage), 0, MAX_TOKENS, 0, 0
    while closed < packs:
        size = int(sizes.patches[place] + sizes.text[place])
        if size > room:
            used, room, closed = used + MAX_TOKENS - room, MAX_TOKENS, closed + 1
        room, place = room - size, place + 1
    return round(used / packs / MAX_TOKENS, 5)


def padded(stage: str, packs: int) -> float:
    """Share of rows in use where batches are padded to their longest patches and their longest text."""
    sizes = Sizes(stage)
    width = int(sizes.patches.max() + sizes.text.max())
    batch = max(1, MAX_TOKENS // width)
    used = total = 0
    for start in range(0, packs * batch, batch):
        patches, text = sizes.patches[start : start + batch], sizes.text[start : start + batch]
        used += int(patches.sum() + text.sum())
        total += batch * int(patches.max() + text.max())
    return round(used / total, 5)


def main() -> None:
    """Print the fill for both stages."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--packs", type=int, default=200)
    args = parser.parse_args()
    found = {}
    for stage in STAGES:
        ours = measure(stage, args.packs)
        baselines = {"as_they_come": as_they_come(stage, args.packs), "padded": padded(stage, args.packs)}
        found[stage] = {**ours, **baselines}
        print(
            f"{stage}: packs {ours['fill']:.2%} full (least {ours['least']:.2%}), {ours['samples']} samples each, "
            f"{ours['ms']} ms; as they come {baselines['as_they_come']:.2%}; "
            f"padded batches {baselines['padded']:.2%}"
        )
    print(json.dumps({"max_tokens": MAX_TOKENS, "packs": args.packs, **found}))


if __name__ == "__main__":
    main()
