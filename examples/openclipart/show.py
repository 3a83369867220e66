"""Caption held-out drawings with a trained run and show them on one page.

In: the folder of a run. Out: RUN/report.html with its curves, figures and the first held-out drawings.

    python examples/openclipart/show.py runs/openclipart [--drawings 48]
"""

from __future__ import annotations

import argparse
import re
from pathlib import Path

from genlip.data.sources import open_source
from genlip.evaluate.captioning.caption_scores import exact_match
from genlip.evaluate.captioning.generated import GeneratedCaption, generate_captions
from genlip.recipes.recipe import load_recipe
from genlip.report import caption_cards, charts, html
from genlip.report.html import Headline, Section
from genlip.speaker import Speaker
from genlip.train.tracking import read_log


def kind_share(spoken: list[GeneratedCaption]) -> float:
    """How often the drawing's first kind is right."""
    return sum(kind(one.caption) == kind(one.spoken) for one in spoken) / len(spoken)


def kind(caption: str) -> str:
    """What stands before the first comma or colon."""
    return re.split("[,:]", caption, maxsplit=1)[0]


def main() -> None:
    """Write the page and print its figures."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run", type=Path, help="folder of the run")
    parser.add_argument("--drawings", type=int, default=48, help="how many are shown (default: 48); all are measured")
    args = parser.parse_args()
    run = load_recipe(max(args.run.glob("checkpoints/step-????????")) / "run.yaml")
    source = open_source(run.data.held_out)
    spoken = generate_captions(
        Speaker.load(args.run / "model"), source, range(len(source)), max_tokens=run.captions.max_tokens
    )
    train, held_out = read_log(args.run, "train"), read_log(args.run, "held_out")
    exact = exact_match([one.spoken for one in spoken], [[one.caption] for one in spoken])
    figures = [
        Headline(f"{held_out[-1]['loss']:.2f}", "held-out loss", "nats per token"),
        Headline(f"{held_out[-1]['picture_gain']:.2f}", "picture gain", "nats per token"),
        Headline(f"{kind_share(spoken):.0%}", "kinds right", f"first of {len(spoken)} captions"),
        Headline(f"{exact.score:.0%}", "exact", "whole captions"),
    ]
    curves = html.side_by_side(charts.loss_chart(train, held_out), charts.gain_chart(held_out))
    sections = [
        Section("Figures", html.headlines(figures)),
        Section("How it learned", curves),
        Section(f"The first {args.drawings} held-out drawings", caption_cards.gallery(spoken[: args.drawings])),
    ]
    path = args.run / "report.html"
    path.write_text(html.page("GenLIP on openclipart", sections), encoding="utf8")
    print("; ".join(f"{figure.label} {figure.value}" for figure in figures))
    print(path)


if __name__ == "__main__":
    main()
