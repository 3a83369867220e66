"""The commands `genlip study compare` and `genlip study scaling`: many runs of one recipe, planned, trained and measured.

In: a recipe, and what is varied. Out: a folder with a table, a page, and the models.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING, Any

from genlip.cli.parser import add_command, list_of
from genlip.terminal import say

if TYPE_CHECKING:
    from genlip.studies.measures import Measures

__all__ = ["add_study"]

_COMPARE = """\
  genlip study compare quickstart --arms genlip siglip:pairs.bias=-4 encoder_decoder --samples 50k \\
      --probe mnist/train-images-idx3-ubyte.gz mnist/t10k-images-idx3-ubyte.gz --classes digits --captioning scenes:1
  genlip study compare quickstart --arms genlip siglip:pairs.bias=-4 --samples 50k --plan

The first arm is the one that others are compared with; --samples is its budget. Other settings of the recipe follow as for
genlip train, as in --packing.max_tokens 2048. The same command goes on with a study that was stopped.

python: genlip.compare_arms("quickstart", [genlip.read_arm("genlip"), …], genlip.CompareConfig(samples=50_000), out=OUT)"""

_SCALING = """\
  genlip study scaling quickstart --widths 96 128 192 256 320 --samples 10k 20k 40k 80k
  genlip study scaling quickstart --widths 96 128 192 256 320 --samples 10k 20k 40k 80k --plan --gpu h100

Samples are those of the middle width; every other width reads as many as cost the same work. The largest budget is kept
aside to check the prediction. The same command goes on with a study that was stopped.

