"""The paper's claims in miniature: each with the paper's figure, ours, an interval and a verdict (arXiv 2605.00809).

    python benchmarks/paper.py [--out runs/paper] [--parts objectives,gate,…] [--seeds 3] [--scale 1.0] [--quick]
        [--language-model FOLDER] [--drawings runs/print_and_pictures]

Parts are studies (`genlip study`), each in a folder of its own; the same command goes on with one that was stopped. `--plan`
says what would be trained and what it costs. `--scale` multiplies all budgets; `--quick` is a small budget, two seeds and
few arms, which shows that the script works and no claim. What needs a language model or drawings is "not tested" without
them.

Verdicts: "shown" where the difference that the paper claims is beyond noise here, "contradicted" where the opposite is,
"not shown" else. Writes OUT/rows.json, with the rows of earlier calls, and OUT/paper.md; the last line printed is JSON.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import torch

from genlip.machine import machine, versions
from genlip.model.reading import read_json
from genlip.model.writing import write_json, write_text
from genlip.report.formatting import long_duration
from genlip.studies.arms import read_arms
from genlip.studies.compare import CompareConfig, Matching, Measured, compare_arms, plan_comparison
from genlip.studies.compare_page import comparison_study_page
from genlip.studies.intervals import mean_difference
from genlip.studies.measures import Measures
from genlip.studies.scaling import ScalingConfig, plan_scaling, train_scaling
from genlip.studies.scaling_findings import scaling_findings
from genlip.studies.scaling_page import scaling_page

RECIPE = "quickstart"
SCENES = "scenes:6"  # learning rates are chosen on scenes:1


class Row(NamedTuple):
    """A line of the table."""

    claim: str
    paper: str
    ours: str
    verdict: str


class Claim(NamedTuple):
    """That one arm is better than another, by a score.

    Attributes:
        text: the claim.
        paper: its figures.
        better, worse: names of arms.
        score: of a study.
        low: whether a low score is good.
    """

    text: str
    paper: str
    better: str
    worse: str
    score: str
    low: bool = False


class Part(NamedTuple):
    """A comparison of arms with the claims that it tests.

    Attributes:
        samples: budget of the first arm, before `--scale`.
        measures: settings of `Measures`.
        overrides: settings of the recipe.
    """

    arms: Sequence[str]
    claims: Sequence[Claim]
    samples: int
    measures: dict[str, Any]
    match: tuple[Matching, ...] = ("samples",)
    overrides: Sequence[str] = ()


_BIAS = "siglip:pairs.bias=-4"  # minus the logarithm of the pairs of an update, about 60
_READ = {"captioning": SCENES, "segmentation": ("scenes:2", "scenes:3")}
_SMALL = ("--spoken", "0")


def parts(language_model: str, drawings: str) -> dict[str, Part]:
    """All comparisons; those that need a language model or drawings only where these are given."""
    labelled = Path(drawings) / "named" if drawings else Path()
    probe = {"probe": (f"{labelled}/train", f"{labelled}/variants")} if drawings else {}
    reading = {"perplexity": (language_model, "scenes:4", "scenes:5")} if language_model else {}
    score = "attentive probe" if drawings else "segmentation mIoU"
    against = [
        Claim("GenLIP beats contrast (SigLIP)", "57.2 against 54.4", "genlip", _BIAS, score),
        Claim("GenLIP beats an encoder with a decoder (OpenVision 2)", "57.2 against 55.9", "genlip", "openvision2", score),
        Claim("an encoder with a decoder beats contrast", "55.9 against 54.4", "openvision2", _BIAS, score),
    ]
    perplexities = [one._replace(text=f"{one.text}, read by a language model", score="PPL1", low=True) for one in against]
    gate = [
        Claim("the gate removes the sink (text to first patch)", "17.1 % without, 0.1 % with", "genlip", "ungated",
              "text to first token", True),
        Claim("the gate beats no gate by probes", "ImageNet 83.9 against 76.2", "genlip", "ungated", score),
        Claim("the gate beats one register", "56.3 against 53.3", "genlip", "registers_1", score),
        Claim("the gate beats four registers", "56.3 against 55.1", "genlip", "registers_4", score),
        Claim("four registers beat one", "55.1 against 53.3", "registers_4", "registers_1", score),
        Claim("dropping half of the patches in training helps", "not tried", "dropped_patches", "genlip", score),
    ]  # fmt: skip
    found = {
        "objectives": Part(
            ["genlip", _BIAS, "clip", "encoder_decoder", "openvision2", "cap", "cappa"],
            against + (perplexities if language_model else []), 30_000,
            measures={**_READ, **probe, **reading}, match=("samples", "flops", "seconds"),
        ),
        "gate": Part(
            ["genlip", "ungated", "registers_1", "registers_4", "dropped_patches"], gate, 30_000,
            measures={**_READ, **probe, "attention": SCENES},
        ),
        "gate_deep": Part(
            ["genlip", "ungated"], [gate[0]._replace(text="the same with 12 blocks")], 20_000,
            overrides=("--model.num_hidden_layers", "12"), measures={"attention": SCENES},
        ),
        "gate_long": Part(
            ["genlip", "ungated"], [gate[0]._replace(text="the same with images of 128 pixels, 64 patches")], 20_000,
            overrides=("--images.size", "128", "--packing.max_tokens", "4096"), measures={"attention": SCENES},
        ),
    }  # fmt: skip
    if language_model:
        start, new = (
            f"from_language:language.model={language_model}",
            f"from_language_random:language.model={language_model}",
        )
        found["language"] = Part(
            ["genlip", start, new, f"{start},language.gated=true"],
            [
                Claim("a start from a language model's blocks (words are new) does worse than random weights",
                      "53.6 against 56.0", new, start, score),
                Claim("the same with a gate", "54.8 against 56.0", new, f"{start},language.gated=true", score),
            ],
            15_000, measures={**_READ, **probe},
        )  # fmt: skip
    return found


def compared(name: str, part: Part, args: argparse.Namespace) -> list[Row]:
    """Train and measure a part, write its page, and judge its claims."""
    out, arms = Path(args.out) / name, read_arms(part.arms[:2] if args.quick else part.arms)
    config = compare_config(part, args)
    overrides = [*_SMALL, *part.overrides]
    found = compare_arms(RECIPE, arms, config, out=out, overrides=overrides, advance=lambda run: print(f"done: {run}"))
    plan = plan_comparison(RECIPE, arms, config, out=out, overrides=overrides)
    write_text(out / "study.html", comparison_study_page(found, plan, config, RECIPE))
    known = {arm.name for arm in arms}
    return [
        judged(claim, matching, [one for one in found if one.matching == matching])
        for claim in part.claims
        for matching in config.match
        if {claim.better, claim.worse} <= known
    ]


def compare_config(part: Part, args: argparse.Namespace) -> CompareConfig:
    """The settings of a part's study."""
    return CompareConfig(
        samples=max(100, round(args.scale * part.samples)),
        match=part.match[:1] if args.quick else part.match,
        seeds=args.seeds,
        rate_factors=(1.0,) if args.quick else (0.3, 1.0, 3.0),
        measures=Measures(**part.measures, limit=40 if args.quick else 1000, epochs=2 if args.quick else 10),
    )


