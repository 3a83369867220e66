"""`genlip.evaluate.image_batches`: which images are looked at, in which order, and what is said of the others."""

import logging
from collections import Counter

import pytest
from PIL import Image

from genlip.data.images import ImageConfig, image_patches
from genlip.evaluate.image_batches import image_batches, read_image, spread

from ..data.helpers import noise
from .speaking import Known, named, small_speaker

IMAGES = ImageConfig(size=16)
SPEAKER = small_speaker(IMAGES)

DATA = Known([named(f"n{i}", []) if i != 4 else None for i in range(7)])


def test_one_item_is_drawn_from_each_equal_stretch_and_all_are_all():
    chosen = spread(1003, 100)
    assert all(place * 1003 // 100 <= chosen[place] < (place + 1) * 1003 // 100 for place in range(100))
    assert chosen == spread(1003, 100), "every model is measured on the same"
    assert spread(3, 10) == spread(3, 3) == [0, 1, 2]
    assert spread(0, 4) == spread(4, 0) == []


def test_a_set_that_repeats_in_a_rhythm_is_met_at_every_beat():
    counts = Counter(place % 10 for place in spread(10_000, 1000))
    assert len(counts) == 10
    assert max(counts.values()) < 2 * 1000 / 10


def test_items_come_in_order_in_lists_without_those_that_cannot_be_used(caplog):
    done: list[int] = []
    with caplog.at_level(logging.WARNING):
        found = [[one.item.key for one in some] for some in image_batches(DATA, 99, 3, SPEAKER, done.append)]
    assert found == [["n0", "n1", "n2"], ["n3", "n5"], ["n6"]]
    assert done == [3, 3, 1]
    assert [record.getMessage() for record in caplog.records] == ["skipped number 4 is damaged"]


def test_images_are_decoded_and_too_large_ones_skipped(caplog):
    found = [one for some in image_batches(DATA, 2, 2, SPEAKER) for one in some]
    assert [(one.size, one.picture.size, one.prepared.grid) for one in found] == [((32, 32), (32, 32), (2, 2))] * 2
    assert list(image_batches(DATA, 2, 2, small_speaker(ImageConfig(size=16, max_pixels=100)))) == [[]]
    assert caplog.text.count("skipped") == 2


@pytest.mark.parametrize(
    ("data", "number", "batch", "message"),
    [
        (Known([]), 1, 1, "known holds no images: need at least 1"),
        (DATA, 0, 1, "0 images of known, 1 at a time: both must be at least 1"),
        (DATA, 1, 0, "1 images of known, 0 at a time"),
    ],
)
def test_nothing_to_look_at_is_an_error(data, number, batch, message):
    with pytest.raises(ValueError, match=message):
        list(image_batches(data, number, batch, SPEAKER))


@pytest.mark.parametrize(
    ("height", "width", "picture"), [(30, 4096, (1024, 8)), (4096, 2048, (512, 1024)), (1, 3000, (1024, 1))]
)
def test_a_large_image_is_held_as_patches_and_a_small_picture(height, width, picture):
    item = named("large", [])._replace(image=Image.fromarray(noise(height, width)))
    found = read_image(item, SPEAKER)
    assert (found.size, found.picture.size) == ((height, width), picture)
    assert (found.prepared.patches == image_patches(item.image, IMAGES, SPEAKER.model.config)[0]).all()
