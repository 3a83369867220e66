"""Patch words: every patch in its place, with its tokens and their probabilities."""

import re

import pytest
from PIL import Image

from genlip.report import patch_words
from genlip.speaker import PatchWords

from .helpers import Checker, readout_2_by_3


def test_a_readout_has_a_cell_for_each_patch_in_order() -> None:
    markup = patch_words.readout(Image.new("RGB", (9, 6)), readout_2_by_3())
    assert re.findall(r"<b>(.*?)</b><small>(.*?)</small>", markup) == [(f"w{i}", "50%") for i in range(6)]
    places = [f"row {row}, column {column}" for row in (1, 2) for column in (1, 2, 3)]
    assert re.findall(r"<h3>(.*?)</h3>", markup) == places
    assert "--rows:2;--columns:3" in markup


def test_every_token_of_a_readout_is_there_twice_with_its_chance() -> None:
    """In the cell that is pointed at, and in the table for those who cannot point."""
    markup = patch_words.readout(Image.new("RGB", (9, 6)), readout_2_by_3())
    text = Checker(markup).text
    assert text.count("␣w3") == 2
    assert text.count("<|im_end|>") == 12
    assert text.count("25.0%") == text.count("12.5%") == 12


@pytest.mark.parametrize(
    ("tokens", "common", "quiet"), [("aaab", ("a", 3), 3), ("aabb", (None, 0), 0), ("abcd", (None, 0), 0)]
)
def test_the_likeliest_token_of_most_patches_is_dimmed(tokens: str, common: tuple[str | None, int], quiet: int) -> None:
    said = PatchWords((2, 2), [[(token, 0.5), ("a", 0.25)] for token in tokens])
    assert patch_words.common_token(said) == common
    assert patch_words.readout(Image.new("RGB", (8, 8)), said).count('class="patch dim"') == quiet


def test_a_blank_token_is_visible() -> None:
    markup = patch_words.readout(Image.new("RGB", (8, 8)), PatchWords((1, 2), [[(" ", 0.5)], [("\n", 0.5)]]))
    assert re.findall(r"<b>(.*?)</b>", markup) == ["␣", "↵"]
