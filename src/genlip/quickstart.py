"""Quickstart: train a small model on procedural scenes, caption held-out scenes with it, and show the result.

In: a folder. Out: that folder with the run, the model, `results.json`, and the page `report.html`.
Measuring and rendering are separate: `measure` uses the model, `render` uses only what was measured.
"""

from __future__ import annotations

import shlex
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from rich.console import Console

from genlip.data.images import decode
from genlip.data.sources import open_source
from genlip.evaluate.captioning.caption_scores import exact_match
from genlip.evaluate.captioning.generated import GeneratedCaption, generate_captions
from genlip.machine import machine, versions
from genlip.model.writing import write_json, write_text
from genlip.progress import progress
from genlip.recipes import OWN_IMAGES
from genlip.recipes.recipe import Run, load_recipe, to_yaml
from genlip.report import caption_cards, charts, formatting, html, patch_words
from genlip.report.html import Headline, Section
from genlip.speaker import PatchWords, Speaker
from genlip.terminal import harmless, program
from genlip.threads import Threads
from genlip.train.loop import Interrupted, Resume, train_model
from genlip.train.run_log import read_log

__all__ = ["Measured", "measure", "render", "results", "run_quickstart"]

_SHOWN, _FAILURES_SHOWN = 24, 6
_MAX_TOKENS = 64  # of a caption; the longest caption of a scene has about half as many


@dataclass(frozen=True)
class Measured:
    """What is measured of a finished run.

    Attributes:
        run: its recipe.
        start, end: the events of its log; `train` and `held_out` are lists of them.
        spoken: held-out images with true and spoken captions.
        said: the readout of the first image's patches.
        machine: processor or accelerator, and the system.
        versions: of the main libraries.
    """

    run: Run
    start: dict[str, Any]
    train: list[dict[str, Any]]
    held_out: list[dict[str, Any]]
    end: dict[str, Any]
    spoken: list[GeneratedCaption]
    said: PatchWords
    machine: str
    versions: dict[str, str]


def run_quickstart(
    out: str | Path = "runs/quickstart", overrides: Sequence[str] = (), resume: Resume = "auto", images: int = 500
) -> Path:
    """Train, measure, and return the path of `report.html`.

    overrides  of the recipe "quickstart", such as ["--steps", "300"]
    resume     whether to resume the run in `out`, see `genlip.train_model`; a finished run is only measured again
    images     number of held-out images that are captioned

    Raises `RecipeError` for impossible settings, and the errors of `genlip.train_model`.
    """
    console = Console(stderr=True)
    run = load_recipe("quickstart", ["--out", str(out), *overrides])
    if not run.data.held_out or images < 1:
        raise ValueError(
            f"data.held_out is {run.data.held_out!r} and images {images}: the quickstart captions at least 1 image "
            "of a source that it is not trained on, such as scenes:1"
        )
    try:
        model = train_model(run, resume=resume)
    except Interrupted:
        again = f"{program()} {shlex.join(['quickstart', '--out', str(out), *overrides])}"
        raise Interrupted(f"stopped and saved; go on with: {again}") from None
    speaker = Speaker.load(model, device="cuda" if torch.cuda.is_available() else "cpu")
    shown = progress("captioning held-out images", images, console)
    with Threads(run.threads, speaker.model.device) as threads, shown as show:

        def advance(images: int) -> None:
            show(images)
            threads.advance(images)

        measured = measure(run, speaker, images, advance)
    path = _write(measured)
    console.print(
        f"{_score(measured)} captions of held-out images are exactly right", highlight=False, soft_wrap=True, markup=False
    )
    for line in (f"report: {path}", f"describe an image: {_caption_command(run)}"):
        console.print(harmless(line), highlight=False, soft_wrap=True, markup=False)
    return path


def measure(run: Run, speaker: Speaker, images: int = 500, advance: Callable[[int], None] = lambda done: None) -> Measured:
    """Caption the first `images` held-out images greedily, and read the run's log."""
    source = open_source(run.data.held_out, run.data.fields)
    chosen = range(min(images, len(source)))
    spoken = generate_captions(speaker, source, chosen, advance=advance, max_tokens=_MAX_TOKENS)
    logs = {kind: read_log(run.out, kind) for kind in ("start", "train", "held_out", "end")}
    return Measured(
        run=run,
        start=logs["start"][-1],
        train=logs["train"],
        held_out=logs["held_out"],
        end=logs["end"][-1],
        spoken=spoken,
        said=speaker.readout([spoken[0].kept_image])[0],
        machine=machine(speaker.model.device),
        versions=versions(),
    )


def results(measured: Measured) -> dict[str, Any]:
    """The figures, as `results.json` holds them."""
    steps, seconds = measured.end["step"], measured.end["seconds"]
    samples, spoken = sum(measured.end["used"].values()), measured.spoken
    return {
        "exact_match": exact_match([one.spoken for one in spoken], [[one.caption] for one in spoken]).score,
        "captions": len(spoken),
        "held_out_loss": measured.held_out[-1]["loss"],
        "picture_gain": measured.held_out[-1]["picture_gain"],
        "steps": steps,
        "samples": samples,
        "training_seconds": seconds,
        "samples_per_s": round(samples / seconds, 1),
        "parameters": measured.start["parameters"],
        "precision": measured.start["precision"],
        "machine": measured.machine,
        "versions": measured.versions,
    }


