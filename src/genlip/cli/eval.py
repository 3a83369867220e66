"""The command line of measurements: `genlip eval NAME MODEL DATA`.

In: a model and a set. Out: a table of scores, and the stored result, from which `genlip report MODEL` makes a page.
"""

from __future__ import annotations

import argparse
import dataclasses
import hashlib
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from genlip.cli.eval_lmms import add_eval_lmms
from genlip.cli.eval_mllm import add_questions
from genlip.cli.eval_perplexity import add_perplexity
from genlip.cli.eval_results import results_folder, store_and_say
from genlip.cli.eval_retrieval import add_retrieval
from genlip.cli.model_options import UsageError, add_encoder, add_model, load_encoder, model_name
from genlip.cli.parser import add_command, list_of
from genlip.evaluate.requirements import NEED_GENLIP, refusal

if TYPE_CHECKING:
    from genlip.encoder import Encoder
    from genlip.evaluate.result import Result

__all__ = ["add_eval"]

Advance = Callable[[int], None]
Measure = Callable[["Encoder", Advance], "Result"]

_CAPTIONED = "captioned images, as genlip data inspect opens them: scenes:1, shards/*.tar, captions_val2017.json, …"
_LABELLED = "images of classes: a folder of class folders, .parquet files, or an …-images-idx3-ubyte(.gz) file"
_SEGMENTED = "images with label maps: a folder with images/ and annotations/, ADE20K's images/validation, or scenes:1"
_ANY = "any images: captioned, of classes, or with label maps"
_OTHERS = (
    "; of other libraries timm:NAME, as in timm:vit_base_patch16_siglip_224, or transformers:FOLDER or transformers:ID; "
    "random: before any of them measures its architecture with new weights"
)


def add_eval(commands: Any) -> None:
    """Add `genlip eval` and its measurements."""
    parser = commands.add_parser(
        "eval",
        help="measure a model: captions, questions, perplexity, classes, probes, segmentation, attention, features, …",
    )
    inner = parser.add_subparsers(dest="measurement", required=True, metavar="NAME")
    own = (_captioning, _zero_shot, _probe, _segmentation, _readout, _attention, _features)
    for add in (*own, add_retrieval, add_questions, add_perplexity, add_eval_lmms):
        add(inner)


# -- the measurements: each adds its command and its options, and knows its Python call


def _captioning(inner: Any) -> None:
    parser = _add(
        inner, "captioning", _run_captioning, _CAPTIONED,
        "captions against true ones: exact match, BLEU-4, ROUGE-L, CIDEr-D, numbers read, picture gain",
        "  genlip eval captioning MODEL scenes:1\n  genlip eval captioning MODEL 'pages/*.tar' --transcription",
        images=500,
    )  # fmt: skip
    _add_captioned(parser)
    parser.add_argument("--prompt", help="text before the caption (default: as the model was trained)")
    parser.add_argument("--max-tokens", type=int, default=256, help="most tokens of a caption (default: 256)")
    parser.add_argument("--transcription", action="store_true", help="also character and word error rate")


def _run_captioning(args: argparse.Namespace) -> None:
    from genlip.evaluate.captioning.measure import CaptioningConfig, measure_captioning

    source = _captioned(args)
    config = CaptioningConfig(batch_size=args.batch_size, transcription=args.transcription, max_tokens=args.max_tokens)
    options: dict[str, Any] = {"model": model_name(args), "limit": args.limit, "partial": _partial(args)}
    _run(args, _number(args, source), lambda one, a: measure_captioning(one, source, config, advance=a, **options))


def _partial(args: argparse.Namespace) -> Path:
    """Where captions are stored until all are generated: two measurements at once must not share it."""
    same = ("run", "batch_size", "device", "threads", "transcription")  # captions do not change with these
    asked = {name: str(value) for name, value in vars(args).items() if name not in same}
    return results_folder(args) / f"captioning.{hashlib.sha256(repr(sorted(asked.items())).encode()).hexdigest()[:8]}.jsonl"


