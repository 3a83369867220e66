"""A recipe: everything that decides what a run does, as frozen dataclasses that refuse impossible values.

In: the name of a recipe or a YAML file, and overrides by dotted path. Out: a `Run`; the resolved one is stored with it.
"""

from __future__ import annotations

import argparse
import dataclasses
import difflib
import typing
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from importlib.resources import files
from pathlib import Path
from typing import Any, Literal

import docstring_parser
import yaml
from jsonargparse import ArgumentParser

from genlip.data.captions import CaptionConfig
from genlip.data.images import ImageConfig
from genlip.data.packing import PackingConfig
from genlip.model.config import GenLIPConfig

__all__ = [
    "DataConfig",
    "OptimizerConfig",
    "RecipeError",
    "Run",
    "describe_settings",
    "differences",
    "keys",
    "load_recipe",
    "recipe_names",
    "to_yaml",
]


class RecipeError(ValueError):
    """A recipe or an override that cannot be read. The message names the nearest known key."""


@dataclass(frozen=True, kw_only=True)
class DataConfig:
    """What is learned from.

    Attributes:
        source: "scenes", "documents", "charts", a folder of images with .txt captions, a .csv or .jsonl table, .tar shards,
            .parquet files, or a .yaml mixture of these; files may be globs, brace ranges and URLs.
        fields: where captions are found and how often each is read, as in "re_caption=0.8,org_caption=0.2"; empty takes
            the first of the usual names.
        held_out: a source that is only measured on; empty takes `held_out_samples` out of `source`.
        held_out_samples: how many held-out samples are measured.
        workers: processes that prepare packs ahead; 0 prepares them between the steps.
    """

    source: str = "scenes"
    fields: str = ""
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
    """The optimizer, with linear warm-up and cosine decay; the defaults are the paper's (stage 1).

    Attributes:
        kind: "adamw" as in the paper, or "muon" for the trunk's matrices beside AdamW for all else.
        learning_rate: peak, reached after the warm-up.
        final_learning_rate: at the last step.
        warmup: share of the steps that warm up.
        beta1: memory of the mean gradient.
        beta2: memory of the mean squared gradient; also Muon's momentum.
        eps: added to the denominator.
        weight_decay: of every parameter, as in the published code.
        clip: largest norm of the gradient of all parameters.
    """

    kind: Literal["adamw", "muon"] = "adamw"
    learning_rate: float = 1e-3
    final_learning_rate: float = 1e-6
    warmup: float = 0.007
    beta1: float = 0.9
    beta2: float = 0.95
    eps: float = 1e-8
    weight_decay: float = 0.01
    clip: float = 1.0

    def __post_init__(self) -> None:
        if not self.learning_rate > 0 or not 0 <= self.final_learning_rate <= self.learning_rate or not 0 <= self.warmup < 1:
            raise ValueError(
                f"optimizer: learning_rate {self.learning_rate} must be positive, final_learning_rate "
                f"{self.final_learning_rate} between 0 and it, warmup {self.warmup} a share below 1"
            )
        if not (0 <= self.beta1 < 1 and 0 <= self.beta2 < 1) or self.weight_decay < 0 or not min(self.clip, self.eps) > 0:
            raise ValueError(
                f"optimizer: beta1 {self.beta1} and beta2 {self.beta2} must lie in [0, 1), weight_decay "
                f"{self.weight_decay} must not be negative, clip {self.clip} and eps {self.eps} must be positive"
            )


@dataclass(frozen=True, kw_only=True)
class Run:
    """A whole training run.

    Attributes:
        out: folder of the run: log, checkpoints, and the exported model.
        tokenizer: "bpe" learns one of model.vocab_size tokens from the captions; else a tokenizer.json, a folder with one,
            or a repository on the Hub such as Qwen/Qwen3-0.6B, the published models' own.
        data: what is learned from.
        packing: how samples are ordered and packed; also says how large an update is.
        images: how an image becomes patches.
        captions: what stands around a caption.
        model: sizes and variants.
        optimizer: which one, and its schedule.
        steps: end after so many updates. The run ends at the first of its ends; 0 is none.
        epochs: end once every example was read so often.
        max_samples: end after the update in which so many samples were used.
        max_tokens: end after the update in which so many tokens, patches and text, were used.
        precision: of the matrix products; "auto" takes bfloat16 where this machine multiplies it faster.
        attention: backend of the attention.
        seed: of the order, the initial weights and DropPath.
        log_every: steps between log lines.
        evaluate_every: steps between held-out measurements.
        save_every: steps between checkpoints.
        keep: checkpoints kept.
        max_skipped: stop once more than this share of the samples could not be used.
    """

    out: str = "runs/run"
    tokenizer: str = "bpe"
    data: DataConfig = field(default_factory=DataConfig)
    packing: PackingConfig = field(default_factory=PackingConfig)
    images: ImageConfig = field(default_factory=ImageConfig)
    captions: CaptionConfig = field(default_factory=CaptionConfig)
    model: GenLIPConfig
    optimizer: OptimizerConfig = field(default_factory=OptimizerConfig)
    steps: int = 1000
    epochs: int = 0
    max_samples: int = 0
    max_tokens: int = 0
    precision: Literal["auto", "float32", "bfloat16"] = "auto"
    attention: Literal["sdpa", "reference"] = "sdpa"
    seed: int = 0
    log_every: int = 10
    evaluate_every: int = 500
    save_every: int = 500
    keep: int = 2
    max_skipped: float = 0.1

    def __post_init__(self) -> None:
        for name in ("log_every", "evaluate_every", "save_every", "keep"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} is {getattr(self, name)}: it must be at least 1")
        ends = {name: getattr(self, name) for name in ("steps", "epochs", "max_samples", "max_tokens")}
        if min(ends.values()) < 0 or not any(ends.values()):
            raise ValueError(f"the run has no end: {ends}; set at least one of them above 0, and none below")
        if not 0 <= self.max_skipped <= 1 or not 0 <= self.seed < 2**31:
            raise ValueError(f"max_skipped {self.max_skipped} must be a share in [0, 1], seed {self.seed} in [0, 2**31)")
        if self.packing.patch_schedule and self.images.resize == "fixed":
            raise ValueError("packing.patch_schedule says how many patches native images have: set images.resize to native")
        if any(patches < self.images.min_patches for _, patches in self.packing.patch_schedule):
            raise ValueError(
                f"packing.patch_schedule {self.packing.patch_schedule} goes below images.min_patches "
                f"{self.images.min_patches}"
            )
        if self.images.resize == "fixed" and self.images.size % self.model.patch_size:
            raise ValueError(f"images.size {self.images.size} is no multiple of model.patch_size {self.model.patch_size}")


