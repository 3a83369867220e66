"""Captions side by side: exactness and references by hand, order and skipping with a speaker that says what it is shown."""

import logging
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from genlip.data.examples import Choice, Turn, Unusable
from genlip.data.images import ImageConfig, decode
from genlip.data.sources import Files, Procedural
from genlip.evaluate.captioning.generated import GeneratedCaption, generate_captions, references, speak_about


class Echo:
    """Says the width of an image, and remembers how it was asked."""

    def __init__(self) -> None:
        self.images = ImageConfig()
        self.asked: list[tuple[int, dict[str, Any]]] = []

    def prepare(self, image: Any) -> Image.Image:
        return decode(image)

    def caption(self, images: Sequence[Image.Image], batch: int = 16, **decoding: Any) -> list[str]:
        assert batch >= len(images), "the speaker would cut the batch again"
        self.asked.append((len(images), decoding))
        return [f" {image.width} wide\n" for image in images]


@pytest.fixture
def images(tmp_path: Path) -> Files:
    """Seven images 1 to 7 pixels wide, with true captions but for the last."""
    paths = [tmp_path / f"{i}.png" for i in range(1, 8)]
    for width, path in enumerate(paths, start=1):
        Image.new("RGB", (width, 4)).save(path)
    return Files(paths, [f"{i} wide" for i in range(1, 7)] + ["8 wide"])


def spoken(caption: str, said: str) -> GeneratedCaption:
    return GeneratedCaption("key", b"", caption, said)


@pytest.mark.parametrize(
    ("caption", "said", "exact"),
    [
        ("a red circle", "a red circle", True),
        (" a red circle\n", "a red circle ", True),
        ("a red circle", "a  red circle", False),
        ("a red circle", "A red circle", False),
        ("a red circle", "a red", False),
        ("a", "", False),
    ],
)
def test_a_caption_is_exact_but_for_white_space_around_it(caption: str, said: str, exact: bool) -> None:
    assert spoken(caption, said).exact is exact


def test_captions_come_in_the_order_asked_for(images: Files) -> None:
    said = generate_captions(Echo(), images, [6, 2, 0], batch_size=2)
    assert [(one.key, one.caption, one.spoken) for one in said] == [
        (str(images.paths[i]), images.captions[i], f" {i + 1} wide\n") for i in (6, 2, 0)
    ]
    assert [one.exact for one in said] == [False, True, True]
    assert [one.image for one in said] == [images.paths[i] for i in (6, 2, 0)]


def test_batches_progress_and_decoding(images: Files) -> None:
    echo, done = Echo(), []
    generate_captions(echo, images, range(7), batch_size=3, advance=done.append, max_tokens=9)
    assert done == [3, 3, 1]
    exact = {"repetition_stop": 0, "max_tokens": 9}
    assert echo.asked == [(3, exact), (3, exact), (1, exact)]


def test_a_damaged_image_is_skipped_and_named(images: Files, caplog: pytest.LogCaptureFixture) -> None:
    images.paths[1].write_bytes(b"no image")
    done: list[int] = []
    with caplog.at_level(logging.WARNING):
        said = generate_captions(Echo(), images, range(3), advance=done.append)
    assert [one.spoken for one in said] == [" 1 wide\n", " 3 wide\n"]
    assert done == [3]
    assert str(images.paths[1]) in caplog.text
    assert "not an image" in caplog.text


def test_images_in_memory_work_as_well() -> None:
    (said,) = generate_captions(Echo(), Procedural("scenes", 1), [5])
    assert (said.key, said.caption, said.spoken) == ("scenes:1:5", Procedural("scenes", 1).caption(5), " 64 wide\n")


def test_what_cannot_be_used_keeps_its_place(images: Files) -> None:
    images.paths[0].write_bytes(b"no image")
    unusable, (example, text) = speak_about(Echo(), images, [0, 1])
    assert isinstance(unusable, Unusable)
    assert unusable.reason == "not an image"
    assert (example.key, text) == (str(images.paths[1]), " 2 wide\n")


def test_an_example_without_a_true_caption_cannot_be_used_where_one_is_needed(images: Files) -> None:
    images = Files(images.paths[:2], ["", "2 wide"])
    assert [one.spoken for one in generate_captions(Echo(), images, range(2))] == [" 1 wide\n", " 2 wide\n"]
    unusable, (example, _) = speak_about(Echo(), images, range(2), captioned=True)
    assert str(unusable) == f"{images.paths[0]}: no caption"
    assert example.caption == "2 wide"


CONVERSATION = (Turn("What is it?", learned=False), Turn("A cat.", learned=True), Turn("Grey?", False), Turn("Yes.", True))


@pytest.mark.parametrize(
    ("caption", "true"),
    [
        ("a cat", ["a cat"]),
        ("  ", []),
        (Choice(("a cat", "", "a pet", "a cat"), (0.25,) * 4), ["a cat", "a pet"]),
        (CONVERSATION, ["A cat.\nYes."]),
        (Choice(("a cat", CONVERSATION), (0.5, 0.5)), ["a cat", "A cat.\nYes."]),
        ((Turn("What is it?", learned=False),), []),
    ],
)
def test_references_are_all_that_could_have_been_learned(caption, true: list[str]) -> None:
    assert references(caption) == true
