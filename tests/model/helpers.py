"""What the model's tests share: small models, random packs, recorded outputs, and the method's rules as slow loops.

Nothing here calls the code that it is meant to check: a shape is (rows, columns, text tokens) of a sample, and every
slow version starts from shapes, never from a `Pack`.
"""

from __future__ import annotations

import cmath
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import torch
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from safetensors import safe_open
from safetensors.torch import load_file, save_file
from torch import Tensor
from torch.nn import Module

import genlip
from genlip.model.config import GenLIPConfig
from genlip.model.genlip import GenLIP
from genlip.model.pack import Pack, Sample

Shape = tuple[int, int, int]

GOLDEN = Path(__file__).parents[1] / "golden"
RECORDED = ("interleaved_projected", "interleaved_plain")

# For float64: what another order of summation may change, and no more.
EXACT = {"rtol": 1e-10, "atol": 1e-10}
# For float64 against angles by hand: the tables hold float32 frequencies, as the published model does.
FLOAT32_ANGLES = {"rtol": 1e-6, "atol": 1e-6}

VARIANTS: dict[str, dict[str, Any]] = {
    "default": {},
    "plain_mlp": {"use_swiglu_ffn": False, "hidden_act": "gelu"},
    "ungated": {"gated_attention": False},
    "no_layer_scale": {"ls_init_value": 0.0},
    "chunked": {"mrope_interleaved": False, "mrope_section": (1, 3, 2)},
    "projected": {"text_embed_dim": 10},
    "patch_2": {"patch_size": 2},
    "grey": {"num_channels": 1},
}

sample_shapes = st.tuples(st.integers(1, 4), st.integers(1, 5), st.integers(0, 6))
pack_shapes = st.lists(sample_shapes, min_size=1, max_size=5)
seeds = st.integers(0, 2**16)


def examples(number: int) -> settings:
    """So many examples, however slow the machine is."""
    return settings(max_examples=number, deadline=None, suppress_health_check=[HealthCheck.too_slow])


def small_config(**changes: Any) -> GenLIPConfig:
    """Two blocks of width 24, with 2 heads of dimension 12; images of 4x4 patches, 17 token ids."""
    small = {"hidden_size": 24, "intermediate_size": 20, "num_hidden_layers": 2, "num_attention_heads": 2}
    return GenLIPConfig(**{**small, "vocab_size": 17, "patch_size": 4, **changes})


def randomised(module: Module, seed: int = 0) -> Module:
    """In float64 and evaluation mode, every parameter random and large enough to make a leak visible."""
    generator = torch.Generator().manual_seed(seed)
    for parameter in module.double().parameters():
        parameter.data.normal_(std=0.4, generator=generator)
    return module.eval()


def small_model(**changes: Any) -> GenLIP:
    """The `randomised` model of a `small_config`."""
    return randomised(GenLIP(small_config(**changes)))


def random_samples(config: GenLIPConfig, shapes: Sequence[Shape], seed: int = 0) -> list[Sample]:
    """Normalised float64 patches, token ids, and about two supervised tokens in three."""
    random = np.random.default_rng(seed)
    return [
        Sample(
            patches=random.uniform(-1, 1, (rows * columns, config.patch_dim)),
            grid=(rows, columns),
            token_ids=random.integers(config.vocab_size, size=text),
            supervised=random.random(text) < 2 / 3,
        )
        for rows, columns, text in shapes
    ]


def random_pack(config: GenLIPConfig, shapes: Sequence[Shape], seed: int = 0) -> Pack:
    """A pack of `random_samples`."""
    return Pack.of(random_samples(config, shapes, seed))


def gradients(model: Module, loss: Tensor) -> dict[str, Tensor]:
    """The gradient of every parameter, zeros where the loss does not reach it."""
    names, parameters = zip(*model.named_parameters(), strict=True)
    return dict(zip(names, torch.autograd.grad(loss, parameters, materialize_grads=True), strict=True))


def rows_by_loop(shapes: Sequence[Shape]) -> list[tuple[int, int]]:
    """(sample, rank in the sample) of every row of a pack's buffer: all patches, then all text."""
    patches = [(i, k) for i, (rows, columns, _) in enumerate(shapes) for k in range(rows * columns)]
    text = [(i, rows * columns + k) for i, (rows, columns, length) in enumerate(shapes) for k in range(length)]
    return patches + text


