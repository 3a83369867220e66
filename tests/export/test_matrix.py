"""The matrix of conversions: one model, every library, the same features and captions.

Models: both recorded ones, and the presets tiny and base with random weights. Grids: square, wide, a ribbon, large. Each
library is asked through what its users call, on the same prepared pixels.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

import genlip
from genlip.export import export_model
from genlip.export.onnx import OnnxCaptioner, OnnxEncoder, export_onnx
from genlip.model.config import GenLIPConfig
from genlip.model.genlip import GenLIP
from genlip.model.pack import Pack, Sample

from ..model.helpers import RECORDED
from .helpers import GRIDS, TOLERANCE, lively, published_folder, stray

for module in ("transformers", "timm", "onnxruntime", "onnxscript"):
    pytest.importorskip(module)

MODELS = (*RECORDED, *(pytest.param(name, marks=pytest.mark.slow) for name in ("tiny", "base")))
LIBRARIES = ("published", "transformers", "timm", "onnx")
CAPTION = 6  # tokens
BATCH = 2


@dataclass
class Case:
    """A model and, by library, its features and captions of Float[b C H W] pixels."""

    config: GenLIPConfig
    encode: dict[str, Callable[[Tensor], Tensor]]
    caption: dict[str, Callable[[Tensor], list[list[int]]]]


@pytest.fixture(scope="module", params=MODELS)
def case(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory, recorded_onnx: Callable[[str], Path]
) -> Case:
    folder = tmp_path_factory.mktemp(request.param)
    source = _source(request.param, folder / "model")
    model = genlip.load(source)
    for library in ("published", "transformers", "timm"):
        export_model(source, folder / library, library)
    onnx = recorded_onnx(request.param) if request.param in RECORDED else export_onnx(model, folder / "onnx")
    folders = {library: onnx if library == "onnx" else folder / library for library in LIBRARIES}
    encode = {library: ENCODERS[library](folders[library]) for library in LIBRARIES}
    caption = {library: CAPTIONERS[library](folders[library]) for library in LIBRARIES if library != "timm"}
    return Case(model.config, {"genlip": _encode_with(model), **encode}, {"genlip": _caption_with(model), **caption})


def _source(name: str, folder: Path) -> Path:
    if name in RECORDED:
        return published_folder(name, folder)[0]
    torch.manual_seed(0)
    changes = {"vocab_size": 512} if name == "tiny" else {"vocab_size": 512, "text_embed_dim": 256}
    return genlip.save(lively(GenLIP(GenLIPConfig.preset(name, **changes))), folder)


def _pack(pixels: Tensor, size: int) -> Pack:
    """Patches cut by reshaping, independently of every image processor."""
    batch, channels, height, width = pixels.shape
    rows, columns = height // size, width // size
    patches = pixels.reshape(batch, channels, rows, size, columns, size).permute(0, 2, 4, 1, 3, 5)
    return Pack.of([Sample(p, (rows, columns)) for p in patches.reshape(batch, rows * columns, -1)])


def _encode_with(model: GenLIP) -> Callable[[Tensor], Tensor]:
    return lambda pixels: model.encode(_pack(pixels, model.config.patch_size)).unflatten(0, (len(pixels), -1))


def _caption_with(model: GenLIP) -> Callable[[Tensor], list[list[int]]]:
    decoding = genlip.Decoding(max_tokens=CAPTION)
    return lambda pixels: genlip.generate(model, _pack(pixels, model.config.patch_size), decoding)


def _with_transformers(folder: Path) -> Callable[[Tensor], Tensor]:
    from transformers import AutoModel

    import genlip.export.transformers  # noqa: F401

    model = AutoModel.from_pretrained(folder)
    return lambda pixels: model(pixels).last_hidden_state


def _with_timm(folder: Path) -> Callable[[Tensor], Tensor]:
    import timm

    return timm.create_model(f"local-dir:{folder}", pretrained=True).eval().forward_features


def _with_onnx(folder: Path) -> Callable[[Tensor], Tensor]:
    encoder = OnnxEncoder(folder)
    return lambda pixels: torch.from_numpy(encoder.encode_pixels(pixels.numpy()))


def _caption_with_transformers(folder: Path) -> Callable[[Tensor], list[list[int]]]:
    from transformers import AutoModelForImageTextToText

    hub = AutoModelForImageTextToText.from_pretrained(folder)

    def caption(pixels: Tensor) -> list[list[int]]:
        height, width = (side // hub.config.patch_size for side in pixels.shape[2:])
        ids = torch.zeros(len(pixels), height * width, dtype=torch.long)
        said = hub.generate(ids, pixel_values=pixels, max_new_tokens=CAPTION, do_sample=False)
        return said[:, height * width :].tolist()

    return caption


def _caption_with_onnx(folder: Path) -> Callable[[Tensor], list[list[int]]]:
    captioner = OnnxCaptioner(folder)
    return lambda pixels: captioner.caption_pixels(pixels.numpy(), max_tokens=CAPTION)


ENCODERS = {
    "published": lambda folder: _encode_with(genlip.load(folder)),
    "transformers": _with_transformers,
    "timm": _with_timm,
    "onnx": _with_onnx,
}
CAPTIONERS = {
    "published": lambda folder: _caption_with(genlip.load(folder)),
    "transformers": _caption_with_transformers,
    "onnx": _caption_with_onnx,
}


def _pixels(config: GenLIPConfig, grid: tuple[int, int]) -> Tensor:
    random = np.random.default_rng(grid[0])
    size = (BATCH, config.num_channels, *(side * config.patch_size for side in grid))
    return torch.from_numpy(random.uniform(-1, 1, size).astype(np.float32))


@pytest.mark.parametrize("grid", GRIDS, ids=str)
@torch.no_grad()
def test_features_agree(case: Case, grid: tuple[int, int]) -> None:
    pixels = _pixels(case.config, grid)
    expected = case.encode["genlip"](pixels)
    strays = {library: stray(case.encode[library](pixels), expected) for library in LIBRARIES}
    assert expected.shape == (BATCH, grid[0] * grid[1], case.config.hidden_size)
    assert max(strays.values()) < TOLERANCE, strays


@pytest.mark.parametrize("grid", GRIDS, ids=str)
def test_captions_are_identical(case: Case, grid: tuple[int, int]) -> None:
    pixels = _pixels(case.config, grid)
    expected = case.caption["genlip"](pixels)
    assert [len(tokens) for tokens in expected] == [CAPTION] * BATCH
    assert {library: speak(pixels) for library, speak in case.caption.items()} == dict.fromkeys(case.caption, expected)
