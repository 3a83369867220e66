"""The command `genlip quickstart`: a small model, trained on procedural scenes in minutes, and a page about it."""

from __future__ import annotations

import argparse
from typing import Any

from genlip.cli.parser import add_command
from genlip.cli.train import add_resume

__all__ = ["add_quickstart"]


def add_quickstart(commands: Any) -> None:
    """Add `genlip quickstart`."""
    summary = "train a small model on procedural scenes in minutes, and write a page about it"
    settings = "Settings of the recipe can be replaced, as in --steps 300; see genlip train --help"
    example = f"{settings}\n\npython: genlip.run_quickstart(OUT)"
    parser = add_command(commands, "quickstart", _quickstart, summary, example, True)
    parser.add_argument("--out", default="runs/quickstart", help="folder of the run (default: runs/quickstart)")
    add_resume(parser)


def _quickstart(args: argparse.Namespace) -> None:
    from genlip.quickstart import run_quickstart
    from genlip.train.malloc import keep_freed_memory

    keep_freed_memory()
    run_quickstart(args.out, args.overrides, args.resume)
