"""Recipes: a run as a few lines of YAML that replace defaults, and overrides by dotted path.

In: the name of a recipe or a YAML file, and overrides. Out: a `Run`. A recipe may inherit from others (`base: stage1_l16`)
and replace some of their settings; `model: l16` names a preset, or a folder or Hub repository whose config.json is read.
"""

from __future__ import annotations

import argparse
import dataclasses
import hashlib
import logging
import re
import typing
from collections.abc import Iterable, Iterator, Mapping, Sequence
from importlib.resources import files
from pathlib import Path
from types import NoneType, UnionType
from typing import Any, Literal

import docstring_parser
import yaml
from jsonargparse import ArgumentParser

from genlip.data.units import count
from genlip.model.checkpoint import read_config
from genlip.model.config import PRESETS, GenLIPConfig
from genlip.model.fields import shown
from genlip.model.reading import parse_yaml, read_yaml
from genlip.recipes.run import DataConfig, OptimizerConfig, Run
from genlip.recipes.tasks import TASKS, check_task, import_object
from genlip.suggestions import did_you_mean, nearest

log = logging.getLogger(__name__)

__all__ = [
    "DataConfig",
    "OptimizerConfig",
    "RecipeError",
    "Run",
    "UnknownKeyError",
    "as_run",
    "describe_settings",
    "differences",
    "fingerprint",
    "for_processor",
    "keys",
    "load_recipe",
    "recipe_names",
    "to_yaml",
]

_ASIDE = {  # where and how often results are stored, and how the same computation is distributed
    "out", "data.workers", "log_every", "evaluate_every", "spoken", "save_every", "keep_last", "keep_every", "max_skipped",
    "max_nonfinite", "log_samples", "trackers", "parallel", "activation_checkpointing", "compile", "attention", "threads",
}  # fmt: skip


Recipes = list[tuple[str, dict[str, Any]]]  # name or file, and content

_MISSING = dataclasses.MISSING
_FOR_PROCESSOR = ("_cpu", "_mllm_cpu", "quickstart")
_COMMAND_LINE = "the command line"  # the place of a setting that is not in a file
_DEVICE = "training takes the GPU that there is, and several under torchrun; CUDA_VISIBLE_DEVICES chooses among them"
_NO_SETTINGS = dict.fromkeys(("gpu", "gpus", "device", "devices", "cuda", "num_gpus", "accelerator"), _DEVICE)


class RecipeError(ValueError):
    """A recipe or an override that cannot be read. The message names the nearest known key."""


class UnknownKeyError(RecipeError):
    """A recipe or an override with a key that is not a setting."""


def recipe_names() -> list[str]:
    """The recipes in the package; those whose names start with an underscore are only parts of others, and not listed."""
    names = (item.name for item in files("genlip.recipes").iterdir())
    return sorted(name.removesuffix(".yaml") for name in names if name.endswith(".yaml") and not name.startswith("_"))


def keys(run_type: type[Run] = Run) -> dict[str, Any]:
    """Every dotted key of a run with its default; `run_type` is the class that the recipes of a task are read into."""
    hints = typing.get_type_hints(run_type)
    needed = [
        one.name for one in dataclasses.fields(run_type) if one.default is _MISSING and one.default_factory is _MISSING
    ]
    return dict(_flat(_plain(dataclasses.asdict(run_type(**{name: hints[name]() for name in needed})))))


def for_processor(name_or_file: str | Path) -> bool:
    """Whether a recipe is written for a processor: it is `quickstart` or `_cpu`, or inherits from one of these."""
    return any(name in _FOR_PROCESSOR for name, _ in _with_bases(name_or_file))


def describe_settings(run_type: type[Run] = Run) -> str:
    """Every key with its default and what it means, a line each, for help texts."""
    lines = []
    for key, default in keys(run_type).items():
        shown = _as_text(default).encode("unicode_escape").decode() or "''"
        lines.append(f"  --{key} {shown}\n        {_meaning(run_type, key)}.")
    return "\n".join(lines)


