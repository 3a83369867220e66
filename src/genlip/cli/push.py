"""The command `genlip push`: publish a model on the Hugging Face Hub.

In: the folder of a model or of a run. Out: a repository on the Hub, or with `--dry-run` a list of its files.
"""

from __future__ import annotations

import argparse
from typing import Any

from genlip.cli.parser import add_command
from genlip.terminal import say

__all__ = ["add_push"]

_EXAMPLE = """\
  genlip push runs/quickstart me/my-genlip --dry-run
  genlip push runs/quickstart me/my-genlip --private --data "procedural scenes, made by genlip"

It needs a token with write access: log in with `hf auth login`, or set HF_TOKEN. Only the model's own files are sent, with a
card (README.md), which is written if the folder has none.

python: genlip.push_model(FOLDER, "owner/name")"""


def add_push(commands: Any) -> None:
    """Add `genlip push`."""
    parser = add_command(commands, "push", _push, "publish a model on the Hugging Face Hub, with a model card", _EXAMPLE)
    parser.add_argument("folder", metavar="FOLDER", help="folder of a model, or of a finished run")
    parser.add_argument("name", metavar="owner/name", help="repository; it is created if it does not exist")
    parser.add_argument("--private", action="store_true", help="create a private repository")
    parser.add_argument("--revision", help="branch to write to (default: main)")
    parser.add_argument("--create-pr", action="store_true", help="open a pull request to main")
    parser.add_argument("--message", help="message of the commit")
    parser.add_argument(
        "--license", default="apache-2.0", help="the Hub's name of the licence, for the card (default: apache-2.0)"
    )
    parser.add_argument("--data", default="", metavar="TEXT", help="description of the training data, for the card")
    parser.add_argument("--overwrite-card", action="store_true", help="write a new card even if there is a README.md")
    parser.add_argument("--dry-run", action="store_true", help="show the card and the files, and send nothing")


def _push(args: argparse.Namespace) -> None:
    from genlip.export.hub import push_model

    card = {name: getattr(args, name) for name in ("license", "data", "overwrite_card")}
    if args.dry_run:
        _show(args, card)
        return
    upload = {name: getattr(args, name) for name in ("private", "revision", "message", "create_pr")}
    say(f"published: {push_model(args.folder, args.name, **upload, **card)}")


def _show(args: argparse.Namespace, card: dict[str, Any]) -> None:
    """Print the card and the files that would be sent."""
    from genlip.export.hub import upload_plan

    sent = upload_plan(args.folder, args.name, **card)
    say(sent.card)
    say(f"to {args.name}, from {sent.folder}:")
    for file, size in sent.sizes.items():
        say(f"{size:>16,} bytes  {file}{' (new)' if file == 'README.md' and sent.writes_card else ''}")
    say(f"{sum(sent.sizes.values()):>16,} bytes in {len(sent.sizes)} files; a dry run, so nothing was sent")
