"""Reader: dialogues of a source -> samples of an MLLM, or the reason why not.

In: draws of the run's order. Out: for each draw a sample or a `Skipped`; nothing is dropped silently. Images are decoded and
prepared by the encoder's own preprocessing, texts by the language model's own chat template.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from PIL import Image

from genlip.data.dialogues import Dialogue
from genlip.data.examples import ImageLike, Unusable
from genlip.data.images import ImageError, decode_pixels
from genlip.data.order import Draw
from genlip.data.samples import ReadSample, Skipped, spread_samples
from genlip.data.sources.mixture import locate
from genlip.encoder import Prepared
from genlip.mllm.batch import MLLMPack, MLLMSample, shuffled_grid
from genlip.mllm.chat import Chat
from genlip.mllm.run import MLLMConfig
from genlip.mllm.tiles import tile_layout, tiles_of
from genlip.mllm.vision import VisionTower
from genlip.model.files import one_line

__all__ = ["DialogueReader"]


@dataclass(frozen=True)
class DialogueReader:
    """Reads the dialogues of a source for a model.

    Attributes:
        source: of dialogues.
        tower: prepares images; its weights are not used, and may be on the meta device.
        chat: turns messages into tokens.
        model_config: says what becomes of an image.
        seed: of the order.
        max_tokens: rows of a pack; a dialogue that does not fit is shortened in its questions, or skipped.
        max_positions: of the language model; a dialogue is no longer than that either. None sets no limit.
    """

    source: Any
    tower: VisionTower
    chat: Chat
    model_config: MLLMConfig
    seed: int = 0
    max_tokens: int | None = None
    max_positions: int | None = None

    def limited(self, max_tokens: int) -> DialogueReader:
        """The same reader for packs of so many rows."""
        return dataclasses.replace(self, max_tokens=max_tokens)

    def read(self, draws: Sequence[Draw], max_patches: Sequence[int] = ()) -> list[ReadSample | Skipped]:
        """One entry for each draw, in order."""
        return [self._read(draw) for draw in draws]

    def some(self, number: int) -> tuple[list[MLLMSample], list[Skipped]]:
        """Up to so many usable samples, spread evenly over the source, and the skipped ones."""
        return spread_samples(self, number)

    def pack(self, samples: Sequence[MLLMSample]) -> MLLMPack:
        """The samples in the order given, in one row."""
        return MLLMPack.of(samples, self.tower.collate, self.tower.empty_image(), self.model_config.pixel_shuffle)

    def sample(self, dialogue: Dialogue) -> MLLMSample:
        """A dialogue as the model is trained on it. Raises `Unusable`."""
        images, visual, counts = self._images(dialogue)
        limits = [limit for limit in (self.max_tokens, self.max_positions) if limit is not None]
        encoded = self.chat.encode(dialogue, counts, min(limits, default=None))
        return self._sample(images, visual, encoded.token_ids, encoded.supervised)

    def prompt(self, dialogue: Dialogue) -> MLLMSample:
        """A dialogue that ends with a question, up to the place where the answer begins. Raises `Unusable`."""
        images, visual, counts = self._images(dialogue)
        token_ids = self.chat.prompt(dialogue.messages, counts)
        return self._sample(images, visual, token_ids, np.zeros(len(token_ids), bool))

    def _sample(
        self, images: list[Prepared], visual: np.ndarray, token_ids: np.ndarray, supervised: np.ndarray
    ) -> MLLMSample:
        return MLLMSample(tuple(images), visual, token_ids, supervised, token_ids == self.chat.image_token_id)

    def _images(self, dialogue: Dialogue) -> tuple[list[Prepared], np.ndarray, list[int]]:
        """The images of the encoder, Int64[v] the features of the visual tokens, and how many each image of the dialogue
        has."""
        images, parts, before = list[Prepared](), [np.zeros(0, np.int64)], 0
        for number, image in enumerate(dialogue.images):
            try:
                prepared, layout = self._prepared(image)
            except Unusable as error:
                which = f" image {number + 1}" if len(dialogue.images) > 1 else ""
                raise ImageError(error.reason, f"{dialogue.key}{which}: {error}") from None
            images += prepared
            parts.append(np.where(layout < 0, layout, layout + before))
            before += sum(int(np.prod(shuffled_grid(one.grid, self.model_config.pixel_shuffle))) for one in prepared)
        return images, np.concatenate(parts), [len(part) for part in parts[1:]]

    def _prepared(self, image: ImageLike) -> tuple[list[Prepared], np.ndarray]:
        """The images of the encoder for one image, and Int64[v], the order of their features."""
        encoder, config = self.tower.encoder, self.model_config
        if not config.tiles:
            prepared = encoder.prepare(image)
            return [prepared], np.arange(int(np.prod(shuffled_grid(prepared.grid, config.pixel_shuffle))))
        tile = encoder.image_settings()["size"]
        pixels = decode_pixels(image, encoder.max_pixels)
        tiles = tiles_of(pixels, tile, config.tiles)
        layout = tile_layout(pixels.shape[0], pixels.shape[1], tile, encoder.patch_size, config.tiles)
        return [encoder.prepare(Image.fromarray(one)) for one in tiles], layout

    def _read(self, draw: Draw) -> ReadSample | Skipped:
        source, _, index = locate(self.source, *draw)
        try:
            dialogue: Any = source[index]
        except Unusable as error:  # its message names the dialogue
            return Skipped(f"{source.name}[{index}]", error.reason, one_line(str(error)), source.name)
        key = dialogue.key
        try:
            return ReadSample(key, self.sample(dialogue), source.name, squeezed=False)
        except Unusable as error:  # its message may lack the key of the dialogue
            text = str(error)
            return Skipped(key, error.reason, one_line(text if text.startswith(key) else f"{key}: {text}"), source.name)