def _zero_shot(inner: Any) -> None:
    parser = _add(
        inner, "zero-shot", _run_zero_shot, _LABELLED,
        "classes by the likelihood of their names: no training, every candidate shares the image's cache",
        "  genlip eval zero-shot MODEL imagenet/val --classes LOC_synset_mapping.txt --template 'a photo of a {}'\n"
        "  genlip eval zero-shot MODEL t10k-images-idx3-ubyte.gz --classes fashion-mnist",
    )  # fmt: skip
    _add_classes(parser)
    parser.add_argument(
        "--template", action="append", metavar="TEXT",
        help="caption with {} for the class or {a} for it with its article, or a set: plain, name, photos, objects; several "
        "are averaged (default: a photo of {a})",
    )  # fmt: skip
    parser.add_argument("--without-picture", action="store_true", help="subtract each caption's score with a grey picture")
    parser.add_argument("--normalise", choices=("mean", "sum"), default="mean", help="over tokens (default: mean)")


def _run_zero_shot(args: argparse.Namespace) -> None:
    from genlip.data.datasets.opening import open_labelled
    from genlip.evaluate.zero_shot.measure import ZeroShotConfig, measure_zero_shot
    from genlip.evaluate.zero_shot.templates import chosen_templates

    if args.template:
        chosen_templates(args.template)  # refused before the model is loaded
    labelled = open_labelled(args.data, args.classes)
    config = ZeroShotConfig(batch_size=args.batch_size, normalise=args.normalise, without_picture=args.without_picture)
    if args.template:
        config = dataclasses.replace(config, templates=tuple(args.template))
    options: dict[str, Any] = {"model": model_name(args), "limit": args.limit}
    _run(args, _number(args, labelled), lambda one, a: measure_zero_shot(one, labelled, config, advance=a, **options))


def _probe(inner: Any) -> None:
    parser = _add(
        inner, "probe", _run_probe, _LABELLED,
        "a classifier on frozen features: attention pooling with a learned query, or the mean of the patches",
        "  genlip eval probe MODEL imagenet/val --train imagenet/train\n"
        "  genlip eval probe MODEL test.parquet --train train.parquet --pooling mean",
        batch=256,
    )  # fmt: skip
    _add_classes(parser)
    _add_training(parser, epochs=20)
    parser.add_argument("--pooling", choices=("attentive", "mean"), default="attentive", help="(default: attentive)")


def _run_probe(args: argparse.Namespace) -> None:
    from genlip.data.datasets.opening import open_labelled
    from genlip.evaluate.probe.measure import ProbeConfig, measure_probe

    train, test = (open_labelled(spec, args.classes) for spec in (args.train, args.data))
    config, options = ProbeConfig(pooling=args.pooling, **_training(args)), _kept(args)
    total = _number_trained(args, train, test)
    _run(args, total, lambda one, a: measure_probe(one, test, config, train=train, advance=a, **options))


def _segmentation(inner: Any) -> None:
    parser = _add(
        inner, "segmentation", _run_segmentation, _SEGMENTED,
        "a linear layer on frozen patch features, enlarged to pixels: mIoU",
        "  genlip eval segmentation MODEL scenes:1 --train scenes:0 --limit 2000\n"
        "  genlip eval segmentation MODEL ADEChallengeData2016/images/validation --train …/images/training",
        batch=16,
    )  # fmt: skip
    _add_classes(parser)
    _add_training(parser, epochs=10)


def _run_segmentation(args: argparse.Namespace) -> None:
    from genlip.data.datasets.segmented_opening import open_segmented
    from genlip.evaluate.segmentation.measure import SegmentationConfig, measure_segmentation

    train, test = (open_segmented(spec, args.classes) for spec in (args.train, args.data))
    config, options = SegmentationConfig(**_training(args)), _kept(args)
    total = _number_trained(args, train, test)
    _run(args, total, lambda one, a: measure_segmentation(one, test, config, train=train, advance=a, **options))


