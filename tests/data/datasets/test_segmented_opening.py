"""`genlip.data.datasets.segmented_opening`: what a user wrote, and what is said where it has no label maps."""

import numpy as np
import pytest
from PIL import Image

from genlip.data.datasets.segmented_opening import open_named, open_segmented
from genlip.synthetic import scenes

from ..helpers import noise


@pytest.fixture
def folder(tmp_path):
    """One image of 2x4 pixels: grass on the left, a swimming pool on the right, nothing known below."""
    for name, pixels in (("images", noise(2, 4)), ("masks", np.array([[0, 0, 1, 1], [255] * 4], dtype=np.uint8))):
        (tmp_path / name).mkdir()
        Image.fromarray(pixels).save(tmp_path / name / "a.png")
    return tmp_path


@pytest.mark.parametrize(("spec", "name"), [("scenes", "scenes:0"), ("scenes:7", "scenes:7")])
def test_scenes_are_known_by_their_name_and_seed(spec, name):
    found, seed = open_segmented(spec), int(name[-1])
    assert (found.name, found.classes) == (name, scenes.REGIONS)
    assert np.array_equal(found[4].labels, scenes.label_map(scenes.scene(seed, 4)))
    words = [one.words for one in scenes.objects(scenes.scene(seed, 4))]
    assert [one.words for one in open_named(spec)[4].objects] == words


def test_a_folder_is_opened_with_its_classes(folder):
    found = open_segmented(str(folder), "grass,swimming pool")
    assert found.classes == ("grass", "swimming pool")
    assert found[0].labels.tolist() == [[0, 0, 1, 1], [-1] * 4]
    named = open_named(str(folder), "grass,swimming pool")
    assert named.name == str(folder)
    assert [one.words for one in named[0].objects] == [("grass",), ("swimming", "pool")]
    assert named[0].objects[1].mask.tolist() == [[False, False, True, True], [False] * 4]


@pytest.mark.parametrize("opener", [open_segmented, open_named])
@pytest.mark.parametrize(
    ("spec", "classes", "said"),
    [
        ("charts:2", "", "charts:2: has no label maps; of drawn images scenes alone do, as in 'scenes:1'"),
        ("scenes:x", "", "scenes:x: the seed of scenes is 'x'; need a whole number from 0, as in 'scenes:7'"),
        ("scenes:1", "a,b", "scenes:1: has classes of its own, so classes 'a,b' would be lost; leave them out"),
    ],
)
def test_what_has_no_label_maps_is_refused(opener, spec, classes, said):
    with pytest.raises(ValueError) as error:  # noqa: PT011  compared as a whole
        opener(spec, classes)
    assert str(error.value) == said


@pytest.mark.parametrize("opener", [open_segmented, open_named])
def test_what_is_not_there_is_refused(opener):
    with pytest.raises(FileNotFoundError, match=r"^nowhere: no such folder; need FOLDER/images .* or 'scenes:1'$"):
        opener("nowhere")
