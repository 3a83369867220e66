"""The command line of images: `genlip caption | encode | readout`.

In: a model and image files. Out: captions, features, patch words. An image that cannot be used is told and passed over.
Each image is resized as it is decoded, and each record is on the disk before the next batch.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from genlip.cli_model import UsageError, add_model, check_folder, load_speaker
from genlip.model.writing import naming, write_whole
from genlip.terminal import complain, say

if TYPE_CHECKING:
    from torch import Tensor

    from genlip.speaker import Speaker

__all__ = ["add_caption", "add_encode", "add_readout"]

Work = Callable[[Sequence[Any]], Sequence[Any]]  # prepared images -> a result each
Record = dict[str, Any]

_ON_A_PAGE = 200  # images of a page of readouts: a browser holds all of it


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
    _check_output(args)
    images, speaker = _images(args.images), load_speaker(args)
    if len(images) == 1 and not args.out and sys.stdout.isatty():
        from genlip.threads import Threads

        with Threads(args.threads, speaker.model.device):
            for piece in speaker.stream(images[0], **decoding):
                say(piece, end="")
        say("")
        return 0

    def describe(batch: Sequence[Any]) -> list[Record]:
        return [{"caption": text} for text in speaker.caption(batch, args.batch, **decoding)]

    def show(record: Record) -> None:
        if not args.out:
            say(_caption_line(record, len(images) == 1))

    return _each(args, speaker, images, describe, show)


def _caption_line(record: Record, alone: bool) -> str:
    return record["caption"] if alone else f"{record['path']}: {record['caption']}"


def add_encode(commands: Any, command: Callable[..., Any]) -> None:
    """Add `genlip encode`; `command` adds one to a parser."""
    summary = "write the features of every patch of images"
    example = "  genlip encode MODEL photos/ --out features.safetensors\n\npython: genlip.Speaker.load(MODEL).encode(paths)"
    parser = command(commands, "encode", _encode, summary, example)
    out = "file of features [patches, D], grids [images, 2] and paths: .safetensors (paths in its metadata) or .npz"
    _add_model_and_images(parser, out, ("int8",))
    parser.set_defaults(out="features.safetensors")


def _encode(args: argparse.Namespace, rest: list[str]) -> int:
    import torch

    write = _WRITERS.get(Path(args.out).suffix.lower())
    if write is None:
        raise UsageError(f"--out {args.out}: features are written as .safetensors or .npz; end its name in one of them")
    _check_output(args)
    images, speaker = _images(args.images), load_speaker(args)
    found: list[tuple[str, Any]] = []
    for path, result in _in_batches(args, speaker, images, partial(speaker.encode, batch=args.batch)):
        if isinstance(result, str):
            complain(result)
        else:
            found.append((path, result._replace(patches=result.patches.cpu())))
    if found:
        dtype = torch.float32 if args.dtype == "auto" else found[0][1].patches.dtype  # NumPy reads no bfloat16
        grids = torch.tensor([features.grid for _, features in found])
        rows = torch.cat([features.patches for _, features in found]).to(dtype).contiguous()
        with write_whole(args.out) as file:
            write(file, rows, grids, [path for path, _ in found])
        say(f"{args.out}: {len(found)} images, {len(rows)} patches of {rows.shape[1]} numbers")
    return _failures(len(images) - len(found), len(images))


def _write_safetensors(file: Path, rows: Tensor, grids: Tensor, paths: list[str]) -> None:
    from safetensors.torch import save_file

    save_file({"features": rows, "grids": grids}, file, metadata={"paths": json.dumps(paths)})


def _write_npz(file: Path, rows: Tensor, grids: Tensor, paths: list[str]) -> None:
    """Nothing in it needs a pickle; NumPy has no bfloat16."""
    import numpy as np

    with file.open("wb") as opened:  # given a name, NumPy would add a suffix
        np.savez(opened, features=rows.float().numpy(), grids=grids.numpy(), paths=np.array(paths))


_WRITERS = {"": _write_safetensors, ".safetensors": _write_safetensors, ".npz": _write_npz}


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
    parser.add_argument("--html", help="write a page, where each patch shows its words when pointed at")


def _readout(args: argparse.Namespace, rest: list[str]) -> int:
    from genlip.evaluate.readout.page import words_page, words_section
    from genlip.report.html import Section
    from genlip.speaker import PatchWords

    _check_output(args)
    images, speaker, sections = _images(args.images), load_speaker(args), list[Section]()
    if args.html and len(images) > _ON_A_PAGE:
        raise UsageError(f"--html {args.html}: {len(images)} images, a page holds {_ON_A_PAGE}; name fewer, or use --out")

    def read(batch: Sequence[Any]) -> list[Record]:
        return [{"grid": grid, "words": words} for grid, words in speaker.readout(batch, args.k, args.batch)]

    def show(record: Record) -> None:
        if args.html:
            said = PatchWords(record["grid"], record["words"])
            sections.append(words_section(Path(record["path"]).name, record["path"], said, speaker.images.max_pixels))
        elif not args.out:
            say(_words_lines(record, len(images) == 1))

    status = _each(args, speaker, images, read, show)
    if sections:
        with write_whole(args.html) as file:
            file.write_text(words_page(sections), encoding="utf8")
        say(f"page: {args.html}")
    return status


def _words_lines(record: Record, alone: bool) -> str:
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


def _check_output(args: argparse.Namespace) -> None:
    """Refuse images and outputs that cannot be used, before any work is done."""
    from genlip.data.images import refuse_url

    files = {"--out": args.out, "--html": getattr(args, "html", None)}
    for option, file in files.items():
        if file:
            check_folder(option, file)
            if Path(file).is_dir():
                raise UsageError(f"{option} {file}: is a folder; name a file")
    for name in args.images:
        refuse_url(name)


def _images(patterns: Iterable[str]) -> list[str]:
    """The image files that files, folders and globs name, in order, each once."""
    from genlip.data.walk import image_files

    found, left_out = image_files(patterns)
    for note in left_out:
        print(f"genlip: {note}", file=sys.stderr)
    return found


def _in_batches(args: argparse.Namespace, speaker: Speaker, images: Sequence[str], work: Work) -> Iterator[tuple[str, Any]]:
    """(path, result) of every image, in order; the result is a message where the image cannot be used."""
    from genlip.data.images import ImageError
    from genlip.threads import Threads

    if args.batch < 1:
        raise UsageError(f"--batch is {args.batch}: it must be at least 1")
    with Threads(args.threads, speaker.model.device) as threads:
        for start in range(0, len(images), args.batch):
            prepared: dict[str, Any] = {}
            faults: dict[str, str] = {}
            for path in images[start : start + args.batch]:
                try:
                    prepared[path] = speaker.prepare(path)
                except ImageError as error:
                    faults[path] = str(error)
            done = dict(zip(prepared, work(list(prepared.values())), strict=True))
            threads.advance(len(prepared))
            yield from ((path, faults.get(path) or done[path]) for path in images[start : start + args.batch])


def _each(args: argparse.Namespace, speaker: Speaker, images: list[str], work: Work, show: Callable[[Record], None]) -> int:
    """Work on all images; write records to --out, and show those of images that can be used."""
    failed = 0
    with _records(args.out) as write:
        for path, result in _in_batches(args, speaker, images, work):
            if isinstance(result, str):
                failed += 1
                complain(result)
                write({"path": path, "error": result})
            else:
                record = {"path": path, **result}
                write(record)
                show(record)
    return _failures(failed, len(images))


@contextmanager
def _records(path: str | None) -> Iterator[Callable[[Record], None]]:
    """Gives the function that writes a record as a line of JSON, at once; it does nothing where there is no file."""
    if path is None:
        yield lambda record: None
        return
    # What is no UTF-8 in a name becomes \\udcXX, which JSON reads back to the very name.
    with naming(path), Path(path).open("w", encoding="utf8", errors="backslashreplace") as file:

        def write(record: Record) -> None:
            file.write(json.dumps(record, ensure_ascii=False) + "\n")
            file.flush()

        yield write


def _failures(failed: int, total: int) -> int:
    if failed and total > 1:
        complain(f"{failed} of {total} images could not be used")
    return 1 if failed else 0
