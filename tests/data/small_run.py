"""A run that tests can follow sample by sample: images of many grids, captions of many lengths, some examples broken.

As a program it reads a run's batches in another process, to be killed there:
python -m tests.data.small_run OUT WORKERS RANK RANKS [STATE]
"""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path

from PIL import Image

from genlip.data.captions import CaptionConfig, Captions
from genlip.data.examples import Example
from genlip.data.images import ImageConfig
from genlip.data.loader import Loader
from genlip.data.packing import PackingConfig
from genlip.data.samples import SampleReader
from genlip.data.sources import Mixture

from .helpers import InMemory, noise, small_config, small_tokenizer

LENGTH = 61
PACKING = PackingConfig(max_tokens=70, batch="4 packs", packing_buffer=4, streams=8, block=3, shuffle_window=5)
CAPTIONS = Captions(small_tokenizer(), CaptionConfig(prompt="the "))
IMAGES = ImageConfig(resize="native", min_patches=1, max_patches=12)


def grid(index: int) -> tuple[int, int]:
    return 1 + index % 3, 1 + index % 4


def caption(index: int) -> str:
    return f"a small red circle on the left and the number {index}"[: 4 + 7 * index % 45]


def broken(index: int) -> bool:
    return index % 11 == 5


def example(index: int, name: str = "") -> Example:
    rows, columns = grid(index)
    image = b"no image" if broken(index) else Image.fromarray(noise(8 * rows, 8 * columns, seed=index))
    return Example(f"{name}{index}", image, caption(index))


def source() -> InMemory:
    return InMemory([example(index) for index in range(LENGTH)])


def mixture() -> Mixture:
    """Two parts, one read more often than it is long."""
    a, b = (InMemory([example(i, name) for i in range(n)], name) for name, n in (("a", 20), ("b", 31)))
    return Mixture([a, b], [0.7, 0.3])


def reader(of=None) -> SampleReader:
    return SampleReader(of or source(), IMAGES, CAPTIONS, small_config(), 3, PACKING.max_tokens)


def size(index: int) -> int:
    """Rows of a sample: patches, prompt, caption, end."""
    rows, columns = grid(index)
    return rows * columns + len(CAPTIONS.ids("the ") + CAPTIONS.ids(caption(index).strip()) + CAPTIONS.end_ids)


def told(update) -> list:
    """What can be compared of an update's batches."""
    return [[b.stream, list(b.keys), sorted(s.key for s in b.skipped), b.pack.num_rows if b.pack else 0] for b in update]


def main() -> None:
    out, workers, rank, ranks, *state = sys.argv[1:]
    mixed = mixture()
    loader = Loader(
        reader(mixed), PACKING, workers=int(workers), rank=int(rank), ranks=int(ranks),
        state=json.loads(state[0]) if state else None,
    )  # fmt: skip
    with Path(out).open("a", encoding="utf8") as file:
        for update in loader:
            file.write(json.dumps([told(update), loader.state()]) + "\n")
            file.flush()
            time.sleep(0.002)


if __name__ == "__main__":
    main()
