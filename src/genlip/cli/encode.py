"""The command `genlip encode`: features of images.

In: a model and image files. Out: a file of features, one row per patch.
"""

from __future__ import annotations

import argparse
import json
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from genlip.cli.images import add_model_and_images, check_output, failures, find_images, in_batches
from genlip.cli.model_options import UsageError, load_speaker
from genlip.cli.parser import add_command
from genlip.model.writing import write_whole
from genlip.terminal import complain, say

if TYPE_CHECKING:
    from torch import Tensor

__all__ = ["add_encode"]


def add_encode(commands: Any) -> None:
    """Add `genlip encode`."""
    summary = "write the features of every patch of images"
    example = "  genlip encode MODEL photos/ --out features.safetensors\n\npython: genlip.Speaker.load(MODEL).encode(paths)"
    parser = add_command(commands, "encode", _encode, summary, example)
    out = "file of features [patches, D], grids [images, 2] and paths: .safetensors (paths in its metadata) or .npz"
    add_model_and_images(parser, out, ("int8",))
    parser.set_defaults(out="features.safetensors")


def _encode(args: argparse.Namespace) -> int:
    import torch

    write = _WRITERS.get(Path(args.out).suffix.lower())
    if write is None:
        raise UsageError(f"--out {args.out}: features are written as .safetensors or .npz; the name must end in one of them")
    check_output(args)
    images, speaker = find_images(args.images), load_speaker(args)
    found: list[tuple[str, Any]] = []
    for path, result in in_batches(args, speaker, images, partial(speaker.encode, batch_size=args.batch_size)):
        if isinstance(result, str):
            complain(result)
        else:
            found.append((path, result._replace(patches=result.patches.cpu())))
    if found:
        dtype = torch.float32 if args.dtype == "auto" else found[0][1].patches.dtype  # NumPy has no bfloat16
        grids = torch.tensor([features.grid for _, features in found])
        rows = torch.cat([features.patches for _, features in found]).to(dtype).contiguous()
        with write_whole(args.out) as file:
            write(file, rows, grids, [path for path, _ in found])
        say(f"{args.out}: {len(found)} images, {len(rows)} patches of {rows.shape[1]} numbers")
    return failures(len(images) - len(found), len(images))


def _write_safetensors(file: Path, rows: Tensor, grids: Tensor, paths: list[str]) -> None:
    from safetensors.torch import save_file

    save_file({"features": rows, "grids": grids}, file, metadata={"paths": json.dumps(paths)})


def _write_npz(file: Path, rows: Tensor, grids: Tensor, paths: list[str]) -> None:
    """Write arrays that load without pickle, in float32, since NumPy has no bfloat16."""
    import numpy as np

    with file.open("wb") as opened:  # an open file, since NumPy would add a suffix to a name
        np.savez(opened, features=rows.float().numpy(), grids=grids.numpy(), paths=np.array(paths))


_WRITERS = {"": _write_safetensors, ".safetensors": _write_safetensors, ".npz": _write_npz}