def _meaning(run_type: type[Run], key: str) -> str:
    """The description of a setting in the docstring of the dataclass that holds it, or of a class that it inherits from."""
    owner, name = _owner(run_type, key)
    parsed = (docstring_parser.parse(base.__doc__ or "").params for base in reversed(owner.__mro__))
    described = {param.arg_name: param.description or "" for params in parsed for param in params}
    return " ".join(described[name].split()).rstrip(".")


def _owner(run_type: type[Run], key: str) -> tuple[Any, str]:
    """The dataclass that holds a dotted key, and the name of its field."""
    owner: Any = run_type
    *parts, name = key.split(".")
    for part in parts:
        owner = typing.get_type_hints(owner)[part]
    return owner, name


def load_recipe(name_or_file: str | Path, overrides: Sequence[str] = ()) -> Run:
    """The run of a recipe's name or YAML file, with overrides such as `["--optimizer.learning_rate", "1e-3"]`.

    The result is of the class that the recipe's `task` names: `Run`, or a subclass of it. Whole numbers may be written as
    20k, 32M or 8B. Raises `RecipeError` where a key or the task is unknown (it names the nearest) or a value impossible.
    """
    try:
        given = _overrides(overrides)
        recipes = _with_bases(name_or_file)
        run_type = _run_class(recipes, given)
        parser = ArgumentParser(exit_on_error=False)
        parser.add_class_arguments(run_type)
        written, replaced = _settings(recipes, run_type), _checked(given, _COMMAND_LINE, run_type)
        arguments = [f"--{key}={_as_text(value)}" for key, value in _over(written, replaced).items()]
        return run_type(**vars(parser.instantiate(parser.parse_args(arguments))))
    except RecipeError:
        raise
    except argparse.ArgumentError as error:
        found = re.search(r'[Kk]ey "([\w.]+)"', str(error))
        if found is None or (key := found[1]) not in written | replaced:
            raise RecipeError(f"{name_or_file}: {' '.join(str(error).split())}") from error
        where = _COMMAND_LINE if key in replaced else name_or_file
        raise RecipeError(f"{where}: {_misfit(run_type, key, (written | replaced)[key])}") from None
    except (ValueError, TypeError) as error:
        raise RecipeError(f"{name_or_file}: {' '.join(str(error).split())}") from error


def _run_class(recipes: Recipes, overrides: Sequence[tuple[str, Any]]) -> type[Run]:
    """The class that a recipe is read into: that of the task which the command line, the recipe or its bases name."""
    named = [(where, recipe["task"]) for where, recipe in recipes if recipe.get("task") is not None]
    given = [(_COMMAND_LINE, value) for key, value in overrides if key == "task"]
    where, name = [(recipes[-1][0], Run.task), *named, *given][-1]
    try:
        check_task(name)
    except ValueError as error:
        raise RecipeError(f"{where}: {error}") from None
    found: type[Run] = import_object(TASKS[name].run)
    return found


def as_run(run: Run | str | Path, overrides: Sequence[str] = ()) -> Run:
    """A run as it is, or that of a recipe's name or file; `overrides` are settings of the recipe.

    Raises `RecipeError` as `load_recipe` does, and where a `Run` comes with overrides.
    """
    if not isinstance(run, Run):
        return load_recipe(run, overrides)
    if overrides:
        raise RecipeError(f"overrides {list(overrides)} of a Run: change the recipe, or use dataclasses.replace")
    return run


def _misfit(run_type: type[Run], key: str, value: Any) -> str:
    """The message for a value whose type is not that of its key."""
    owner, name = _owner(run_type, key)
    hint = typing.get_type_hints(owner)[name]
    choices = typing.get_args(hint) if typing.get_origin(hint) is Literal else ()
    return f"{key} is {shown(_as_text(value))}: need {_needed(hint)}{did_you_mean(str(value), choices)}"


