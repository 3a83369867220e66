"""`genlip.data.sources.coco`: published forms in small, where their images are found, and what is said of the rest."""

import json
import logging
import pickle

import pytest
import yaml
from PIL import Image

from genlip.data.examples import Choice, Unusable
from genlip.data.sources import open_source

from ..helpers import held, written

# As COCO's files are: more keys than are read, captions in any order, some with white space around them.
COCO = {
    "info": {"year": 2017},
    "images": [
        {"id": 9, "file_name": "000000000009.jpg", "height": 480, "width": 640, "coco_url": "http://images/9.jpg"},
        {"id": 25, "file_name": "000000000025.jpg", "height": 426, "width": 640},
        {"id": 30, "file_name": "000000000030.jpg", "height": 428, "width": 640},
    ],
    "annotations": [
        {"id": 1, "image_id": 25, "caption": "A giraffe by a tree."},
        {"id": 2, "image_id": 9, "caption": " A tray of food.\n"},
        {"id": 3, "image_id": 25, "caption": "Two giraffes."},
        {"id": 4, "image_id": 25, "caption": "A giraffe by a tree."},
        {"id": 5, "image_id": 30, "caption": "  "},
    ],
}
GIRAFFES = ("A giraffe by a tree.", "Two giraffes.", "A giraffe by a tree.")


def stored(folder, name, content):
    return written(folder, name, json.dumps(content))


def refused(path, images="", kind=ValueError):
    with pytest.raises(kind) as error:
        open_source(str(path), images=str(images))
    return str(error.value)


def test_each_image_has_all_its_captions_with_equal_chances(tmp_path):
    path = stored(tmp_path, "some.json", COCO)
    written(tmp_path, "000000000025.jpg", "")
    source = open_source(str(path))
    assert source.name == str(path)
    (tray, said), (giraffes, choice) = held(source)
    assert (tray, said) == (tmp_path / "000000000009.jpg", "A tray of food.")
    assert giraffes == tmp_path / "000000000025.jpg"
    assert isinstance(choice, Choice)
    assert (choice.captions, choice.chances) == (GIRAFFES, (1 / 3, 1 / 3, 1 / 3))
    assert held(pickle.loads(pickle.dumps(source))) == held(source)


def test_images_without_a_caption_are_left_out_and_counted(tmp_path, caplog):
    written(tmp_path, "000000000009.jpg", "")
    lost = {"id": 6, "image_id": 31, "caption": "of no image"}
    path = stored(tmp_path, "some.json", COCO | {"annotations": [*COCO["annotations"], lost]})
    with caplog.at_level(logging.WARNING):
        assert len(open_source(str(path))) == 2
    assert [record.getMessage() for record in caplog.records] == [
        f"{path}: 1 captions are of images that it does not list, and are left out",
        f"{path}: 1 of 3 images have no caption, and are left out: 000000000030.jpg",
    ]


@pytest.mark.parametrize(
    ("file", "image"),
    [
        ("some.json", "000000000025.jpg"),
        ("coco/annotations/captions_val2017.json", "coco/val2017/000000000025.jpg"),
        ("coco/captions_val2017.json", "coco/val2017/000000000025.jpg"),
        ("coco/annotations/captions_val2017.json", "coco/annotations/000000000025.jpg"),
    ],
)
def test_images_are_found_where_they_usually_are(file, image, tmp_path):
    path = stored(tmp_path, file, COCO)
    written(tmp_path, image, "")
    assert open_source(str(path))[1].image.resolve() == tmp_path / image


def test_a_folder_of_images_can_be_named(tmp_path, monkeypatch):
    path = stored(tmp_path, "files/captions_val2017.json", COCO)
    written(tmp_path, "val2017/000000000009.jpg", "")
    written(tmp_path, "elsewhere/000000000025.jpg", "")
    source = open_source(str(path), images=str(tmp_path / "elsewhere"))
    assert source[1].image == tmp_path / "elsewhere/000000000025.jpg"
    monkeypatch.setenv("HOME", str(tmp_path))
    assert open_source(str(path), images="~/elsewhere")[0].image == tmp_path / "elsewhere/000000000009.jpg"


def test_a_mixture_names_a_folder_relative_to_itself(tmp_path):
    stored(tmp_path, "files/some.json", COCO)
    written(tmp_path, "pictures/000000000025.jpg", "")
    entries = [{"source": "files/some.json", "images": "pictures"}]
    path = written(tmp_path, "mixture.yaml", yaml.safe_dump({"sources": entries}))
    assert open_source(str(path))[1].image == tmp_path / "pictures/000000000025.jpg"


def test_several_files_each_have_their_own_folder(tmp_path):
    for split, file in (("train2017", "000000000009.jpg"), ("val2017", "000000000025.jpg")):
        stored(tmp_path, f"annotations/captions_{split}.json", COCO)
        written(tmp_path, f"{split}/{file}", "")
    source = open_source(f"{tmp_path}/annotations/captions_*.json")
    assert [source[i].image.parent.name for i in range(4)] == ["train2017"] * 2 + ["val2017"] * 2


def test_images_that_are_nowhere_are_told_with_where_they_were_looked_for(tmp_path):
    path = stored(tmp_path, "coco/annotations/captions_val2017.json", COCO)
    coco = tmp_path / "coco"
    assert refused(path, kind=FileNotFoundError) == (
        f"{path}: no 000000000009.jpg, nor any of its first 2 images, in {coco}/annotations or {coco}/val2017 or "
        f"{coco}/annotations/val2017; name the folder of its images (images=, --image-folder, in a mixture `images`)"
    )
    assert refused(path, coco / "no", FileNotFoundError) == (
        f"{path}: its images are said to be in {coco}/no, and there is no such folder"
    )
    assert f"first 2 images, in {coco}; name" in refused(path, coco, FileNotFoundError)


