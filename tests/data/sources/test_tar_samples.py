"""`genlip.data.sources.tar_samples`: which members make a sample, and what is said of those that make none."""

import pytest

from genlip.data.sources.tar_samples import Problems, samples_of


def read(text):
    """Names of each sample's image, text and JSON among members named in a text, and the problems."""
    problems = Problems()
    members = [(name.encode(), 0, place, 0) for place, name in enumerate(text.split())]
    named = [[part and part[0].decode() for part in sample] for sample in samples_of(members, problems)]
    return [" ".join(filter(None, parts)) for parts in named], problems.messages()


@pytest.mark.parametrize(
    ("members", "samples"),
    [
        ("0.jpg 0.txt 1.json 1.png", ["0.jpg 0.txt", "1.png 1.json"]),
        ("v1.0.jpg v1.0.txt v1.1.jpg v1.1.txt", ["v1.0.jpg v1.0.txt", "v1.1.jpg v1.1.txt"]),
        ("v1.0.jpg v1.1.jpg v1.0.txt v1.1.txt", ["v1.0.jpg v1.0.txt", "v1.1.jpg v1.1.txt"]),
        ("v1.0.jpg v1.0.txt 1.jpg 1.txt", ["v1.0.jpg v1.0.txt", "1.jpg 1.txt"]),
        ("0.image.jpg 0.txt 1.jpg 1.txt", ["0.image.jpg 0.txt", "1.jpg 1.txt"]),
        ("0.image.jpg 0.mask.png 0.txt", ["0.image.jpg 0.txt"]),
        ("0.jpg 0.caption.txt", ["0.jpg 0.caption.txt"]),
        ("0.photo.jpg 0.meta.json", ["0.photo.jpg 0.meta.json"]),
        ("0.jfif 0.caption 1.JPE 1.text", ["0.jfif 0.caption", "1.JPE 1.text"]),
        ("a/0.jpg a/0.txt b/0.jpg b/0.txt", ["a/0.jpg a/0.txt", "b/0.jpg b/0.txt"]),
        ("0.jpg 0.cls 1.jpg 1.txt 1.svg", ["0.jpg", "1.jpg 1.txt"]),
        ("._0.jpg 0.jpg 0.txt __MACOSX/0.jpg a/.b/0.jpg ./2.jpg ../3.jpg", ["0.jpg 0.txt", "./2.jpg", "../3.jpg"]),
        ("a/@eaDir/0.jpg a/0.jpg a/0.txt lost+found/1.jpg a/l/2.jpg @/3.jpg", ["a/0.jpg a/0.txt", "a/l/2.jpg", "@/3.jpg"]),
        ("v1.0.jpg v1.1.jpg", ["v1.0.jpg", "v1.1.jpg"]),
        ("", []),
    ],
)
def test_what_a_convention_tells_is_read_without_a_word(members, samples):
    assert read(members) == (samples, [])


@pytest.mark.parametrize(
    ("members", "samples", "told"),
    [
        (
            "0.jpg 1.jpg 2.jpg 0.txt 1.txt",
            ["0.jpg 0.txt", "1.jpg 1.txt", "2.jpg"],
            "2 captions not side by side with their images, found by name; tar --sort=name orders them, first 0",
        ),
        (
            "images/0.jpg images/1.jpg texts/0.txt texts/1.txt",
            ["images/0.jpg", "images/1.jpg"],
            "2 captions in another folder than the images of their names; put them side by side, first texts/0",
        ),
        ("0.svg 0.txt 1.jpg 1.txt", ["1.jpg 1.txt"], "1 samples without an image, first 0 with svg"),
        ("0.cls 1.jpg 2.txt", ["1.jpg"], "2 samples without an image, first 0 with cls"),
        (
            "0.jpg 0.txt 0.seg.png 0.meta.json",
            ["0.jpg 0.txt"],
            "2 further members of samples, which are not read, first 0.seg",
        ),
        (
            "0.left.jpg 0.right.jpg 0.txt",
            [],
            "2 images of which it is not clear which one their caption means, first 0.left",
        ),
        (
            "0.jpg 0.txt 1.jpg 0.jpg 0.txt",
            ["0.jpg 0.txt", "1.jpg", "0.jpg 0.txt"],
            "1 samples with the name of another one, which are all read, first 0",
        ),
        (
            "0.jpg 0.png 0.txt 0.txt",
            ["0.jpg 0.txt"],
            "2 members of a sample that has one of their kind already, first 0.png",
        ),
    ],
)
def test_what_is_left_out_is_counted_with_its_reason(members, samples, told):
    assert read(members) == (samples, [told])


def test_captions_of_a_name_that_stands_several_times_are_given_to_none():
    samples, told = read("0.jpg 1.jpg 0.jpg 1.txt 0.txt")
    assert samples == ["0.jpg", "1.jpg 1.txt", "0.jpg"]
    assert "1 captions of a name that stands several times, which are not read, first 0" in told


def test_a_name_that_is_no_utf8_is_told_by_its_bytes():
    problems = Problems()
    assert samples_of([(b"caf\xe9.txt", 0, 0, 0)], problems) == []
    assert problems.messages() == ["1 samples without an image, first caf\\xe9"]


def test_problems_survive_json():
    problems = Problems()
    problems.add("things", "here", 2)
    problems.add("things", "there")
    assert Problems.from_json(problems.to_json()).messages() == problems.messages() == ["3 things, first here"]
