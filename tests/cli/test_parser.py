"""Errors in arguments are one line, with the choices and the nearest known name."""

import re

import pytest

from .helpers import error_line, usage_line


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["inspect"], "need one of quickstart, train, caption, .*; did you mean genlip data inspect?; see genlip --help"),
        (["evaluate", "m", "d"], "unknown command 'evaluate': .*; did you mean genlip eval?"),
        (["zero_shot"], "did you mean genlip eval zero-shot?"),
        (["eval", "linear-probe"], "need one of captioning, .*; did you mean genlip eval probe?; see genlip eval --help"),
        (
            ["data", "inspec"],
            "unknown command 'inspec': need one of inspect, pack, synth; did you mean genlip data inspect?",
        ),
        (
            ["caption", "m", "i", "--batch-size", "many"],
            "genlip: --batch-size is 'many': need a whole number; see genlip caption --help",
        ),
        (["caption", "m", "i", "--top-p", "x"], "genlip: --top-p is 'x': need a number; see"),
        (
            ["caption", "m", "i", "--dtype", "bf16"],
            "--dtype is 'bf16': need one of auto, float32, bfloat16; did you mean bfloat16?",
        ),
        (["caption"], "genlip: missing: MODEL, IMAGE; see genlip caption --help"),
        (["eval", "probe", "m", "d", "--train", "t", "--learning-rates", "x"], "'x': need numbers with commas between"),
        (["data", "\x1b[31m"], r"unknown command '\\x1b[31m'"),
    ],
)
def test_arguments_that_cannot_be_read_are_one_line_with_the_choices(arguments, message, capsys):
    pattern = message.replace("?", r"\?").replace("[31m", r"\[31m")
    assert re.search(pattern, usage_line(capsys, *arguments))


def test_unknown_options_name_the_nearest(capsys):
    for option, ours in (("--max_tokens", "--max-tokens"), ("--batch_size=3", "--batch-size"), ("--gpu", "--device")):
        line = error_line(capsys, "caption", "m", "i", option)
        assert f"unknown argument {option}; did you mean {ours}?; see genlip caption --help" in line
    assert "did you mean optimizer.learning_rate?" in error_line(capsys, "train", "quickstart", "--lr", "3")
    assert "did you mean stage1_l16?" in error_line(capsys, "train", "stage1_l61")
