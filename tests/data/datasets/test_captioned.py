"""`genlip.data.datasets.captioned`: a labelled set as a source."""

import pickle
from collections import Counter
from dataclasses import dataclass

import pytest

from genlip.data.datasets.base import Labelled
from genlip.data.datasets.captioned import captioned
from genlip.data.examples import Choice, Unusable, pick

TEMPLATES = ["a photo of {a}.", "{}"]


@dataclass(frozen=True)
class InMemory:
    labels: tuple[int, ...] = (1, 0, 1)
    classes: tuple[str, ...] = ("cat", "owl")
    name: str = "animals"

    def __len__(self):
        return len(self.labels)

    def __getitem__(self, index):
        if not 0 <= index < len(self):
            raise IndexError(f"image {index} of {len(self)}")
        return Labelled(f"{self.name}:{index}", bytes([index]), self.labels[index])


class WithoutImages(InMemory):
    def __getitem__(self, index):
        raise Unusable("missing", f"image {index} is not read")

    def label(self, index):
        return self.labels[index]


def test_every_image_is_captioned_by_each_template_alike():
    source = captioned(InMemory(), TEMPLATES)
    owl, cat = (Choice(texts, (0.5, 0.5)) for texts in (("a photo of an owl.", "owl"), ("a photo of a cat.", "cat")))
    expected = [("animals:0", b"\0", owl), ("animals:1", b"\1", cat), ("animals:2", b"\2", owl)]
    assert [tuple(example) for example in source] == expected
    assert [source.caption(index) for index in range(3)] == [owl, cat, owl]
    assert (len(source), source.name) == (3, "animals")


def test_epochs_read_all_templates():
    templates = ["{}", "a {}", "the {}"]
    caption = captioned(InMemory(), templates).caption(1)
    read = Counter(pick(caption, 0, epoch, 1) for epoch in range(3000))
    assert read.keys() == {"cat", "a cat", "the cat"}
    assert all(abs(count - 1000) < 130 for count in read.values())  # five standard deviations


def test_a_caption_is_told_without_the_image_where_the_set_can():
    source = captioned(WithoutImages(), ["{}"])
    assert [source.caption(index).captions for index in range(3)] == [("owl",), ("cat",), ("owl",)]
    with pytest.raises(Unusable, match="image 1 is not read"):
        source[1]


def test_there_is_nothing_outside():
    source = captioned(InMemory(), TEMPLATES)
    for read in (source.__getitem__, source.caption):
        with pytest.raises(IndexError, match="image 3 of 3"):
            read(3)


def test_a_pickled_source_is_the_same():
    source = captioned(InMemory(), TEMPLATES)
    assert list(pickle.loads(pickle.dumps(source))) == list(source)


@pytest.mark.parametrize(
    ("templates", "message"),
    [
        ([], r"templates \[\]: need a list of one or more, such as \['a photo of \{a\}\.'\]"),
        ("a photo of {}", "templates 'a photo of {}': need a list"),
        (["{}", "a photo"], "the template 'a photo' has no place for the name"),
    ],
)
def test_templates_that_name_nothing_are_refused(templates, message):
    with pytest.raises(ValueError, match=message):
        captioned(InMemory(), templates)