def _readout(inner: Any) -> None:
    parser = _add(
        inner, "readout", _run_readout, _ANY,
        "what each patch would say; where objects are known, whether their patches name them",
        "  genlip eval readout MODEL scenes:1\n\nOf image files at hand: genlip readout MODEL IMAGE --html page.html",
        images=200,
    )  # fmt: skip
    _add_any(parser)
    parser.add_argument("-k", type=int, default=5, help="words per patch (default: 5)")


def _run_readout(args: argparse.Namespace) -> None:
    from genlip.evaluate.readout.measure import measure_readout

    data, options = _any(args), {**_measured(args), "k": args.k}
    _run(args, _number(args, data), lambda one, a: measure_readout(one, data, advance=a, **options))


def _attention(inner: Any) -> None:
    parser = _add(
        inner, "attention", _run_attention, _CAPTIONED,
        "where attention goes in each layer: to the first patch (the sink), from text to patches",
        "  genlip eval attention MODEL scenes:1",
        images=200, batch=16,
    )  # fmt: skip
    _add_captioned(parser)


def _run_attention(args: argparse.Namespace) -> None:
    from genlip.evaluate.attention.measure import measure_attention

    source, options = _captioned(args), _measured(args)
    _run(args, _number(args, source), lambda one, a: measure_attention(one, source, advance=a, **options))


def _features(inner: Any) -> None:
    parser = _add(
        inner, "features", _run_features, _ANY,
        "patch features as pictures: principal components as colours, nearest patches, norms",
        "  genlip eval features MODEL photos.jsonl --limit 24",
        images=24,
    )  # fmt: skip
    _add_any(parser)


def _run_features(args: argparse.Namespace) -> None:
    from genlip.evaluate.features.measure import measure_features

    data, options = _any(args), _measured(args)
    _run(args, _number(args, data), lambda one, a: measure_features(one, data, advance=a, **options))


# -- options that measurements share


def _add(
    inner: Any, name: str, run: Any, data: str, summary: str, example: str,
    images: int | None = None, batch: int = 64,
) -> argparse.ArgumentParser:  # fmt: skip
    folder = name.replace("-", "_")
    train = ", train=TRAIN" if name in ("probe", "segmentation") else ""
    call = f"python: genlip.measure_{folder}(genlip.Speaker.load(MODEL), DATA{train})"
    parser: argparse.ArgumentParser = add_command(inner, name, run, summary, f"{example}\n\n{call}")
    others = "" if name in NEED_GENLIP else _OTHERS
    parser.add_argument("model", metavar="MODEL", help=f"folder of a model, or its id on the Hugging Face Hub{others}")
    parser.add_argument("data", metavar="DATA", help=data)
    number = "all" if images is None else str(images)
    parser.add_argument("--limit", type=int, default=images, help=f"how many, from all over the set (default: {number})")
    add_model(parser, batch)
    if others:
        add_encoder(parser)
    parser.add_argument("--out", help="folder of evaluations (default: evaluations in the model's folder)")
    parser.add_argument("--sizes", type=_INTEGERS, default=(), help="a curve over fixed sizes in pixels, as in 64,96,128")
    parser.add_argument(
        "--budgets", type=_INTEGERS, default=(), help="a curve over most patches of native images: 16,64,256"
    )
    return parser


