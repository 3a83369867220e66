"""Captioning as a measurement: scores of captions that are known, losses against a loop, stops in between, and the page."""

import logging
import re
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from genlip.data.captions import CaptionConfig, Captions, train_tokenizer
from genlip.data.examples import Caption, Choice, Example
from genlip.data.images import ImageConfig, decode, prepare_image
from genlip.evaluate.captioning import measure as module
from genlip.evaluate.captioning.caption_scores import bleu4, cider_d, rouge_l
from genlip.evaluate.captioning.measure import CaptioningConfig, measure_captioning
from genlip.evaluate.captioning.page import section
from genlip.evaluate.captioning.transcription import character_error_rate, word_error_rate
from genlip.evaluate.held_out import mean_loss
from genlip.evaluate.image_batches import spread
from genlip.evaluate.result import Result
from genlip.evaluate.result_files import read_result, write_result
from genlip.model.genlip import GenLIP
from genlip.model.pack import Sample
from genlip.report.html import page
from genlip.speaker import Speaker
from tests.model.helpers import EXACT, randomised, small_config

TRUE: list[Caption] = [
    "a red circle above the number 47",
    Choice(("two blue squares", "a pair of blue squares"), (0.5, 0.5)),
    "a green triangle above the number 12 and 9",
    "a cat",
    "a <b>dog</b> & a cat",
]
SAID = ["a red circle above the number 47", " a pair of blue squares", "a green triangle above the number 12 and 8", "", "a"]
ALL_TRUE = [
    ["a red circle above the number 47"],
    ["two blue squares", "a pair of blue squares"],
    ["a green triangle above the number 12 and 9"],
    ["a cat"],
    ["a <b>dog</b> & a cat"],
]


class Shown:
    """Images that are 4, 8, 12 ... pixels wide, with true captions."""

    name = "shown:1"

    def __init__(self, captions: Sequence[Caption], damaged: Sequence[int] = (), alike: bool = False) -> None:
        self.captions, self.damaged, self.alike = captions, damaged, alike

    def __len__(self) -> int:
        return len(self.captions)

    def __getitem__(self, index: int) -> Example:
        image = Image.new("RGB", (4 * (index + 1), 4), (0 if self.alike else 40 * index, 90, 20))
        return Example(f"image {index}", b"none" if index in self.damaged else image, self.captions[index])

    def caption(self, index: int) -> Caption:
        return self.captions[index]


