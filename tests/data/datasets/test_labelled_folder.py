"""`genlip.data.datasets.labelled_folder`: class folders as torchvision reads them, and ImageNet's flat validation set."""

import pickle
import re

import numpy as np
import pytest
from PIL import Image
from torchvision.datasets import ImageFolder

from genlip.data.datasets.labelled_folder import open_labelled_folder
from genlip.data.images import decode

from ..helpers import written

FILES = ("owl/1.png", "hot_dog/b.png", "hot_dog/a.JPEG", "Zebra/deep/er/z.png", "owl/2.jpg", "10/x.png", "9/x.png")
SOLUTION = """ImageId,PredictionString
val_3,n02 1 2 30 40
val_1,n07 1 1 5 5 n07 6 6 9 9
val_2,n02
not_here,n01 1 2 3 4
"""


def picture(path, shade=0):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", (4, 3), (shade, 0, 0)).save(path)


def folder_of(root, files=FILES):
    for shade, name in enumerate(files):
        picture(root / name, shade)
    return root


def test_labels_are_those_of_torchvision(tmp_path):
    labelled, other = open_labelled_folder(folder_of(tmp_path)), ImageFolder(str(tmp_path))
    assert labelled.classes == ("10", "9", "Zebra", "hot dog", "owl")
    assert {str(item.image): item.label for item in labelled} == dict(other.samples)
    assert len(labelled) == len(FILES)


def test_images_are_named_by_their_place_in_the_folder(tmp_path):
    labelled = open_labelled_folder(folder_of(tmp_path))
    keys = [item.key for item in labelled]
    assert keys == [
        "10/x.png",
        "9/x.png",
        "Zebra/deep/er/z.png",
        "hot_dog/a.JPEG",
        "hot_dog/b.png",
        "owl/1.png",
        "owl/2.jpg",
    ]
    assert [item.label for item in labelled] == [0, 1, 2, 3, 3, 4, 4]
    for item in (labelled[0], labelled[2], labelled[5]):
        assert decode(item.image).getpixel((0, 0)) == (FILES.index(item.key), 0, 0)
    assert labelled.name == str(tmp_path)


def test_hidden_folders_and_other_files_are_no_classes(tmp_path):
    folder_of(tmp_path, ["cat/a.png", "dog/a.png", ".ipynb_checkpoints/a.png", "stray.png"])
    written(tmp_path, "cat/notes.txt", "no image")
    labelled = open_labelled_folder(tmp_path)
    assert labelled.classes == ("cat", "dog")
    assert [item.key for item in labelled] == ["cat/a.png", "dog/a.png"]


def test_names_of_classes_may_be_given(tmp_path):
    folder_of(tmp_path / "set", ["n02/a.png", "n01/a.png"])
    mapping = written(tmp_path, "mapping.txt", "n02 goldfish, Carassius\nn03 shark\nn01 tench, Tinca\n")
    assert open_labelled_folder(tmp_path / "set", str(mapping)).classes == ("tench", "goldfish")
    assert open_labelled_folder(tmp_path / "set", "first,second").classes == ("first", "second")


def test_a_folder_without_a_name_is_told(tmp_path):
    folder_of(tmp_path / "set", ["n02/a.png", "n01/a.png"])
    mapping = written(tmp_path, "mapping.txt", "n02 goldfish\nn03 shark\n")
    with pytest.raises(
        ValueError, match=rf"{mapping}: no line for n01 \(1 of 2 class folders of {tmp_path}/set have none\)"
    ):
        open_labelled_folder(tmp_path / "set", str(mapping))


@pytest.mark.parametrize("index", [-1, len(FILES), 10**9])
def test_there_is_nothing_outside(index, tmp_path):
    with pytest.raises(IndexError, match=f"image {index} of {len(FILES)}"):
        open_labelled_folder(folder_of(tmp_path))[index]


def test_a_pickled_set_is_the_same(tmp_path):
    labelled = open_labelled_folder(folder_of(tmp_path))
    copy = pickle.loads(pickle.dumps(labelled))
    assert list(copy) == list(labelled)
    assert (copy.name, copy.classes) == (labelled.name, labelled.classes)


def test_a_class_folder_without_images_is_named(tmp_path):
    folder_of(tmp_path, ["cat/a.png"])
    written(tmp_path, "dog/readme.txt", "")
    with pytest.raises(ValueError, match=rf"^{tmp_path}/dog: a class folder without images; put some into it, or remove it"):
        open_labelled_folder(tmp_path)


@pytest.mark.parametrize(
    ("files", "found"),
    [
        ([], "no class folders, 0 images;"),
        (["a.png", "b.png"], "no class folders, 2 images and no LOC_val_solution.csv here or above;"),
        (["a.parquet"], "no class folders but 1 .parquet files, which '{folder}/*.parquet' would open;"),
    ],
)
def test_a_folder_without_class_folders_says_what_it_holds(files, found, tmp_path):
    for name in files:
        written(tmp_path, name, "")
    expected = f"{tmp_path}: {found.format(folder=tmp_path)} need a folder of images per class, {tmp_path}/<class>/*.jpg"
    with pytest.raises(ValueError, match=re.escape(expected)):
        open_labelled_folder(tmp_path)


# -- ImageNet's validation images


@pytest.mark.parametrize("place", ["ILSVRC/Data/CLS-LOC/val", "."])
def test_flat_validation_images_get_their_classes_from_the_table(place, tmp_path):
    folder = folder_of(tmp_path / place, ["val_1.JPEG", "val_3.JPEG", "val_2.JPEG"])
    written(tmp_path, "LOC_val_solution.csv", SOLUTION)
    mapping = written(tmp_path, "LOC_synset_mapping.txt", "n07 seven, sept\nn01 one\nn02 two\n")
    labelled = open_labelled_folder(folder, str(mapping))
    assert labelled.classes == ("one", "two", "seven")
    assert [(item.key, item.label) for item in labelled] == [("val_1.JPEG", 2), ("val_2.JPEG", 1), ("val_3.JPEG", 1)]
    assert labelled[0].image == folder / "val_1.JPEG"
    assert np.array_equal(pickle.loads(pickle.dumps(labelled)).labels, [2, 1, 1])


def test_a_validation_image_without_a_row_is_named(tmp_path):
    folder_of(tmp_path, ["val_1.JPEG", "val_4.JPEG"])
    table = written(tmp_path, "LOC_val_solution.csv", SOLUTION)
    with pytest.raises(ValueError, match=rf"^{table}: no row for val_4\.JPEG \(1 of 2 images of {tmp_path} have none\)"):
        open_labelled_folder(tmp_path)


@pytest.mark.parametrize("text", ["a,b\n1,2\n", "ImageId,PredictionString\nval_1,\n", "ImageId,PredictionString\nval_1\n"])
def test_a_table_of_another_form_is_refused(text, tmp_path):
    folder_of(tmp_path, ["val_1.JPEG"])
    written(tmp_path, "LOC_val_solution.csv", text)
    with pytest.raises(ValueError, match=r"LOC_val_solution\.csv: need columns ImageId and PredictionString"):
        open_labelled_folder(tmp_path)
