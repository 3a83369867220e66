"""Image files on the command line, for `genlip caption`, `read`, `encode` and `readout`.

In: a model and image files. Out: a result for each image, in order. An image that cannot be used is named and skipped. Each
image is resized when it is decoded, and the records of a batch are written to disk before the next batch.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from genlip.cli.model_options import UsageError, add_model, check_folder
from genlip.model.writing import naming
from genlip.terminal import complain

if TYPE_CHECKING:
    from genlip.speaker import Speaker

__all__ = [
    "Record", "add_model_and_images", "check_batch_size", "check_output", "failures", "find_images", "for_each_image",
    "in_batches", "records",
]  # fmt: skip

Work = Callable[[Sequence[Any]], Sequence[Any]]  # prepared images -> a result for each
Record = dict[str, Any]  # fields of a line of JSON


def add_model_and_images(parser: argparse.ArgumentParser, out: str, more_dtypes: tuple[str, ...] = ()) -> None:
    """Add MODEL, IMAGE …, --out with the help text `out`, and the options of `load_speaker`."""
    parser.add_argument("model", metavar="MODEL", help="folder of a model, or its id on the Hugging Face Hub")
    parser.add_argument("images", metavar="IMAGE", nargs="+", help="image files, folders of them, or globs")
    parser.add_argument("--out", help=out)
    add_model(parser, 16, more_dtypes)


def check_output(args: argparse.Namespace) -> None:
    """Refuse unusable images and outputs before any work is done."""
    from genlip.data.images import refuse_url

    files = {"--out": args.out, "--html": getattr(args, "html", None)}
    for option, file in files.items():
        if file:
            check_folder(option, file)
            if Path(file).is_dir():
                raise UsageError(f"{option} {file}: is a folder; name a file")
    for name in args.images:
        refuse_url(name)


def find_images(patterns: Iterable[str]) -> list[str]:
    """The image files of these names, folders and globs, in order, without repetition."""
    from genlip.data.file_search import image_files

    found, left_out = image_files(patterns)
    for note in left_out:
        print(f"genlip: {note}", file=sys.stderr)
    return found


def check_batch_size(args: argparse.Namespace) -> None:
    """Refuse an impossible --batch-size."""
    if args.batch_size < 1:
        raise UsageError(f"--batch-size is {args.batch_size}: it must be at least 1")


def in_batches(args: argparse.Namespace, speaker: Speaker, images: Sequence[str], work: Work) -> Iterator[tuple[str, Any]]:
    """(path, result) of every image, in order; the result is a message if the image cannot be used."""
    from genlip.data.images import ImageError
    from genlip.threads import Threads

    check_batch_size(args)
    with Threads(args.threads, speaker.model.device) as threads:
        for start in range(0, len(images), args.batch_size):
            prepared: dict[str, Any] = {}
            faults: dict[str, str] = {}
            for path in images[start : start + args.batch_size]:
                try:
                    prepared[path] = speaker.prepare(path)
                except ImageError as error:
                    faults[path] = str(error)
            done = dict(zip(prepared, work(list(prepared.values())), strict=True))
            threads.advance(len(prepared))
            yield from ((path, faults.get(path) or done[path]) for path in images[start : start + args.batch_size])


def for_each_image(
    args: argparse.Namespace, speaker: Speaker, images: list[str], work: Work, show: Callable[[Record], None]
) -> int:
    """Process all images; write a record of each to --out, and show the records of usable images."""
    failed = 0
    with records(args.out) as write:
        for path, result in in_batches(args, speaker, images, work):
            if isinstance(result, str):
                failed += 1
                complain(result)
                write({"path": path, "error": result})
            else:
                record = {"path": path, **result}
                write(record)
                show(record)
    return failures(failed, len(images))


@contextmanager
def records(path: str | None) -> Iterator[Callable[[Record], None]]:
    """Yields a function that writes a record as a line of JSON and flushes; without a file, it does nothing."""
    if path is None:
        yield lambda record: None
        return
    # A byte of a name that is not UTF-8 becomes \\udcXX, from which JSON restores the same name.
    with naming(path), Path(path).open("w", encoding="utf8", errors="backslashreplace") as file:

        def write(record: Record) -> None:
            file.write(json.dumps(record, ensure_ascii=False) + "\n")
            file.flush()

        yield write


def failures(failed: int, total: int) -> int:
    """Report the number of failed images, and return the exit status."""
    if failed and total > 1:
        complain(f"{failed} of {total} images could not be used")
    return 1 if failed else 0
