"""Contrast: two towers that give an image and its caption vectors which are alike, as in SigLIP and CLIP.

In: a `ContrastiveRun`. Out: what the engine asks of a task: unit vectors of each pack, and the loss of all pairs of an
update, over all packs and ranks.

Axes: s samples of a pack, k samples of an update, D width.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from genlip.baselines.arm_task import ArmTask
from genlip.baselines.flops import encoder_training_flops, pool_flops, rows_flops
from genlip.baselines.run import ContrastiveRun
from genlip.baselines.towers import AttentionPool, TextTower, encoder_alone, xavier
from genlip.data.packing import packs_by_shape
from genlip.model.layers import reset_parameters
from genlip.model.pack import Pack
from genlip.train.task import HeldOutSet, Measured, UpdateTask

__all__ = ["ClipTask", "SiglipTask", "TwoTowers", "clip_loss", "recall_at_1", "siglip_loss"]

_HOTTEST = 100.0
_ROWS = 8192  # of a pack of held-out samples


class TwoTowers(nn.Module):
    """An encoder with attention pooling, a text tower of the same width, and the temperature and bias of the loss."""

    def __init__(self, run: ContrastiveRun, attention: str, biased: bool) -> None:
        super().__init__()
        config = run.model
        layers = run.pairs.text_layers or config.num_hidden_layers
        self.encoder = encoder_alone(config, attention)
        self.pool = AttentionPool(config)
        self.text = TextTower(dataclasses.replace(config, num_hidden_layers=layers), run.pairs.causal)
        for part in (self.pool, self.text):
            reset_parameters(part)
        xavier(self.pool.k_proj, self.pool.v_proj, self.pool.out_proj)
        self.log_temperature = nn.Parameter(torch.tensor([math.log(run.pairs.temperature)]))  # FSDP takes no scalars
        self.bias = nn.Parameter(torch.tensor([run.pairs.bias if biased else 0.0]), requires_grad=biased)

    def forward(self, pack: Pack) -> Tensor:
        """Float[s 2 D], the unit vectors of the images and of the texts."""
        images = self.pool(self.encoder.encode(pack), pack.patch_counts)
        vectors = torch.stack([images, self.text(pack)], dim=1)
        return F.normalize(vectors.to(torch.promote_types(vectors.dtype, torch.float32)), dim=-1)


def siglip_loss(images: Tensor, texts: Tensor, log_temperature: Tensor, bias: Tensor) -> Tensor:
    """Float[], the sigmoid loss of all pairs, summed over the k images (arXiv 2303.15343, algorithm 1, times k).

    images, texts  Float[k D]  unit vectors
    """
    logits = images @ texts.T * log_temperature.exp() + bias
    return -F.logsigmoid(logits * (2 * torch.eye(len(logits), dtype=logits.dtype, device=logits.device) - 1)).sum()


def clip_loss(images: Tensor, texts: Tensor, log_temperature: Tensor) -> Tensor:
    """Float[], the mean of both softmax losses, summed over the k images (arXiv 2103.00020, figure 3, times k).

    The temperature counts as 100 at most, as in CLIP.
    """
    logits = images @ texts.T * log_temperature.clamp(max=math.log(_HOTTEST)).exp()
    right = torch.arange(len(logits), device=logits.device)
    return (F.cross_entropy(logits, right, reduction="sum") + F.cross_entropy(logits.T, right, reduction="sum")) / 2


def recall_at_1(images: Tensor, texts: Tensor) -> tuple[float, float]:
    """Share of images whose own text is the nearest, and of texts whose own image is. Equal vectors count as wrong."""
    similar = images @ texts.T
    own = similar.diagonal()
    others = similar.clone().fill_diagonal_(-math.inf)
    return float((own > others.amax(1)).double().mean()), float((own > others.amax(0)).double().mean())


class _ContrastiveTask(ArmTask, UpdateTask):
    """What both losses share."""

    run: ContrastiveRun
    biased = False

    def build(self, attention: str) -> TwoTowers:
        """Towers with random weights."""
        return TwoTowers(self.run, attention, self.biased)

    def blocks(self, model: TwoTowers) -> Sequence[nn.Module]:
        """Of both towers."""
        return [*model.encoder.blocks, *model.text.layers]

    def flops(self, pack: Pack) -> float:
        """Work of both towers; the loss of pairs is left out."""
        config, pairs = self.run.model, self.run.pairs
        layers = pairs.text_layers or config.num_hidden_layers
        head = 2 * config.hidden_size**2 * pack.num_samples
        others = pool_flops(config, pack.patch_counts) + rows_flops(config, pack.text_lengths, pairs.causal, layers) + head
        return encoder_training_flops(config, pack.patch_counts) + 3 * others

    def embed(self, model: TwoTowers, pack: Pack) -> Tensor:
        """Float[s 2 D], unit vectors of images and texts."""
        return model(pack)

    def validate(self, model: TwoTowers, on: HeldOutSet) -> Measured:
        """The loss of all held-out pairs, and recall at 1 among them."""
        model.eval()
        packs = (Pack.of([on.samples[n] for n in numbers]) for numbers in packs_by_shape(on.samples, _ROWS))
        with torch.no_grad():
            vectors = torch.cat([model(pack.to(model.encoder.device)) for pack in packs])
            loss, terms = self.full_precision_loss(model, vectors)
        image_to_text, text_to_image = recall_at_1(vectors[:, 0], vectors[:, 1])
        figures = {"loss": float(loss) / int(terms), "image_to_text": image_to_text, "text_to_image": text_to_image}
        return Measured(figures, unit="nats per image")


class SiglipTask(_ContrastiveTask):
    """The sigmoid loss."""

    biased = True

    def loss_of_all(self, model: TwoTowers, embeddings: Tensor) -> tuple[Tensor, int]:
        """The loss of all pairs, as a sum over images."""
        return siglip_loss(embeddings[:, 0], embeddings[:, 1], model.log_temperature, model.bias), len(embeddings)


class ClipTask(_ContrastiveTask):
    """The softmax loss."""

    def loss_of_all(self, model: TwoTowers, embeddings: Tensor) -> tuple[Tensor, int]:
        """The loss of all pairs, as a sum over images."""
        return clip_loss(embeddings[:, 0], embeddings[:, 1], model.log_temperature), len(embeddings)
