"""The command line: `genlip quickstart | train | caption | encode | readout | data | plan | report | export | push`.

In: arguments. Out: text, files, and an exit status. Every command is a thin layer over one documented Python call.
Heavy imports wait until a command runs, so that `--help` answers at once.
"""

from __future__ import annotations

import argparse
import glob
import json
import logging
import os
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, TextIO

import genlip
from genlip.cli_data import add_data
from genlip.cli_export import add_export
from genlip.cli_hub import add_push
from genlip.cli_plan import add_plan
from genlip.cli_report import add_report

if TYPE_CHECKING:
    from genlip.speaker import Speaker

__all__ = ["main"]

Work = Callable[[Sequence[Any]], Sequence[Any]]  # decoded images -> a result each


class UsageError(ValueError):
    """Arguments that cannot be carried out."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command and return its exit status; what goes wrong is one line on standard error."""
    args, rest = _parser().parse_known_args(arguments)
    logging.basicConfig(level=logging.WARNING, format="%(message)s", stream=sys.stderr)
    from genlip.export.extras import MissingExtra
    from genlip.train.loop import Interrupted, NonFinite

    try:
        if rest and not args.takes_overrides:
            raise UsageError(f"unknown argument {rest[0]}; see genlip {args.help_of} --help")
        return int(args.run(args, rest) or 0)
    except Interrupted as stop:
        if _leads():
            print(f"genlip: {stop}", file=sys.stderr)
        return 130
    except KeyboardInterrupt:
        return 130
    except BrokenPipeError:  # the reader of our output, such as head, has seen enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except (ValueError, OSError, MissingExtra, NonFinite) as error:  # bad input; programming errors keep their traceback
        print(f"genlip: {error}", file=sys.stderr)
        return 1


def _leads() -> bool:
    """Is this the process that speaks, of those that torchrun started?"""
    return os.environ.get("RANK", "0") == "0"


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="genlip",
        description="Vision encoders that learn by speaking: train one, let it describe images, use its features.",
        epilog="Start with: genlip quickstart",
    )
    parser.add_argument("--version", action="version", version=f"genlip {genlip.__version__}")
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    _add_quickstart(commands)
    _add_train(commands)
    _add_caption(commands)
    _add_encode(commands)
    _add_readout(commands)
    add_data(commands, _command)
    add_plan(commands, _command)
    add_report(commands, _command)
    add_export(commands, _command)
    add_push(commands, _command)
    return parser