def judged(claim: Claim, matching: str, found: Sequence[Measured]) -> Row:
    """The verdict on a claim, at one matching."""
    better, worse = (
        [one.scores[claim.score] for one in found if one.arm == arm and claim.score in one.scores]
        for arm in (claim.better, claim.worse)
    )
    if not better or not worse:
        return Row(f"{claim.text}, at equal {matching}", claim.paper, "all runs of an arm diverged", "not shown")
    gap = mean_difference(worse, better)
    sign = -1 if claim.low else 1
    verdict = "not shown" if not gap.beyond_noise else "shown" if sign * gap.value > 0 else "contradicted"
    means = [sum(score.score for score in some) / len(some) for some in (better, worse)]
    ours = (
        f"{claim.score}: {means[0]:.3f} against {means[1]:.3f}, difference {gap.value:+.3f} ({gap.low:+.3f} to "
        f"{gap.high:+.3f}), {len(better)} seeds"
    )
    return Row(f"{claim.text}, at equal {matching}", claim.paper, ours, verdict)


def scaled(args: argparse.Namespace) -> list[Row]:
    """Curves over samples and model sizes, and the check of their law."""
    out, config = Path(args.out) / "scaling", scaling_config(args)
    runs = train_scaling(RECIPE, config, out=out, overrides=_SMALL, advance=lambda run: print(f"done: {run}"))
    findings = scaling_findings(runs)
    write_text(
        out / "study.html", scaling_page(runs, findings, plan_scaling(RECIPE, config, out=out, overrides=_SMALL), RECIPE)
    )
    best, law = [loss for _, loss in findings.best], findings.rival
    exponent = f"; exponent {law.exponent.value:.3f} ({law.exponent.low:.3f} to {law.exponent.high:.3f})" if law else ""
    rows = [
        Row("more data and larger models go on paying", "61.5 (L), 62.6 (So), 65.2 (g); 1 to 8 B samples",
            f"lowest held-out loss by budget, nats per byte: {', '.join(f'{loss:.4f}' for loss in best)}{exponent}",
            "shown" if law and law.exponent.low > 0 else "not shown")
    ]  # fmt: skip
    if findings.check:
        check = findings.check
        rows.append(
            Row("a law of smaller runs predicts the largest", "no law given",
                f"predicted {check.predicted.value:.4f} ({check.predicted.low:.4f} to {check.predicted.high:.4f}), reached "
                f"{check.reached.value:.4f}", "shown" if check.holds else "contradicted")
        )  # fmt: skip
    return rows


