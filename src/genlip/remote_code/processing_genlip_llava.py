"""The processor of a `GenLIPLlavaForConditionalGeneration` that reads each image once.

In: images and texts, in which a token marks the place of each image. Out: `input_ids` with a placeholder for every visual
token of an image, `attention_mask`, and pixels. The number of placeholders follows from the image's own grid of patches.
Images in tiles have the processor of LLaVA-NeXT.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from PIL import Image
from transformers.feature_extraction_utils import BatchFeature
from transformers.processing_utils import MultiModalData, ProcessingKwargs, ProcessorMixin

__all__ = ["GenLIPLlavaProcessor"]


class GenLIPLlavaProcessor(ProcessorMixin):
    """An image processor and a tokenizer.

    Attributes:
        patch_size: side of a patch in pixels.
        pixel_shuffle: side of the squares of patches that are one token.
        image_token: marks an image in a text, and is the placeholder of a visual token.
    """

    def __init__(
        self,
        image_processor: Any = None,
        tokenizer: Any = None,
        patch_size: int = 16,
        pixel_shuffle: int = 1,
        chat_template: str | None = None,
        image_token: str = "<image>",
    ) -> None:
        super().__init__(image_processor, tokenizer, chat_template=chat_template)
        self.patch_size, self.pixel_shuffle, self.image_token = patch_size, pixel_shuffle, image_token
        self.image_token_id = tokenizer.convert_tokens_to_ids(image_token)
        if self.image_token_id is None:
            raise ValueError(f"the tokenizer has no token {image_token!r}: name one of its special tokens as image_token")

    @property
    def model_input_names(self) -> list[str]:
        """The names that `__call__` returns."""
        return [*self.tokenizer.model_input_names, *self.image_processor.model_input_names]

    def __call__(self, images: Any = None, text: str | Sequence[str] | None = None, **kwargs: Any) -> BatchFeature:
        """Inputs of the model.

        images  one or several, or a list for each text
        text    one or several, with `image_token` once for each image
        kwargs  for the image processor and the tokenizer, such as return_tensors="pt" and padding=True
        """
        if text is None:
            raise ValueError("a GenLIPLlavaProcessor needs text; for images alone call its image_processor")
        given = self._merge_kwargs(ProcessingKwargs, tokenizer_init_kwargs=self.tokenizer.init_kwargs, **kwargs)
        for_texts = given["text_kwargs"]
        tensors, types = for_texts.pop("return_tensors", None), for_texts.pop("return_mm_token_type_ids", False)
        found = {} if images is None else dict(self.image_processor(images, **given["images_kwargs"]))
        texts = [text] if isinstance(text, str) else list(text)
        counts = [self._tokens(rows, columns) for rows, columns in self._grids(found)]
        written = self.tokenizer(self._expanded(texts, counts), **for_texts)
        if types:
            written["mm_token_type_ids"] = [[int(x == self.image_token_id) for x in row] for row in written["input_ids"]]
        return BatchFeature({**written, **found}, tensor_type=tensors)

    def _grids(self, pixels: Mapping[str, Any]) -> list[tuple[int, int]]:
        """Rows and columns of patches of each image."""
        if "spatial_shapes" in pixels:
            return [(int(rows), int(columns)) for rows, columns in pixels["spatial_shapes"]]
        side = self.patch_size
        return [(x.shape[-2] // side, x.shape[-1] // side) for x in pixels.get("pixel_values", ())]

    def _tokens(self, rows: int, columns: int) -> int:
        side = self.pixel_shuffle
        return -(-rows // side) * -(-columns // side)

    def _expanded(self, texts: Sequence[str], counts: Sequence[int]) -> list[str]:
        """The texts with as many placeholders for each image as it has visual tokens."""
        marks = sum(text.count(self.image_token) for text in texts)
        if marks != len(counts):
            raise ValueError(f"{marks} of {self.image_token} in the texts for {len(counts)} images: need one for each image")
        left: Iterator[int] = iter(counts)
        pieces = [text.split(self.image_token) for text in texts]
        return [one + "".join(self.image_token * next(left) + piece for piece in more) for one, *more in pieces]

    def _get_num_multimodal_tokens(
        self, image_sizes: Sequence[Sequence[int]] | None = None, **kwargs: Any
    ) -> MultiModalData:
        """Visual tokens of images of these (height, width) in pixels; vLLM calls it.

        kwargs  for the image processor
        """
        if image_sizes is None:
            return MultiModalData()
        counts = [self._tokens(*self._grid(height, width, kwargs)) for height, width in image_sizes]
        return MultiModalData(num_image_tokens=counts, num_image_patches=[1] * len(counts))

    def _grid(self, height: int, width: int, settings: Mapping[str, Any]) -> tuple[int, int]:
        """Rows and columns of patches of an image of this size; processors that cannot tell are given an empty image."""
        if hasattr(self.image_processor, "grid_of"):
            return self.image_processor.grid_of(height, width, **settings)
        found = self.image_processor([Image.new("RGB", (width, height))], return_tensors="pt", **settings)
        (grid,) = self._grids(found)
        return grid
