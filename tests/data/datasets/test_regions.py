"""`genlip.data.datasets.regions`: objects out of label maps."""

import numpy as np

from genlip.data.datasets.base import Segmented
from genlip.data.datasets.regions import NamedRegions


class Maps:
    """A segmented set in memory."""

    name = "maps"
    classes = ("background", "sky", "swimming pool")

    def __init__(self, *maps):
        self.maps = [np.array(rows, dtype=np.int16) for rows in maps]

    def __len__(self):
        return len(self.maps)

    def __getitem__(self, index):
        return Segmented(f"maps:{index}", b"an image", self.maps[index])


def test_each_class_of_an_image_is_an_object_with_the_words_of_its_name():
    found = NamedRegions(Maps([[2, 2], [1, 0]]))
    assert (found.name, len(found)) == ("maps", 1)
    key, image, (sky, pool) = found[0]
    assert (key, image) == ("maps:0", b"an image")
    assert (sky.words, sky.mask.tolist()) == (("sky",), [[False, False], [True, False]])
    assert (pool.words, pool.mask.tolist()) == (("swimming", "pool"), [[True, True], [False, False]])
    assert pool.mask.dtype == bool


def test_background_and_ignored_pixels_are_no_object():
    found = NamedRegions(Maps([[0, -1], [-1, 0]], [[-1, 1], [0, 1]]))
    assert [len(one.objects) for one in (found[0], found[1])] == [0, 1]
    assert found[1].objects[0].mask.tolist() == [[False, True], [False, True]]
