"""`genlip.data.datasets.segmented_scenes`: the same scenes as the source's, with what is known of their pixels."""

import pickle

import numpy as np
import pytest

from genlip.data.datasets.segmented_scenes import NamedScenes, SegmentedScenes
from genlip.data.sources import Procedural, open_source
from genlip.synthetic import scenes


@pytest.mark.parametrize("kind", [SegmentedScenes, NamedScenes])
def test_images_and_keys_are_those_of_the_source(kind):
    found, source = kind(Procedural("scenes", 3)), open_source("scenes:3")
    assert (found.name, len(found)) == ("scenes:3", len(source))
    for index in range(20):
        assert found[index].key == source[index].key == f"scenes:3:{index}"
        assert found[index].image.tobytes() == source[index].image.tobytes()


def test_labels_and_objects_are_those_of_the_drawing():
    source = Procedural("scenes", 3)
    segmented, named = SegmentedScenes(source), pickle.loads(pickle.dumps(NamedScenes(source)))
    assert segmented.classes == ("background", "circle", "square", "triangle", "number")
    for index in range(20):
        content = scenes.scene(3, index)
        assert np.array_equal(segmented[index].labels, scenes.label_map(content))
        assert [one.words for one in named[index].objects] == [one.words for one in scenes.objects(content)]
        assert all(
            np.array_equal(one.mask, other.mask)
            for one, other in zip(named[index].objects, scenes.objects(content), strict=True)
        )


@pytest.mark.parametrize("kind", [SegmentedScenes, NamedScenes])
def test_a_loop_over_them_ends_with_the_source(kind):
    found = kind(Procedural("scenes", 3, length=2))
    assert [one.key for one in found] == ["scenes:3:0", "scenes:3:1"]
    with pytest.raises(IndexError, match=r"^scenes:3: image 2 of 2$"):
        found[2]
