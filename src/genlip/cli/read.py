"""The command `genlip read`: the text on images of print.

In: a model that was trained on lines of print, and images of pages. Out: text on the terminal, and as JSON lines with boxes.
"""

from __future__ import annotations

import argparse
from typing import Any

from genlip.cli.images import add_model_and_images, check_batch_size, check_output, failures, find_images, records
from genlip.cli.model_options import load_speaker
from genlip.cli.parser import add_command
from genlip.terminal import complain, say

__all__ = ["add_read"]


def add_read(commands: Any) -> None:
    """Add `genlip read`."""
    summary = "read the print on images"
    example = "  genlip read runs/pocket/model page.png\n  genlip read MODEL scans/ --out pages.jsonl\n"
    python = '\npython: genlip.read_page(genlip.Speaker.load(MODEL), "page.png")'
    parser = add_command(commands, "read", _read, summary, example + python)
    add_model_and_images(parser, "one JSON object a line: path and lines (text and box in pixels), or path and error")
    parser.add_argument(
        "--layout",
        choices=("page", "line"),
        default="page",
        help="page: find the lines of straight print on a plain ground; line: each image is one line (default: page)",
    )


def _read(args: argparse.Namespace) -> int:
    check_output(args)
    check_batch_size(args)
    images, speaker = find_images(args.images), load_speaker(args)
    from genlip.data.images import ImageError
    from genlip.reading.pages import read_page
    from genlip.threads import Threads

    failed = 0
    with records(args.out) as write, Threads(args.threads, speaker.model.device) as threads:
        for path in images:
            try:
                lines = read_page(speaker, path, layout=args.layout, batch_size=args.batch_size)
            except ImageError as error:
                failed += 1
                complain(str(error))
                write({"path": path, "error": str(error)})
                continue
            threads.advance(max(1, len(lines)))
            write({"path": path, "lines": [{"text": line.text, "box": list(line.box)} for line in lines]})
            if not args.out:
                say("\n".join(([f"{path}:"] if len(images) > 1 else []) + [line.text for line in lines]))
    return failures(failed, len(images))
