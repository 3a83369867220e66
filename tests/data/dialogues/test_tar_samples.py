"""`genlip.data.dialogues.tar_samples`: which members make a dialogue, and what is said of those that make none."""

import pytest

from genlip.data.dialogues.tar_samples import dialogues_of
from genlip.data.sources.tar_samples import Problems


def read(text):
    """Names of each dialogue's members among those named in a text, and the problems."""
    problems = Problems()
    members = [(name.encode(), 0, place, 0) for place, name in enumerate(text.split())]
    found = dialogues_of(members, problems)
    named = [" ".join(member[0].decode() for _, member in one.members) for one in found]
    for one in found:
        kinds = [kind for kind, _ in one.members]
        assert kinds == sorted(kinds, key=lambda kind: kind == 0)  # texts first
    return named, problems.messages()


@pytest.mark.parametrize(
    ("members", "dialogues"),
    [
        ("0.jpg 0.json 1.json 1.png", ["0.json 0.jpg", "1.json 1.png"]),
        ("0.jpg 0.txt 0.json", ["0.txt 0.json 0.jpg"]),
        ("0.0.jpg 0.1.jpg 0.json 1.jpg 1.json", ["0.json 0.0.jpg 0.1.jpg", "1.json 1.jpg"]),
        ("0.json 0.image0.png 0.image1.png", ["0.json 0.image0.png 0.image1.png"]),
        ("0.img10.jpg 0.img2.jpg 0.img1.jpg 0.json", ["0.json 0.img1.jpg 0.img2.jpg 0.img10.jpg"]),
        ("0.1.jpg 0.jpg 0.json", ["0.json 0.jpg 0.1.jpg"]),
        ("0.left.jpg 0.right.png 0.json", ["0.json 0.left.jpg 0.right.png"]),
        ("0.right.jpg 0.left.png 0.json", ["0.json 0.right.jpg 0.left.png"]),
        ("0.jpg 0.png 0.json", ["0.json 0.jpg 0.png"]),
        ("0.json 1.json 2.jpg 2.json", ["0.json", "1.json", "2.json 2.jpg"]),
        ("0.image.jpg 0.meta.json", ["0.meta.json 0.image.jpg"]),
        ("v1.0.jpg v1.0.json v1.1.jpg v1.1.json", ["v1.0.json v1.0.jpg", "v1.1.json v1.1.jpg"]),
        (
            "v1.0.0.jpg v1.0.1.jpg v1.0.json v1.1.json v1.10.jpg v1.10.json",
            ["v1.0.json v1.0.0.jpg v1.0.1.jpg", "v1.1.json", "v1.10.json v1.10.jpg"],
        ),
        ("a/0.jpg a/0.json b/0.jpg b/0.json", ["a/0.json a/0.jpg", "b/0.json b/0.jpg"]),
        ("._0.jpg 0.jpg 0.json __MACOSX/0.json ./2.json", ["0.json 0.jpg", "./2.json"]),
        ("0.JPG 0.JSON", ["0.JSON 0.JPG"]),
        ("", []),
    ],
)
def test_what_belongs_together(members, dialogues):
    assert read(members) == (dialogues, [])


@pytest.mark.parametrize(
    ("members", "dialogues", "told"),
    [
        (
            "0.jpg 1.jpg 0.json 1.json",
            ["0.json 0.jpg", "1.json 1.jpg"],
            "2 texts not side by side with their images, found by name; tar --sort=name orders them, first 0",
        ),
        ("0.jpg 1.jpg 1.json", ["1.json 1.jpg"], "1 images without a text, first 0"),
        ("0.txt 1.jpg 1.json", ["1.json 1.jpg"], "1 captions without an image, first 0"),
        ("0.mp4 1.jpg 1.json", ["1.json 1.jpg"], "1 samples without a text or an image, first 0.mp4"),
        (
            "0.jpg 0.json 0.json",
            ["0.json 0.jpg"],
            "1 members of a sample that has one of their kind already, first 0.json",
        ),
        (
            "0.json 0.jpg 1.json 0.json 0.jpg",
            ["0.json 0.jpg", "1.json", "0.json 0.jpg"],
            "1 samples with the name of another one, which are all read, first 0",
        ),
    ],
)
def test_what_is_left_out_is_counted_with_its_reason(members, dialogues, told):
    assert read(members) == (dialogues, [told])


def test_texts_of_a_name_that_stands_several_times_are_given_to_none():
    dialogues, told = read("0.jpg 1.jpg 0.jpg 1.json 0.json")
    assert dialogues == ["1.json 1.jpg"]
    assert "1 texts of a name that stands several times, which are not read, first 0" in told
    assert "1 images without a text, first 0" in told
