"""Options that load a model, which the commands on images and on sets share.

In: arguments. Out: a `Speaker`, or an `Encoder` of another library, on the device and in the precision asked for.
"""

from __future__ import annotations

import argparse
import dataclasses
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import torch

    from genlip.data.images import ImageConfig
    from genlip.encoder import Encoder
    from genlip.speaker import Speaker

__all__ = [
    "UsageError", "add_device", "add_encoder", "add_model", "check_folder", "load_encoder", "load_speaker", "model_name",
    "placed", "say_precision",
]  # fmt: skip

_OF_TEXT = ("tokenizer", "prompt")  # options of models that generate text


class UsageError(ValueError):
    """Arguments that cannot be carried out."""


def add_model(parser: argparse.ArgumentParser, batch: int, more_dtypes: tuple[str, ...] = ()) -> None:
    """Add the options of `load_speaker`, and --batch-size with its default; `more_dtypes` may be "int8"."""
    add_device(parser, batch, more_dtypes)
    parser.add_argument("--revision", help="branch, tag or commit on the Hub")
    parser.add_argument("--tokenizer", help="tokenizer.json, folder or Hub id, if the model's folder has none")
    parser.add_argument(
        "--resize", choices=("fixed", "native"), help="fixed size or own aspect ratio (default: the model's)"
    )
    parser.add_argument("--size", type=int, help="side of an image of fixed size, in pixels (default: the model's)")
    parser.add_argument("--max-patches", type=int, help="most patches of a native image (default: the model's)")


def add_device(parser: argparse.ArgumentParser, batch: int, more_dtypes: tuple[str, ...] = (), what: str = "images") -> None:
    """Add the options of any model: the device, the threads, the precision, and `what` is read at a time."""
    parser.add_argument("--batch-size", type=int, default=batch, help=f"{what} at a time (default: {batch})")
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


def add_encoder(parser: argparse.ArgumentParser) -> None:
    """Add the options of models of other libraries, for `load_encoder`."""
    parser.add_argument(
        "--checkpoint",
        help="weights of a timm:NAME.TAG model, a .safetensors file; images are prepared as for the published weights of "
        "TAG (default: timm's weights, from the Hub)",
    )
    parser.add_argument(
        "--squash",
        action="store_true",
        help="resize whole images to a square, for a timm: or transformers: model that crops",
    )
    parser.add_argument(
        "--interpolate-positions", action="store_true",
        help="resample learned positions, for a timm: or transformers: model at another --size than its own",
    )  # fmt: skip


def model_name(args: argparse.Namespace) -> str:
    """What results call the model, which is the name of its encoder: as it was spelled, with its checkpoint and squash."""
    from genlip.encoders.tower import name_with_choices

    checkpoint = getattr(args, "checkpoint", None)
    return name_with_choices(f"{args.model}@{checkpoint}" if checkpoint else str(args.model), getattr(args, "squash", False))


def load_encoder(args: argparse.Namespace) -> Encoder:
    """The model that the options ask for, of whatever library. Raises `UsageError` for options that it does not have.

    New weights ("random:" before the name) follow from --seed, or from seed 0 where there is no such option.
    """
    import torch

    from genlip.encoders import open_encoder
    from genlip.encoders.names import is_genlip
    from genlip.speaker import Speaker

    _check_options(args)
    if is_genlip(args.model):
        return load_speaker(args)
    device, dtype = placed(args)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(getattr(args, "seed", 0))
        encoder = open_encoder(
            args.model,
            images=_tower_images(args),
            checkpoint=args.checkpoint or "",
            squash=args.squash,
            interpolate_positions=args.interpolate_positions,
            revision=args.revision,
            device=device,
            dtype=dtype,
        )
    if isinstance(encoder, Speaker):
        encoder.images = dataclasses.replace(encoder.images, **_image_settings(args))
    say_precision(args, dtype)
    return encoder


def _check_options(args: argparse.Namespace) -> None:
    """Raise `UsageError` for options that the model does not have."""
    from genlip.encoders.names import is_genlip, library_of, split_random

    library, checkpoint = library_of(args.model)[0], getattr(args, "checkpoint", None)
    if checkpoint and library != "timm":
        raise UsageError(
            f"--checkpoint {checkpoint}: only a model of timm takes one, as in timm:vit_base_patch16_siglip_224.webli"
        )
    if checkpoint and split_random(args.model)[0]:
        raise UsageError(f"--checkpoint {checkpoint}: {args.model} asks for new weights; leave one of both out")
    if not library:
        for option in ("squash", "interpolate_positions"):
            if getattr(args, option, False):
                raise UsageError(f"--{option.replace('_', '-')}: only a timm: or transformers: model takes it")
    if is_genlip(args.model):
        return
    refused = [*_OF_TEXT, *(["resize"] if library else []), *(["revision"] if library == "timm" else [])]
    for option in refused:
        if getattr(args, option, None) is not None:
            raise UsageError(f"--{option}: {args.model} has no such option")


def _image_settings(args: argparse.Namespace) -> dict[str, Any]:
    """The fields of `ImageConfig` that are given."""
    return {name: getattr(args, name) for name in ("resize", "size", "max_patches") if getattr(args, name) is not None}


def _tower_images(args: argparse.Namespace) -> ImageConfig | None:
    """The images of a timm or Transformers model, where options say how it reads them."""
    from genlip.data.images import ImageConfig
    from genlip.encoders.names import library_of

    if not library_of(args.model)[0] or (args.size is None and args.max_patches is None):
        return None
    if args.max_patches is None:
        return ImageConfig(size=args.size)
    if args.size is None:
        return ImageConfig(resize="native", min_patches=1, max_patches=args.max_patches)
    raise UsageError(f"--size {args.size} and --max-patches {args.max_patches}: {args.model} takes one of both")


def load_speaker(args: argparse.Namespace) -> Speaker:
    """The model of genlip that the options ask for. Raises `UsageError` for a device that is not there."""
    from genlip.encoders.names import check_genlip
    from genlip.model.quantize import quantize_encoder
    from genlip.speaker import Speaker

    check_genlip(args.model)
    device, dtype = placed(args)
    speaker = Speaker.load(
        args.model,
        device=device,
        dtype=dtype,
        revision=args.revision,
        tokenizer=args.tokenizer,
        prompt=getattr(args, "prompt", None),
        **_image_settings(args),
    )
    if args.dtype == "int8":
        quantize_encoder(speaker.model)
    say_precision(args, dtype)
    return speaker


def placed(args: argparse.Namespace) -> tuple[torch.device, torch.dtype]:
    """The device and the precision that the options ask for. Raises `UsageError` for a device that is not there."""
    import torch

    from genlip.train.precision import resolve_precision

    _check_device(args.device)
    in_8_bits = args.dtype == "int8"
    device = torch.device(args.device or ("cuda" if torch.cuda.is_available() and not in_8_bits else "cpu"))
    precision = resolve_precision("auto", device) if args.dtype == "auto" else "float32" if in_8_bits else args.dtype
    return device, getattr(torch, precision)


def say_precision(args: argparse.Namespace, dtype: torch.dtype) -> None:
    """Once a model is loaded: say that the chosen precision is not exact."""
    if args.dtype == "auto" and str(dtype) == "torch.bfloat16":
        print("computing in bfloat16, which is faster on this machine; --dtype float32 is exact", file=sys.stderr)


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
