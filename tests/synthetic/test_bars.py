"""`genlip.synthetic.bars`: recorded drawings, and bars measured in pixels."""

import hashlib
from itertools import pairwise

import numpy as np
import pytest

from genlip.synthetic.bars import bars, describe, draw
from genlip.synthetic.page import Box

MONTHS = ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"]
CONTENTS = [bars(0, index) for index in range(200)]
# Recorded before the drawing became part of the package: figures that were published with it stay valid.
RECORDED = [
    ((0, 0), (128, 80), "Aug 53, Sep 80, Oct 99, Nov 39", "b1a3e42cc3179612"),
    ((0, 1), (160, 96), "May 29, Jun 48, Jul 66, Aug 46, Sep 64", "050efd9b7bfc625b"),
    ((1, 7), (160, 96), "Apr 38, May 96, Jun 39, Jul 30, Aug 78", "a88a4ca6c6a0c66c"),
    ((2, 123), (128, 80), "Mar 69, Apr 66, May 30, Jun 36", "23ed874bff510503"),
]
ALL = "729271d4861c1de967bb7283c02c67599ee4a9f30edbd10351c7a002f52674a3"


@pytest.mark.parametrize(("place", "size", "caption", "pixels"), RECORDED)
def test_bars_are_drawn_as_they_always_were(place, size, caption, pixels):
    content = bars(*place)
    image = draw(content)
    assert (image.mode, image.size, describe(content)) == ("RGB", size, caption)
    assert hashlib.sha256(image.tobytes()).hexdigest()[:16] == pixels


def test_two_hundred_charts_are_as_recorded():
    drawn = hashlib.sha256()
    for content in CONTENTS:
        drawn.update(describe(content).encode() + draw(content).tobytes())
    assert drawn.hexdigest() == ALL


def test_three_to_five_months_follow_each_other():
    for content in CONTENTS:
        places = [MONTHS.index(month) for month, _ in content.values]
        assert all(later - earlier == 1 for earlier, later in pairwise(places))
        assert all(10 <= value <= 99 for _, value in content.values)
    assert {len(content.values) for content in CONTENTS} == {3, 4, 5}


def test_a_bar_is_as_high_as_its_value_says():
    for content in CONTENTS:
        boxes = [mark for mark in content.page.marks if isinstance(mark, Box)]
        pixels, room = np.asarray(draw(content)).astype(int), content.page.size[1] - 34
        for place, ((_, value), box) in enumerate(zip(content.values, boxes, strict=True)):
            column = pixels[:, 32 * place + 8]  # just inside the bar's left edge
            rows = (column == box.fill).all(axis=1).sum()
            assert abs(rows - room * value / 100) <= 3  # rounded, and its own value may stand on its upper edge


def test_a_caption_reads_months_and_values_as_they_are_painted():
    for content in CONTENTS:
        texts = [text.text for text in content.page.texts]  # value, month, value, month, …
        pairs = [f"{month} {value}" for value, month in zip(texts[::2], texts[1::2], strict=True)]
        assert describe(content) == ", ".join(pairs)


def test_sides_are_multiples_of_a_patch():
    for content in CONTENTS:
        assert content.page.size == (32 * len(content.values), 16 * (1 + len(content.values)))