def _needed(hint: Any) -> str:
    """A type in words."""
    words = {int: "a whole number", float: "a number", bool: "true or false", str: "a text", NoneType: "null"}
    if hint in words:
        return words[hint]
    origin, parts = typing.get_origin(hint), typing.get_args(hint)
    if origin is Literal:
        return f"one of {', '.join(parts)}"
    if origin in (UnionType, typing.Union):
        return " or ".join(map(_needed, parts))
    if parts[-1] is Ellipsis:
        return f"a list, each item {_needed(parts[0])}"
    return f"[{', '.join(map(_needed, parts))}]"


def to_yaml(run: Run) -> str:
    """The resolved run as YAML, which `load_recipe` reads back."""
    return yaml.safe_dump(_plain(dataclasses.asdict(run)), sort_keys=False, allow_unicode=True)


def differences(before: Run, after: Run) -> list[str]:
    """The settings in which two runs differ, as `key: before -> after`.

    Settings that do not change what is trained are ignored: where and how often results are stored, how the work is
    distributed over processes, and how it is computed.
    """
    old, new = (dict(_flat(dataclasses.asdict(run))) for run in (before, after))
    both = [key for key in old if key in new]  # runs of two tasks have different sections, and differ in `task` at least
    return [f"{key}: {old[key]} -> {new[key]}" for key in both if old[key] != new[key] and key not in _ASIDE]


def fingerprint(run: Run) -> str:
    """12 hexadecimal digits of the settings that `differences` compares."""
    settings = {key: str(value) for key, value in _flat(dataclasses.asdict(run)) if key not in _ASIDE}
    return hashlib.sha256(repr(sorted(settings.items())).encode()).hexdigest()[:12]


def _settings(recipes: Recipes, run_type: type[Run]) -> dict[str, Any]:
    """Dotted key -> value: the settings of each recipe replace those of the recipes before it."""
    settings: dict[str, Any] = {}
    for name, recipe in recipes:
        settings = _over(settings, _checked(_flat(recipe), name, run_type))
    return settings


def _with_bases(name_or_file: str | Path) -> Recipes:
    """A recipe after its bases, and each of those after its own; a base is a file in the same folder, or a packaged recipe.

    Raises RecipeError where recipes inherit from each other in a circle.
    """
    read: dict[str, dict[str, Any]] = {}

    def collect(name: str, above: tuple[str, ...]) -> Recipes:
        place = str(Path(name).resolve()) if Path(name).is_file() else name
        if place in above:
            raise RecipeError(f"{name}: recipes inherit from each other in a circle: {' -> '.join((*above, place))}")
        if place not in read:
            read[place] = _read(name)
        recipe, found = dict(read[place]), []
        bases = recipe.pop("base", [])
        for base in [bases] if isinstance(bases, str) else bases:
            beside = Path(name).parent / str(base)
            found += collect(str(beside if beside.is_file() else base), (*above, place))
        return [*found, (name, recipe)]

    return collect(str(name_or_file), ())


def _over(below: dict[str, Any], above: dict[str, Any]) -> dict[str, Any]:
    """`below`, replaced by `above`. Warns if `above` changes the training data and not the held-out data."""
    settings = below | above
    source, held_out = settings.get("data.source"), below.get("data.held_out")
    if "data.source" in above and held_out and "data.held_out" not in above and _kind(source) != _kind(held_out):
        log.warning(
            "data.source is %s, and data.held_out still the recipe's %s: the held-out samples are of another kind; "
            "--data.held_out '' holds samples of data.source out",
            source, held_out,
        )  # fmt: skip
    return settings


def _kind(source: Any) -> str:
    """A source without the seed of procedural images."""
    return str(source).partition(":")[0]


def _overrides(words: Sequence[str]) -> list[tuple[str, Any]]:
    """Dotted keys with their values, of `--key value` and `--key=value`."""
    pairs: list[tuple[str, Any]] = []
    rest = iter(words)
    for word in rest:
        key, given, value = word.removeprefix("--").partition("=")
        if not word.startswith("--"):
            raise RecipeError(f"{_COMMAND_LINE}: {word!r} is not a setting; settings are written --key value")
        if not given and (value := next(rest, None)) is None:  # type: ignore[assignment]
            raise RecipeError(f"{_COMMAND_LINE}: --{key} has no value")
        pairs.append((key, value))
    return pairs


