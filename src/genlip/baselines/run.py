"""Runs of the baselines: GenLIP's settings and those of the other objective.

In: settings. Out: a run of the class of a task, which its recipes are read into.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from genlip.recipes.run import Run

__all__ = [
    "CapRun",
    "ClipRun",
    "ContrastiveRun",
    "DecoderConfig",
    "DecoderRun",
    "LanguageRun",
    "LanguageStart",
    "PairsConfig",
    "VariantConfig",
    "VariantRun",
]


@dataclass(frozen=True, kw_only=True)
class PairsConfig:
    """The text tower and the loss of pairs of images and texts.

    Attributes:
        text_layers: blocks of the text tower, which is as wide as the encoder; 0 gives it as many as the encoder has.
        causal: whether a text token sees the later ones (false, as in SigLIP) or not (true, as in CLIP).
        temperature: by which similarities are multiplied at first; it is learned.
        bias: added to them at first, of "siglip" alone; it is learned. big_vision: -10 for batches of 32,768, and -2.7 for
            512. About minus the logarithm of the batch size.
    """

    text_layers: int = 0
    causal: bool = False
    temperature: float = 10.0
    bias: float = -10.0

    def __post_init__(self) -> None:
        if self.text_layers < 0 or not self.temperature > 0:
            raise ValueError(
                f"pairs: text_layers {self.text_layers} must not be negative, temperature {self.temperature} positive"
            )


@dataclass(frozen=True, kw_only=True, repr=False)
class ContrastiveRun(Run):
    """A run of the task "siglip".

    Attributes:
        task: the sigmoid loss of all pairs (arXiv 2303.15343).
        pairs: the text tower and the loss.
    """

    task: str = "siglip"
    pairs: PairsConfig = field(default_factory=PairsConfig)


@dataclass(frozen=True, kw_only=True, repr=False)
class ClipRun(ContrastiveRun):
    """A run of the task "clip".

    Attributes:
        task: the softmax loss of all pairs (arXiv 2103.00020).
    """

    task: str = "clip"


@dataclass(frozen=True, kw_only=True)
class DecoderConfig:
    """The decoder of an encoder with a decoder.

    Attributes:
        width: of the decoder; 0 takes that of the encoder.
        layers: blocks of the decoder; 0 takes half of the encoder's.
        heads: attention heads of the decoder; 0 keeps the encoder's size of a head.
        kept: of "encoder_decoder": share of the encoder's outputs that the decoder reads in training, drawn at random.
        parallel: of "cap": share of the samples whose tokens are all predicted at once, from masked inputs, as in CapPa.
    """

    width: int = 0
    layers: int = 0
    heads: int = 0
    kept: float = 1.0
    parallel: float = 0.0

    def __post_init__(self) -> None:
        if min(self.width, self.layers, self.heads) < 0 or not 0 < self.kept <= 1 or not 0 <= self.parallel <= 1:
            raise ValueError(
                f"decoder: width {self.width}, layers {self.layers} and heads {self.heads} must not be negative, kept "
                f"{self.kept} must lie in (0, 1], parallel {self.parallel} in [0, 1]"
            )


@dataclass(frozen=True, kw_only=True, repr=False)
class DecoderRun(Run):
    """A run of the task "encoder_decoder".

    Attributes:
        task: one causal decoder reads patches and text, as in OpenVision 2 (arXiv 2509.01644).
        decoder: sizes of the decoder.
    """

    task: str = "encoder_decoder"
    decoder: DecoderConfig = field(default_factory=DecoderConfig)


@dataclass(frozen=True, kw_only=True, repr=False)
class CapRun(DecoderRun):
    """A run of the task "cap".

    Attributes:
        task: a decoder over text reads patches by cross-attention (arXiv 2306.07915).
    """

    task: str = "cap"


@dataclass(frozen=True, kw_only=True)
class VariantConfig:
    """What differs from GenLIP.

    Attributes:
        registers: learned rows before the patches of each image; the paper compares 1 and 4 without the gate.
        kept: share of the patches that are read in training, drawn at random.
    """

    registers: int = 0
    kept: float = 1.0

    def __post_init__(self) -> None:
        if self.registers < 0 or not 0 < self.kept <= 1:
            raise ValueError(f"variant: registers {self.registers} must not be negative, kept {self.kept} lie in (0, 1]")


@dataclass(frozen=True, kw_only=True, repr=False)
class VariantRun(Run):
    """A run of the task "genlip_variant".

    Attributes:
        task: GenLIP with registers, or with dropped patches.
        variant: what differs.
    """

    task: str = "genlip_variant"
    variant: VariantConfig = field(default_factory=VariantConfig)


@dataclass(frozen=True, kw_only=True)
class LanguageStart:
    """The language model whose blocks the trunk has.

    Attributes:
        model: a folder, a Hub id or a .gguf file, of LLaMA's shape; its sizes replace those of `model`, but for patches and
            vocabulary. "random:tiny" for trials.
        weights: start from its weights, or from random ones.
        gated: add GenLIP's gate to its attention.
    """

    model: str = "random:tiny"
    weights: bool = True
    gated: bool = False


@dataclass(frozen=True, kw_only=True, repr=False)
class LanguageRun(Run):
    """A run of the task "genlip_from_language".

    Attributes:
        task: GenLIP with the blocks of a language model, as in SAIL (arXiv 2504.10462). With `tokenizer` naming the same
            model, its token embedding and head are taken, too.
        language: the language model.
    """

    task: str = "genlip_from_language"
    language: LanguageStart = field(default_factory=LanguageStart)
