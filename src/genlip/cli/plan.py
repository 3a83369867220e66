"""The command `genlip plan`: memory and time of a run.

In: a recipe and accelerators. Out: the memory and time that a run needs, as tables or JSON.
"""

from __future__ import annotations

import argparse
import json
from typing import Any

from genlip.cli.parser import add_command
from genlip.terminal import say

__all__ = ["add_plan"]

_EXAMPLE = """\
Settings of the recipe can be replaced, as in --packing.max_tokens 8192; see genlip train --help

  genlip plan stage1_l16 --gpus 64 --gpu h100
  genlip plan stage2_g16 --gpus 32 --gpu a100 --parallel fsdp --examples 37M --json > plan.json
  genlip plan mllm_instruct_7b --gpus 8 --gpu h100 --examples 4M

python: genlip.plan_run("stage1_l16", gpus=64, gpu="h100")"""


def add_plan(commands: Any) -> None:
    """Add `genlip plan`."""
    summary = "estimate the memory and time of a run, without a GPU"
    parser = add_command(commands, "plan", _plan, summary, _EXAMPLE, takes_overrides=True)
    parser.add_argument("recipe", metavar="RECIPE", help="name of a recipe, or a YAML file")
    parser.add_argument("--gpus", type=int, help="number of GPUs (default: 8), or of processes on a cpu (default: 1)")
    parser.add_argument(
        "--gpu",
        help="h100, h200, a100, b200, l40s, rtx4090, or cpu, which is measured (default: h100; cpu for recipes that are "
        "written for a processor, such as stage1_l16_cpu, unless --gpus is given)",
    )
    parser.add_argument(
        "--utilisation", type=float, default=0.4, help="share of the matrix rate that training reaches (default: 0.4)"
    )
    parser.add_argument(
        "--patches", type=float, default=0, help="mean patches of an image, or of an MLLM's sample (default: the recipe's)"
    )
    parser.add_argument("--text", type=float, default=0, help="mean text tokens of a sample (default: the recipe's)")
    parser.add_argument(
        "--supervised",
        type=float,
        default=0,
        help="share of an MLLM's text that is supervised (default: 0.5, of captions 1)",
    )
    parser.add_argument(
        "--examples", default="0", help="number in the source, as in 37M, for a recipe that ends after epochs"
    )
    parser.add_argument("--node", type=int, default=8, help="GPUs of a node (default: 8)")
    parser.add_argument("--network", type=float, default=50.0, help="GB/s of a GPU to other nodes (default: 50)")
    parser.add_argument("--workers", type=int, default=0, help="data workers of each GPU (default: the recipe's)")
    parser.add_argument(
        "--decode", type=float, default=2.5, help="milliseconds that a worker needs for a sample (default: 2.5)"
    )
    parser.add_argument("--json", action="store_true", help="print every figure as JSON")


def _plan(args: argparse.Namespace) -> None:
    from rich.console import Console

    from genlip.data.units import count
    from genlip.plan.plan import Assumptions
    from genlip.plan.planner import plan_run
    from genlip.plan.text import plan_text, render
    from genlip.recipes.recipe import for_processor, load_recipe

    assume = Assumptions(
        utilisation=args.utilisation,
        patches=args.patches,
        text=args.text,
        supervised=args.supervised,
        examples=count(args.examples),
        node=args.node,
        network=args.network,
        workers=args.workers,
        decode=args.decode,
    )
    run = load_recipe(args.recipe, args.overrides)
    on_cpu = args.gpu is None and args.gpus is None and for_processor(args.recipe)
    gpu = args.gpu or ("cpu" if on_cpu else "h100")
    gpus = (1 if gpu == "cpu" else 8) if args.gpus is None else args.gpus
    plan = plan_run(run, gpus=gpus, gpu=gpu, assume=assume)
    if on_cpu and not args.json:
        say(
            f"{args.recipe} is written for a processor, so this plan is for this machine's; set --gpu or --gpus for others\n"
        )
    console = Console()
    if args.json:
        say(json.dumps(plan.to_json(), indent=2))
    elif console.is_terminal:
        console.print(render(plan, args.recipe, console.width))
    else:
        say(plan_text(plan, args.recipe), end="")
