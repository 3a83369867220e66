"""Layout recall: how many lines of manuals for tests are found whole by the layout of `genlip read`, and in which time?

    python examples/print_and_pictures/layout_recall.py runs/print_and_pictures/packages --pages 100 --dpi 100,150

The truth is the text layer: the lines that `pages.py` takes, without those in formulas and tables. A line is whole if one
box holds 95 % of it, and no more than two thirds of a line's height above and below. The last line is JSON.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from lines import manuals
from pages import Line, pages_of
from shards import part_of

from genlip.reading.layout import Box, find_lines


def pages(folders: list[Path], number: int, dpi: int) -> Iterator[tuple[np.ndarray, list[Line]]]:
    """Pages of manuals for tests, a few of each."""
    files = [file for name, some in manuals(folders).items() if part_of(name) == "test" for file in some]
    files.sort(key=lambda file: hashlib.sha256(file.name.encode()).digest())
    taken = 0
    for file in files:
        for place, (picture, lines) in enumerate(pages_of(file, dpi)):
            if taken == number:
                return
            if lines and place % 7 == 3:
                taken += 1
                yield picture, lines


def is_whole(line: Line, boxes: list[Box], scale: float) -> bool:
    """Whether one box holds a line and little else."""
    left, top, right, bottom = (side * scale for side in line.box)
    height = line.size * scale
    return any(
        min(right, box.right) - max(left, box.left) >= 0.95 * (right - left)
        and box.top <= top + 0.4 * height
        and box.bottom >= bottom - 0.4 * height
        and box.bottom - box.top <= bottom - top + 2 / 3 * height
        for box in boxes
    )


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("packages", type=Path, help="folder of the packages, OUT/packages")
    parser.add_argument("--pages", type=int, default=100, help="number of pages (default: 100)")
    parser.add_argument("--dpi", default="75,100,150", help="resolutions with commas (default: 75,100,150)")
    args = parser.parse_args()
    folders = [folder for folder in sorted(args.packages.iterdir()) if folder.is_dir()]
    rows = []
    for dpi in map(int, args.dpi.split(",")):
        whole = total = 0
        seconds = []
        for picture, lines in pages(folders, args.pages, dpi):
            start = time.perf_counter()
            boxes = find_lines(picture)
            seconds.append(time.perf_counter() - start)
            whole += sum(is_whole(line, boxes, dpi / 72) for line in lines)
            total += len(lines)
        rows.append({"dpi": dpi, "lines": total, "whole": whole / total, "seconds_per_page": float(np.median(seconds))})
        print(
            f"{dpi} dpi: {whole} of {total} lines whole ({whole / total:.1%}), {np.median(seconds):.3f} s a page", flush=True
        )
    print(json.dumps(rows))


if __name__ == "__main__":
    main()
