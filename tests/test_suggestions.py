"""Everyday names: every entry leads to something that exists, and the usual ones lead to the right thing."""

import re

import pytest

from genlip.cli.main import _parser
from genlip.plan.hardware import HARDWARE
from genlip.recipes.recipe import keys
from genlip.suggestions import EVERYDAY, check_keywords, did_you_mean, nearest

SETTINGS = {
    "lr": "optimizer.learning_rate", "batch-size": "packing.batch", "batch_size": "packing.batch",
    "batchSize": "packing.batch",
    "max_steps": "steps", "num_epochs": "epochs", "bf16": "precision", "fp16": "precision",
    "grad_clip": "optimizer.max_grad_norm", "clip": "optimizer.max_grad_norm", "warmup": "optimizer.warmup_ratio",
    "recompute": "activation_checkpointing", "start_from": "init_from", "keep": "keep_last", "fp32": "precision",
    "look_ahead": "packing.packing_buffer", "packing.window": "packing.shuffle_window",
    "num_workers": "data.workers", "wandb": "trackers", "epochs": "epochs", "weight_decay": "optimizer.weight_decay",
    "train.lr": "optimizer.learning_rate", "output_dir": "out", "dataset": "data.source", "img_size": "images.size",
    "gradient-checkpointing": "activation_checkpointing", "optimizer.learnin_rate": "optimizer.learning_rate",
}  # fmt: skip


@pytest.mark.parametrize("word", SETTINGS)
def test_settings(word: str) -> None:
    assert nearest(word, keys()) == SETTINGS[word]


@pytest.mark.parametrize("word", ["4090", "RTX 4090", "rtx-4090", "GeForce RTX 4090", "RTX4090"])
def test_gpus(word: str) -> None:
    assert did_you_mean(word, HARDWARE) == "; did you mean rtx4090?"


def test_what_nothing_resembles_gets_no_suggestion() -> None:
    assert nearest("frobnicate", keys()) is None
    assert did_you_mean("frobnicate", keys()) == ""


def test_what_is_suggested_is_known_where_the_word_stands() -> None:
    assert nearest("bf16", ["float32", "bfloat16"]) == "bfloat16"
    assert nearest("batch_size", ["--batch-size", "--device"]) == "--batch-size"
    assert nearest("gpu", ["--batch-size", "--device"]) == "--device"


def test_every_entry_leads_to_something_that_exists() -> None:
    """A setting, a GPU, a value of some option, or an option or a command of the program."""
    words = " ".join(_all_usages(_parser()))
    known = {*keys(), *HARDWARE, *re.findall(r"--[a-z][\w-]*", words), *re.findall(r"[\w.-]+", words), "float16"}
    known |= {usage.split("genlip ")[1] for usage in _all_usages(_parser()) if usage.startswith("usage: genlip ")}
    for ours in {name for names in EVERYDAY.values() for name in names}:
        assert ours in known or any(f"genlip {ours} " in usage for usage in _all_usages(_parser())), ours


def _all_usages(parser) -> list[str]:  # type: ignore[no-untyped-def]
    inner = [one for action in parser._actions if isinstance(action.choices, dict) for one in action.choices.values()]
    return [" ".join(parser.format_usage().split()), *(usage for one in inner for usage in _all_usages(one))]


def test_an_unknown_keyword_is_refused_with_the_one_that_is_meant() -> None:
    check_keywords("load", {"size": 1}, ["size", "resize"])
    with pytest.raises(TypeError, match=r"^load has no keyword 'sizes'; did you mean size\?$"):
        check_keywords("load", {"sizes": 1}, ["size", "resize"])
    with pytest.raises(TypeError, match=r"^load has no keyword 'frobnicate'; the keywords are size, resize$"):
        check_keywords("load", {"frobnicate": 1}, ["size", "resize"])