class Reciter(Speaker):
    """Says what was written for the width of an image, and remembers how it was asked; its model is a random one."""

    def __init__(self, said: Sequence[str] = SAID, seed: int = 0) -> None:
        texts = [text for some in ALL_TRUE for text in some]
        captions = Captions(train_tokenizer(texts, 260), CaptionConfig(prompt="say"), 260)
        model = randomised(GenLIP(small_config(vocab_size=260)), seed)
        super().__init__(model, ImageConfig(size=8), captions)
        self.said, self.asked = said, list[tuple[list[int], dict[str, Any]]]()

    def prepare(self, image: Any) -> Any:
        return decode(image)

    def caption(self, images: Sequence[Any], batch: int = 16, **decoding: Any) -> list[str]:
        numbers = [decode(image).width // 4 - 1 for image in images]
        self.asked.append((numbers, decoding))
        return [self.said[number] for number in numbers]


def without_time(result: Result) -> tuple[Any, ...]:
    scores = {name: scores.evidence.tolist() for name, scores in result.scores.items()}
    return result.identity, scores, result.keys, result.figures, result.outputs


def test_captions_are_scored_against_all_their_references():
    result = measure_captioning(Reciter(), Shown(TRUE), CaptioningConfig(batch_size=2, transcription=True), model="m")
    assert result.identity[:2] == ("captioning", "shown:1")
    assert result.keys == [f"image {i}" for i in range(5)]
    assert [(one["references"], one["spoken"]) for one in result.outputs] == list(zip(ALL_TRUE, SAID, strict=True))
    assert result.scores["exact match"].per_image == [1, 1, 0, 0, 0]
    assert result.scores["numbers"].evidence.tolist() == [[1, 1], [0, 0], [1, 2], [0, 0], [0, 0]]
    for name, metric in {
        "BLEU-4": bleu4,
        "ROUGE-L": rouge_l,
        "CIDEr-D": cider_d,
        "character errors": character_error_rate,
        "word errors": word_error_rate,
    }.items():
        assert result.scores[name].evidence.tolist() == metric(SAID, ALL_TRUE).evidence.tolist()


def test_other_true_captions_of_the_same_images_are_another_measurement():
    one, same, other = (measure_captioning(Reciter(), Shown([*TRUE[:4], last])) for last in (TRUE[4], TRUE[4], "a dog"))
    assert one.identity == same.identity != other.identity


def test_scores_that_say_nothing_are_left_out():
    result = measure_captioning(Reciter(["a"] * 2), Shown(["a cat", "a dog"]))
    assert list(result.scores) == ["exact match", "BLEU-4", "ROUGE-L", "CIDEr-D", "picture gain", "loss"]
    assert "loss" not in measure_captioning(Reciter(["a"]), Shown(["a cat"])).scores


def samples(speaker: Speaker, source: Shown) -> list[Sample]:
    """Prompt, caption and end laid out here."""
    found = []
    for index, text in enumerate(source.captions):
        patches, grid, _ = prepare_image(source[index].image, speaker.images, speaker.model.config)
        prompt, rest = speaker.captions.ids("say"), speaker.captions.ids(f"{text}<|im_end|>\n")
        found.append(Sample(patches, grid, prompt + rest, [False] * len(prompt) + [True] * len(rest)))
    return found


@pytest.mark.parametrize("dealt", [3, 512])
def test_the_loss_is_that_of_true_captions_however_images_are_dealt(dealt: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_DEALT", dealt)
    source, speaker = Shown([some[0] for some in ALL_TRUE]), Reciter()
    scores = measure_captioning(speaker, source).scores
    assert scores["loss"].score == pytest.approx(mean_loss(speaker.model, samples(speaker, source)), rel=EXACT["rtol"])
    by_image = [mean_loss(speaker.model, [sample]) for sample in samples(speaker, source)]
    assert scores["loss"].per_image == pytest.approx(by_image, rel=EXACT["rtol"])
    assert all(abs(gain) > 1e-6 for gain in scores["picture gain"].per_image)


def test_images_that_are_all_the_same_give_no_picture_gain():
    gain = measure_captioning(Reciter(), Shown([some[0] for some in ALL_TRUE], alike=True)).scores["picture gain"]
    assert gain.per_image == pytest.approx([0] * 5, abs=1e-9)


def test_images_are_spread_over_the_source_and_batched():
    speaker, done = Reciter(["a"] * 10), list[int]()
    result = measure_captioning(
        speaker, Shown(["a"] * 10), CaptioningConfig(batch_size=2, max_tokens=7, top_p=0.5), limit=5, advance=done.append
    )
    assert [numbers for numbers, _ in speaker.asked] == [[1, 3], [5, 6], [8]]
    assert done == [2, 2, 1]
    assert all((asked["max_tokens"], asked["top_p"]) == (7, 0.5) for _, asked in speaker.asked)
    assert {"images": 5, "prompt": "say", "max_tokens": 7, "top_p": 0.5, "size": 8}.items() <= result.settings.items()


def test_what_cannot_be_used_is_skipped_named_and_told(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING):
        result = measure_captioning(Reciter(), Shown([*TRUE[:3], "", TRUE[4]], damaged=[1]))
    assert result.keys == ["image 0", "image 2", "image 4"]
    assert len(result.scores["loss"].evidence) == 3
    assert "not an image" in caplog.text
    assert "image 3: no caption" in caplog.text
    assert "2 of 5 could not be used" in section(result).body


@pytest.mark.parametrize(
    ("source", "images", "message"),
    [
        (Shown([]), 5, "shown:1: 0 examples, 5 to caption, 64 at a time: all must be at least 1"),
        (Shown(["a"]), 0, "shown:1: 1 examples, 0 to caption"),
        (Shown(["", " "]), 5, "shown:1: captions without references: none of 2 examples has a true caption to compare with"),
        (Shown(["a", "", "b"], [0, 2]), 5, "none of 3 examples can be used (2 not an image, 1 no caption)"),
    ],
)
def test_what_cannot_be_measured_is_refused(source: Shown, images: int, message: str) -> None:
    with pytest.raises(ValueError, match=re.escape(message)):
        measure_captioning(Reciter(), source, limit=images)


def test_unknown_decoding_is_refused():
    with pytest.raises(TypeError, match="max_token"):
        measure_captioning(Reciter(), Shown(TRUE), CaptioningConfig(max_token=5))  # type: ignore[call-arg]


# -- stopped in between


class Stop(Exception):
    pass


def stop_after(images: int) -> Callable[[int], None]:
    done = list[int]()

    def advance(more: int) -> None:
        done.append(more)
        if sum(done) >= images:
            raise Stop

    return advance


def test_resuming_equals_never_stopping(tmp_path: Path) -> None:
    path, speaker = tmp_path / "so_far.jsonl", Reciter()
    with pytest.raises(Stop):
        measure_captioning(
            speaker, Shown(TRUE, damaged=[0]), CaptioningConfig(batch_size=2), partial=path, advance=stop_after(4)
        )
    assert [numbers for numbers, _ in speaker.asked] == [[1], [2, 3]]
    again, done = Reciter(), list[int]()
    result = measure_captioning(
        again, Shown(TRUE, damaged=[0]), CaptioningConfig(batch_size=2), partial=path, advance=done.append
    )
    assert [numbers for numbers, _ in again.asked] == [[4]]
    assert sum(done) == 5
    assert without_time(result) == without_time(measure_captioning(Reciter(), Shown(TRUE, damaged=[0])))
    assert not path.exists()


@pytest.mark.parametrize("change", ["settings", "weights", "model", "images", "captions"])
def test_another_measurement_begins_anew(tmp_path: Path, change: str) -> None:
    path = tmp_path / "so_far.jsonl"
    with pytest.raises(Stop):
        measure_captioning(
            Reciter(), Shown(TRUE), CaptioningConfig(batch_size=2), model="m", partial=path, advance=stop_after(4)
        )
    speaker = Reciter(seed=int(change == "weights"))
    changes = {"model": {"model": "other"}, "images": {"limit": 4}}.get(change, {})
    config = CaptioningConfig(batch_size=8, max_tokens=9 if change == "settings" else 256)
    shown = Shown([*TRUE[:4], "another true caption"] if change == "captions" else TRUE)
    measure_captioning(speaker, shown, config, partial=path, **{"model": "m", **changes})
    assert [len(numbers) for numbers, _ in speaker.asked] == [4 if change == "images" else 5]


# -- the page


def test_the_section_is_the_same_after_a_round_trip(tmp_path: Path) -> None:
    result = measure_captioning(Reciter(), Shown(TRUE), CaptioningConfig(transcription=True), model="m")
    found = read_result(write_result(result, tmp_path))
    assert section(found) == section(result)
    assert without_time(found) == without_time(replace(result, keys=list(result.keys)))


def test_the_section_tells_scores_and_marks_what_differs():
    body = section(measure_captioning(Reciter(), Shown(TRUE), CaptioningConfig(transcription=True))).body
    text = re.sub(r"<[^>]*>", " ", body)
    assert re.search(r"40\.0%\s+exact captions\s+2 of 5", text)
    assert re.search(r"66\.7%\s+numbers right", text)
    for name in ("BLEU-4", "ROUGE-L", "CIDEr-D", "numbers", "character errors", "word errors", "picture gain", "loss"):
        assert f"<td>{name}</td>" in body
    assert "up to 2 true captions each" in body
    assert "&lt;b&gt;dog&lt;/b&gt; &amp; a cat" in body
    assert body.count("✓") == 2, "the reference that was said is shown beside it"


def test_the_first_failures_after_the_first_images_are_shown():
    said = ["right"] * 20
    said[3] = said[18] = "wrong"
    result = measure_captioning(Reciter(said), Shown(["right"] * 20))
    assert list(result.figures["shown"].values()) == [*range(16), 18]
    assert set(result.pictures) == set(result.figures["shown"])
    assert section(result).body.count("✗") == 2


def test_stored_pictures_are_small():
    result = measure_captioning(Reciter(["a"] * 200), Shown(["a"] * 200), limit=10)
    widths = [decode(picture).size[0] for picture in result.pictures.values()]
    assert widths == [min(224, 4 * (place + 1)) for place in spread(200, 10)]
    assert min(widths) < max(widths) == 224


def test_pictures_are_as_large_as_those_that_were_captioned(monkeypatch: pytest.MonkeyPatch) -> None:
    asked = list[int]()
    monkeypatch.setattr("genlip.report.html.decode", lambda image, most: (asked.append(most), decode(image))[1])
    speaker = Reciter()
    speaker.images = replace(speaker.images, max_pixels=10**9)
    measure_captioning(speaker, Shown(TRUE))
    assert asked == [10**9] * 5


def test_a_page_of_an_empty_caption_can_be_written():
    assert "(nothing)" in page("page", [section(measure_captioning(Reciter([""]), Shown(["a"])))])