def recipe_names() -> list[str]:
    """The recipes that come with the package."""
    return sorted(
        item.name.removesuffix(".yaml") for item in files("genlip.recipes").iterdir() if item.name.endswith(".yaml")
    )


def keys() -> dict[str, Any]:
    """Every dotted key of a run with its default."""
    return dict(_flat(_plain(dataclasses.asdict(Run(model=GenLIPConfig())))))


def describe_settings() -> str:
    """Every key with its default and what it means, a line each, for help texts."""
    lines = []
    for key, default in keys().items():
        owner: Any = Run
        for part in key.split(".")[:-1]:
            owner = typing.get_type_hints(owner)[part]
        meaning = {p.arg_name: p.description for p in docstring_parser.parse(owner.__doc__ or "").params}[key.split(".")[-1]]
        shown = _as_text(default).encode("unicode_escape").decode() or "''"
        lines.append(f"  --{key} {shown}\n        {' '.join((meaning or '').split())}")
    return "\n".join(lines)


def load_recipe(name_or_file: str | Path, overrides: Sequence[str] = ()) -> Run:
    """The run of a recipe's name or YAML file, with overrides such as `["--optimizer.learning_rate", "1e-3"]`.

    Raises `RecipeError` where a key is unknown (it names the nearest) or a value impossible.
    """
    recipe = _read(name_or_file)
    for key, _ in _flat(recipe):
        _check_key(key, str(name_or_file))
    for option in overrides:
        if option.startswith("--"):
            _check_key(option[2:].partition("=")[0], "the command line")
    parser = ArgumentParser(exit_on_error=False)
    parser.add_class_arguments(Run)
    settings = [f"--{key}={_as_text(value)}" for key, value in _flat(recipe)]
    try:
        return Run(**vars(parser.instantiate(parser.parse_args([*settings, *overrides]))))
    except (argparse.ArgumentError, ValueError, TypeError) as error:
        raise RecipeError(f"{name_or_file}: {' '.join(str(error).split())}") from error


def to_yaml(run: Run) -> str:
    """The resolved run as YAML, which `load_recipe` reads back."""
    return yaml.safe_dump(_plain(dataclasses.asdict(run)), sort_keys=False, allow_unicode=True)


def differences(before: Run, after: Run) -> list[str]:
    """What two runs do differently, as `key: before -> after`. Where and how often results are kept is no difference."""
    old, new = (dict(_flat(dataclasses.asdict(run))) for run in (before, after))
    aside = {"out", "data.workers", "log_every", "evaluate_every", "save_every", "keep", "max_skipped"}
    return [f"{key}: {old[key]} -> {new[key]}" for key in old if old[key] != new[key] and key not in aside]


def _read(name_or_file: str | Path) -> dict[str, Any]:
    packaged = files("genlip.recipes") / f"{name_or_file}.yaml"
    try:
        text = (packaged if str(name_or_file) in recipe_names() else Path(name_or_file)).read_text(encoding="utf8")
        recipe = yaml.safe_load(text) or {}
    except (FileNotFoundError, IsADirectoryError):
        raise RecipeError(
            f"{name_or_file}: no such recipe; need a YAML file or one of {', '.join(recipe_names())}"
        ) from None
    except yaml.YAMLError as error:
        raise RecipeError(f"{name_or_file}: not YAML: {' '.join(str(error).split())}") from None
    if not isinstance(recipe, dict):
        raise RecipeError(f"{name_or_file}: holds {type(recipe).__name__}, need keys and values")
    return recipe


def _check_key(key: str, where: str) -> None:
    known = keys()
    if key not in known:
        near = difflib.get_close_matches(key, known, n=1) or [k for k in known if k.endswith(f".{key}")][:1]
        hint = f"; did you mean {near[0]}?" if near else f"; the keys are {', '.join(known)}"
        raise RecipeError(f"{where}: unknown key {key}{hint}")


def _flat(tree: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    for key, value in tree.items():
        if isinstance(value, dict):
            yield from _flat(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", value


def _plain(tree: Any) -> Any:
    if isinstance(tree, dict):
        return {key: _plain(value) for key, value in tree.items()}
    return [_plain(value) for value in tree] if isinstance(tree, (tuple, list)) else tree


def _as_text(value: Any) -> str:
    return value if isinstance(value, str) else yaml.safe_dump(value, default_flow_style=True).partition("\n...")[0].strip()
