"""`genlip.data.datasets.segmented_maps`: indices of every kind of PNG as they are stored, and what is refused."""

import numpy as np
import pytest
from PIL import Image

from genlip.data.datasets import segmented_maps
from genlip.data.datasets.segmented_maps import read_indices, read_labels
from genlip.data.images import ImageError

from ..helpers import encoded, noise, png

SMALL = np.array([[0, 1, 2], [2, 1, 0]], dtype=np.uint8)


def palette(indices):
    """An image with a palette in which every colour is the same: nothing but indices tells the pixels apart."""
    image = Image.fromarray(indices).convert("L")
    image = Image.frombytes("P", image.size, image.tobytes())
    image.putpalette([9, 9, 9] * 256)
    return image


def packed(values, bits):
    """The scanlines of a PNG with so many bits per pixel, each row filled up to whole bytes."""
    rows = []
    for row in values:
        text = "".join(f"{value:0{bits}b}" for value in row).ljust(8, "0")
        rows.append(b"\x00" + int(text, 2).to_bytes(len(text) // 8, "big"))
    return b"".join(rows)


def saved(path, data):
    path.write_bytes(data)
    return path


FILES = {
    "grey of 8 bits": encoded(Image.fromarray(SMALL), "PNG"),
    "palette": encoded(palette(SMALL), "PNG"),
    "palette of 2 bits": encoded(palette(SMALL), "PNG", bits=2),
    "grey of 2 bits": png(3, 2, 2, 0, packed(SMALL, 2)),
    "grey of 16 bits": encoded(Image.fromarray(SMALL.astype(np.uint16)), "PNG"),
}


WHOLE = encoded(Image.fromarray(noise(40, 40, 1)), "PNG")
HALF = WHOLE[: len(WHOLE) // 2]


@pytest.mark.parametrize("kind", FILES)
def test_indices_are_those_that_are_stored(kind, tmp_path):
    assert read_indices(saved(tmp_path / "a.png", FILES[kind])).tolist() == SMALL.tolist()


def test_all_16_indices_of_4_bits_and_both_of_1_bit(tmp_path):
    sixteen = [[value, 15 - value] for value in range(16)]
    assert read_indices(saved(tmp_path / "a.png", png(2, 16, 4, 0, packed(sixteen, 4)))).tolist() == sixteen
    both = [[0, 1, 1], [1, 0, 1]]
    assert read_indices(saved(tmp_path / "a.png", png(3, 2, 1, 0, packed(both, 1)))).tolist() == both


def test_16_bits_hold_more_than_256_classes(tmp_path):
    path = saved(tmp_path / "a.png", encoded(Image.fromarray(np.array([[0, 255, 256, 299]], dtype=np.uint16)), "PNG"))
    labels = read_labels(path, 300)
    assert (labels.dtype, labels.tolist()) == (np.int16, [[0, 255, 256, 299]])  # 255 is a class there


@pytest.mark.parametrize(("first", "expected"), [(0, [0, 1, 2, -1]), (1, [-1, 0, 1, -1])])
def test_255_and_what_is_before_the_first_class_is_ignored(first, expected, tmp_path):
    path = saved(tmp_path / "a.png", encoded(palette(np.array([[0, 1, 2, 255]], dtype=np.uint8)), "PNG"))
    labels = read_labels(path, 3, first)
    assert (labels.dtype, labels.tolist()) == (np.int16, [expected])


@pytest.mark.parametrize(("classes", "first", "last"), [(2, 0, 1), (1, 1, 1)])
def test_a_label_above_the_classes_is_told_with_its_file(classes, first, last, tmp_path):
    path = saved(tmp_path / "a.png", FILES["palette"])
    with pytest.raises(ValueError) as error:  # noqa: PT011  compared as a whole
        read_labels(path, classes, first)
    assert str(error.value) == (
        f"{path}: label 2 at 2 of 6 pixels, but the {classes} classes end at {last}; name all classes, or store 255 where "
        "there is none"
    )


@pytest.mark.parametrize(
    ("mode", "kind", "found"), [("RGB", "PNG", "PNG, RGB"), ("LA", "PNG", "PNG, LA"), ("L", "JPEG", "JPEG, L")]
)
def test_colours_and_other_formats_are_no_label_map(mode, kind, found, tmp_path):
    path = saved(tmp_path / "a.png", encoded(Image.new(mode, (3, 2)), kind))
    with pytest.raises(
        ValueError, match=rf"a\.png: a label map is a PNG with one number per pixel .*; found {found}$"
    ) as error:
        read_indices(path)
    assert not isinstance(error.value, ImageError)  # which would be skipped


@pytest.mark.parametrize(("data", "reason"), [(HALF, "damaged"), (b"text", "not an image"), (None, "missing")])
def test_a_damaged_map_is_an_example_that_cannot_be_used(data, reason, tmp_path):
    path = tmp_path / "a.png"
    if data is not None:
        path.write_bytes(data)
    with pytest.raises(ImageError, match=r"a\.png") as error:
        read_indices(path)
    assert error.value.reason == reason


def test_pixels_are_bounded_before_anything_is_decoded(tmp_path, monkeypatch):
    path = saved(tmp_path / "a.png", png(20_000, 20_000, 8, 3, b""))  # no pixels at all: decoding would say "damaged"
    with pytest.raises(ImageError) as error:
        read_indices(path)
    assert error.value.reason == "too large"
    monkeypatch.setattr(segmented_maps, "MAX_PIXELS", 5)
    with pytest.raises(ImageError, match="3x2 pixels; the limit is 5"):
        read_indices(saved(tmp_path / "a.png", FILES["palette"]))
