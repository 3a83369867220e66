"""`genlip.data.datasets.segmented_folder`: layouts in small, and files that do not fit each other."""

import logging
import pickle
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from genlip.data.datasets.base import IGNORED
from genlip.data.datasets.segmented_folder import has_label_maps, open_segmented_folder
from genlip.data.examples import Unusable

from ..helpers import noise, written

ADE = "Idx\tRatio\tTrain\tVal\tStuff\tName\n1\t0.1576\t11664\t1172\t1\twall\n2\t0.1072\t6046\t612\t1\tbuilding, edifice\n"


def image(folder, name, height=4, width=6, **options):
    path = folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(noise(height, width)).save(path, **options)
    return path


def label_map(folder, name, indices=None):
    path = folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    drawn = np.zeros((4, 6), np.uint8) if indices is None else np.asarray(indices, dtype=np.uint8)
    Image.fromarray(drawn).save(path)
    return path


def said(spec, classes="one,two", kind=ValueError):
    with pytest.raises(kind) as error:
        open_segmented_folder(str(spec), classes)
    return str(error.value)


def ade(folder):
    """ADEChallengeData2016 in small: one image of each part, class k + 1 in column k of its map, "other" in the first."""
    for part, name in (("training", "ADE_train_00000001"), ("validation", "ADE_val_00000001")):
        image(folder, f"images/{part}/{name}.jpg")
        label_map(folder, f"annotations/{part}/{name}.png", [[0, 0, 1, 1, 2, 2]] * 4)
    written(folder, "objectInfo150.txt", ADE)
    return folder


# -- layouts


@pytest.mark.parametrize("maps", ["annotations", "labels", "masks"])
def test_maps_lie_beside_images_under_the_same_names(maps, tmp_path):
    paths = [image(tmp_path, f"images/{name}") for name in ("b.png", "deep/a.JPG", "deep/b.webp")]
    for value, name in enumerate(("b.png", "deep/a.PNG", "deep/b.png")):
        label_map(tmp_path, f"{maps}/{name}", np.full((4, 6), value))
    found = open_segmented_folder(str(tmp_path), "zero, one, two")
    assert (found.name, found.classes, len(found)) == (str(tmp_path), ("zero", "one", "two"), 3)
    assert [found[i].key for i in range(3)] == [str(path) for path in paths]
    for value in range(3):
        key, picture, labels = found[value]
        assert (labels.dtype, labels.shape, np.unique(labels).tolist()) == (np.int16, (4, 6), [value])
        assert np.array_equal(np.asarray(picture), np.asarray(Image.open(key).convert("RGB")))
    again = pickle.loads(pickle.dumps(found))
    assert [np.unique(again[i].labels).tolist() for i in range(3)] == [[0], [1], [2]]


def test_a_part_of_ade20k_has_its_own_names_and_other_is_ignored(tmp_path):
    found = open_segmented_folder(str(ade(tmp_path) / "images/validation"))
    assert (found.classes, len(found)) == (("wall", "building"), 1)
    assert Path(found[0].key).name == "ADE_val_00000001.jpg"
    assert found[0].labels.tolist() == [[IGNORED, IGNORED, 0, 0, 1, 1]] * 4


def test_the_folder_itself_means_all_its_parts(tmp_path, monkeypatch):
    ade(tmp_path)
    expected = ["ADE_train_00000001.jpg", "ADE_val_00000001.jpg"]
    monkeypatch.chdir(tmp_path)
    for spec in (str(tmp_path), str(tmp_path / "images"), ".", "images"):
        found = open_segmented_folder(spec)
        assert [Path(found[i].key).name for i in range(len(found))] == expected


def test_a_loop_over_them_ends(tmp_path):
    found = open_segmented_folder(str(ade(tmp_path)))
    assert len(list(found)) == 2
    for outside in (-1, 2):
        with pytest.raises(IndexError, match=f": image {outside} of 2$"):
            found[outside]