def mask_by_loop(shapes: Sequence[Shape]) -> list[list[bool]]:
    """May a row attend to a column: in the same sample, a patch, or text that is not later?"""
    rows, patches = rows_by_loop(shapes), [rows * columns for rows, columns, _ in shapes]
    return [[i == j and (b < patches[i] or b <= a) for j, b in rows] for i, a in rows]


def axis_by_rule(channel: int, config: GenLIPConfig) -> int:
    """0, 1 or 2 for the axis time, row or column that turns a rotary channel (PAPER: Positions)."""
    time, row, column = config.mrope_section
    if not config.mrope_interleaved:
        return 0 if channel < time else 1 if channel < time + row else 2
    if channel % 3 == 1 and channel < 3 * row:
        return 1
    return 2 if channel % 3 == 2 and channel < 3 * column else 0


def rotated_by_loop(vector: Tensor, position: Sequence[int], config: GenLIPConfig) -> Tensor:
    """One head's query or key, Float64[d], each pair (j, j + d/2) turned as a complex number."""
    half, out = len(vector) // 2, vector.clone()
    for j in range(half):
        angle = position[axis_by_rule(j, config)] * config.rope_theta ** (-2 * j / len(vector))
        turned = complex(vector[j], vector[j + half]) * cmath.exp(1j * angle)
        out[j], out[j + half] = turned.real, turned.imag
    return out


def positions_by_loop(shapes: Sequence[Shape]) -> list[tuple[int, int, int]]:
    """(time, row, column) of every row of a pack's buffer."""
    patches = [(0, r, c) for rows, columns, _ in shapes for r in range(rows) for c in range(columns)]
    return patches + [(max(rows, columns) + k,) * 3 for rows, columns, text in shapes for k in range(text)]


@dataclass(frozen=True)
class Recording:
    """A recorded model and what it computes, see the README of the recordings.

    Attributes:
        config: published keys.
        weights: by published name.
        samples: per sample, recorded tensors by name.
        gradient_names: parameters of `grad_norms`, in order.
    """

    config: dict[str, Any]
    weights: dict[str, Tensor]
    samples: list[dict[str, Tensor]]
    gradient_names: list[str]


def recording(name: str) -> Recording:
    """Read one of `RECORDED`."""
    file = GOLDEN / f"{name}.safetensors"
    tensors = load_file(file)
    with safe_open(file, "pt") as opened:
        metadata = opened.metadata()

    def part(prefix: str) -> dict[str, Tensor]:
        return {key.removeprefix(prefix): value for key, value in tensors.items() if key.startswith(prefix)}

    return Recording(
        config=json.loads(metadata["config"]),
        weights=part("weights."),
        samples=[part(f"sample{j}.") for j in range(len(json.loads(metadata["samples"])))],
        gradient_names=json.loads(metadata["grad_norm_names"]),
    )


def write_recorded(name: str, folder: Path) -> Path:
    """A recording as a published folder, written with plain safetensors and json."""
    recorded = recording(name)
    save_file(recorded.weights, folder / "model.safetensors")
    (folder / "config.json").write_text(json.dumps(recorded.config))
    return folder


def recorded_model(name: str) -> GenLIP:
    """The model of a recording, through the public loader."""
    with TemporaryDirectory() as folder:
        return genlip.load(write_recorded(name, Path(folder)))


def recorded_samples(name: str) -> list[Sample]:
    """The samples of a recording, cut into patches by a loop; the whole caption is supervised."""
    recorded = recording(name)
    return [_recorded_sample(sample, recorded.config["patch_size"]) for sample in recorded.samples]


def _recorded_sample(recorded: dict[str, Tensor], size: int) -> Sample:
    pixels, caption = recorded["pixel_values"], recorded["caption_ids"].tolist()
    grid = (pixels.shape[1] // size, pixels.shape[2] // size)
    patches = [
        pixels[:, size * row : size * (row + 1), size * column : size * (column + 1)].flatten()
        for row in range(grid[0])
        for column in range(grid[1])
    ]
    return Sample(torch.stack(patches), grid, caption, [True] * len(caption))
