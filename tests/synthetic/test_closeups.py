"""`genlip.synthetic.closeups`: windows cut from scenes by hand, captions read back, and what they start with."""

import re
from collections import Counter

import numpy as np
import pytest

from genlip.data.sources import open_source
from genlip.synthetic import scenes
from genlip.synthetic.closeups import NOTHING, Closeup, closeup, describe, draw

CONTENTS = [closeup(0, index) for index in range(1000)]
COLOUR, KIND = "red|green|blue|yellow|orange|purple|black", "circle|square|triangle"
SAID = {False: re.compile(rf"({COLOUR}) ({KIND})"), True: re.compile(rf"({KIND}) in ({COLOUR})")}
PAPER, INK = (250, 250, 250), (10, 10, 10)


def read(caption: str, kind_first: bool) -> list[tuple[str, ...]]:
    """(colour, kind) or (number,) of each thing that a caption names; nothing else may be in it."""
    found: list[tuple[str, ...]] = []
    for part in caption.split(", ") if caption != "nothing" else []:
        if re.fullmatch(r"[1-9]\d", part):
            found.append((part,))
        else:
            match = SAID[kind_first].fullmatch(part)
            assert match, caption
            found.append(match.groups()[::-1] if kind_first else match.groups())
    return found


def painted(content: Closeup, shape: scenes.Shape) -> np.ndarray:
    """Bool[H, W], the pixels of the window that have a shape's very paint where the number is not drawn."""
    bare = scenes.draw(content.scene._replace(ink=content.scene.background)).crop(content.window)
    return (np.asarray(bare) == shape.paint).all(axis=2)


def ink_box(scene: scenes.Scene) -> tuple[int, int, int, int]:
    """Left, top, right and bottom of what the number changes, the last two past it."""
    with_it, without = (np.asarray(scenes.draw(some)) for some in (scene, scene._replace(ink=scene.background)))
    rows, columns = np.nonzero((with_it != without).any(axis=2))
    return int(columns.min()), int(rows.min()), int(columns.max()) + 1, int(rows.max()) + 1


def by_hand(shapes, window=(0, 0, 64, 64), kind_first=False) -> Closeup:
    """A window of squares of 2 * half + 1 pixels (colour, x, y, half), with a small 47 in the upper left corner."""
    made = tuple(
        scenes.Shape("small", colour, "square", "left", (x + 0.5, y + 0.5), half / 0.9, scenes.COLOURS[colour])
        for colour, x, y, half in shapes
    )
    return Closeup(scenes.Scene(made, 47, "DejaVuSans", 14, (14.0, 8.0), INK, PAPER), window, kind_first)


# -- what is shown


def test_a_closeup_depends_on_its_seed_and_index_alone():
    assert [closeup(0, index) for index in reversed(range(50))][::-1] == CONTENTS[:50]
    assert closeup(1, 3) != closeup(0, 3) != closeup(0, 4)


def test_an_image_is_a_square_window_of_the_scene_of_its_index():
    for index, content in enumerate(CONTENTS[:200]):
        left, top, right, bottom = content.window
        whole = np.asarray(scenes.draw(scenes.scene(0, index)))
        assert np.array_equal(np.asarray(draw(content)), whole[top:bottom, left:right])
        assert 0 <= left < right <= 64
        assert 0 <= top < bottom <= 64
        assert right - left == bottom - top


def test_windows_have_every_side_about_as_often_and_lie_anywhere():
    windows = [content.window for content in CONTENTS]
    sides = Counter(right - left for left, _, right, _ in windows)
    assert sides.keys() == {16, 32, 48, 64}
    assert min(sides.values()) > 200  # of 1000, a quarter each
    for side in (0, 1):  # from the left, and from the top
        starts = {window[side] for window in windows if window[2] - window[0] == 16}
        assert (min(starts), max(starts)) == (0, 48)
        assert len(starts) > 40  # of 49: not in steps of a patch


def test_kinds_come_first_in_half_of_the_captions_whatever_is_shown():
    first = [content.kind_first for content in CONTENTS]
    assert 430 < sum(first) < 570


# -- what is said


def test_captions_name_what_the_scene_holds_each_thing_once():
    for content in CONTENTS:
        there = Counter((shape.colour, shape.kind) for shape in content.scene.shapes)
        there[(str(content.scene.number),)] += 1
        assert not Counter(read(describe(content), content.kind_first)) - there