def _command(commands: Any, name: str, run: Any, summary: str, example: str, takes_overrides: bool = False) -> Any:
    parser = commands.add_parser(
        name,
        help=summary,
        description=f"{summary[0].upper()}{summary[1:]}.",
        epilog=example,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.set_defaults(run=run, takes_overrides=takes_overrides, help_of=parser.prog.removeprefix("genlip "))
    return parser


def _add_quickstart(commands: Any) -> None:
    summary = "train a small model on procedural scenes within minutes, and write a page about it"
    settings = "Settings of the recipe can be replaced, as in --steps 300; see genlip train --help"
    example = f"{settings}\n\npython: genlip.quickstart.quickstart(out)"
    parser = _command(commands, "quickstart", _quickstart, summary, example, True)
    parser.add_argument("--out", default="runs/quickstart", help="folder of the run (default: runs/quickstart)")
    _add_resume(parser)


def _add_resume(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--resume", nargs="?", choices=("auto", "must", "never"), const="must", default="auto",
        help="go on with the run in the output folder: auto if there is one (default), must or never",
    )  # fmt: skip


def _quickstart(args: argparse.Namespace, rest: list[str]) -> None:
    from genlip.quickstart import quickstart
    from genlip.train.memory import keep_freed_memory

    keep_freed_memory()
    quickstart(args.out, rest, args.resume)


_TRAIN_EXAMPLE = """\
A recipe is a YAML file, or the name of one that comes with the package: {recipes}.
Every setting can be replaced on the command line by its path:

  genlip train quickstart --out runs/mine --data.source images/ --data.held_out "" --steps 2000
  genlip train my.yaml --optimizer.learning_rate 5e-4 --print-config

Settings, with their defaults:

{settings}

python: genlip.train.train(genlip.load_recipe("quickstart", ["--steps", "2000"]))"""


def _add_train(commands: Any) -> None:
    summary = "train a model by a recipe"
    parser = _command(commands, "train", _train, summary, "", takes_overrides=True)
    parser.format_help = lambda: _train_help(parser)
    parser.add_argument("recipe", metavar="RECIPE", help="name of a recipe, or a YAML file")
    _add_resume(parser)
    parser.add_argument("--print-config", action="store_true", help="print the resolved recipe as YAML and stop")


def _train_help(parser: argparse.ArgumentParser) -> str:
    from genlip.train.recipe import describe_settings, recipe_names

    parser.epilog = _TRAIN_EXAMPLE.format(recipes=", ".join(recipe_names()), settings=describe_settings())
    return argparse.ArgumentParser.format_help(parser)


def _train(args: argparse.Namespace, rest: list[str]) -> None:
    from genlip.train.loop import train
    from genlip.train.memory import keep_freed_memory
    from genlip.train.recipe import load_recipe, to_yaml

    keep_freed_memory()
    run = load_recipe(args.recipe, rest)
    if args.print_config:
        print(to_yaml(run), end="")
        return
    model = train(run, args.resume)
    if _leads():
        print(f"model: {model}")


def _add_caption(commands: Any) -> None:
    summary = "describe images"
    example = (
        "  genlip caption runs/quickstart/model photo.jpg\n  genlip caption MODEL photos/ '*.png' --out captions.jsonl\n"
    )
    parser = _command(
        commands, "caption", _caption, summary, example + '\npython: genlip.Speaker.load(MODEL).caption(["photo.jpg"])'
    )
    _add_model_and_images(parser, "one JSON object a line: path and caption, or path and error")
    parser.add_argument("--prompt", help="text before the caption (default: as the model was trained)")
    parser.add_argument("--max-tokens", type=int, default=256, help="most tokens of a caption (default: 256)")
    parser.add_argument("--temperature", type=float, default=0.0, help="0 is greedy, more is more adventurous (default: 0)")
    parser.add_argument("--top-k", type=int, default=0, help="sample among the k likeliest tokens; 0 for all (default)")
    parser.add_argument("--top-p", type=float, default=1.0, help="sample among the likeliest tokens of this total chance")
    parser.add_argument(
        "--repetition-stop", type=int, default=8, help="stop after this many repeats of a phrase; 0 never (default: 8)"
    )
    parser.add_argument("--seed", type=int, default=0, help="of the sampling (default: 0)")


def _caption(args: argparse.Namespace, rest: list[str]) -> int:
    names = ("max_tokens", "temperature", "top_k", "top_p", "repetition_stop", "seed")
    decoding = {name: getattr(args, name) for name in names}
    images, speaker = _images(args.images), _speaker(args)
    if len(images) == 1 and not args.out and sys.stdout.isatty():
        for piece in speaker.stream(images[0], **decoding):
            print(piece, end="", flush=True)
        print()
        return 0

    def describe(batch: Sequence[Any]) -> list[dict[str, Any]]:
        return [{"caption": text} for text in speaker.caption(batch, args.batch, **decoding)]

    return _each(args, speaker, images, describe, _say_caption)


def _say_caption(record: dict[str, Any], alone: bool) -> str:
    return record["caption"] if alone else f"{record['path']}: {record['caption']}"


def _add_encode(commands: Any) -> None:
    summary = "write the features of every patch of images"
    example = "  genlip encode MODEL photos/ --out features.safetensors\n\npython: genlip.Speaker.load(MODEL).encode(paths)"
    parser = _command(commands, "encode", _encode, summary, example)
    _add_model_and_images(
        parser, "safetensors file: features [patches, D], grids [images, 2], paths in the metadata", ("int8",)
    )
    parser.set_defaults(out="features.safetensors")


def _encode(args: argparse.Namespace, rest: list[str]) -> int:
    import torch
    from safetensors.torch import save_file

    images, speaker = _images(args.images), _speaker(args)
    found: list[tuple[str, Any]] = []
    failed = 0
    for path, result in _in_batches(speaker, images, args.batch, partial(speaker.encode, batch=args.batch)):
        if isinstance(result, str):
            failed += 1
            print(f"genlip: {result}", file=sys.stderr)
        else:
            found.append((path, result._replace(patches=result.patches.cpu())))
    if found:
        grids = torch.tensor([features.grid for _, features in found])
        rows = torch.cat([features.patches for _, features in found]).contiguous()
        names = json.dumps([path for path, _ in found])
        save_file({"features": rows, "grids": grids}, args.out, metadata={"paths": names})
        print(f"{args.out}: {len(found)} images, {len(rows)} patches of {rows.shape[1]} numbers")
    return _failures(failed, len(images))


def _add_readout(commands: Any) -> None:
    summary = "show which words each patch of an image would say"
    example = '  genlip readout MODEL photo.jpg -k 3\n\npython: genlip.Speaker.load(MODEL).readout(["photo.jpg"], k=5)'
    parser = _command(commands, "readout", _readout, summary, example)
    _add_model_and_images(parser, "one JSON object a line: path, grid and the k words of every patch")
    parser.add_argument("-k", type=int, default=5, help="words per patch (default: 5); the terminal shows the likeliest")


def _readout(args: argparse.Namespace, rest: list[str]) -> int:
    images, speaker = _images(args.images), _speaker(args)

    def read(batch: Sequence[Any]) -> list[dict[str, Any]]:
        return [{"grid": grid, "words": words} for grid, words in speaker.readout(batch, args.k, args.batch)]

    return _each(args, speaker, images, read, _say_readout)


def _say_readout(record: dict[str, Any], alone: bool) -> str:
    """The likeliest word of every patch, laid out as the patches lie."""
    _, columns = record["grid"]
    best = [words[0][0].strip() or repr(words[0][0]) for words in record["words"]]
    width = max(map(len, best)) + 2
    rows = ("".join(word.ljust(width) for word in best[i : i + columns]).rstrip() for i in range(0, len(best), columns))
    return "\n".join(([] if alone else [f"{record['path']}:"]) + list(rows))


def _add_model_and_images(parser: argparse.ArgumentParser, out: str, more_dtypes: tuple[str, ...] = ()) -> None:
    parser.add_argument("model", metavar="MODEL", help="folder of a model, or its id on the Hugging Face Hub")
    parser.add_argument("images", metavar="IMAGE", nargs="+", help="image files, folders of them, or globs")
    parser.add_argument("--out", help=out)
    parser.add_argument("--batch", type=int, default=16, help="images at a time (default: 16)")
    parser.add_argument("--device", default=None, help="cpu, cuda, … (default: cuda if there is one)")
    dtypes = ("float32", "bfloat16", *more_dtypes)
    note = "; int8: on a CPU, features then depend a little on the other images of a batch" if "int8" in dtypes else ""
    parser.add_argument("--dtype", choices=dtypes, default="float32", help=f"of the model (default: float32){note}")
    parser.add_argument("--revision", help="branch, tag or commit on the Hub")
    parser.add_argument("--tokenizer", help="tokenizer.json, folder or Hub id, if the model's folder has none")
    parser.add_argument(
        "--resize", choices=("fixed", "native"), help="fixed size or own aspect ratio (default: the model's)"
    )
    parser.add_argument("--size", type=int, help="side of an image of fixed size, in pixels (default: the model's)")
    parser.add_argument("--max-patches", type=int, help="most patches of a native image (default: the model's)")


def _speaker(args: argparse.Namespace) -> Speaker:
    import torch

    from genlip.model.quantize import quantize_encoder
    from genlip.speaker import Speaker

    _check_place(args)
    images = {name: getattr(args, name) for name in ("resize", "size", "max_patches") if getattr(args, name) is not None}
    in_8_bits = args.dtype == "int8"
    speaker = Speaker.load(
        args.model,
        device=args.device or ("cuda" if torch.cuda.is_available() and not in_8_bits else "cpu"),
        dtype=torch.float32 if in_8_bits else getattr(torch, args.dtype),
        revision=args.revision,
        tokenizer=args.tokenizer,
        prompt=getattr(args, "prompt", None),
        **images,
    )
    if in_8_bits:
        quantize_encoder(speaker.model)
    return speaker


def _check_place(args: argparse.Namespace) -> None:
    """Refuse a device or an output folder that is not there before any work is done."""
    import torch

    try:
        torch.empty(0, device=args.device)
    except (RuntimeError, AssertionError) as error:
        raise UsageError(f"--device {args.device}: {str(error).splitlines()[0]}") from None
    if args.out and not Path(args.out).absolute().parent.is_dir():
        raise UsageError(f"--out {args.out}: no such folder {Path(args.out).absolute().parent}")


def _images(patterns: Iterable[str]) -> list[str]:
    """The image files that files, folders and globs name, in order, each once."""
    from genlip.data.images import IMAGE_SUFFIXES

    found: dict[str, None] = {}
    for pattern in patterns:
        if Path(pattern).is_dir():
            inside = [str(p) for p in sorted(Path(pattern).rglob("*")) if p.suffix.lower() in IMAGE_SUFFIXES]
        else:
            inside = [pattern] if Path(pattern).exists() else sorted(glob.glob(pattern, recursive=True))  # noqa: PTH207
        if not inside:
            raise UsageError(f"{pattern}: {'no images in this folder' if Path(pattern).is_dir() else 'no such file'}")
        found |= dict.fromkeys(inside)
    return list(found)


def _in_batches(speaker: Speaker, images: Sequence[str], size: int, work: Work) -> Iterator[tuple[str, Any]]:
    """(path, result) of every image, in order; the result is a message where the image cannot be used."""
    from genlip.data.images import ImageError, decode

    if size < 1:
        raise UsageError(f"--batch is {size}: it must be at least 1")
    for start in range(0, len(images), size):
        opened: dict[str, Any] = {}
        faults: dict[str, str] = {}
        for path in images[start : start + size]:
            try:
                opened[path] = decode(path, speaker.images.max_pixels)
            except ImageError as error:
                faults[path] = str(error)
        done = dict(zip(opened, work(list(opened.values())), strict=True))
        yield from ((path, faults.get(path) or done[path]) for path in images[start : start + size])


def _each(args: argparse.Namespace, speaker: Speaker, images: list[str], work: Work, say: Any) -> int:
    """Work on all images; write records to --out or say them."""
    failed = 0
    with _output(args.out) as out:
        for path, result in _in_batches(speaker, images, args.batch, work):
            if isinstance(result, str):
                failed += 1
                print(f"genlip: {result}", file=sys.stderr)
                record = {"path": path, "error": result}
            else:
                record = {"path": path, **result}
            if args.out:
                out.write(json.dumps(record, ensure_ascii=False) + "\n")
            elif "error" not in record:
                print(say(record, len(images) == 1), file=out, flush=True)
    return _failures(failed, len(images))


@contextmanager
def _output(path: str | None) -> Iterator[TextIO]:
    if path is None:
        yield sys.stdout
    else:
        with Path(path).open("w", encoding="utf8") as file:
            yield file


def _failures(failed: int, total: int) -> int:
    if failed and total > 1:
        print(f"genlip: {failed} of {total} images could not be used", file=sys.stderr)
    return 1 if failed else 0