def scaling_config(args: argparse.Namespace) -> ScalingConfig:
    """The grid."""
    widths = (96, 192) if args.quick else (96, 144, 192, 240, 288)
    numbers = (2_000, 4_000) if args.quick else (3_000, 6_000, 12_000, 24_000, 48_000)
    return ScalingConfig(
        widths=widths, samples=tuple(max(n // 100, round(args.scale * n)) for n in numbers), seeds=args.seeds
    )


def planned(name: str, part: Part | None, args: argparse.Namespace) -> float:
    """Print what a part costs, and return its seconds."""
    out = Path(args.out) / name
    if part is None:
        seconds = plan_scaling(RECIPE, scaling_config(args), out=out, overrides=_SMALL).seconds
    else:
        config, arms = compare_config(part, args), read_arms(part.arms[:2] if args.quick else part.arms)
        seconds = plan_comparison(RECIPE, arms, config, out=out, overrides=[*_SMALL, *part.overrides]).seconds
    print(f"{name}: {long_duration(seconds)} of training", flush=True)
    return seconds


def untested(args: argparse.Namespace) -> list[Row]:
    """Rows of what cannot be tested without files that were not given."""
    needs = {
        "a start from a language model; perplexity of one that reads the encoders": (
            "--language-model",
            args.language_model,
        ),
        "probes on real drawings": ("--drawings", args.drawings),
    }
    return [Row(text, "", f"needs {option}", "not tested") for text, (option, given) in needs.items() if not given]


def table(rows: Sequence[Row]) -> str:
    """The rows as Markdown."""
    lines = [f"| {one.claim} | {one.paper} | {one.ours} | *{one.verdict}* |" for one in rows]
    return "\n".join(["| claim | the paper | here | verdict |", "|---|---|---|---|", *lines]) + "\n"


def main(arguments: Sequence[str] | None = None) -> None:
    """Train, measure, judge, print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", default="runs/paper")
    parser.add_argument("--parts", default="", help="names with commas; empty takes all")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--scale", type=float, default=1.0)
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--plan", action="store_true")
    parser.add_argument("--language-model", default="")
    parser.add_argument("--drawings", default="")
    args = parser.parse_args(arguments)
    if args.quick:
        args.seeds, args.scale = 2, args.scale * 0.05
    made = parts(args.language_model, args.drawings)
    work: dict[str, Callable[[], list[Row]]] = {
        name: lambda name=name, part=part: compared(name, part, args) for name, part in made.items()
    } | {"scaling": lambda: scaled(args)}
    chosen = args.parts.split(",") if args.parts else list(work)
    if unknown := [name for name in chosen if name not in work]:
        parser.error(f"--parts {','.join(unknown)}: need some of {', '.join(work)}; language needs --language-model")
    if args.plan:
        print(f"in all {long_duration(sum(planned(name, made.get(name), args) for name in chosen))}")
        return
    file = Path(args.out) / "rows.json"
    rows: dict[str, list[Row]] = {
        name: [Row(**row) for row in some] for name, some in (read_json(file) if file.is_file() else {}).items()
    }
    for name in chosen:
        rows[name] = work[name]()
        write_json(file, {key: [one._asdict() for one in some] for key, some in rows.items()})
    text = table([*(one for some in rows.values() for one in some), *untested(args)])
    write_text(Path(args.out) / "paper.md", text)
    print(text)
    about = {"machine": machine(torch.device("cpu")), "versions": versions()}
    print(json.dumps({"rows": {key: [one._asdict() for one in some] for key, some in rows.items()}, **about}))


if __name__ == "__main__":
    main()
