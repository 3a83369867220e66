"""The processor of GenLIP: a placeholder for every patch, the prompt, and in training the caption and its end.

In: images, and optionally texts. Out: `input_ids`, `attention_mask`, pixels, and labels for captions. Sequences are padded
on the left, so that generation starts at the same position for the whole batch.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor
from transformers.feature_extraction_utils import BatchFeature
from transformers.processing_utils import ProcessorMixin

__all__ = ["GenLIPProcessor"]


class GenLIPProcessor(ProcessorMixin):
    """An image processor and a tokenizer.

    Attributes:
        prompt: default text before a caption, as in the model's training.
        end: text that ends a caption; its first token ends generation.
        image_token: placeholder of a patch.
        max_tokens: longer captions are cut in training.
    """

    def __init__(
        self,
        image_processor: Any = None,
        tokenizer: Any = None,
        chat_template: str | None = None,
        prompt: str = "",
        end: str = "<|im_end|>\n",
        image_token: str = "<|image_pad|>",
        max_tokens: int = 512,
    ) -> None:
        super().__init__(image_processor, tokenizer, chat_template=chat_template)
        self.prompt, self.end, self.image_token, self.max_tokens = prompt, end, image_token, max_tokens
        self.image_token_id = tokenizer.convert_tokens_to_ids(image_token)
        if self.image_token_id is None:
            raise ValueError(f"the tokenizer has no token {image_token!r}: name one of its special tokens as image_token")

    @property
    def model_input_names(self) -> list[str]:
        """The names that `__call__` returns, except labels."""
        return ["input_ids", "attention_mask", *self.image_processor.model_input_names]

    def __call__(
        self,
        images: Any = None,
        text: str | Sequence[str] | None = None,
        suffix: str | Sequence[str] | None = None,
        return_tensors: str | None = "pt",
        images_kwargs: Mapping[str, Any] | None = None,
        **kwargs: Any,
    ) -> BatchFeature:
        """Inputs of `GenLIPForConditionalGeneration`, one sequence for each image.

        text     text between the image and the caption; `prompt` if missing
        suffix   captions to train on, cut at `max_tokens`. They add `labels`, which are -100 for placeholders, prompt and
                 padding. A cut caption has no end token.
        images_kwargs, kwargs  for the image processor, such as resize="native". Transformers' keywords for texts are
                 accepted only with the values that are used here: padding=True, truncation=False, add_special_tokens

        Returns input_ids, attention_mask, pixel_values, spatial_shapes; also pixel_attention_mask for native images.
        """
        if images is None:
            raise ValueError("a GenLIPProcessor needs images; for text alone call its tokenizer")
        pixels = dict(self.image_processor(images, **_for_images(kwargs), **(images_kwargs or {})))
        grids = pixels.setdefault("spatial_shapes", self._grids(pixels["pixel_values"]))
        prompts = self._each(text, len(grids), "text", self.prompt)
        captions = self._each(suffix, len(grids), "suffix", None)
        rows, labels = [], []
        for patches, prompt, caption in zip(grids.prod(dim=1).tolist(), prompts, captions, strict=True):
            given = [self.image_token_id] * patches + self._ids(prompt.removeprefix(self.image_token))
            target = [] if caption is None else self._caption_ids(caption)
            rows.append(given + target)
            labels.append([-100] * len(given) + target)
        data = {"input_ids": _left_padded(rows, self.tokenizer.pad_token_id or 0)}
        data["attention_mask"] = _left_padded([[1] * len(row) for row in rows], 0)
        if suffix is not None:
            data["labels"] = _left_padded(labels, -100)
        return BatchFeature(data | pixels, tensor_type=return_tensors)

    def _caption_ids(self, caption: str) -> list[int]:
        """Tokens of a caption and its end. Special tokens inside the caption are encoded as plain characters."""
        ids = self._ids(caption.strip(), split_special_tokens=True)
        return ids[: self.max_tokens] if len(ids) > self.max_tokens else ids + self._ids(self.end)

    def _grids(self, pixel_values: Tensor) -> Tensor:
        size = self.image_processor.patch_size
        return torch.tensor([[x.shape[-2] // size, x.shape[-1] // size] for x in pixel_values])

    def _ids(self, text: str, **kwargs: Any) -> list[int]:
        return self.tokenizer(text, add_special_tokens=False, **kwargs)["input_ids"]

    def _each(self, given: str | Sequence[str] | None, number: int, name: str, default: str | None) -> list[Any]:
        texts = [default] * number if given is None else [given] if isinstance(given, str) else list(given)
        if len(texts) != number:
            raise ValueError(f"{len(texts)} of {name} for {number} images: need one for each image")
        return texts


# Keywords of Transformers for texts, and the values that are accepted here.
_TEXT = {
    "padding": (True, "longest"), "truncation": (False, "do_not_truncate"), "add_special_tokens": (True, False),
    "max_length": (), "padding_side": ("left",), "return_attention_mask": (True,), "return_token_type_ids": (False,),
    "return_mm_token_type_ids": (False,), "text_kwargs": ({},), "common_kwargs": ({},),
}  # fmt: skip


def _for_images(keywords: Mapping[str, Any]) -> dict[str, Any]:
    """The keywords that are not for texts. Raises ValueError for a text setting that is not supported."""
    for name, value in keywords.items():
        if name in _TEXT and value is not None and value not in _TEXT[name]:
            raise ValueError(
                f"{name}={value!r}: a GenLIPProcessor pads on the left to the longest and never cuts a prompt; leave {name} "
                "out (captions to train on are cut at the processor's max_tokens)"
            )
    return {name: value for name, value in keywords.items() if name not in _TEXT}


def _left_padded(rows: list[list[int]], filler: int) -> Tensor:
    longest = max(map(len, rows))
    return torch.tensor([[filler] * (longest - len(row)) + row for row in rows])
