"""MLLM's workload: a dialogue about an image is one sample, and only some parts of the model are trained.

In: an `MLLMRun`. Out: its figures for a plan. The model is built without storage: no weights are read, and the language
models of the recipes need no network.

Memory: trained weights, their gradients and optimizer states are float32; frozen weights have the dtype of products. A
frozen encoder keeps nothing for a backward pass. The language model keeps what `genlip.plan.kept_tensors` finds. Logits are
computed at supervised tokens alone, a chunk at a time (genlip.model.objective).

Axes: p patches, u visual features, v visual tokens, k supervised tokens; D encoder width, s side of pixel shuffle, H hidden
width, V vocabulary.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Mapping
from functools import cached_property
from typing import Any, ClassVar, NamedTuple

import numpy as np
import torch
from torch import nn

from genlip.mllm.flops import MLLMLoad, MLLMSizes, MLLMStepFlops, step_flops
from genlip.mllm.language import build_language_model, language_config
from genlip.mllm.model import MLLM
from genlip.mllm.run import PARTS, MLLMRun
from genlip.mllm.tiles import choose_tiling, tile_layout
from genlip.mllm.vision import ImageBatch, VisionTower, encoder_of
from genlip.model.objective import chunk_logits
from genlip.plan.kept_tensors import KeptBytes, of_language, of_tower
from genlip.plan.memory_model import Sharing, encoder_activations
from genlip.plan.simulation import Packs, Sizes, draw
from genlip.plan.workload import Assumptions, Workload
from genlip.report.formatting import large_count
from genlip.speaker import Speaker

__all__ = ["MLLMMemory", "MLLMParameters", "MLLMWorkload"]

_TEXT = {"chat": 400.0, "plain": 30.0}  # assumed text tokens of a sample: LLaVA-NeXT's instructions, and its captions
_SUPERVISED = {"chat": 0.5, "plain": 1.0}  # assumed share of them that is supervised; of captions it is known
_NATIVE = 576.0  # assumed patches of a native image
_TILED = ((480, 640), (640, 480), (768, 1024), (1000, 1000))  # assumed heights and widths of images in tiles


class MLLMParameters(NamedTuple):
    """Parameters by part."""

    encoder: int
    projector: int
    language: int

    @property
    def total(self) -> int:
        """All parts together."""
        return sum(self)


class MLLMMemory(NamedTuple):
    """Bytes on one accelerator, by part.

    Attributes:
        trained_weights: float32, this rank's shard.
        frozen_weights: the same, in the dtype of products.
        gradients: of the trained weights.
        optimizer: two states per trained weight for AdamW, one for Muon's matrices.
        average: moving average of all weights (EMA).
        gathered: full weights of a sharded model: those outside the blocks, of the current block, and of the next.
        casts: bfloat16 copies of trained matrices, which autocast keeps for the backward pass.
        visual_activations: tensors kept by the encoder, if it is trained, and by the projector.
        decoder_activations: tensors kept by the language model, with or without activation checkpointing.
        logits: of one chunk, with the gradients of the head and of its inputs that are computed with them.
    """

    trained_weights: float
    frozen_weights: float
    gradients: float
    optimizer: float
    average: float
    gathered: float
    casts: float
    visual_activations: float
    decoder_activations: float
    logits: float

    @property
    def total(self) -> float:
        """Sum of all parts."""
        return sum(self)


class MLLMWorkload(Workload):
    """The figures of a multimodal LLM."""

    work: ClassVar[Mapping[str, str]] = {
        "encoder": "encoder",
        "projector": "projector",
        "layers": "decoder layers",
        "scores": "attention scores",
        "head": "head",
    }

    def __init__(self, run: MLLMRun) -> None:
        """Raises ValueError or OSError where a model is not named, not found, or cannot be trained."""
        run.model.check_named()
        self.run: MLLMRun = run
        self.config = language_config(run.model.language_model, sizes_only=True)
        with torch.device("meta"):
            tower = VisionTower(encoder_of(run, "random"))
            language = build_language_model(self.config, 0)
            self.model = MLLM(tower, language, run.model.pixel_shuffle, newline=bool(run.model.tiles))
        self.model.train_parts(run.train)
        if any(p.dim() > 2 for block in language.get_decoder().layers for p in block.parameters()):
            raise ValueError(f"{run.model.language_model} has experts, and a plan needs a dense language model")
        self.sizes = MLLMSizes.of(tower, self.config, run.model.pixel_shuffle)
        self._kept: dict[int, KeptBytes] = {}

    # -- parameters

    @cached_property
    def parameters(self) -> MLLMParameters:
        """By part; parameters of the encoder that features do not depend on count too."""
        return MLLMParameters(*(_count(self.model.parts()[part].parameters()) for part in PARTS))

    @property
    def trained(self) -> int:
        """Those of the parts in `train`."""
        return sum(self._trained.values())

    @cached_property
    def _trained(self) -> dict[str, int]:
        """Trained parameters by part."""
        modules = self.model.parts().items()
        return {part: _count(p for p in module.parameters() if p.requires_grad) for part, module in modules}

    def gathered(self, product_bytes: int) -> float:
        """Every weight in both passes, but those of a frozen encoder in the forward pass alone."""
        encoder = [p for block in self.model.tower.blocks() for p in block.parameters()]
        once = 0.0 if self._trained["encoder"] else _stored(encoder, product_bytes)
        return _stored(self.model.parameters(), product_bytes) - once / 2

    def model_line(self) -> str:
        """The parts, and which are frozen."""
        names = {"encoder": "encoder", "projector": "projector", "language": "language model"}
        parts = [
            f"{large_count(number)} {names[part]}{'' if self._trained[part] else ' (frozen)'}"
            for part, number in self.parameters._asdict().items()
        ]
        total, trained = large_count(self.parameters.total), large_count(self.trained)
        return f"{' + '.join(parts)} = {total} parameters, {trained} trained"

    def parameters_json(self) -> dict[str, Any]:
        """Parts, and how many of each are trained."""
        total = self.parameters.total
        return {
            **self.parameters._asdict(),
            "total": total,
            "trained": {**self._trained, "total": self.trained},
            "frozen": total - self.trained,
        }

    # -- samples

    def fill_in(self, given: Assumptions) -> tuple[Assumptions, tuple[str, ...]]:
        """Patches of one image, from the size of images, and text from the mean length of samples in `packing.batch`."""
        template, known = self.run.chat.template, self.run.packing.tokens_per_sample
        patches, guesses = given.patches, []
        if not patches:
            patches, guess = self._patches(known, given.text)
            guesses += [guess] if guess else []
            guesses += ["one image a sample (--patches)"] if template == "chat" else []
        text, visual = given.text, patches * self._tokens_per_patch
        if not text and known > visual:
            text = known - visual
        elif not text:
            text = _TEXT[template]
            guesses.append(f"{text:,.0f} text tokens a sample (--text)")
        supervised = given.supervised or _SUPERVISED[template]
        if not given.supervised and template == "chat":
            guesses.append(f"{supervised:.0%} of the text supervised (--supervised)")
        return dataclasses.replace(given, patches=patches, text=text, supervised=supervised), tuple(guesses)

    def _patches(self, known: float, text: float) -> tuple[float, str]:
        """Patches of an image, and in words what they are guessed from, if they are."""
        if self.run.model.tiles:
            sizes = ", ".join(f"{width} x {height}" for height, width in _TILED)
            return self._tiled[0], f"tiles of images of {sizes} pixels, equally often (--patches)"
        if self._side:
            return float(self._side**2), ""
        read = known - (text or _TEXT[self.run.chat.template])
        low, high = self._limits
        patches = min(max(read * self.run.model.pixel_shuffle**2 if read > 0 else _NATIVE, low), high)
        return patches, f"{patches:,.0f} patches an image (--patches)"

    @cached_property
    def _side(self) -> int:
        """Patches along the side of a fixed image; 0 if images are native."""
        return int(self.model.tower.encoder.image_settings().get("size", 0)) // self.model.tower.patch_size

    @property
    def _limits(self) -> tuple[float, float]:
        """Fewest and most patches of a native image."""
        low, high = self.model.tower.encoder.image_settings()["patches"]
        return low, high

    @cached_property
    def _tiled(self) -> tuple[float, float]:
        """Mean patches and visual tokens of images in tiles."""
        patch, tiles = self.model.tower.patch_size, self.run.model.tiles
        size = self._side * patch
        images = [1 + int(np.prod(choose_tiling(*one, size, tiles))) for one in _TILED]
        tokens = [len(tile_layout(*one, size, patch, tiles)) for one in _TILED]
        return float(np.mean(images)) * self._side**2, float(np.mean(tokens))

    @cached_property
    def _tokens_per_patch(self) -> float:
        """Visual tokens of an image, divided by its patches."""
        shuffle = self.run.model.pixel_shuffle
        if self.run.model.tiles:
            patches, tokens = self._tiled
            return tokens / patches
        if self._side:
            return (-(-self._side // shuffle) / self._side) ** 2
        return 1 / shuffle**2

    def rows(self, assumed: Assumptions) -> float:
        """Visual tokens and text."""
        return assumed.patches * self._tokens_per_patch + assumed.text

    def sample_line(self, assumed: Assumptions) -> str:
        """Patches, visual tokens and text."""
        visual = assumed.patches * self._tokens_per_patch
        read = "" if visual == assumed.patches else f" in {visual:,.0f} visual tokens"
        learned = f"{assumed.supervised * assumed.text:,.0f} supervised"
        return f"{assumed.patches:,.0f} patches{read} + {assumed.text:,.0f} text tokens ({learned})"

    # -- work

    def flops(self, assumed: Assumptions) -> MLLMStepFlops:
        """See `genlip.mllm.flops.step_flops`."""
        return step_flops(self.sizes, self._load(assumed.patches, assumed.text, assumed), self.run.train)

    def _load(self, patches: Any, text: Any, assumed: Assumptions) -> MLLMLoad:
        """The load of samples of so many patches and text tokens; both may be arrays."""
        images = patches / self._side**2 if self._side else 1.0
        rows = patches * self._tokens_per_patch + text
        return MLLMLoad(
            encoder=images * self._encoder_flops(patches / images),
            patches=patches,
            features=self._features(patches),
            rows=rows,
            pairs=rows * (rows + 1) / 2,
            supervised=text * assumed.supervised,
        )

    def _features(self, patches: Any) -> Any:
        """Visual features; of tiles, those of padding too, which are not read."""
        return patches if self.run.model.tiles else patches * self._tokens_per_patch

    def _encoder_flops(self, patches: Any) -> Any:
        """Work of the encoder's forward pass over an image, which is a polynomial of degree two in its patches."""
        tower = self.model.tower
        none, one, two = (tower.flops(ImageBatch(torch.empty(0), ((1, number),))) for number in (0, 1, 2))
        square = (two - 2 * one + none) / 2
        return none + (one - none - square) * patches + square * patches**2

    def draw(self, assumed: Assumptions) -> Packs:
        """Packs of samples whose text, and whose native image, has a random size."""
        run, most = self.run, float(self.run.packing.max_tokens)
        low, high = (assumed.patches, assumed.patches) if self._side else self._limits
        longest = max(assumed.text, most - high * self._tokens_per_patch)
        sizes = Sizes(assumed.patches, (low, high), assumed.text, longest, assumed.decode / 1e3, assumed.spread)

        def costs(patches: np.ndarray, text: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
            load = self._load(patches, text, assumed)
            flops: Any = step_flops(self.sizes, load, run.train).total(run.activation_checkpointing)
            return np.asarray(load.rows), np.asarray(flops)

        return draw(costs, sizes, run.packing.max_tokens, seed=run.seed)

    # -- memory

    def memory(
        self, assumed: Assumptions, max_tokens: int, sharing: Sharing, product_bytes: int, activation_checkpointing: bool
    ) -> MLLMMemory:
        """See the top of this file."""
        model, shards = self.model, sharing.shards
        samples = max_tokens / self.rows(assumed)
        frozen = _stored((p for p in model.parameters() if not p.requires_grad), product_bytes)
        matrices = {p for block in model.blocks() for p in block.parameters() if p.dim() == 2 and p.requires_grad}
        muon = self.run.optimizer.kind == "muon"
        logits = self._logits(samples * assumed.text * assumed.supervised, product_bytes)
        return MLLMMemory(
            trained_weights=4 * self.trained / shards,
            frozen_weights=frozen / shards,
            gradients=4 * self.trained / shards,
            optimizer=(8 * self.trained - muon * 4 * _count(matrices)) / shards,
            average=(self.run.ema > 0) * (4 * self.trained + frozen) / shards,
            gathered=(shards > 1) * self._gathered_at_once(product_bytes),
            casts=2 * self._cast_weights() if product_bytes == 2 else 0,
            visual_activations=self._visual(samples * assumed.patches, assumed, product_bytes, activation_checkpointing),
            decoder_activations=self._decoder(max_tokens, logits, product_bytes, activation_checkpointing),
            logits=logits,
        )

    def _gathered_at_once(self, product_bytes: int) -> float:
        """Bytes of the weights outside the blocks, and of two of the largest block."""
        blocks = [_stored(block.parameters(), product_bytes) for block in self.model.blocks()]
        return _stored(self.model.parameters(), product_bytes) - sum(blocks) + 2 * max(blocks)

    def _cast_weights(self) -> int:
        """Trained weights and biases that autocast copies: of all matrices but the embedding and the head, which counts
        with the logits."""
        layers = (one for one in self.model.modules() if not isinstance(one, nn.Embedding))
        own = (dict(one.named_parameters(recurse=False)) for one in layers)
        cast = {p for ps in own if "weight" in ps and ps["weight"].dim() >= 2 for p in ps.values() if p.requires_grad}
        return _count(cast - {self.model.head})

    def _visual(self, patches: float, assumed: Assumptions, product_bytes: int, activation_checkpointing: bool) -> float:
        """Bytes that the encoder, if it is trained, and the projector keep of all patches of a pack."""
        sizes, encoder, projector = self.sizes, self._trained["encoder"], self._trained["projector"]
        features = self._features(patches)
        residual = 4 if self._trained["language"] else product_bytes
        kept = (
            bool(encoder or projector) * features * sizes.hidden * (product_bytes + residual)
        )  # before GELU, and the result
        kept += bool(projector) * features * product_bytes * (sizes.hidden + sizes.width * sizes.shuffle**2)
        return kept + (self._encoder(patches, assumed, product_bytes, activation_checkpointing) if encoder else 0.0)

    def _encoder(self, patches: float, assumed: Assumptions, product_bytes: int, activation_checkpointing: bool) -> float:
        """Bytes that a trained encoder keeps of all patches of a pack."""
        tower = self.model.tower
        if isinstance(tower.encoder, Speaker):
            return encoder_activations(tower.encoder.model.config, patches, product_bytes, activation_checkpointing)
        kept = of_tower(tower, product_bytes)
        images = patches / (self._side**2 or assumed.patches)
        tokens = patches + images * tower.encoder.prefix_tokens
        return tokens * (kept.recomputed if activation_checkpointing else kept.whole)

    def _decoder(self, rows: float, logits: float, product_bytes: int, activation_checkpointing: bool) -> float:
        """Bytes that the language model keeps. With activation checkpointing, the last block is there again, of which only
        the excess over the logits counts, since the logits are freed before."""
        kept = self._language_kept(product_bytes)
        if not activation_checkpointing:
            return rows * kept.whole
        return rows * kept.recomputed + max(0.0, rows * kept.again - logits)

    def _language_kept(self, product_bytes: int) -> KeptBytes:
        """What the language model keeps of a row, which takes a second to find."""
        if product_bytes not in self._kept:
            self._kept[product_bytes] = of_language(self.model.language, product_bytes)
        return self._kept[product_bytes]

    def _logits(self, supervised: float, product_bytes: int) -> float:
        """Bytes of a chunk of logits, of the gradient of a trained head, and of inputs of the head with their gradients.

        With bfloat16 products there is also a bfloat16 copy of the logits and, if the head is trained, of its weight and,
        once the float32 logits are freed, of one chunk's gradient of it.
        """
        trained = bool(self._trained["language"])
        weights, hidden = self.sizes.vocabulary * self.sizes.hidden, supervised * self.sizes.hidden
        cast = product_bytes if product_bytes == 2 else 0
        logits = min(chunk_logits("cuda"), supervised * self.sizes.vocabulary)
        inputs = hidden * (product_bytes + (4 + cast if trained else product_bytes))
        if not trained:
            return logits * (4 + cast) + inputs
        return weights * (4 + cast) + logits * cast + max(4 * logits, weights * cast) + inputs


def _count(parameters: Iterable[nn.Parameter]) -> int:
    return sum(p.numel() for p in parameters)


def _stored(parameters: Iterable[nn.Parameter], product_bytes: int) -> float:
    """Bytes of weights as training stores them."""
    return float(sum(p.numel() * (4 if p.requires_grad else product_bytes) for p in parameters))
