"""Progress: one line where no terminal is, a bar that counts where there is one."""

import io

import pytest
from rich.console import Console

from genlip.progress import progress


def shown(terminal: bool, steps: list[int], total: int = 1500) -> str:
    file = io.StringIO()
    console = Console(file=file, force_terminal=terminal, width=80)
    with progress("captioning images", total, console) as advance:
        for step in steps:
            advance(step)
    return file.getvalue()


def test_without_a_terminal_it_is_one_line():
    assert shown(False, [500, 500]) == "captioning images: 1,500\n"


def test_a_terminal_sees_how_far_it_is():
    assert "1000/1500" in shown(True, [500, 500])
    assert "1500/1500" in shown(True, [1500])


def test_an_error_passes_through_and_ends_the_bar():
    file = io.StringIO()

    def stopped() -> None:
        with progress("counting", 2, Console(file=file, force_terminal=True, width=80)) as advance:
            advance(1)
            raise KeyError("inside")

    with pytest.raises(KeyError, match="inside"):
        stopped()
    assert "1/2" in file.getvalue()
    assert file.getvalue().endswith("\x1b[?25h"), "the cursor is shown again"


def test_standard_error_is_spoken_to_unless_another_is_named(capsys):
    with progress("counting", 3) as advance:
        advance(3)
    out, err = capsys.readouterr()
    assert (out, err) == ("", "counting: 3\n")
