"""Degraded images: a pure function of seed and number, within the limits, and of every kind."""

import dataclasses

import numpy as np
import pytest

from genlip.synthetic.degradation import DEGRADATIONS, Degradation, degraded, line_size

NOTHING = Degradation(
    margin=0, scale=(1, 1), stretch=1, rotation=0, blur=0, light=0, slope=0, tint=0, inverted=0, noise=0, quality=90,
    least=1, height=0,
)  # fmt: skip


@pytest.fixture
def line():
    pixels = np.full((30, 200, 3), 255, np.uint8)
    pixels[10:20, 20:180:6] = 0
    return pixels


def variants(pixels, limits, number=200):
    return [degraded(pixels, limits, 5, index) for index in range(number)]


@pytest.mark.parametrize("kind", ["print", "drawings"])
def test_a_variant_depends_on_seed_and_number_alone(line, kind):
    limits = DEGRADATIONS[kind]
    for number in range(20):
        first, again, other = (degraded(line, limits, seed, number) for seed in (5, 5, 6))
        assert first.dtype == np.uint8
        assert first.shape[2] == 3
        assert np.array_equal(first, again)
        assert first.shape != other.shape or not np.array_equal(first, other)
    assert (line[0] == 255).all()  # what is given stays as it is


def test_without_limits_only_jpeg_changes_an_image(line):
    found = variants(line, NOTHING)
    assert all(one.shape == line.shape for one in found)
    same = sum(np.array_equal(one, line) for one in found) / len(found)
    assert 0.5 < same < 0.7  # JPEG is used in 40 %
    assert all(np.abs(one.astype(int) - line).mean() < 4 for one in found)


def test_sides_follow_scale_stretch_and_the_least_side(line):
    limits = dataclasses.replace(NOTHING, scale=(0.25, 2.0), stretch=1.5, least=10)
    shapes = np.array([one.shape[:2] for one in variants(line, limits)])
    ratios = shapes[:, 1] / shapes[:, 0] * 30 / 200
    assert 1 / 1.6 < ratios.min() < 0.75
    assert 1.3 < ratios.max() < 1.6
    assert shapes[:, 0].min() in (8, 9, 10)  # 10 pixels, before the stretch
    assert 60 < shapes[:, 0].max() <= 60 * 1.5**0.5 + 1


def test_a_margin_is_added_in_the_colour_of_the_border_or_cut_off(line):
    line[:] = np.where(line == 255, 200, line)
    found = variants(line, dataclasses.replace(NOTHING, margin=0.5, quality=100))
    heights = [one.shape[0] for one in found]
    assert 0 < min(heights) < 15
    assert 45 < max(heights) <= 60
    tall = max(found, key=len)
    assert np.abs(tall[0].astype(int) - 200).max() <= 3


@pytest.mark.parametrize(
    ("change", "measure", "least", "most"),
    [
        ({"light": 0.4}, lambda one: np.ptp(one.mean(2)), 0.2 * 255, 256),
        ({"inverted": 1.0}, lambda one: one[0, 0].mean(), 0, 8),
        ({"noise": 0.2}, lambda one: one[:5].std(), 0, 0.2 * 255),
        ({"blur": 3.0}, lambda one: one[15, 20:180].std(), 0, 129),
        ({"slope": 0.5}, lambda one: one[1].min(), 100, 255),
    ],
)
def test_values_change_within_limits(line, change, measure, least, most):
    found = [measure(one) for one in variants(line, dataclasses.replace(NOTHING, **change))]
    assert least <= min(found)
    assert max(found) <= most
    if "inverted" not in change:
        assert min(found) < 0.75 * max(found)  # it did change


def test_colours_of_paper_and_ink(line):
    found = variants(line, dataclasses.replace(NOTHING, tint=1.0))
    coloured = [np.ptp(one.reshape(-1, 3).mean(0)) > 10 for one in found]
    assert 0.3 < np.mean(coloured) < 0.6


@pytest.mark.parametrize("height", [8, 30, 64])
def test_a_line_is_brought_to_one_height_at_the_end(line, height):
    found = variants(line, dataclasses.replace(DEGRADATIONS["print"], height=height))
    assert {one.shape[0] for one in found} == {height}
    widths = np.array([one.shape[1] for one in found]) / height
    assert 200 / 30 / 1.5 < widths.min() < widths.max() < 200 / 30 * 1.5


def test_the_size_of_a_line_keeps_its_shape():
    assert line_size((200, 40), 32) == (160, 32)
    assert line_size((1, 400), 32) == (1, 32)