python: genlip.train_scaling("quickstart", genlip.ScalingConfig(widths=(96, …), samples=(10_000, …)), out=OUT)"""


def add_study(commands: Any) -> None:
    """Add `genlip study` and its commands."""
    parser = commands.add_parser("study", help="many runs of one recipe: objectives compared, and scaling laws")
    inner = parser.add_subparsers(dest="study", required=True, metavar="NAME")
    _add_compare(inner)
    _add_scaling(inner)


def _add_compare(inner: Any) -> None:
    summary = "compare objectives at equal samples, equal work and equal time"
    parser = add_command(inner, "compare", _compare, summary, _COMPARE, takes_overrides=True)
    parser.add_argument("recipe", metavar="RECIPE", help="name of a recipe, or a YAML file; all arms are runs of it")
    parser.add_argument(
        "--arms", nargs="+", required=True, metavar="ARM",
        help="genlip, ungated, registers_1, registers_4, dropped_patches, siglip, clip, encoder_decoder, openvision2, cap "
        "or cappa, with further settings as in siglip:pairs.bias=-4,pairs.causal=true",
    )  # fmt: skip
    parser.add_argument("--samples", required=True, help="budget of the first arm, as in 50k")
    parser.add_argument("--match", default="samples,flops,seconds", help="what is equal (default: samples,flops,seconds)")
    parser.add_argument("--seeds", type=int, default=3, help="runs of each arm and matching (default: 3)")
    parser.add_argument(
        "--rate-factors", type=list_of(float, "numbers with commas between, as in 0.3,1,3"), default=(0.3, 1.0, 3.0),
        help="of the recipe's learning rate, tried for each arm on a tenth of the budget; 1 takes the recipe's "
        "(default: 0.3,1,3)",
    )  # fmt: skip
    _add_measures(parser)
    _add_common(parser, "runs/compare")


def _add_scaling(inner: Any) -> None:
    summary = "train a grid of widths and budgets, fit scaling laws, and check their prediction"
    parser = add_command(inner, "scaling", _scaling, summary, _SCALING, takes_overrides=True)
    parser.add_argument("recipe", metavar="RECIPE", help="name of a recipe, or a YAML file")
    parser.add_argument("--widths", nargs="+", type=int, required=True, help="at least 4, for a minimum over sizes")
    parser.add_argument("--samples", nargs="+", required=True, help="budgets, as samples of the middle width: 10k 20k 40k")
    parser.add_argument("--of-width", type=int, default=0, help="the width whose samples are given (default: the middle)")
    parser.add_argument(
        "--seeds", type=int, default=3, help="runs of each width and budget; intervals need several (default: 3)"
    )
    parser.add_argument(
        "--cooldown", type=float, default=0.2, help="share of a run in which the learning rate falls (default: 0.2)"
    )
    _add_measures(parser)
    _add_common(parser, "runs/scaling")


def _add_measures(parser: argparse.ArgumentParser) -> None:
    two = ("TRAIN", "TEST")
    parser.add_argument("--probe", nargs=2, metavar=two, default=(), help="images with classes: attentive and linear probe")
    parser.add_argument("--classes", default="", help="names of the classes, as genlip eval probe takes them")
    parser.add_argument("--segmentation", nargs=2, metavar=two, default=(), help="images with label maps")
    parser.add_argument("--captioning", default="", metavar="DATA", help="captioned images, for arms that speak")
    parser.add_argument("--attention", default="", metavar="DATA", help="captioned images: attention to the first patch")
    parser.add_argument("--retrieval", default="", metavar="DATA", help="captioned images, for arms with a text tower")
    parser.add_argument(
        "--perplexity", nargs=3, metavar=("LM", *two), default=(), help="PPL1: a language model learns to read the encoder"
    )
    parser.add_argument("--perplexity-steps", type=int, default=200, help="updates of its projector (default: 200)")
    parser.add_argument("--limit", type=int, default=0, help="images of a set, at most; 0 is all (default: 0)")
    parser.add_argument("--epochs", type=int, default=10, help="of probes and segmentation (default: 10)")


def _add_common(parser: argparse.ArgumentParser, out: str) -> None:
    parser.add_argument("--plan", action="store_true", help="say what would be trained and what it costs, and stop")
    parser.add_argument("--gpu", default="", help="also say how long one of these would take: h100, a100, …")
    parser.add_argument("--out", default=out, help=f"folder of the study (default: {out})")


def _measures(args: argparse.Namespace) -> Measures:
    from genlip.studies.measures import Measures

    names = ("classes", "captioning", "attention", "retrieval", "perplexity_steps", "limit", "epochs")
    given: dict[str, Any] = {name: getattr(args, name) for name in names}
    given |= {name: tuple(getattr(args, name)) for name in ("probe", "segmentation", "perplexity")}
    return Measures(**given)


def _compare(args: argparse.Namespace) -> None:
    from genlip.data.units import count
    from genlip.model.writing import write_text
    from genlip.studies.arms import read_arms
    from genlip.studies.compare import CompareConfig, compare_arms, plan_comparison
    from genlip.studies.compare_page import PLAN_HEAD, comparison_lines, comparison_study_page, plan_rows

    arms = read_arms(args.arms)
    matchings: Any = tuple(part.strip() for part in args.match.split(","))
    config = CompareConfig(
        samples=count(args.samples), match=matchings, seeds=args.seeds, rate_factors=args.rate_factors,
        measures=_measures(args),
    )  # fmt: skip
    _check_gpu(args.gpu)
    plan = plan_comparison(args.recipe, arms, config, out=args.out, overrides=args.overrides)
    _say_table(PLAN_HEAD, plan_rows(plan, config))
    _say_cost(plan.flops, plan.seconds, args.gpu)
    if args.plan:
        return
    found = compare_arms(
        args.recipe, arms, config, out=args.out, overrides=args.overrides, advance=lambda run: say(f"done: {run}")
    )
    for matching in config.match:
        say(f"at equal {matching}:")
        for line in comparison_lines([one for one in found if one.matching == matching]):
            say(f"  {line}")
    page = Path(args.out) / "study.html"
    write_text(page, comparison_study_page(found, plan, config, args.recipe))
    say(f"table: {page.with_name('results.csv')}\npage: {page}")


def _scaling(args: argparse.Namespace) -> None:
    from genlip.data.units import count
    from genlip.model.writing import write_text
    from genlip.studies.scaling import ScalingConfig, plan_scaling, train_scaling
    from genlip.studies.scaling_findings import scaling_findings
    from genlip.studies.scaling_page import SCALING_PLAN_HEAD, scaling_lines, scaling_page, scaling_plan_rows

    config = ScalingConfig(
        widths=tuple(args.widths), samples=tuple(map(count, args.samples)), of_width=args.of_width, seeds=args.seeds,
        cooldown=args.cooldown, measures=_measures(args),
    )  # fmt: skip
    _check_gpu(args.gpu)
    plan = plan_scaling(args.recipe, config, out=args.out, overrides=args.overrides)
    _say_table(SCALING_PLAN_HEAD, scaling_plan_rows(plan))
    _say_cost(plan.flops, plan.seconds, args.gpu)
    if args.plan:
        return
    runs = train_scaling(
        args.recipe, config, out=args.out, overrides=args.overrides, advance=lambda run: say(f"done: {run}")
    )
    findings = scaling_findings(runs)
    for line in (*scaling_lines(findings), *findings.refused):
        say(line)
    page = Path(args.out) / "study.html"
    write_text(page, scaling_page(runs, findings, plan, args.recipe))
    say(f"table: {page.with_name('results.csv')}\npage: {page}")


def _say_table(head: tuple[str, ...], rows: list[list[str]]) -> None:
    from rich.box import SIMPLE
    from rich.console import Console
    from rich.markup import escape
    from rich.table import Table

    table = Table(*head, box=SIMPLE)
    for row in rows:
        table.add_row(*map(escape, row))
    console = Console(width=140, color_system=None)
    with console.capture() as captured:
        console.print(table)
    say(captured.get())


def _check_gpu(gpu: str) -> None:
    from genlip.plan.hardware import find_hardware

    if gpu:
        find_hardware(gpu)


def _say_cost(flops: float, seconds: float, gpu: str) -> None:
    from genlip.plan.hardware import find_hardware
    from genlip.report.formatting import long_duration, with_prefix

    say(f"{with_prefix(flops)}FLOPs, about {long_duration(seconds)} of training on this machine")
    if gpu:
        hardware, share = find_hardware(gpu), 0.4
        time = long_duration(flops / (share * hardware.bfloat16))
        say(f"on one {gpu} about {time}, at {share:.0%} of its bfloat16 rate, which small models do not reach")
