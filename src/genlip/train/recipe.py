"""Recipes: how a run is written, as a few lines of YAML over the defaults, and overrides by dotted path.

In: the name of a recipe or a YAML file, and overrides. Out: a `Run`. A recipe may stand on others (`base: stage1_l16`) and
replace some of their settings; `model: l16` names a preset, or a folder or Hub repository whose config.json is read.
"""

from __future__ import annotations

import argparse
import dataclasses
import difflib
import logging
import re
import typing
from collections.abc import Iterable, Iterator, Mapping, Sequence
from importlib.resources import files
from pathlib import Path
from typing import Any

import docstring_parser
import yaml
from jsonargparse import ArgumentParser

from genlip.data.sizes import count
from genlip.model.checkpoint import read_config
from genlip.model.config import PRESETS, GenLIPConfig
from genlip.model.reading import parse_yaml, read_yaml
from genlip.train.run import DataConfig, OptimizerConfig, Run

log = logging.getLogger(__name__)

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

_ASIDE = {  # where results go, how often, and how the same work is shared out
    "out", "data.workers", "log_every", "evaluate_every", "spoken", "save_every", "keep", "keep_every", "max_skipped",
    "max_nonfinite", "log_samples", "trackers", "parallel", "recompute", "compile", "attention", "threads",
}  # fmt: skip


class RecipeError(ValueError):
    """A recipe or an override that cannot be read. The message names the nearest known key."""


def recipe_names() -> list[str]:
    """The recipes that come with the package; names with an underscore are parts of others."""
    names = (item.name for item in files("genlip.recipes").iterdir())
    return sorted(name.removesuffix(".yaml") for name in names if name.endswith(".yaml") and not name.startswith("_"))


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

    Whole numbers may be written as 20k, 32M or 8B. Raises `RecipeError` where a key is unknown (it names the nearest) or a
    value impossible.
    """
    parser = ArgumentParser(exit_on_error=False)
    parser.add_class_arguments(Run)
    try:
        settings = _over(_settings(name_or_file), _overrides(overrides))
        arguments = [f"--{key}={_as_text(value)}" for key, value in settings.items()]
        return Run(**vars(parser.instantiate(parser.parse_args(arguments))))
    except RecipeError:
        raise
    except (argparse.ArgumentError, ValueError, TypeError) as error:
        told = re.sub(r"<class '(\w+)'>", r"\1", " ".join(str(error).split()))
        raise RecipeError(f"{name_or_file}: {told}") from error


def to_yaml(run: Run) -> str:
    """The resolved run as YAML, which `load_recipe` reads back."""
    return yaml.safe_dump(_plain(dataclasses.asdict(run)), sort_keys=False, allow_unicode=True)


def differences(before: Run, after: Run) -> list[str]:
    """What two runs do differently, as `key: before -> after`.

    Where and how often results are kept is no difference, nor how the work is shared among processes and computed.
    """
    old, new = (dict(_flat(dataclasses.asdict(run))) for run in (before, after))
    return [f"{key}: {old[key]} -> {new[key]}" for key in old if old[key] != new[key] and key not in _ASIDE]


def _settings(name_or_file: str | Path, above: tuple[str, ...] = ()) -> dict[str, Any]:
    """Dotted key -> value: those of the recipes that this one stands on, then its own."""
    name = str(name_or_file)
    if name in above:
        raise RecipeError(f"{name}: recipes stand on each other in a circle: {' -> '.join((*above, name))}")
    recipe = _read(name_or_file)
    bases = recipe.pop("base", [])
    settings: dict[str, Any] = {}
    for base in [bases] if isinstance(bases, str) else bases:
        beside = Path(name_or_file).parent / str(base)
        settings |= _settings(beside if beside.is_file() else base, (*above, name))
    return _over(settings, _checked(_flat(recipe), name))


def _over(below: dict[str, Any], above: dict[str, Any]) -> dict[str, Any]:
    """Settings laid over others. Warns where new data would be measured on held-out samples of the old."""
    settings = below | above
    source, held_out = settings.get("data.source"), below.get("data.held_out")
    if "data.source" in above and held_out and "data.held_out" not in above and _kind(source) != _kind(held_out):
        log.warning(
            "data.source is %s, and data.held_out still the recipe's %s: what is measured is not what is learned; "
            "--data.held_out '' holds samples of data.source out",
            source, held_out,
        )  # fmt: skip
    return settings


def _kind(source: Any) -> str:
    """Of procedural images, without the seed."""
    return str(source).partition(":")[0]


def _overrides(words: Sequence[str]) -> dict[str, Any]:
    """Dotted key -> value, of `--key value` and `--key=value`."""
    pairs: list[tuple[str, Any]] = []
    rest = iter(words)
    for word in rest:
        key, given, value = word.removeprefix("--").partition("=")
        if not word.startswith("--"):
            raise RecipeError(f"the command line: {word!r} stands alone; settings are written --key value")
        if not given and (value := next(rest, None)) is None:  # type: ignore[assignment]
            raise RecipeError(f"the command line: --{key} has no value")
        pairs.append((key, value))
    return _checked(pairs, "the command line")


def _checked(pairs: Iterable[tuple[str, Any]], where: str) -> dict[str, Any]:
    """Known keys alone, a model's name replaced by its sizes, and large numbers read."""
    settings: dict[str, Any] = {}
    for key, value in pairs:
        if key == "model" and isinstance(value, str):
            settings |= {f"model.{name}": part for name, part in _model(value).items()}
            continue
        _check_key(key, where)
        numeric = isinstance(known := keys()[key], int) and not isinstance(known, bool)
        settings[key] = count(value) if numeric and isinstance(value, str) and re.search(r"[kKMBT]$", value) else value
    return settings


def _model(name: str) -> dict[str, Any]:
    """The fields of a preset (those it does not name are derived), or the config of a folder or a Hub repository."""
    return _plain(PRESETS[name] if name in PRESETS else dataclasses.asdict(read_config(name)))


def _read(name_or_file: str | Path) -> dict[str, Any]:
    packaged = files("genlip.recipes") / f"{name_or_file}.yaml"
    try:
        if packaged.is_file():
            recipe = parse_yaml(packaged.read_text(encoding="utf8"), str(name_or_file)) or {}
        else:
            recipe = read_yaml(name_or_file) or {}
    except (FileNotFoundError, IsADirectoryError):
        raise RecipeError(
            f"{name_or_file}: no such recipe; need a YAML file or one of {', '.join(recipe_names())}"
        ) from None
    except ValueError as error:
        raise RecipeError(str(error)) from None
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
