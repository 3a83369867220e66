"""The command `genlip caption`: captions of images.

In: a model and image files. Out: captions on the terminal, as they are generated, and as JSON lines.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from typing import Any

from genlip.cli.images import Record, add_model_and_images, check_output, find_images, for_each_image
from genlip.cli.model_options import load_speaker
from genlip.cli.parser import add_command
from genlip.terminal import say

__all__ = ["add_caption"]


def add_caption(commands: Any) -> None:
    """Add `genlip caption`."""
    summary = "describe images"
    example = (
        "  genlip caption runs/quickstart/model photo.jpg\n  genlip caption MODEL photos/ '*.png' --out captions.jsonl\n"
    )
    parser = add_command(
        commands, "caption", _caption, summary, example + '\npython: genlip.Speaker.load(MODEL).caption(["photo.jpg"])'
    )
    add_model_and_images(parser, "one JSON object a line: path and caption, or path and error")
    parser.add_argument("--prompt", help="text before the caption (default: the prompt of the model's training)")
    parser.add_argument("--max-tokens", type=int, default=256, help="most tokens of a caption (default: 256)")
    parser.add_argument(
        "--temperature", type=float, default=0.0, help="0 is greedy decoding, above 0 is random sampling (default: 0)"
    )
    parser.add_argument("--top-k", type=int, default=0, help="sample from the k likeliest tokens; 0 for all (default)")
    parser.add_argument(
        "--top-p", type=float, default=1.0, help="sample from the likeliest tokens with this total probability (default: 1)"
    )
    parser.add_argument(
        "--repetition-stop", type=int, default=8, help="stop after this many repeats of a phrase; 0 never (default: 8)"
    )
    parser.add_argument("--seed", type=int, default=0, help="seed of the sampling (default: 0)")


def _caption(args: argparse.Namespace) -> int:
    names = ("max_tokens", "temperature", "top_k", "top_p", "repetition_stop", "seed")
    decoding = {name: getattr(args, name) for name in names}
    check_output(args)
    images, speaker = find_images(args.images), load_speaker(args)
    if len(images) == 1 and not args.out and sys.stdout.isatty():
        from genlip.threads import Threads

        with Threads(args.threads, speaker.model.device):
            for piece in speaker.stream(images[0], **decoding):
                say(piece, end="")
        say("")
        return 0

    def describe(batch: Sequence[Any]) -> list[Record]:
        return [{"caption": text} for text in speaker.caption(batch, args.batch_size, **decoding)]

    def show(record: Record) -> None:
        if not args.out:
            say(record["caption"] if len(images) == 1 else f"{record['path']}: {record['caption']}")

    return for_each_image(args, speaker, images, describe, show)
