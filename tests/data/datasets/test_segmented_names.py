"""`genlip.data.datasets.segmented_names`: names that the user gives, and those of ADE20K."""

import pytest

from genlip.data.datasets.segmented_names import label_names

from ..helpers import written

ADE = "Idx\tRatio\tTrain\tVal\tStuff\tName\n1\t0.1576\t11664\t1172\t1\twall\n2\t0.1072\t6046\t612\t1\tbuilding, edifice\n"


def said(classes, folder, kind=ValueError):
    with pytest.raises(kind) as error:
        label_names(classes, folder)
    return str(error.value)


def test_names_are_a_list_or_the_lines_of_a_file(tmp_path):
    file = written(tmp_path, "names.txt", "sky\nswimming pool\n")
    assert label_names("sky,swimming pool", tmp_path) == (("sky", "swimming pool"), 0)
    assert label_names(str(file), tmp_path) == (("sky", "swimming pool"), 0)


@pytest.mark.parametrize("ends", ["\n", "\r\n"])
def test_the_table_of_ade20k_in_the_folder_numbers_from_1(ends, tmp_path):
    written(tmp_path, "objectInfo150.txt", ADE.replace("\n", ends))
    assert label_names("", tmp_path) == (("wall", "building"), 1)  # the first of several names
    assert label_names("Wand,Haus", tmp_path) == (("Wand", "Haus"), 1)


def test_the_table_of_ade20k_can_be_named(tmp_path):
    table = written(tmp_path / "elsewhere", "any.txt", ADE)
    assert label_names(str(table), tmp_path) == (("wall", "building"), 1)


def test_labels_without_names_are_refused(tmp_path):
    assert said("", tmp_path).startswith(f"{tmp_path}: holds labels without names; name the classes: ")
    assert said("nowhere.txt", tmp_path, FileNotFoundError).startswith("classes 'nowhere.txt': no such file")


@pytest.mark.parametrize(
    "table",
    [ADE.replace("\n2\t", "\n3\t"), ADE.replace("wall", ""), ADE + "3\t0.1\n"],
    ids=["a number left out", "no name", "a row that breaks off"],
)
def test_a_table_with_gaps_would_shift_labels_and_is_refused(table, tmp_path):
    path = written(tmp_path, "objectInfo150.txt", table)
    expected = f"{path}: column Idx must count from 1, row by row, and column Name hold a name in each"
    assert said("", tmp_path) == expected