def test_a_folder_with_label_maps_is_told_from_others(tmp_path):
    ade(tmp_path / "ade")
    image(tmp_path, "photos/images/a.jpg")
    assert has_label_maps(tmp_path / "ade")
    assert has_label_maps(tmp_path / "ade/images/training")
    assert not has_label_maps(tmp_path / "photos")
    assert not has_label_maps(tmp_path / "photos/images")
    assert not has_label_maps(tmp_path / "nowhere")


# -- what does not fit


def test_a_map_of_another_size_stops_with_both_files_and_sizes(tmp_path):
    picture, drawn = image(tmp_path, "images/a.png", 4, 6), label_map(tmp_path, "labels/a.png", np.zeros((6, 4)))
    found = open_segmented_folder(str(tmp_path), "one,two")
    with pytest.raises(ValueError) as error:  # noqa: PT011  compared as a whole
        found[0]
    assert str(error.value) == (
        f"{drawn}: 4x6 pixels, but its image {picture} has 6x4, upright; need one size: resize neither or both"
    )
    assert not isinstance(error.value, Unusable)  # which would be skipped


def test_an_image_is_compared_as_it_is_shown(tmp_path):
    exif = Image.Exif()
    exif[0x0112] = 6  # a quarter turn
    image(tmp_path, "images/a.jpg", 4, 6, exif=exif)
    label_map(tmp_path, "labels/a.png", np.zeros((6, 4)))
    _, picture, labels = open_segmented_folder(str(tmp_path), "one,two")[0]
    assert (picture.size, labels.shape) == ((4, 6), (6, 4))


def test_a_label_above_the_classes_stops_with_file_and_value(tmp_path):
    image(tmp_path, "images/a.png")
    path = label_map(tmp_path, "labels/a.png", np.full((4, 6), 2))
    with pytest.raises(ValueError, match="label 2 at 24 of 24 pixels, but the 2 classes end at 1") as error:
        open_segmented_folder(str(tmp_path), "one,two")[0]
    assert str(error.value).startswith(f"{path}: ")


def test_a_damaged_image_can_be_skipped(tmp_path):
    written(tmp_path, "images/a.png", "no image")
    label_map(tmp_path, "labels/a.png")
    found = open_segmented_folder(str(tmp_path), "one,two")
    with pytest.raises(Unusable, match=r"a\.png: not an image"):
        found[0]


def test_images_without_a_map_are_left_out_and_counted(tmp_path, caplog):
    for name in "abc":
        image(tmp_path, f"images/{name}.png")
    label_map(tmp_path, "labels/b.png")
    with caplog.at_level(logging.WARNING):
        found = open_segmented_folder(str(tmp_path), "one,two")
    assert [Path(one.key).name for one in found] == ["b.png"]
    assert [record.getMessage() for record in caplog.records] == [
        f"{tmp_path}: 2 of 3 images have no label map, and are left out: a.png, c.png"
    ]


def test_folders_of_other_layouts_are_refused_with_the_one_that_is_needed(tmp_path):
    layout = "need FOLDER/images with PNGs of the same names in FOLDER/annotations (or labels or masks)"
    nowhere, empty = tmp_path / "nowhere", tmp_path / "empty"
    assert said(nowhere, kind=FileNotFoundError) == f"{nowhere}: no such folder; {layout}, or 'scenes:1'"
    empty.mkdir()
    assert said(empty) == f"{empty}: holds no images, and is not in a folder of that name; {layout}"
    (empty / "images").mkdir()
    assert said(empty) == f"{empty}: no annotations, labels, masks in {empty}; {layout}"
    (empty / "masks").mkdir()
    nothing = f"{empty}: 0 images in {empty}/images and 0 .png in {empty}/masks, none of the same name; {layout}"
    assert said(empty) == nothing
    image(empty, "images/a.jpg")
    label_map(empty, "masks/b.png")
    assert said(empty).startswith(f"{empty}: 1 images in {empty}/images and 1 .png in {empty}/masks, none of the same name")
    label_map(empty, "masks/a.png")
    assert said(empty, "").startswith(f"{empty}: holds labels without names; name the classes")
