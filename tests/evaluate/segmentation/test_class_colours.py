"""Colours of classes: which get one, and pictures and legends pixel by pixel and name by name."""

import numpy as np
import pytest

from genlip.evaluate.segmentation.class_colours import choose_colours, coloured, legend


def test_few_classes_each_have_a_colour_of_their_own() -> None:
    colours = choose_colours(9, [np.array([[3, -1]])])
    assert list(colours) == list(range(9))
    assert len(set(colours.values())) == 9


def test_of_many_classes_those_that_fill_most_pixels_have_one() -> None:
    shown = np.repeat(np.arange(12), np.arange(12))  # class c fills c pixels
    assert list(choose_colours(20, [shown[None], np.full((1, 50), 15)])) == [4, 5, 6, 7, 8, 9, 10, 11, 15]


def test_a_picture_has_the_colour_of_each_class_white_where_ignored_and_grey_elsewhere() -> None:
    picture = np.asarray(coloured(np.array([[0, 1], [-1, 5]]), {0: "#010203", 1: "#ff0000"}))
    assert picture.tolist() == [[[1, 2, 3], [255, 0, 0]], [[255, 255, 255], [187, 187, 187]]]


def test_a_legend_takes_nothing_but_colours() -> None:
    with pytest.raises(ValueError, match=r"the colour of a class is 'red;background:url\(//x\)': need one as in #cc6677"):
        legend({"sky": "red;background:url(//x)"}, others=False)


def test_a_legend_names_colours_and_escapes_names() -> None:
    markup = legend({"<sky>": "#010203"}, others=False)
    assert "&lt;sky&gt;" in markup
    assert "#010203" in markup
    assert "other classes" not in markup
    assert "other classes" in legend({}, others=True)
