"""`genlip.synthetic.notes`: recorded drawings, and what a note may hold."""

import hashlib

import pytest

from genlip.synthetic.chart_layout import GROUPS
from genlip.synthetic.notes import describe, draw, note

CONTENTS = [note(0, index) for index in range(200)]
# Recorded before the drawing became part of the package: figures that were published with it stay valid.
RECORDED = [
    ((0, 0), (128, 64), "Grapes 392\nRice 443\nTea 851", "e8f1500453bd54d8"),
    ((0, 1), (160, 80), "Cheese 645\nGrapes 594\nPears 207\nFish 252", "ca00fcc5322a9f07"),
    ((1, 7), (160, 80), "Eggs 781\nTea 451\nFish 921\nCheese 600", "b516c3384cca6589"),
    ((2, 123), (128, 64), "Nuts 360\nMilk 908\nCheese 347", "4de5059157066656"),
]
ALL = "d137c9ea24fce391598c86cdff98cb80f2ea5c122e78e309b044e3ab220a6258"


@pytest.mark.parametrize(("place", "size", "caption", "pixels"), RECORDED)
def test_a_note_is_drawn_as_it_always_was(place, size, caption, pixels):
    content = note(*place)
    image = draw(content)
    assert (image.mode, image.size, describe(content)) == ("RGB", size, caption)
    assert hashlib.sha256(image.tobytes()).hexdigest()[:16] == pixels


def test_two_hundred_notes_are_as_recorded():
    drawn = hashlib.sha256()
    for content in CONTENTS:
        drawn.update(describe(content).encode() + draw(content).tobytes())
    assert drawn.hexdigest() == ALL


def test_a_note_holds_two_to_four_foods_with_three_digits_each():
    for content in CONTENTS:
        names, numbers = zip(*content.lines, strict=True)
        assert set(names) <= set(GROUPS["Food"])
        assert len(set(names)) == len(names)
        assert all(100 <= number <= 999 for number in numbers)
    assert {len(content.lines) for content in CONTENTS} == {2, 3, 4}


def test_a_caption_reads_what_is_painted_line_by_line():
    for content in CONTENTS:
        texts = [text.text for text in content.page.texts]
        pairs = [" ".join(texts[place : place + 2]) for place in range(0, len(texts), 2)]
        assert describe(content) == "\n".join(pairs)


def test_sides_are_multiples_of_a_patch_and_every_text_is_inside():
    for content in CONTENTS:
        width, height = content.page.size
        assert (width, height) == (32 * (1 + len(content.lines)), 16 * (1 + len(content.lines)))
        for text in content.page.texts:
            (x, y), style = text.at, text.style
            assert x >= 0 and x + style.width(text.text) <= width  # noqa: PT018
            assert y - 10 >= 0 and y + style.below <= height  # noqa: PT018  digits and capitals rise 10 pixels
