"""Runner: exported GenLIPs in ONNX Runtime, from images to features and captions, without PyTorch.

In: a folder that `export_onnx_folder` or `quantize_folder` wrote, and paths, bytes or Pillow images. Out: NumPy arrays and
texts. Images of equal size share a call, so there is no padding and no image mask.

>>> OnnxCaptioner("onnx").caption(["photo.jpg"])  # doctest: +SKIP

Axes: b images, C channels, H, W pixels, N patches of an image, D trunk width, V vocabulary.
"""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from genlip.data.captions import Captions
from genlip.data.images import ImageConfig, ImageLike
from genlip.data.preprocessing import load_captions, load_preprocessing
from genlip.export.onnx.pixels import checked_pixels, equal_sizes
from genlip.export.onnx.sampling import choose_tokens
from genlip.extras import require
from genlip.model.config import GenLIPConfig
from genlip.model.decoding import Decoding, Spoken
from genlip.model.reading import read_json

__all__ = ["OnnxCaptioner", "OnnxEncoder", "OnnxFeatures"]


class OnnxFeatures(NamedTuple):
    """Encoder features of one image: Float32[rows * columns, D], row-major, and its grid."""

    patches: np.ndarray
    grid: tuple[int, int]


class OnnxEncoder:
    """The encoder of an exported folder.

    Attributes:
        config: sizes of the model.
        images: how images are resized.
    """

    def __init__(
        self,
        folder: str | os.PathLike[str],
        providers: Sequence[Any] | None = None,
        threads: int | None = None,
        **images: Any,
    ) -> None:
        """Open `encoder.onnx`.

        providers  of ONNX Runtime, such as ["CUDAExecutionProvider"]; None is the CPU
        threads    of the CPU for one graph; None lets ONNX Runtime choose, one for each core
        images     fields of `ImageConfig` to replace, such as resize="native" or size=448

        Raises ValueError if the folder is not an exported one or `threads` is below 1, and `MissingExtra` if onnxruntime
        is not installed.
        """
        self.config = _read_config(Path(folder))
        self._session = _open(Path(folder), "encoder", providers, threads)
        settings, _ = load_preprocessing(folder)
        self.images: ImageConfig = dataclasses.replace(settings.images, **images)

    def encode(self, images: Sequence[ImageLike], batch: int = 16) -> list[OnnxFeatures]:
        """Features of every patch of every image, with a batch size of `batch`. Raises `ImageError`."""
        found: dict[int, OnnxFeatures] = {}
        for places, pixels in equal_sizes(images, self.images, self.config, batch):
            grid = _grid(pixels, self.config)
            features = self.encode_pixels(pixels)
            found |= {place: OnnxFeatures(patches, grid) for place, patches in zip(places, features, strict=True)}
        return [found[place] for place in range(len(images))]

    def encode_pixels(self, pixel_values: Any) -> np.ndarray:
        """Float[b C H W] in [-1, 1] -> Float32[b N D]"""
        return self._session.run(["features"], {"pixel_values": checked_pixels(pixel_values, self.config)})[0]


