"""`genlip.data.datasets.class_names`: names for the classes of a set, and what is said where they do not fit."""

import logging
import re

import pytest

from genlip.data.datasets.class_names import BUILT_IN, check_label, class_list, keyed_classes, words

from ..helpers import written

WNIDS = ["n01440764", "n01443537", "n02012849"]
MAPPING = """n01443537 goldfish, Carassius auratus
n00000000 beyond these
n02012849 crane
n01440764 tench, Tinca tinca
"""


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("tench, Tinca tinca", "tench"),
        ("hot_dog", "hot dog"),
        ("  ice   cream ", "ice cream"),
        ("T-shirt/top", "T-shirt/top"),
        ("sand_bar,sandbar", "sand bar"),
        ("caf\udce9", r"caf\xe9"),
    ],
)
def test_a_name_becomes_words(name, expected):
    assert words(name) == expected


def test_a_list_may_be_written_with_commas():
    assert class_list("cat, hot_dog,owl") == ("cat", "hot dog", "owl")
    names = [f"name {number}" for number in range(1000)]  # longer than any file's name
    assert class_list(",".join(names)) == tuple(names)


def test_a_list_may_be_a_file_in_the_order_of_labels(tmp_path):
    path = written(tmp_path, "names, all.txt", "\ufefftench, Tinca tinca\r\ngoldfish\r\ngreat_white shark\n\n")
    assert class_list(str(path)) == ("tench", "goldfish", "great white shark")


def test_a_file_in_the_home_folder_is_found(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    written(tmp_path, "names.txt", "cat\ndog")
    assert class_list("~/names.txt") == ("cat", "dog")


def test_built_in_lists_have_ten_different_lower_case_names():
    assert class_list("digits")[7] == "seven"
    assert class_list("fashion-mnist")[9] == "ankle boot"
    for names in BUILT_IN.values():
        assert len(set(names)) == 10
        assert all(name == name.lower() == words(name) for name in names)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("cat\n\ndog\n", r"names\.txt, line 2 of 3 is empty"),
        ("cat\n , x\n", r"names\.txt, line 2 of 2 is empty"),
        ("", r"names\.txt, line 1 of 1 is empty"),
    ],
)
def test_an_empty_line_would_shift_labels_and_is_named(text, message, tmp_path):
    with pytest.raises(ValueError, match=message):
        class_list(str(written(tmp_path, "names.txt", text)))


def test_an_empty_name_between_commas_is_named():
    with pytest.raises(ValueError, match="classes cat,,dog: name 2 of 3 is empty; every class needs a name"):
        class_list("cat,,dog")


def test_what_is_neither_file_nor_list_is_refused_with_the_choices():
    expected = "classes 'no.txt': no such file; need a text file with one name per line, names with commas between, or one"
    with pytest.raises(FileNotFoundError, match=f"{re.escape(expected)} of digits, fashion-mnist"):
        class_list("no.txt")


def test_a_file_that_is_no_text_is_named(tmp_path):
    path = written(tmp_path, "names.txt", "café", "latin-1")
    with pytest.raises(ValueError, match=r"names\.txt: not UTF-8 text"):
        class_list(str(path))


# -- classes with keys


def test_keys_become_words_without_other_names():
    assert keyed_classes("", ["hot_dog", "owl"], "folders") == ("hot dog", "owl")


def test_keys_get_the_names_of_their_lines_in_the_order_of_keys(tmp_path):
    path = written(tmp_path, "LOC_synset_mapping.txt", MAPPING)
    assert keyed_classes(str(path), WNIDS, "folders") == ("tench", "goldfish", "crane")


@pytest.mark.parametrize("names", [("tench", "goldfish", "crane"), ("green tench", "red goldfish", "grey crane")])
def test_a_plain_list_goes_by_the_order_of_keys(names, tmp_path):
    path = written(tmp_path, "names.txt", "\n".join(names))
    assert keyed_classes(str(path), WNIDS, "folders") == names


def test_short_lists_go_by_the_order_of_keys_too():
    assert keyed_classes("a,b,c", WNIDS, "folders") == ("a", "b", "c")
    assert keyed_classes("digits", [str(digit) for digit in range(10)], "folders")[3] == "three"


def test_a_key_without_a_line_is_named(tmp_path):
    path = written(tmp_path, "mapping.txt", MAPPING)
    with pytest.raises(ValueError, match=rf"^{path}: no line for n9 \(2 of 5 folders have none\); add them"):
        keyed_classes(str(path), [*WNIDS, "n9", "n99"], "folders")


def test_a_list_of_another_length_is_told_with_the_keys(tmp_path):
    expected = (
        "classes a,b: 2 names for 3 folders (n01440764, n01443537, n02012849); need one per line in the order of labels"
    )
    with pytest.raises(ValueError, match=re.escape(expected)):
        keyed_classes("a,b", WNIDS, "folders")
    path = written(tmp_path, "names.txt", "a\nb\nc\nd")
    with pytest.raises(ValueError, match=rf"^{path}: 4 names for 3 folders .* or lines 'n01440764 its name'"):
        keyed_classes(str(path), WNIDS, "folders")


@pytest.mark.parametrize("label", [-1, 2, None])
def test_a_label_outside_the_classes_is_named_with_its_place(label):
    with pytest.raises(ValueError, match=rf"^a\.parquet:3: label {label} is none of the 2 classes, 0 to 1 \(cat, dog\)"):
        check_label(label, ("cat", "dog"), "a.parquet:3")


def test_a_label_within_the_classes_is_given_back():
    assert [check_label(label, ("cat", "dog"), "x") for label in (0, 1)] == [0, 1]


def test_names_that_are_not_the_folders_own_are_told(caplog):
    with caplog.at_level(logging.WARNING):
        keyed_classes("cat,dog", ["cat", "dog"], "folders")
        assert not caplog.records
        keyed_classes("dog,cat", ["cat", "dog"], "folders")
    assert caplog.messages == ["folders: named in their order, so cat is called dog, dog is called cat"]
