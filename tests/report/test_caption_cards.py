"""Caption cards: marks on the words that differ, and images in full resolution."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from genlip.evaluate.captioning.generated import GeneratedCaption
from genlip.report import caption_cards

from .helpers import image_of, spoken


@pytest.mark.parametrize(
    ("true", "said", "true_marks", "said_marks"),
    [
        ("a red circle", "a red circle", "...", "..."),
        ("a red circle", "a blue circle", ".x.", ".x."),
        ("a red circle", "a circle", ".x.", ".."),
        ("a circle", "a red circle", "..", ".x."),
        ("number 47", "number 74", ".x", ".x"),
        ("a b c d", "c d a b", "..xx", "xx.."),
        ("a red circle", "", "xxx", ""),
        ("", "a", "", "x"),
    ],
)
def test_words_that_differ_are_found(true: str, said: str, true_marks: str, said_marks: str) -> None:
    for text, marks, found in zip((true, said), (true_marks, said_marks), caption_cards.word_marks(true, said), strict=True):
        assert found == [(word, mark == ".") for word, mark in zip(text.split(), marks, strict=True)]


def test_the_gallery_marks_only_what_differs() -> None:
    markup = caption_cards.gallery(
        [spoken("a red circle", "a red circle"), spoken("one big red circle", "a small blue circle")]
    )
    assert (markup.count("✓"), markup.count("✗")) == (1, 1)
    assert "<del>one big red</del> circle" in markup
    assert "<mark>a small blue</mark> circle" in markup
    assert markup.count("<mark>") == markup.count("<del>") == 1


def test_an_empty_caption_is_shown_as_nothing() -> None:
    assert "(nothing)" in caption_cards.gallery([spoken("a", "")])


def test_small_images_keep_every_pixel() -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (5, 7, 3), dtype=np.uint8)
    markup = caption_cards.gallery([GeneratedCaption("key", Image.fromarray(pixels), "a", "a")])
    np.testing.assert_array_equal(np.asarray(image_of(markup)), pixels)
    assert 'class="pixels"' in markup


def test_large_images_are_reduced_and_paths_are_read(tmp_path: Path) -> None:
    path = tmp_path / "large.jpg"
    Image.new("RGB", (3000, 1500)).save(path)
    markup = caption_cards.gallery([GeneratedCaption("key", path, "a", "a")])
    assert image_of(markup).size == (224, 112)
    assert "pixels" not in markup
