"""A run: everything that decides what training does, as frozen dataclasses that refuse impossible values.

In: settings. Out: a `Run`, which is stored with every checkpoint. `genlip.recipes.recipe` reads recipes. The recipes of
another task are read into a subclass of `Run` with further sections (genlip.recipes.tasks).
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

from genlip.data.captions import CaptionConfig
from genlip.data.images import ImageConfig
from genlip.data.packing import PackingConfig
from genlip.model.config import GenLIPConfig
from genlip.recipes.tasks import check_task

__all__ = ["DataConfig", "OptimizerConfig", "Run"]


@dataclass(frozen=True, kw_only=True)
class DataConfig:
    """The data of a run.

    Attributes:
        source: "scenes", "closeups", "documents", "charts", "notes", "bars", a folder of images with .txt captions, a
            .csv or .jsonl table, a captions file of COCO's form, .tar shards, .parquet files, or a .yaml mixture of these;
            files may be globs, brace ranges and URLs.
        fields: where captions are found and how often each is read, as in "re_caption=0.8,org_caption=0.2"; empty takes
            the first of the usual names.
        allow_outside: let tables and captions files name images that lie outside their folders, for files that you trust.
        held_out: a source that is only measured on; empty takes `held_out_samples` samples out of `source`.
        held_out_samples: number of held-out samples that are measured.
        workers: processes that prepare packs ahead; 0 prepares them between the steps.
    """

    source: str = "scenes"
    fields: str = ""
    allow_outside: bool = False
    held_out: str = ""
    held_out_samples: int = 512
    workers: int = 1

    def __post_init__(self) -> None:
        if self.held_out_samples < 2 or self.workers < 0:
            raise ValueError(
                f"data.held_out_samples {self.held_out_samples} must be at least 2, data.workers {self.workers} at least 0"
            )


@dataclass(frozen=True, kw_only=True)
class OptimizerConfig:
    """The optimizer, with linear warm-up and decay; the defaults are the paper's (stage 1).

    Attributes:
        kind: "adamw" as in the paper, or "muon" for the matrices of the trunk and AdamW for all other parameters.
        learning_rate: peak, reached after the warm-up.
        final_learning_rate: at the last step.
        warmup_ratio: share of the steps that warm up.
        schedule: "cosine" decay after the warm-up, or "stable": the peak, and a linear decay at the end.
        cooldown_ratio: share of the steps in which a "stable" rate decays; 0 never.
        beta1: decay of the mean gradient.
        beta2: decay of the mean squared gradient; also Muon's momentum.
        eps: added to the denominator.
        weight_decay: of every parameter, as in the published code.
        max_grad_norm: largest norm of the gradient of all parameters.
    """

    kind: Literal["adamw", "muon"] = "adamw"
    learning_rate: float = 1e-3
    final_learning_rate: float = 1e-6
    warmup_ratio: float = 0.007
    schedule: Literal["cosine", "stable"] = "cosine"
    cooldown_ratio: float = 0.2
    beta1: float = 0.9
    beta2: float = 0.95
    eps: float = 1e-8
    weight_decay: float = 0.01
    max_grad_norm: float = 1.0

    def __post_init__(self) -> None:
        if (
            not self.learning_rate > 0
            or not 0 <= self.final_learning_rate <= self.learning_rate
            or not 0 <= self.warmup_ratio < 1
            or (self.schedule == "stable" and not 0 <= self.cooldown_ratio <= 1 - self.warmup_ratio + 1e-9)
        ):
            raise ValueError(
                f"optimizer: learning_rate {self.learning_rate} must be positive, final_learning_rate "
                f"{self.final_learning_rate} between 0 and it, warmup_ratio {self.warmup_ratio} a share below 1, and "
                f"cooldown_ratio {self.cooldown_ratio} at most what the warm-up leaves"
            )
        if (
            not (0 <= self.beta1 < 1 and 0 <= self.beta2 < 1)
            or self.weight_decay < 0
            or not min(self.max_grad_norm, self.eps) > 0
        ):
            raise ValueError(
                f"optimizer: beta1 {self.beta1} and beta2 {self.beta2} must lie in [0, 1), weight_decay "
                f"{self.weight_decay} must not be negative, max_grad_norm {self.max_grad_norm} and eps {self.eps} must be "
                "positive"
            )


@dataclass(frozen=True, kw_only=True, repr=False)
class Run:
    """A whole training run.

    A task with recipe sections of its own names a subclass that adds them as fields. All fields have defaults, or are
    dataclasses whose fields have defaults; the subclass documents its fields and sets the default of `task` to its name.

    Attributes:
        task: what is trained; "genlip" is the model of the paper.
        out: folder of the run: log, checkpoints, and the exported model.
        init_from: a model whose weights and tokenizer the run starts with: a folder, or a repository on the Hub; empty
            starts with random weights. Stage 2 starts from stage 1's model.
        tokenizer: "bpe" trains one of model.vocab_size tokens on the captions (or takes that of `init_from`); else a
            tokenizer.json, a folder with one, or a repository on the Hub such as Qwen/Qwen3-0.6B, which the published
            models use.
        data: the training data and the held-out data.
        packing: the order of samples, how they are packed, and the size of an update.
        images: how an image becomes patches.
        captions: the text before and after a caption.
        model: sizes and variants.
        optimizer: its kind, and its schedule.
        steps: end after so many updates. The run ends at the first of its ends; 0 is none.
        epochs: end after every example was read so many times.
        samples: end after the update in which so many samples were used.
        tokens: end after the update in which so many tokens, patches and text, were used.
        precision: of the matrix products; "auto" takes bfloat16 where it is faster on this machine.
        attention: backend of the attention; "auto" takes the fastest that this machine can run.
        parallel: how several processes share the work: "ddp" copies the model to each, "fsdp" shards it over all, "hybrid"
            shards it within a node and copies it between nodes. "auto" is ddp, and nothing for a single process.
        threads: of PyTorch on a processor; 0 chooses the number by measured speed, repeatedly during the run. A run is
            repeated bit for bit only where the number is fixed, here or by OMP_NUM_THREADS.
        activation_checkpointing: keep only the input of each block and recompute the rest in the backward pass: less
            memory, more time; `genlip plan` says how much.
        compile: compile each block with torch.compile, once for all packs; attention is not compiled.
        freeze: parameters that are not trained, as patterns of their names, as in ["vision_embeddings.*"].
        ema: also keep an exponential moving average of the weights with this decay per update, as in 0.9999, and measure
            and export that.
        seed: of the order, the initial weights and DropPath.
        log_every: steps between log lines.
        evaluate_every: steps between held-out measurements.
        spoken: number of held-out images that are captioned at each measurement.
        save_every: steps between checkpoints.
        keep_last: number of newest checkpoints that are kept, besides those to which evaluations or other files were added.
        keep_every: checkpoints of steps that are multiples of this are never removed; 0 means none.
        max_skipped: stop when more than this share of the samples could not be used.
        max_nonfinite: stop after so many updates in a row whose loss or gradient is NaN or infinite; each is skipped.
        log_samples: write the key of every sample of every update to samples-RANK.jsonl.
        trackers: programs that get the figures besides log.jsonl, as in "tensorboard,wandb,trackio".
    """

    task: str = "genlip"
    out: str = "runs/run"
    init_from: str = ""
    tokenizer: str = "bpe"
    data: DataConfig = field(default_factory=DataConfig)
    packing: PackingConfig = field(default_factory=PackingConfig)
    images: ImageConfig = field(default_factory=ImageConfig)
    captions: CaptionConfig = field(default_factory=CaptionConfig)
    model: GenLIPConfig
    optimizer: OptimizerConfig = field(default_factory=OptimizerConfig)
    steps: int = 1000
    epochs: int = 0
    samples: int = 0
    tokens: int = 0
    precision: Literal["auto", "float32", "bfloat16"] = "auto"
    attention: Literal["auto", "sdpa", "varlen", "flex", "reference"] = "auto"
    parallel: Literal["auto", "ddp", "fsdp", "hybrid"] = "auto"
    threads: int = 0
    activation_checkpointing: bool = False
    compile: bool = False
    freeze: tuple[str, ...] = ()
    ema: float = 0.0
    seed: int = 0
    log_every: int = 10
    evaluate_every: int = 500
    spoken: int = 4
    save_every: int = 500
    keep_last: int = 2
    keep_every: int = 0
    max_skipped: float = 0.1
    max_nonfinite: int = 5
    log_samples: bool = False
    trackers: str = ""

    def __repr__(self) -> str:
        """One line: `to_yaml` shows every setting."""
        ends = [
            f"{getattr(self, name):,} {name}" for name in ("steps", "epochs", "samples", "tokens") if getattr(self, name)
        ]
        return f"<{type(self).__name__} {self.out!r}: {self.task} on {self.data.source!r}, {' or '.join(ends)}>"

    def __post_init__(self) -> None:
        check_task(self.task)
        for name in ("log_every", "evaluate_every", "save_every", "keep_last", "max_nonfinite"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} is {getattr(self, name)}: it must be at least 1")
        if min(self.spoken, self.keep_every, self.threads) < 0 or not 0 <= self.ema < 1:
            raise ValueError(
                f"spoken {self.spoken}, keep_every {self.keep_every} and threads {self.threads} must not be negative, "
                f"ema {self.ema} must lie in [0, 1)"
            )
        ends = {name: getattr(self, name) for name in ("steps", "epochs", "samples", "tokens")}
        if min(ends.values()) < 0 or not any(ends.values()):
            raise ValueError(f"the run has no end: {ends}; set at least one of them above 0, and none below")
        if not 0 <= self.max_skipped <= 1 or not 0 <= self.seed < 2**31:
            raise ValueError(f"max_skipped {self.max_skipped} must be a share in [0, 1], seed {self.seed} in [0, 2**31)")
        self.check_images()

    def check_images(self) -> None:
        """Raise ValueError where images, packing and model contradict each other.

        A subclass whose `model` is not a `GenLIPConfig` replaces this method.
        """
        schedule, images = self.packing.patch_schedule, self.images
        if schedule and images.resize == "fixed":
            raise ValueError("packing.patch_schedule says how many patches native images have: set images.resize to native")
        if any(patches < images.min_patches for _, patches in schedule):
            raise ValueError(f"packing.patch_schedule {schedule} goes below images.min_patches {images.min_patches}")
        if images.resize == "fixed" and images.size % self.model.patch_size:
            raise ValueError(f"images.size {images.size} is no multiple of model.patch_size {self.model.patch_size}")
