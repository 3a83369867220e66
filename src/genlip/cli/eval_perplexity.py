"""The command `genlip eval perplexity`: encoders compared by a language model that learns to read them.

In: encoders, a language model, data. Out: a table of PPL1 and PPL2 with intervals, and a stored result for each encoder.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from genlip.cli.parser import add_command, list_of
from genlip.terminal import program, say

__all__ = ["add_perplexity"]

_EXAMPLE = """\
  genlip eval perplexity runs/stage1/model runs/stage2/model random:timm:vit_base_patch16_siglip_224 scenes:2 \\
      --train scenes:0 --held-out scenes:1 --llm runs/language_model --steps 200 --learning-rates 1e-3,3e-3

PPL1: the projector alone is trained. PPL2: the language model too. All encoders see the same samples in the same order.
Other settings of the runs follow as for genlip train, as in --packing.max_tokens 2048 --chat.template chat

python: genlip.measure_perplexity([ENCODER, ...], DATA, language_model=LM, train=SOURCE)"""


def add_perplexity(inner: Any) -> None:
    """Add `genlip eval perplexity`."""
    summary = "perplexity of a language model that learns to read an encoder (PPL1, PPL2), for several encoders"
    parser = add_command(inner, "perplexity", _run, summary, _EXAMPLE, takes_overrides=True)
    parser.add_argument(
        "encoders", metavar="ENCODER", nargs="+",
        help="folder or Hub id of genlip, timm:NAME, transformers:FOLDER, or one of these after random:",
    )  # fmt: skip
    parser.add_argument("data", metavar="DATA", help="what is measured: conversations, or images with captions")
    parser.add_argument("--llm", required=True, metavar="LM", help="language model: a folder, a Hub id or a .gguf file")
    parser.add_argument("--train", required=True, metavar="SOURCE", help="what is trained on; must be other data")
    parser.add_argument(
        "--held-out", default="", metavar="SOURCE", help="what rates are chosen on (default: part of --train)"
    )
    parser.add_argument("--steps", type=int, default=200, help="updates of each run (default: 200)")
    parser.add_argument(
        "--learning-rates",
        type=list_of(float, "numbers with commas between, as in 3e-4,1e-3"),
        default=(1e-3,),
        help="of the projector, separated by commas; the best is taken (default: 1e-3)",
    )
    parser.add_argument(
        "--language-rate", type=float, default=0.1,
        help="learning rate of the language model for PPL2, as a share of the projector's (default: 0.1)",
    )  # fmt: skip
    parser.add_argument("--stages", default="PPL1,PPL2", help="(default: PPL1,PPL2)")
    parser.add_argument("--limit", type=int, default=500, help="how many samples, from all over DATA (default: 500)")
    parser.add_argument("--seed", type=int, default=0, help="of the order, the projector and random encoders (default: 0)")
    parser.add_argument(
        "--out",
        default="runs/perplexity",
        help="folder of the runs and results; the same command goes on with a stopped one",
    )


def _run(args: argparse.Namespace) -> None:
    from genlip.evaluate.perplexity.table import perplexity_table
    from genlip.evaluate.result_files import write_result
    from genlip.studies.perplexity import PerplexityConfig, encoder_folder, measure_perplexity

    config = PerplexityConfig(
        steps=args.steps,
        learning_rates=args.learning_rates,
        language_rate=args.language_rate,
        stages=tuple(part.strip() for part in args.stages.split(",")),
        limit=args.limit,
        seed=args.seed,
    )
    overrides = ["--data.held_out", args.held_out, *args.overrides]
    results = measure_perplexity(
        args.encoders, args.data, config, language_model=args.llm, train=args.train, out=args.out, overrides=overrides,
        advance=lambda name: say(f"trained {name}"),
    )  # fmt: skip
    folders = [encoder_folder(Path(args.out), encoder) / "evaluations" for encoder in args.encoders]
    try:
        for result, folder in zip(results, folders, strict=True):
            write_result(result, folder)
    finally:
        say(perplexity_table(results))
    say(f"results: {', '.join(str(folder) for folder in folders)}")
    if len(folders) > 1:
        say(f"differences with intervals, and a page: {program()} compare {' '.join(map(str, folders))} --out compare.html")
