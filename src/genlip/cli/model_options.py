"""Options that load a model, which the commands on images and on sets share.

In: arguments. Out: a `Speaker`, on the device and in the precision asked for.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from genlip.speaker import Speaker

__all__ = ["UsageError", "add_model", "check_folder", "load_speaker"]


class UsageError(ValueError):
    """Arguments that cannot be carried out."""


def add_model(parser: argparse.ArgumentParser, batch: int, more_dtypes: tuple[str, ...] = ()) -> None:
    """Add the options of `load_speaker`, and --batch-size with its default; `more_dtypes` may be "int8"."""
    parser.add_argument("--batch-size", type=int, default=batch, help=f"images at a time (default: {batch})")
    parser.add_argument("--device", default=None, help="cpu, cuda, … (default: cuda if there is one)")
    parser.add_argument(
        "--threads",
        type=int,
        default=0,
        help="of PyTorch on a processor (default: 0, the number that is measured to be fastest)",
    )
    dtypes = ("auto", "float32", "bfloat16", *more_dtypes)
    note = "; int8: on a CPU, features then depend a little on the other images of a batch" if "int8" in dtypes else ""
    parser.add_argument(
        "--dtype", choices=dtypes, default="auto",
        help=f"in which the model computes (default: auto, bfloat16 where this machine multiplies it faster){note}",
    )  # fmt: skip
    parser.add_argument("--revision", help="branch, tag or commit on the Hub")
    parser.add_argument("--tokenizer", help="tokenizer.json, folder or Hub id, if the model's folder has none")
    parser.add_argument(
        "--resize", choices=("fixed", "native"), help="fixed size or own aspect ratio (default: the model's)"
    )
    parser.add_argument("--size", type=int, help="side of an image of fixed size, in pixels (default: the model's)")
    parser.add_argument("--max-patches", type=int, help="most patches of a native image (default: the model's)")


def load_speaker(args: argparse.Namespace) -> Speaker:
    """The model that the options ask for. Raises `UsageError` for a device that is not there."""
    import torch

    from genlip.model.quantize import quantize_encoder
    from genlip.speaker import Speaker
    from genlip.train.precision import resolve_precision

    _check_device(args.device)
    images = {name: getattr(args, name) for name in ("resize", "size", "max_patches") if getattr(args, name) is not None}
    in_8_bits = args.dtype == "int8"
    device = torch.device(args.device or ("cuda" if torch.cuda.is_available() and not in_8_bits else "cpu"))
    precision = resolve_precision("auto", device) if args.dtype == "auto" else "float32" if in_8_bits else args.dtype
    speaker = Speaker.load(
        args.model,
        device=device,
        dtype=getattr(torch, precision),
        revision=args.revision,
        tokenizer=args.tokenizer,
        prompt=getattr(args, "prompt", None),
        **images,
    )
    if in_8_bits:
        quantize_encoder(speaker.model)
    if args.dtype == "auto" and precision == "bfloat16":
        print(f"computing in bfloat16, which is faster on this {device.type}; --dtype float32 is exact", file=sys.stderr)
    return speaker


def check_folder(option: str, file: str) -> None:
    """Refuse a file whose folder is not there, before any work is done."""
    if not Path(file).absolute().parent.is_dir():
        raise UsageError(f"{option} {file}: no such folder {Path(file).absolute().parent}")


def _check_device(device: str | None) -> None:
    import torch

    try:
        torch.empty(0, device=device)
    except (RuntimeError, AssertionError) as error:
        raise UsageError(f"--device {device}: {str(error).splitlines()[0]}") from None
