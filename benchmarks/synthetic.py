"""How many synthetic images one core makes in a second: lay out, draw and describe, for each kind.

Small pages have a longer side of 352 pixels (an A4 page is 249x352), all sizes are those of the default. Every repeat makes
other pages; the caches of fonts and word widths are warm, as they are after the first minute of a run. Time is that of the
process, so what else the machine does matters little. Scenes, 64x64, are the baseline.

    python benchmarks/synthetic.py [--pages 40] [--repeats 5]

Prints pages per second (median, and the range of the repeats), and milliseconds of each stage. The last line is JSON.
"""

from __future__ import annotations

import argparse
import json
import platform
import time
from collections.abc import Callable
from functools import partial
from statistics import median
from typing import Any, NamedTuple

import numpy as np
import PIL

from genlip.synthetic import charts, documents, scenes

SIZES = {"small": (352, 352), "all": documents.LONGEST}
WARM_UP = 1000  # index of the first page that is timed; those before fill the caches


class Maker(NamedTuple):
    """A kind of image: its three stages."""

    content: Callable[[int], Any]
    draw: Callable[[Any], Any]
    describe: Callable[[Any], str]


def makers() -> dict[str, Maker]:
    """By name, e.g. `receipt, small`."""
    found = {"scene": Maker(partial(scenes.scene, 0), scenes.draw, scenes.describe)}
    for size, longest in SIZES.items():
        for module, make in ((documents, documents.document), (charts, charts.chart)):
            for kind in (None, *module.KINDS):
                name = f"{kind or f'any {make.__name__}'}, {size}"
                content = partial(make, 0, longest=longest, kind=kind)
                found[name] = Maker(content, module.draw, module.describe)
    return found


def stages(maker: Maker, first: int, pages: int) -> tuple[float, float, float]:
    """Seconds to lay out, to draw and to describe so many images, from number `first` on."""
    begin = time.process_time()
    contents = [maker.content(index) for index in range(first, first + pages)]
    laid_out = time.process_time()
    for content in contents:
        maker.draw(content)
    drawn = time.process_time()
    for content in contents:
        maker.describe(content)
    return laid_out - begin, drawn - laid_out, time.process_time() - drawn


def measure(maker: Maker, pages: int, repeats: int) -> dict[str, Any]:
    """Pages per second and milliseconds a page, after one repeat to warm up."""
    stages(maker, WARM_UP - pages, pages)
    timed = [stages(maker, WARM_UP + number * pages, pages) for number in range(repeats)]
    rates = sorted(pages / sum(one) for one in timed)
    milliseconds = [round(1000 * median(column) / pages, 3) for column in zip(*timed, strict=True)]
    return {
        "per_second": round(median(rates)),
        "range": [round(rates[0]), round(rates[-1])],
        "ms": dict(zip(("lay_out", "draw", "describe"), milliseconds, strict=True)),
    }


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--pages", type=int, default=40, help="of each kind in a repeat")
    parser.add_argument("--repeats", type=int, default=5)
    args = parser.parse_args()
    results = {}
    for name, maker in makers().items():
        results[name] = measure(maker, args.pages, args.repeats)
        low, high = results[name]["range"]
        stage_ms = " ".join(f"{stage} {ms:6.3f}" for stage, ms in results[name]["ms"].items())
        print(f"{name:24} {results[name]['per_second']:6} pages/s ({low}-{high})   ms: {stage_ms}")
    versions = {"python": platform.python_version(), "pillow": PIL.__version__, "numpy": np.__version__}
    print(json.dumps({"pages": args.pages, "repeats": args.repeats, **versions, "results": results}))


if __name__ == "__main__":
    main()