# -- TextCaps


def test_textcaps_with_an_entry_per_caption_has_an_example_per_image(tmp_path):
    rows = [("b", "A sign."), ("a", "A bottle."), ("b", "A blue sign."), ("b", "")]
    data = [{"image_id": image, "caption_str": said, "image_path": f"train/{image}.jpg"} for image, said in rows]
    path = stored(tmp_path, "TextCaps_0.1_train.json", {"dataset_type": "train", "data": data})
    written(tmp_path, "train_images/a.jpg", "")
    source = open_source(str(path), images=str(tmp_path / "train_images"))
    (first, choice), (second, said) = held(source)
    assert (first.name, second.name, said) == ("b.jpg", "a.jpg", "A bottle.")
    assert choice[:2] == (("A sign.", "A blue sign."), (0.5, 0.5))


def test_references_of_textcaps_stand_for_all_captions_of_an_image(tmp_path):
    some = ["A sign.", "A blue sign.", "A sign."]
    data = [{"image_id": "b", "caption_str": said, "reference_strs": some} for said in some]
    path = stored(tmp_path, "TextCaps_0.1_val.json", {"data": data})
    written(tmp_path, "b.jpg", "")
    ((_, choice),) = held(open_source(str(path)))
    assert choice[:2] == (tuple(some), (1 / 3, 1 / 3, 1 / 3))


# -- what is none


@pytest.mark.parametrize(
    ("content", "found"),
    [({"path": "a.png", "caption": "a"}, "an object with 'path', 'caption'"), ({}, "an object with nothing")],
)
def test_another_object_is_refused_with_the_forms_that_are_known(content, found, tmp_path):
    path = stored(tmp_path, "some.json", content)
    assert refused(path) == (
        f"{path}: found {found}; need a list of objects with path and caption, COCO's object with `images` and "
        "`annotations`, or TextCaps' with `data`"
    )


def test_a_list_beside_captions_files_is_refused(tmp_path):
    stored(tmp_path, "a.json", COCO)
    written(tmp_path, "000000000009.jpg", "")
    rows = stored(tmp_path, "b.json", [{"path": "a.png", "caption": "a"}])
    assert refused(f"{tmp_path}/?.json").startswith(f"{rows}: found no object; need a list")


def test_a_file_that_breaks_off_is_named(tmp_path):
    path = written(tmp_path, "some.json", '\ufeff {"images": [')
    assert refused(path).startswith(f"{path}: not JSON: ")


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (COCO | {"images": {}}, "images is dict, need a list of objects with id, file_name"),
        (COCO | {"images": [{"id": 1}]}, "images, entry 1 is {'id': 1}; need an object with id, file_name"),
        (COCO | {"images": [{"id": 1.5, "file_name": "a.jpg"}]}, "images, entry 1 is"),
        (COCO | {"annotations": ["a"]}, "annotations, entry 1 is 'a'; need an object with image_id, caption"),
        ({"data": [{"caption_str": "a"}]}, "data, entry 1 is {'caption_str': 'a'}; need an object with image_id"),
    ],
)
def test_an_entry_of_another_form_is_named(content, said, tmp_path):
    path = stored(tmp_path, "some.json", content)
    assert refused(path).startswith(f"{path}: {said}")


@pytest.mark.parametrize("content", [COCO | {"annotations": []}, COCO | {"annotations": COCO["annotations"][-1:]}])
def test_a_file_without_any_caption_is_refused(content, tmp_path):
    path = stored(tmp_path, "some.json", content)
    expected = "3 images without captions; a test set without references cannot be read"
    assert refused(path) == f"{path}: {expected}"


def test_a_caption_that_is_no_text_costs_its_own_example_alone(tmp_path):
    broken = {"image_id": 9, "caption": "half of a character: \ud800"}
    path = stored(tmp_path, "some.json", COCO | {"annotations": [broken, COCO["annotations"][0]]})
    written(tmp_path, "000000000025.jpg", "")
    source = open_source(str(path))
    assert source.caption(1) == "A giraffe by a tree."
    with pytest.raises(Unusable, match=r"000000000009\.jpg: a caption that is not valid text"):
        source.caption(0)


@pytest.mark.parametrize("outside", ["/etc/passwd", "../a.jpg"])
def test_no_image_outside_its_folder_is_named_unless_that_is_allowed(outside, tmp_path):
    written(tmp_path, "in/a.jpg", "")
    rows = {
        "images": [{"id": 1, "file_name": "a.jpg"}, {"id": 2, "file_name": outside}],
        "annotations": [{"image_id": number, "caption": "a"} for number in (1, 2)],
    }
    path = stored(tmp_path, "some.json", rows)
    with pytest.raises(ValueError, match=f"its image, '{outside}', lies outside {tmp_path}/in; .*--allow-outside"):
        open_source(str(path), images=str(tmp_path / "in"))
    assert len(open_source(str(path), images=str(tmp_path / "in"), allow_outside=True)) == 2


def test_two_images_of_one_id_are_refused_and_one_that_is_listed_twice_is_not(tmp_path):
    first, other = {"id": 1, "file_name": "a.png"}, {"id": 1, "file_name": "b.png"}
    told = [{"image_id": 1, "caption": "a cat"}]
    path = stored(tmp_path, "twice.json", {"images": [first, other], "annotations": told})
    assert refused(path) == f"{path}: the images 'a.png' and 'b.png' have the same id 1"
    Image.new("RGB", (8, 8)).save(tmp_path / "a.png")
    source = open_source(str(stored(tmp_path, "same.json", {"images": [first, first], "annotations": told})))
    assert [example.key for example in source] == [str(tmp_path / "a.png")]
