"""`genlip.report.patch_pictures`: what is drawn lies where the patch is."""

import numpy as np
import pytest
from PIL import Image

from genlip.report import patch_pictures
from genlip.report.patch_pictures import (
    confident_patches,
    confident_picture,
    crop,
    enlarged,
    heat,
    outlined,
    patch_box,
    patch_map,
)
from genlip.speaker import PatchWords


def said(grid, *likeliest) -> PatchWords:
    return PatchWords(grid, [[pair, ("x", 0.0)] for pair in likeliest])


def marked(picture: Image.Image, plain: Image.Image) -> tuple[int, int, int, int]:
    """Left, top, right and bottom of what differs."""
    differs = (np.asarray(picture) != np.asarray(plain)).any(axis=2)
    rows, columns = np.flatnonzero(differs.any(axis=1)), np.flatnonzero(differs.any(axis=0))
    return int(columns[0]), int(rows[0]), int(columns[-1]) + 1, int(rows[-1]) + 1


def test_the_surest_patches_come_first_and_what_most_say_last():
    words = said((2, 3), ("a", 0.9), ("dog", 0.2), ("a", 0.99), ("cat", 0.6), ("a", 0.5), ("a", 0.8))
    assert confident_patches(words, 4) == [3, 1, 2, 0]
    even = said((1, 4), ("a", 0.9), ("b", 0.95), ("a", 0.1), ("c", 0.3))  # half is not most
    assert confident_patches(even, 9) == [1, 0, 3, 2]


def test_the_surest_patches_are_outlined_and_labelled_at_twice_the_size():
    image = Image.new("RGB", (30, 20), "white")
    picture = confident_picture(image, said((2, 3), *[("a", 0.1)] * 4, (" dog", 0.7), ("cat", 0.6)), number=1)
    assert picture.size == (960, 640)
    left, top, right, bottom = marked(picture, Image.new("RGB", picture.size, "white"))
    assert (left, top, right, bottom) == (320, 320, 640, 640)  # row 2, column 2, and the label within it


def test_labels_do_not_cover_each_other_where_there_is_room(monkeypatch):
    drawn = []
    label = patch_pictures._label

    def listen(pen, text, box, size, taken):
        label(pen, text, box, size, taken)
        drawn.append((text, taken[-1]))

    monkeypatch.setattr(patch_pictures, "_label", listen)
    words = said((8, 8), *[(f"longword{i}", 1 - i / 100) for i in range(64)])
    picture = confident_picture(Image.new("RGB", (64, 64), "white"), words, number=6)
    assert [text for text, _ in drawn] == [f"longword{i} {100 - i}%" for i in range(6)]
    for place, (_, (left, top, right, bottom)) in enumerate(drawn):
        assert 0 <= left < right <= picture.width
        assert 0 <= top < bottom <= picture.height
        for _, other in drawn[:place]:
            assert right <= other[0] or other[2] <= left or bottom <= other[1] or other[3] <= top


def test_a_small_image_keeps_its_pixels_and_a_large_one_its_shape():
    two = Image.fromarray(np.array([[[255, 0, 0], [0, 0, 255]]], dtype=np.uint8))
    assert set(enlarged(two, 100).getcolors()) == {(2500, (255, 0, 0)), (2500, (0, 0, 255))}
    assert enlarged(Image.new("RGB", (300, 150)), 100).size == (100, 50)
    assert enlarged(Image.new("RGB", (1000, 1)), 100).size == (100, 1)


def test_a_box_is_the_part_of_the_image_that_the_patch_reads():
    assert patch_box(5, (2, 3), (30, 50)) == (20, 25, 30, 50)
    assert patch_box(0, (2, 3), (30, 50), margin=1) == (-10, -25, 20, 50)


def test_a_map_has_one_colour_for_each_patch_row_by_row():
    colours = np.arange(18, dtype=np.uint8).reshape(6, 3)
    shown = np.asarray(patch_map(colours, (2, 3), (30, 20)))
    for patch in range(6):
        left, top, right, bottom = (int(edge) for edge in patch_box(patch, (2, 3), (30, 20)))
        assert (shown[top:bottom, left:right] == colours[patch]).all()


def test_heat_brightens_between_its_ends_and_stays_beyond_them():
    brightness = heat(np.array([-1, 0, 0.5, 1, 2]), 0, 1).astype(int).sum(axis=1)
    assert brightness[0] == brightness[1] < brightness[2] < brightness[3] == brightness[4]
    assert len(np.unique(heat(np.array([3.0, 3.0]), 3, 3), axis=0)) == 1


def test_outlines_leave_the_image_and_stay_within_their_patch():
    plain = Image.new("RGB", (120, 80), "white")
    drawn = outlined(plain, [4], (2, 3))
    assert marked(drawn, Image.new("RGB", (120, 80), "white")) == (40, 40, 80, 80)
    assert plain.getcolors() == [(9600, (255, 255, 255))]


@pytest.mark.parametrize("scale", [1, 30])
def test_a_crop_shows_the_patch_in_the_middle_and_grey_beyond_the_edge(scale):
    pixels = np.zeros((6, 6, 3), dtype=np.uint8)
    pixels[:2, :2] = (200, 0, 0)  # the first patch of 3 x 3
    pixels[:2, 2:4] = (0, 200, 0)
    image = Image.fromarray(pixels.repeat(scale, axis=0).repeat(scale, axis=1))
    cut = crop(image, 0, (3, 3), side=90)
    assert cut.size == (90, 90)
    assert [cut.getpixel(at) for at in ((45, 45), (75, 45), (45, 75), (10, 45), (45, 10))] == [
        (200, 0, 0), (0, 200, 0), (0, 0, 0), (128, 128, 128), (128, 128, 128),
    ]  # fmt: skip
