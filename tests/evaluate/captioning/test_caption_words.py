"""Caption words: as the reference's tokenizer divided them, and where we differ on purpose."""

import json
from pathlib import Path

import pytest

from genlip.evaluate.captioning.caption_words import caption_words

IMAGES = json.loads((Path(__file__).parent / "caption_fixture.json").read_text(encoding="utf8"))["images"]


@pytest.mark.parametrize("image", IMAGES, ids=[image["candidate"][:20] for image in IMAGES])
def test_words_are_those_that_the_reference_found(image):
    texts, recorded = [image["candidate"], *image["references"]], [image["candidate_words"], *image["reference_words"]]
    assert [" ".join(caption_words(text)) for text in texts] == recorded


@pytest.mark.parametrize(
    ("caption", "words"),
    [
        ("A dog's bone isn't big; it can't be.", "a dog 's bone is n't big it ca n't be"),
        ("don’t I'm they'll boys' o'clock", "do n't i 'm they 'll boys o'clock"),
        ("well-known -- yes - no...", "well-known yes no"),
        ("the U.S. flag, e.g. red", "the u.s. flag e.g. red"),
        ("1,000.50 at 12:30, 3/4 of #12 & 50%", "1,000.50 at 12:30 3/4 of # 12 & 50 %"),
        ("Ünïted “café” — naïve…", "ünïted café naïve"),
        ("black/white cats,dogs\n20°", "black/white cats dogs 20 °"),
        ("", ""),
    ],
)
def test_ordinary_captions_are_divided_as_the_reference_divides_them(caption, words):
    assert " ".join(caption_words(caption)) == words


def test_brackets_and_runs_of_marks_are_no_words():
    assert caption_words("stop (now)!? [or not]") == ["stop", "now", "or", "not"]