def test_a_shape_is_named_from_24_pixels_on():
    for content in CONTENTS:
        wanted = [(shape.colour, shape.kind) for shape in content.scene.shapes if painted(content, shape).sum() >= 24]
        named = [one for one in read(describe(content), content.kind_first) if len(one) == 2]
        assert sorted(named) == sorted(wanted)


@pytest.mark.parametrize(("top", "caption"), [(9, "red square"), (10, "nothing")])
def test_the_least_of_a_shape_that_is_named_by_hand(top, caption):
    """Of a square in columns and rows 2 to 32, the window shows the last column from a row on: 24 pixels, or 23."""
    assert describe(by_hand([("red", 17, 17, 15)], (32, top, 64, top + 32))) == caption


def test_a_number_is_named_where_all_of_it_is_seen():
    seen = Counter()
    for content in CONTENTS:
        (left, top, right, bottom), box = content.window, ink_box(content.scene)
        inside = [box[0] - left, box[1] - top, right - box[2], bottom - box[3]]
        if min(inside) == 0:  # ink too faint to change a pixel may stick out
            continue
        said = (str(content.scene.number),) in read(describe(content), content.kind_first)
        assert said == (min(inside) > 0)
        seen[said] += 1
    assert min(seen[True], seen[False]) > 100


def test_a_window_without_anything_says_so():
    content = by_hand([("red", 40, 40, 5)], (0, 48, 16, 64))
    assert describe(content) == NOTHING == "nothing"
    assert np.asarray(draw(content)).min() == 250
    assert 100 < sum(describe(content) == "nothing" for content in CONTENTS) < 400


# -- what comes first


@pytest.mark.parametrize(
    ("shapes", "window", "caption"),
    [
        # The centre of the last patch of the whole scene is (56, 56).
        ([("red", 56, 56, 4), ("blue", 20, 40, 6)], (0, 0, 64, 64), "red square, blue square, 47"),
        ([("blue", 20, 40, 6), ("red", 56, 56, 4)], (0, 0, 64, 64), "red square, blue square, 47"),
        # None is in the last patch: the nearest pixel counts, of red 16 away and of blue 12, though red is larger.
        ([("red", 30, 56, 10), ("blue", 56, 42, 2)], (0, 0, 64, 64), "blue square, red square, 47"),
        # From its centre, not a corner: of the first two, blue is nearer the lower right; of the next, red the upper left.
        ([("blue", 61, 45, 2), ("red", 44, 56, 3)], (0, 0, 64, 64), "red square, blue square, 47"),
        ([("blue", 61, 45, 2), ("red", 45, 45, 2)], (0, 0, 64, 64), "blue square, red square, 47"),
        # In the last patch the larger share counts, not the nearer centre: 5x5 pixels around it against two columns of 16.
        ([("red", 56, 56, 2), ("blue", 40, 56, 9)], (0, 0, 64, 64), "blue square, red square, 47"),
        ([("red", 56, 56, 3), ("blue", 40, 56, 9)], (0, 0, 64, 64), "red square, blue square, 47"),
        # Another window, another last patch: of (16, 16, 48, 48) it is around (40, 40).
        ([("red", 40, 40, 4), ("blue", 22, 22, 5)], (16, 16, 48, 48), "red square, blue square"),
        ([("red", 40, 40, 4), ("blue", 22, 22, 5)], (0, 0, 32, 32), "blue square, 47"),
        ([("red", 40, 40, 4), ("blue", 22, 22, 5)], (32, 32, 48, 48), "red square"),
    ],
)
def test_what_is_nearest_the_last_patch_comes_first(shapes, window, caption):
    assert describe(by_hand(shapes, window)) == caption


def test_kinds_before_colours_by_hand():
    content = by_hand([("red", 56, 56, 4), ("blue", 20, 40, 6)], kind_first=True)
    assert describe(content) == "square in red, square in blue, 47"


def test_a_caption_starts_with_what_fills_the_last_patch():
    told = 0
    for content in CONTENTS:
        shapes = content.scene.shapes
        filled = [int(painted(content, shape)[-16:, -16:].sum()) for shape in shapes]
        most = int(np.argmax(filled))
        if filled[most] <= 128:
            continue  # nothing fills more than half of the last 16x16 pixels
        assert read(describe(content), content.kind_first)[0] == (shapes[most].colour, shapes[most].kind)
        told += 1
    assert told >= 20


def test_the_source_shows_the_same():
    source = open_source("closeups:0")
    for index in (0, 7, 123):
        key, image, caption = source[index]
        assert (key, caption) == (f"closeups:0:{index}", describe(CONTENTS[index]))
        assert image.tobytes() == draw(CONTENTS[index]).tobytes()