def _checked(pairs: Iterable[tuple[str, Any]], where: str, run_type: type[Run]) -> dict[str, Any]:
    """The settings with a model's name replaced by its sizes, and 20k or 8B as numbers; refuses unknown keys."""
    settings: dict[str, Any] = {}
    known = keys(run_type)
    sizes = typing.get_type_hints(run_type)["model"] is GenLIPConfig  # a name then stands for them
    for key, value in pairs:
        if key == "model" and isinstance(value, str) and sizes:
            settings |= {f"model.{name}": part for name, part in _model(value).items()}
            continue
        _check_key(run_type, known, key, value, where)
        numeric = isinstance(known[key], int) and not isinstance(known[key], bool)
        if numeric and isinstance(value, str) and re.search(r"\d[kKMBT]$", value):
            try:
                value = count(value)
            except ValueError as error:
                raise RecipeError(f"{where}: {key}: {error}") from None
        settings[key] = value
    return settings


def _model(name: str) -> dict[str, Any]:
    """The fields of a preset (those it does not name are derived), or the config of a folder or a Hub repository."""
    if name in PRESETS:
        return _plain(PRESETS[name])
    try:
        return _plain(dataclasses.asdict(read_config(name)))
    except (ValueError, OSError) as error:
        hint = did_you_mean(name, PRESETS)
        raise RecipeError(f"model is {name!r}, no preset ({', '.join(PRESETS)}) and no model: {error}{hint}") from error


def _no_such(name_or_file: str | Path) -> RecipeError:
    names = recipe_names()
    return RecipeError(
        f"{name_or_file}: no such recipe; need a YAML file or one of {', '.join(names)}"
        f"{did_you_mean(str(name_or_file), names)}"
    )


def _read(name_or_file: str | Path) -> dict[str, Any]:
    packaged = files("genlip.recipes") / f"{name_or_file}.yaml"
    try:
        if packaged.is_file():
            recipe = parse_yaml(packaged.read_text(encoding="utf8"), str(name_or_file)) or {}
        elif Path(name_or_file).is_dir():
            raise _no_such(name_or_file)
        else:
            recipe = read_yaml(name_or_file) or {}
    except FileNotFoundError:
        raise _no_such(name_or_file) from None
    except ValueError as error:
        raise RecipeError(str(error)) from None
    if not isinstance(recipe, dict):
        raise RecipeError(f"{name_or_file}: holds {type(recipe).__name__}, need keys and values")
    return recipe


def _check_key(run_type: type[Run], known: Mapping[str, Any], key: str, value: Any, where: str) -> None:
    """Raise RecipeError if a key is not a setting; the message names the most similar one and its meaning."""
    if key in known:
        return
    key = key if key.isprintable() else shown(key)
    if inner := [name for name in known if name.startswith(f"{key}.")]:
        names = ", ".join(name.removeprefix(f"{key}.") for name in inner)
        given, first = _as_text(value), inner[0].removeprefix(f"{key}.")
        written = f"--{key}.{first} {given}" if where == _COMMAND_LINE else f"{key}: {{{first}: {given}}}"
        raise RecipeError(
            f"{where}: {key} is {given!r}, but {key} is a section ({names}): write its settings, as in {written}"
        )
    if key.rpartition(".")[0] in known:
        raise UnknownKeyError(f"{where}: unknown key {key}: {key.rpartition('.')[0]} is a single value, not a section")
    if (near := nearest(key, known)) is not None:
        raise UnknownKeyError(f"{where}: unknown key {key}; did you mean {near}? ({_meaning(run_type, near)})")
    hint = _NO_SETTINGS.get(key, f"the keys are {', '.join(known)}")
    raise UnknownKeyError(f"{where}: unknown key {key}; {hint}")


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
