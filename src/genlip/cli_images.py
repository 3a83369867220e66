"""The command line of images: `genlip caption | encode | readout`.

In: a model and image files. Out: captions, features, patch words. An image that cannot be used is told and passed over.
"""

from __future__ import annotations

import argparse
import glob
import json
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, TextIO

from genlip.cli_model import UsageError, add_model, check_folder, load_speaker
from genlip.terminal import complain, say

if TYPE_CHECKING:
    from genlip.speaker import Speaker

__all__ = ["add_caption", "add_encode", "add_readout"]

Work = Callable[[Sequence[Any]], Sequence[Any]]  # decoded images -> a result each


def add_caption(commands: Any, command: Callable[..., Any]) -> None:
    """Add `genlip caption`; `command` adds one to a parser."""
    summary = "describe images"
    example = (
        "  genlip caption runs/quickstart/model photo.jpg\n  genlip caption MODEL photos/ '*.png' --out captions.jsonl\n"
    )
    parser = command(
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
            say(piece, end="")
        say("")
        return 0

    def describe(batch: Sequence[Any]) -> list[dict[str, Any]]:
        return [{"caption": text} for text in speaker.caption(batch, args.batch, **decoding)]

    return _each(args, speaker, images, describe, _say_caption)


def _say_caption(record: dict[str, Any], alone: bool) -> str:
    return record["caption"] if alone else f"{record['path']}: {record['caption']}"


def add_encode(commands: Any, command: Callable[..., Any]) -> None:
    """Add `genlip encode`; `command` adds one to a parser."""
    summary = "write the features of every patch of images"
    example = "  genlip encode MODEL photos/ --out features.safetensors\n\npython: genlip.Speaker.load(MODEL).encode(paths)"
    parser = command(commands, "encode", _encode, summary, example)
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
            complain(result)
        else:
            found.append((path, result._replace(patches=result.patches.cpu())))
    if found:
        grids = torch.tensor([features.grid for _, features in found])
        rows = torch.cat([features.patches for _, features in found]).contiguous()
        names = json.dumps([path for path, _ in found])
        save_file({"features": rows, "grids": grids}, args.out, metadata={"paths": names})
        say(f"{args.out}: {len(found)} images, {len(rows)} patches of {rows.shape[1]} numbers")
    return _failures(failed, len(images))


def add_readout(commands: Any, command: Callable[..., Any]) -> None:
    """Add `genlip readout`; `command` adds one to a parser."""
    summary = "show which words each patch of an image would say"
    example = (
        "  genlip readout MODEL photo.jpg -k 3\n  genlip readout MODEL photos/ --html readout.html\n\n"
        "How well patches name objects that are known: genlip eval readout MODEL scenes:1\n\n"
        'python: genlip.Speaker.load(MODEL).readout(["photo.jpg"], k=5)'
    )
    parser = command(commands, "readout", _readout, summary, example)
    _add_model_and_images(parser, "one JSON object a line: path, grid and the k words of every patch")
    parser.add_argument("-k", type=int, default=5, help="words per patch (default: 5); the terminal shows the likeliest")
    parser.add_argument("--html", help="write a page instead, where each patch shows its words when pointed at")


def _readout(args: argparse.Namespace, rest: list[str]) -> int:
    if args.html:
        check_folder("--html", args.html)
    images, speaker = _images(args.images), _speaker(args)
    if args.html:
        from genlip.evaluate.readout import readout_page

        Path(args.html).write_text(readout_page(speaker, images, args.k), encoding="utf8")
        say(f"page: {args.html}")
        return 0

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
    add_model(parser, 16, more_dtypes)


def _speaker(args: argparse.Namespace) -> Speaker:
    if args.out:
        check_folder("--out", args.out)
    return load_speaker(args)


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


def _each(args: argparse.Namespace, speaker: Speaker, images: list[str], work: Work, words: Any) -> int:
    """Work on all images; write records to --out or say them."""
    failed = 0
    with _output(args.out) as out:
        for path, result in _in_batches(speaker, images, args.batch, work):
            if isinstance(result, str):
                failed += 1
                complain(result)
                record = {"path": path, "error": result}
            else:
                record = {"path": path, **result}
            if args.out:
                out.write(json.dumps(record, ensure_ascii=False) + "\n")
            elif "error" not in record:
                say(words(record, len(images) == 1))
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
        complain(f"{failed} of {total} images could not be used")
    return 1 if failed else 0