def render(measured: Measured) -> str:
    """The page."""
    first, said = measured.spoken[0], measured.said
    sections = [
        Section("Training and result", html.paragraphs(*_story(measured)) + html.headlines(_headlines(measured))),
        Section("Loss and picture gain", _curves(measured)),
        *_captions(measured.spoken),
        Section("Patch readout", html.paragraphs(*_readout_story(said)) + patch_words.readout(first.kept_image, said)),
        Section("Next commands", html.commands(_next_commands(measured.run))),
        Section("This run", html.key_value_table(_facts(measured)) + html.details("All settings", to_yaml(measured.run))),
    ]
    return html.page("GenLIP quickstart", sections)


_SCENES = (
    "It was trained on scenes: generated images of 64x64 pixels with one or two coloured shapes above a number, each with a "
    "caption that states all of it. So every caption can be checked word by word."
)


def _story(measured: Measured) -> list[str]:
    run = measured.run
    trained = (
        "GenLIP is one transformer that reads the patches of an image and predicts its caption, token by token. Nothing "
        "else is trained: no second network, and no contrastive loss. This one started from random weights and was trained "
        f"on {results(measured)['samples']:,} captioned images."
    )
    checked = (
        f"Then it captioned {len(measured.spoken)} images that it was not trained on. A caption counts as exact only if "
        "every word is right."
    )
    return [trained, *([_SCENES] if run.data.source.startswith("scenes") else []), checked]


def _headlines(measured: Measured) -> list[Headline]:
    found = results(measured)
    return [
        Headline(f"{found['exact_match']:.1%}", "exact captions", _score(measured)),
        Headline(
            formatting.duration(found["training_seconds"]),
            "of training",
            f"{found['steps']:,} steps of about {found['samples'] / found['steps']:.0f} images",
        ),
        Headline(
            f"{found['picture_gain']:.2f}", "picture gain", "nats per token that the right image saves over a wrong one"
        ),
        Headline(f"{found['samples_per_s']:,.0f}", "images per second", "in training, on average"),
        Headline(f"{found['parameters'] / 1e6:.1f} M", "parameters", f"trained in {found['precision']}"),
    ]


def _curves(measured: Measured) -> str:
    drawn = html.side_by_side(charts.loss_chart(measured.train, measured.held_out), charts.gain_chart(measured.held_out))
    return drawn + html.paragraphs(
        "The loss first falls because captions are alike, and then because of the images. The picture gain distinguishes "
        "the two: it is the increase of the loss when every caption gets the image of another. For a model that does not "
        "use the image, it is 0."
    )


def _captions(spoken: Sequence[GeneratedCaption]) -> list[Section]:
    """The first captions, and after them the first ones that are not exact, if there are any."""
    shown, failures = spoken[:_SHOWN], [one for one in spoken[_SHOWN:] if not one.exact][:_FAILURES_SHOWN]
    note = html.paragraphs("Not chosen: these are the first. Words that differ are marked.")
    sections = [Section(f"The first {len(shown)} held-out images", note + caption_cards.gallery(shown))]
    if failures:
        note = html.paragraphs("The first ones after the images above.")
        sections.append(Section("More captions that are not exact", note + caption_cards.gallery(failures)))
    return sections


def _readout_story(said: PatchWords) -> list[str]:
    """What a readout is, and, where most patches give the same token, why they do."""
    asked = (
        "Patches do not attend to the caption, but their features can go through the same head that predicts captions. This "
        "is the token that the head predicts next at each patch of the first image."
    )
    token, times = patch_words.common_token(said)
    if token is None:
        return [asked]
    agreed = (
        f"At {times} of {len(said.words)} it is “{token.strip()}”. In training, the head predicts at the last patch only, "
        "and there only the first token of a caption. The paper shows readouts of large models, trained on captions of "
        "every kind: arXiv 2605.00809."
    )
    return [asked, agreed]


def _next_commands(run: Run) -> dict[str, str]:
    return {
        _caption_command(run): "Describe an image: this is the first one above",
        f"{program()} readout {_model_and_image(run)}": "Show the readout of its patches",
        f"{program()} train quickstart --out runs/longer --steps 5000": "Train longer",
        f"{program()} {OWN_IMAGES}": (
            "Train on your images: images/ is a folder of 200 or more with a .txt caption beside each, or a .csv or .jsonl "
            "file that lists them"
        ),
    }


def _caption_command(run: Run) -> str:
    return f"{program()} caption {_model_and_image(run)}"


def _model_and_image(run: Run) -> str:
    return shlex.join(f"{run.out}/{name}" for name in ("model", "image.png"))


def _facts(measured: Measured) -> dict[str, str]:
    run, model = measured.run, measured.run.model
    return {
        "Model": f"{model.num_hidden_layers} blocks of width {model.hidden_size}, {model.vocab_size} tokens",
        "Images": f"patches of {model.patch_size}x{model.patch_size} pixels, {len(measured.said.words)} in the one above",
        "Data": f"{run.data.source}, measured on {run.data.held_out}",
        "Held-out loss": f"{measured.held_out[-1]['loss']:.4f} nats per token",
        "Machine": measured.machine,
        "Versions": ", ".join(f"{name} {number}" for name, number in measured.versions.items()),
    }


def _write(measured: Measured) -> Path:
    """Write page, figures and the first image into the run's folder."""
    out = Path(measured.run.out)
    path = out / "report.html"
    write_text(path, render(measured))
    write_json(out / "results.json", results(measured))
    decode(measured.spoken[0].kept_image).save(out / "image.png")
    return path


def _score(measured: Measured) -> str:
    return f"{sum(one.exact for one in measured.spoken)} of {len(measured.spoken)}"
