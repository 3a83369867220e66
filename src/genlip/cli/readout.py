"""The command `genlip readout`: the most likely tokens of each patch.

In: a model and image files. Out: words on the terminal, JSON lines, and a page.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from genlip.cli.images import Record, add_model_and_images, check_output, find_images, for_each_image
from genlip.cli.model_options import UsageError, load_speaker
from genlip.cli.parser import add_command
from genlip.model.writing import write_whole
from genlip.terminal import say

__all__ = ["add_readout"]

_MOST_IMAGES = 200  # on a page of readouts, which a browser loads completely


def add_readout(commands: Any) -> None:
    """Add `genlip readout`."""
    summary = "show the most likely words of each patch of an image"
    example = (
        "  genlip readout MODEL photo.jpg -k 3\n  genlip readout MODEL photos/ --html readout.html\n\n"
        "To measure how well patches name known objects: genlip eval readout MODEL scenes:1\n\n"
        'python: genlip.Speaker.load(MODEL).readout(["photo.jpg"], k=5)'
    )
    parser = add_command(commands, "readout", _readout, summary, example)
    add_model_and_images(parser, "one JSON object a line: path, grid and the k words of every patch")
    parser.add_argument("-k", type=int, default=5, help="words per patch (default: 5); the terminal shows the likeliest")
    parser.add_argument("--html", help="HTML page to write, on which each patch shows its words on hover")


def _readout(args: argparse.Namespace) -> int:
    from genlip.evaluate.readout.page import words_page, words_section
    from genlip.report.html import Section
    from genlip.speaker import PatchWords

    check_output(args)
    images, speaker, sections = find_images(args.images), load_speaker(args), list[Section]()
    if args.html and len(images) > _MOST_IMAGES:
        raise UsageError(f"--html {args.html}: {len(images)} images, a page holds {_MOST_IMAGES}; name fewer, or use --out")

    def read(batch: Sequence[Any]) -> list[Record]:
        return [{"grid": grid, "words": words} for grid, words in speaker.readout(batch, args.k, args.batch_size)]

    def show(record: Record) -> None:
        if args.html:
            said = PatchWords(record["grid"], record["words"])
            sections.append(words_section(Path(record["path"]).name, record["path"], said, speaker.images.max_pixels))
        elif not args.out:
            say(_words_lines(record, len(images) == 1))

    status = for_each_image(args, speaker, images, read, show)
    if sections:
        with write_whole(args.html) as file:
            file.write_text(words_page(sections), encoding="utf8")
        say(f"page: {args.html}")
    return status


def _words_lines(record: Record, alone: bool) -> str:
    """The likeliest word of every patch, in rows and columns of the grid."""
    _, columns = record["grid"]
    best = [words[0][0].strip() or repr(words[0][0]) for words in record["words"]]
    width = max(map(len, best)) + 2
    rows = ("".join(word.ljust(width) for word in best[i : i + columns]).rstrip() for i in range(0, len(best), columns))
    return "\n".join(([] if alone else [f"{record['path']}:"]) + list(rows))