class OnnxCaptioner:
    """The captioner of an exported folder.

    Attributes:
        config: sizes of the model.
        images: how images are resized.
    """

    def __init__(
        self,
        folder: str | os.PathLike[str],
        providers: Sequence[Any] | None = None,
        threads: int | None = None,
        **images: Any,
    ) -> None:
        """Open `prefill.onnx` and `step.onnx`; arguments and errors as for `OnnxEncoder`."""
        self.config = _read_config(Path(folder))
        self._prefill = _open(Path(folder), "prefill", providers, threads)
        self._step = _open(Path(folder), "step", providers, threads)
        settings, self._captions = load_captions(folder, self.config.vocab_size)
        self.images: ImageConfig = dataclasses.replace(settings.images, **images)

    @property
    def captions(self) -> Captions:
        """Tokenizer and wording. Raises ValueError where the folder has no tokenizer."""
        if self._captions is None:
            raise ValueError("this folder has no tokenizer.json: export the model with one (export_onnx_folder)")
        return self._captions

    def caption(self, images: Sequence[ImageLike], batch: int = 16, prompt: str | None = None, **decoding: Any) -> list[str]:
        """A caption for each image, with a batch size of `batch`. Raises `ImageError`.

        prompt    is read before the caption, instead of the model's own; "" for none
        decoding  fields of `genlip.Decoding`, such as max_tokens or temperature; `repetition_stop` is 8 unless given
        """
        settings, prompt_ids = self._decoding(decoding), self._prompt_ids(prompt)
        found: dict[int, str] = {}
        for places, pixels in equal_sizes(images, self.images, self.config, batch):
            spoken = self._generate(pixels, prompt_ids, settings)
            found |= {place: self.captions.decode(tokens) for place, tokens in zip(places, spoken, strict=True)}
        return [found[place] for place in range(len(images))]

    def stream(self, image: ImageLike, prompt: str | None = None, **decoding: Any) -> Iterator[str]:
        """The caption of one image, in pieces as they are generated; arguments as for `caption`.

        The pieces join to the caption, up to white space around it. A phrase whose repeats `repetition_stop` removes from
        captions was already yielded.
        """
        settings, prompt_ids = self._decoding(decoding), self._prompt_ids(prompt)
        ((_, pixels),) = equal_sizes([image], self.images, self.config, 1)
        steps = self._steps(pixels, prompt_ids, settings, Spoken(1, settings))
        return self.captions.pieces(token for step in steps for token in step if token is not None)

    def caption_pixels(self, pixel_values: Any, prompt_ids: Sequence[int] = (), **decoding: Any) -> list[list[int]]:
        """Token ids of a caption for each image of Float[b C H W] in [-1, 1], after the same prompt. Needs no tokenizer.

        decoding  fields of `Decoding`; without `end_ids` a caption has `max_tokens` tokens
        """
        return self._generate(checked_pixels(pixel_values, self.config), prompt_ids, Decoding(**decoding))

    def _decoding(self, changes: dict[str, Any]) -> Decoding:
        """Greedy decoding as of `Speaker.caption`, with fields replaced."""
        return dataclasses.replace(Decoding(end_ids=(self.captions.end_ids[0],), repetition_stop=8), **changes)

    def _prompt_ids(self, prompt: str | None) -> list[int]:
        return self.captions.prompt_ids if prompt is None else self.captions.ids(prompt)

    def _generate(self, pixels: np.ndarray, prompt_ids: Sequence[int], decoding: Decoding) -> list[list[int]]:
        """Token ids of the caption of every image."""
        spoken = Spoken(len(pixels), decoding)
        for _ in self._steps(pixels, prompt_ids, decoding, spoken):
            pass
        return spoken.captions()

    def _steps(
        self, pixels: np.ndarray, prompt_ids: Sequence[int], decoding: Decoding, spoken: Spoken
    ) -> Iterator[list[int | None]]:
        """At each step, the next token of every image; None once its caption has ended."""
        logits, cache = self._prefill.run(["logits", "cache"], {"pixel_values": pixels})
        position = np.full(len(pixels), max(_grid(pixels, self.config)), np.int64)
        if len(prompt_ids):
            logits, cache = self._read(np.tile(np.asarray(prompt_ids, np.int64), (len(pixels), 1)), position, cache)
            position += len(prompt_ids)
        random = np.random.default_rng(decoding.seed)
        for remaining in range(decoding.max_tokens, 0, -1):
            token = choose_tokens(logits, decoding, random)
            yield spoken.take(token.tolist())
            if spoken.over or remaining == 1:
                return
            logits, cache = self._read(token[:, None], position, cache)
            position += 1

    def _read(self, token_ids: np.ndarray, position: np.ndarray, cache: np.ndarray) -> list[np.ndarray]:
        """Int64[b T] tokens, Int64[b] position of the first -> logits Float32[b V] after the last, and the longer cache."""
        feeds = {"token_ids": token_ids, "position": position, "cache": cache}
        return self._step.run(["logits", "grown_cache"], feeds)


def _grid(pixels: np.ndarray, config: GenLIPConfig) -> tuple[int, int]:
    """(rows, columns) of patches of Float[b C H W]"""
    return pixels.shape[2] // config.patch_size, pixels.shape[3] // config.patch_size


def _read_config(folder: Path) -> GenLIPConfig:
    file = folder / "config.json"
    if not file.is_file():
        raise ValueError(f"{folder}: no config.json; need a folder that `genlip export … --to onnx` wrote")
    stored = read_json(file)
    try:
        return GenLIPConfig.from_dict(stored)
    except ValueError as error:
        raise ValueError(f"{file}: {error}") from error


def _open(folder: Path, name: str, providers: Sequence[Any] | None, threads: int | None) -> Any:
    """A session of ONNX Runtime."""
    if threads is not None and threads < 1:
        raise ValueError(f"threads is {threads}: it must be at least 1, or None for ONNX Runtime's choice")
    file = folder / f"{name}.onnx"
    if not file.is_file():
        raise ValueError(f"{folder}: no {name}.onnx; export the model again, for captions without --encoder-only")
    runtime = require("onnxruntime", extra="onnx")
    options = runtime.SessionOptions()
    options.intra_op_num_threads = threads or 0  # 0: ONNX Runtime chooses
    return runtime.InferenceSession(file, options, providers=list(providers or ["CPUExecutionProvider"]))
