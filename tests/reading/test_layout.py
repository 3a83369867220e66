"""Boxes of lines on drawn pages, where every box is known."""

import numpy as np
import pytest

from genlip.reading.layout import Box, find_lines, ink

PAPER, PRINT = 235, 30


def page(boxes, height=300, width=400, paper=PAPER, print_=PRINT):
    """A page on which each box is filled with upright strokes, as letters fill a line."""
    pixels = np.full((height, width), paper, np.uint8)
    for left, top, right, bottom in boxes:
        pixels[top:bottom, left:right:3] = print_
        pixels[top:bottom, right - 1] = print_
    return pixels


def lines(left, right, top, count, height=12, pitch=20):
    return [Box(left, top + n * pitch, right, top + n * pitch + height) for n in range(count)]


def test_lines_below_each_other():
    boxes = lines(20, 380, 15, 12)
    assert find_lines(page(boxes)) == boxes


def test_columns_are_read_one_after_the_other_below_a_heading_of_both():
    heading = Box(20, 10, 380, 30)
    left, right = lines(20, 180, 60, 8), lines(220, 380, 63, 8)
    assert find_lines(page([heading, *right, *left])) == [heading, *left, *right]


def test_space_between_words_does_not_divide_a_line():
    words = [Box(20, 20, 90, 32), Box(98, 20, 170, 32), Box(180, 20, 300, 32)]
    assert find_lines(page([*words, Box(20, 45, 300, 57)])) == [Box(20, 20, 300, 32), Box(20, 45, 300, 57)]


def test_dots_and_accents_belong_to_their_line():
    body, dots = Box(20, 40, 200, 52), [Box(30 + 40 * n, 36, 32 + 40 * n, 38) for n in range(4)]
    assert find_lines(page([body, *dots, Box(20, 70, 200, 82)]))[0] == Box(20, 36, 200, 52)


@pytest.mark.parametrize(("paper", "print_"), [(235, 30), (30, 235), (150, 110), (255, 235)])
def test_contrast_and_negatives(paper, print_):
    boxes = lines(20, 380, 15, 5)
    assert find_lines(page(boxes, paper=paper, print_=print_)) == boxes


def test_uneven_light_and_noise():
    boxes = lines(20, 380, 15, 12)
    light = np.linspace(1, 0.5, 400)[None]
    noise = np.random.default_rng(0).normal(0, 3, (300, 400))
    found = find_lines((page(boxes) * light + noise).clip(0, 255).astype(np.uint8))
    assert len(found) == len(boxes)
    assert np.abs(np.array(found) - np.array(boxes)).max() <= 1


def test_rules_do_not_join_lines():
    boxes = lines(20, 380, 15, 12)
    pixels = page(boxes)
    pixels[5:290, 8] = pixels[5:290, 392] = PRINT
    pixels[5, 8:392] = pixels[290, 8:392] = PRINT
    assert find_lines(pixels) == boxes


@pytest.mark.parametrize("shape", [(1, 1), (1, 500), (500, 1), (33, 65), (300, 400)])
@pytest.mark.parametrize("value", [0, 128, 255])
def test_an_empty_page_has_no_lines(shape, value):
    assert find_lines(np.full(shape, value, np.uint8)) == []


def test_boxes_hold_all_ink_of_any_page_and_overlap_nowhere():
    rng = np.random.default_rng(0)
    for _ in range(20):
        pixels = np.where(rng.random((60, 80)) < 0.02, PRINT, PAPER).astype(np.uint8)
        pixels = pixels.repeat(5, 0).repeat(5, 1)  # marks of 5 pixels, which are high enough to be kept
        covered = np.zeros(pixels.shape, int)
        for left, top, right, bottom in find_lines(pixels):
            covered[top:bottom, left:right] += 1
        assert covered.max() <= 1
        assert covered[ink(pixels)].all()


def test_ten_thousand_marks_are_no_recursion():
    pixels = np.full((1200, 1200), PAPER, np.uint8)
    pixels[::12, ::12] = pixels[1::12, ::12] = pixels[2::12, ::12] = pixels[3::12, ::12] = PRINT
    assert len(find_lines(pixels)) == 10_000


def test_strokes_of_large_letters_are_no_rules():
    pixels = np.full((220, 1400), PAPER, np.uint8)
    for left in range(40, 1300, 90):
        pixels[30:180, left : left + 24] = PRINT  # stems
        pixels[30:50, left : left + 85] = PRINT  # bars that touch
    assert find_lines(pixels) == [Box(40, 30, 1300 // 90 * 90 + 35 + 0, 180)]