def _add_captioned(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--fields", default="", help="where captions are, as in re_caption=0.8,org_caption=0.2")
    parser.add_argument("--image-folder", default="", help="where the images of a COCO-style .json lie")
    parser.add_argument(
        "--allow-outside", action="store_true", help="read images that a table names outside its folder, if you trust it"
    )


def _add_any(parser: argparse.ArgumentParser) -> None:
    _add_captioned(parser)
    _add_classes(parser)


def _add_classes(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--classes", default="", help="names of classes: a text file, a list as in cat,dog, or fashion-mnist or digits"
    )


def _add_training(parser: argparse.ArgumentParser, epochs: int) -> None:
    parser.add_argument("--train", required=True, metavar="DATA", help="the set to train on, of the same form")
    parser.add_argument("--epochs", type=int, default=epochs, help=f"(default: {epochs})")
    parser.add_argument("--learning-rates", type=_RATES, help="compared on a part of the training set, as in 1e-3,1e-2")
    parser.add_argument(
        "--seed",
        type=int,
        default=0,
        help="of the order, the first weights, and the weights of a random: model (default: 0)",
    )
    parser.add_argument("--cache", help="folder that keeps features (default: features in genlip's cache)")


def _training(args: argparse.Namespace) -> dict[str, Any]:
    """Fields of a `HeadConfig`."""
    given = {"epochs": args.epochs, "batch_size": args.batch_size, "seed": args.seed}
    return given | ({"learning_rates": args.learning_rates} if args.learning_rates else {})


def _kept(args: argparse.Namespace) -> dict[str, Any]:
    """What both measurements with a training set are called with, besides their config."""
    from genlip.data.sources.cache import cache_folder

    cache = Path(args.cache) if args.cache else cache_folder() / "features"
    return {"model": model_name(args), "limit": args.limit, "cache": cache}


_INTEGERS = list_of(int, "whole numbers with commas between, as in 64,96")
_RATES = list_of(float, "numbers with commas between, as in 1e-3,1e-2")


# -- data sets


def _captioned(args: argparse.Namespace) -> Any:
    from genlip.data.sources import open_source

    return open_source(args.data, args.fields, args.image_folder, args.allow_outside)


def _any(args: argparse.Namespace) -> Any:
    """Images whose objects are known, if they are; else images of whatever set."""
    from genlip.data.datasets.any_images import open_any

    return open_any(args.data, args.classes, args.fields, args.image_folder, args.allow_outside)


def _measured(args: argparse.Namespace) -> dict[str, Any]:
    """What measurements without a config are called with."""
    return {"model": model_name(args), "limit": args.limit, "batch_size": args.batch_size}


def _number(args: argparse.Namespace, data: Any) -> int:
    """Images that are measured on."""
    if args.limit is not None and args.limit < 1:
        raise UsageError(f"--limit is {args.limit}: it must be at least 1")
    return len(data) if args.limit is None else min(args.limit, len(data))


def _number_trained(args: argparse.Namespace, train: Any, test: Any) -> int:
    """Images that are encoded, of both sets, and trained on in all epochs, where a tenth of one set is held out."""
    from genlip.evaluate.frozen.head_training import number_held_out

    of_train = _number(args, train)
    return of_train + _number(args, test) + args.epochs * (of_train - number_held_out(of_train, 0.1))


# -- running


def _run(args: argparse.Namespace, total: int, measure: Measure) -> None:
    """Measure with progress, store the result, and print the scores."""
    from genlip.encoders.names import is_genlip
    from genlip.evaluate.resolution.measure import measure_resolution
    from genlip.progress import progress
    from genlip.threads import Threads

    if args.measurement in NEED_GENLIP and not is_genlip(args.model):
        raise UsageError(refusal(args.measurement, args.model))
    results_folder(args)  # refused before the model is loaded
    encoder = load_encoder(args)
    points = max(1, len(args.sizes) + len(args.budgets))
    shown = progress(f"{args.measurement} of {args.data}", total * points)
    with Threads(args.threads, encoder.device) as threads, shown as show:

        def advance(images: int) -> None:
            show(images)
            threads.advance(images)

        if args.sizes or args.budgets:
            curve = lambda one: measure(one, advance)  # noqa: E731
            result = measure_resolution(curve, encoder, sizes=args.sizes, max_patches=args.budgets)
        else:
            result = measure(encoder, advance)
    store_and_say(args, result)
