"""What tests of LLaVA folders share: tiny encoders and language models, and a model of both as slow formulas."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
import transformers
from PIL import Image
from torch import Tensor

from genlip.data.captions import train_tokenizer
from genlip.data.images import ImageConfig
from genlip.encoder import Encoder
from genlip.encoders import TimmEncoder, TransformersEncoder
from genlip.mllm.folder import write_folder
from genlip.mllm.run import ChatConfig, MLLMConfig
from genlip.model.config import GenLIPConfig
from genlip.model.genlip import GenLIP
from genlip.speaker import Speaker

from ..encoders.towers import random_timm, random_tower
from ..export.helpers import lively

WIDTH = 32  # H of the language models
CORPUS = ["what is shown here?", "a small red circle", "two blue squares and the number 42", "you are a helpful assistant"]
CHATML = (
    "{% for message in messages %}{{ '<|im_start|>' + message['role'] + '\n' }}{% if message['content'] is string %}"
    "{{ message['content'] }}{% else %}{% for part in message['content'] %}"
    "{% if part['type'] == 'image' %}{{ '<image>\n' }}{% else %}{{ part['text'] }}{% endif %}{% endfor %}{% endif %}"
    "{{ '<|im_end|>\n' }}{% endfor %}{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"
)
OWN_TEMPLATE = "{% for message in messages %}{{ message['content'] }}{% endfor %}"  # of the language model alone


def pictures() -> list[Image.Image]:
    """Three images of different shapes."""
    random = np.random.default_rng(0)
    sizes = [(64, 64), (40, 90), (130, 50)]
    return [Image.fromarray(random.integers(256, size=(height, width, 3), dtype=np.uint8)) for height, width in sizes]


def make_tokenizer() -> Any:
    """A byte-level BPE with the special tokens of ChatML and an image token."""
    tokenizer = train_tokenizer(CORPUS, 300)
    tokenizer.add_special_tokens(["<|im_start|>", "<image>"])
    wrapped = transformers.PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, eos_token="<|im_end|>", extra_special_tokens=["<|im_start|>", "<image>"]
    )
    wrapped.chat_template = OWN_TEMPLATE
    return wrapped


def language_model(kind: str = "llama", tied: bool = False) -> Any:
    """A causal language model of 2 layers, with all parameters random. It says printable characters alone."""
    torch.manual_seed(1)
    sizes = {
        "vocab_size": 304, "hidden_size": WIDTH, "intermediate_size": 48, "num_hidden_layers": 2, "num_attention_heads": 4,
        "num_key_value_heads": 2, "max_position_embeddings": 512, "tie_word_embeddings": tied,
        "bos_token_id": None, "eos_token_id": None,
    }  # fmt: skip
    made: dict[str, Any] = {
        "llama": lambda: transformers.LlamaForCausalLM(transformers.LlamaConfig(**sizes)),
        "qwen2": lambda: transformers.Qwen2ForCausalLM(transformers.Qwen2Config(**sizes)),
        "gpt2": lambda: transformers.GPT2LMHeadModel(
            transformers.GPT2Config(vocab_size=304, n_embd=WIDTH, n_layer=2, n_head=4, n_positions=512, eos_token_id=None)
        ),
    }
    model = made[kind]()
    for parameter in model.parameters():
        parameter.data += 0.2 * torch.randn_like(parameter)
    tokenizer = make_tokenizer()
    said = [tokenizer.decode([number]) for number in range(len(tokenizer))]
    silent = [
        number for number in range(304) if number >= len(said) or not (said[number].isascii() and said[number].isprintable())
    ]
    model.get_output_embeddings().weight.data[silent] = 0  # their logits are 0, and others are larger
    return model.eval()


def genlip_encoder(**images: Any) -> Speaker:
    """A tiny GenLIP with patches of 16 pixels."""
    torch.manual_seed(0)
    config = GenLIPConfig.preset("tiny", vocab_size=32, patch_size=16)
    return Speaker(lively(GenLIP(config)), ImageConfig(**{"size": 64, "min_patches": 4, "max_patches": 20, **images}))


def timm_encoder(name: str, **arguments: Any) -> TimmEncoder:
    """A random timm model of width 32; images have 16 patches, or at most 20."""
    native = "naflex" in name
    made = {"embed_dim": 32, "depth": 2, "num_heads": 4, **({} if native else {"img_size": 64, "dynamic_img_size": True})}
    made |= arguments
    limits: dict[str, Any] = {"max_patches": 20} if native else {"size": 64}
    return TimmEncoder(random_timm(name, **made), name, **limits, created_as=(name, made))


def make_encoder(name: str) -> Encoder:
    """An encoder by a short name."""
    if name in ("genlip", "genlip native"):
        return genlip_encoder(resize=name.removeprefix("genlip ").replace("genlip", "fixed"))
    if name.startswith("timm:"):
        return timm_encoder(name.removeprefix("timm:"))
    return TransformersEncoder(*random_tower(name), name)


@dataclass
class TinyMLLM:
    """An encoder, a projector and a language model."""

    encoder: Any
    language: Any
    tokenizer: Any
    projector: dict[str, Tensor]
    model: MLLMConfig

    @classmethod
    def of(cls, encoder: Any, language: Any = None, **model: Any) -> TinyMLLM:
        """With a random projector."""
        torch.manual_seed(2)
        config, width = MLLMConfig(**model), encoder.width * MLLMConfig(**model).pixel_shuffle ** 2
        projector = {
            "linear_1.weight": torch.randn(WIDTH, width) / math.sqrt(width), "linear_1.bias": torch.randn(WIDTH),
            "linear_2.weight": torch.randn(WIDTH, WIDTH), "linear_2.bias": torch.randn(WIDTH),
        }  # fmt: skip
        if config.tiles:
            projector["newline"] = torch.randn(WIDTH)
        return cls(encoder, language or language_model(), make_tokenizer(), projector, config)

    def weights(self) -> dict[str, Tensor]:
        """By their names in training; a tied one once."""
        found = {f"vision.{name}": value for name, value in self.encoder.model.state_dict().items()}
        found |= {f"projector.{name}": value for name, value in self.projector.items()}
        tied = self.language.config.tie_word_embeddings
        names = [name for name in self.language.state_dict() if not (tied and name == "lm_head.weight")]
        return found | {f"language.{name}": self.language.state_dict()[name] for name in names}

    def write(self, folder: Path, **changes: Any) -> Path:
        """The folder."""
        images = self.encoder.images if isinstance(self.encoder, Speaker) else ImageConfig(size=64)
        given = {
            "weights": self.weights(), "encoder": self.encoder, "language_config": self.language.config,
            "tokenizer": self.tokenizer, "model": self.model, "images": images, "chat": ChatConfig(system="be brief"),
            "image_token": "<image>", "chat_template": CHATML, "dtype": torch.float32,
        }  # fmt: skip
        write_folder(folder, **given | changes)
        return folder

    # -- the model as slow formulas

    def project(self, x: Tensor) -> Tensor:
        """Float[n s²·D] -> Float[n H], with GELU by its definition."""
        x = x @ self.projector["linear_1.weight"].T + self.projector["linear_1.bias"]
        x = x * 0.5 * (1 + torch.erf(x / math.sqrt(2)))
        return x @ self.projector["linear_2.weight"].T + self.projector["linear_2.bias"]

    def visual_tokens(self, image: Image.Image) -> Tensor:
        """Float[v H] of an image that is read once."""
        (features,) = self.encoder.encode([image])
        (rows, columns), side = features.grid, self.model.pixel_shuffle
        tokens = []
        for row in range(0, rows, side):
            for column in range(0, columns, side):
                parts = []
                for r in range(row, row + side):
                    for c in range(column, column + side):
                        inside = r < rows and c < columns
                        parts.append(features.patches[r * columns + c] if inside else torch.zeros(self.encoder.width))
                tokens.append(torch.cat(parts))
        return self.project(torch.stack(tokens))

    def tile_tokens(self, tiles: Sequence[Image.Image], grid: tuple[int, int], size: tuple[int, int]) -> Tensor:
        """Float[v H] of an image of this (height, width) that is read as a whole and in tiles.

        Rows of patches, or columns, in which the padding is more than what one side has too little, are left out.
        """
        found = [self.project(one.patches) for one in self.encoder.encode(tiles)]
        side = self.encoder.encode(tiles[:1])[0].grid[0]
        height, width = grid[0] * side, grid[1] * side
        scale = min(height / size[0], width / size[1])
        high, wide = int(round(size[0] * scale, 7)), int(round(size[1] * scale, 7))
        top, left = (height - high) // 2, (width - wide) // 2
        tokens = [*found[0]]
        for row in range(top, height - top):
            for column in range(left, width - left):
                tile = found[1 + (row // side) * grid[1] + column // side]
                tokens.append(tile[(row % side) * side + column % side])
            tokens.append(self.projector["newline"])
        return torch.stack(tokens)

    def embeds(self, ids: Sequence[int], visual: Sequence[Tensor]) -> Tensor:
        """Float[1 l H], the inputs of the language model."""
        found = self.language.get_input_embeddings()(torch.tensor(ids))
        places = [place for place, token in enumerate(ids) if token == self.image_id]
        rows = torch.cat(list(visual)) if visual else []
        assert len(places) == len(rows)
        for place, row in zip(places, rows, strict=True):
            found[place] = row
        return found[None]

    @property
    def image_id(self) -> int:
        """The placeholder."""
        return int(self.tokenizer.convert_tokens_to_ids("<image>"))

    @torch.no_grad()
    def logits(self, ids: Sequence[int], visual: Sequence[Tensor]) -> Tensor:
        """Float[l V]"""
        return self.language(inputs_embeds=self.embeds(ids, visual), use_cache=False).logits[0]

    @torch.no_grad()
    def answer(self, ids: Sequence[int], visual: Sequence[Tensor], most: int) -> list[int]:
        """Greedy tokens, with the whole sequence read anew for each, and never the placeholder."""
        embeds, found = self.embeds(ids, visual), list[int]()
        for _ in range(most):
            logits = self.language(inputs_embeds=embeds, use_cache=False).logits[0, -1]
            logits[self.image_id] = -torch.inf
            token = int(logits.argmax())
            found.append(token)
            if token == self.tokenizer.eos_token_id:
                break
            embeds = torch.cat([embeds, self.language.get_input_embeddings()(torch.tensor([[token]]))], dim=1)
        return found
