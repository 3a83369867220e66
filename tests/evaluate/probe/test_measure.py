"""The probe from images to page: figures counted anew, a frozen trunk, a test set that has no say, and clear errors."""

import logging
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from genlip.data.datasets.base import Labelled
from genlip.data.images import ImageConfig, ImageError
from genlip.evaluate.image_batches import spread
from genlip.evaluate.probe.measure import ProbeConfig, measure_probe
from genlip.evaluate.probe.page import section
from genlip.evaluate.result import Result
from genlip.evaluate.result_files import read_result, write_result
from genlip.report.html import page
from genlip.speaker import Speaker
from tests.model.helpers import small_model

COLOURS = ("red", "green", "blue", "grey", "black", "<white>")
PAINT = ((230, 20, 20), (20, 230, 20), (20, 20, 230), (128, 128, 128), (10, 10, 10), (245, 245, 245))
QUICK = ProbeConfig(epochs=3, batch_size=16, learning_rates=(1e-3, 1e-2), validation=0.2)


class Painted:
    """Noisy pictures of one colour each, 8 or 12 pixels high; the last image is labelled wrongly on demand."""

    def __init__(self, name: str, images: int, classes: Sequence[str] = COLOURS, wrong: int = 0) -> None:
        self.name, self.images, self.classes, self.wrong = name, images, tuple(classes), wrong
        self.keys = name

    def __len__(self) -> int:
        return self.images

    def __getitem__(self, index: int) -> Labelled:
        if index == 3 and self.name == "broken":
            raise ImageError("damaged", "picture 3 is broken")
        label = index % len(self.classes)
        random = np.random.default_rng([len(self.name), index])
        pixels = random.normal(PAINT[label], 25, (8 + 4 * (index % 2), 8, 3)).clip(0, 255).astype(np.uint8)
        said = (label + (index < self.wrong)) % len(self.classes)
        return Labelled(f"{self.keys}/{index}", Image.fromarray(pixels), said)


def speaker_of(**changes: Any) -> Speaker:
    return Speaker(small_model(**changes).float(), ImageConfig(resize="native", min_patches=2, max_patches=9))


@pytest.fixture(scope="module")
def result() -> Result:
    return measure_probe(speaker_of(), Painted("test", 60, wrong=12), QUICK, train=Painted("train", 90), model="small")


def test_scores_and_figures_are_those_of_the_outputs(result: Result) -> None:
    assert result.keys == tuple(f"test/{i}" for i in range(60))
    true = [one["true"] for one in result.outputs]
    assert true == [Painted("test", 60, wrong=12)[i].label for i in range(60)]
    right = [one["true"] == one["chosen"] for one in result.outputs]
    assert result.scores["top-1"].per_image == right
    assert result.scores["top-1"].score == pytest.approx(sum(right) / 60)
    assert 1 / 3 < result.scores["top-1"].score < 1, "colours are easy, and 12 labels are wrong"
    assert all(five >= one for one, five in zip(right, result.scores["top-5"].per_image, strict=True))
    for c, row in enumerate(result.figures["confusion"]):
        assert row == [sum(one == {"true": c, "chosen": d} for one in result.outputs) for d in range(6)]
        told = result.figures["per_class"][c]
        assert told == {"training": 15, "test": sum(row), "accuracy": row[c] / sum(row)}


def test_settings_name_all_that_the_score_depends_on(result: Result) -> None:
    assert (result.measurement, result.model, result.data) == ("probe", "small", "test")
    assert result.settings == {
        "resize": "native", "patches": [2, 9], "train": "train", "pooling": "attentive", "epochs": 3, "batch": 16,
        "learning_rates": [1e-3, 1e-2], "weight_decay": 0.01, "validation": 0.2, "images": None, "seed": 0,
    }  # fmt: skip
    assert (result.figures["learned"], result.figures["held_out"]) == (72, 18)


def test_pictures_are_of_mistakes(result: Result) -> None:
    shown = result.figures["shown"]
    assert 1 <= len(shown) <= 12
    for place in shown.values():
        assert result.outputs[place]["true"] != result.outputs[place]["chosen"]
    assert set(shown) == set(result.pictures)


@pytest.mark.parametrize("pooling", ["attentive", "mean"])
def test_only_the_head_learns(pooling: Any) -> None:
    speaker = speaker_of()
    before = {name: value.clone() for name, value in speaker.model.state_dict().items()}
    measure_probe(speaker, Painted("test", 12), replace(QUICK, pooling=pooling), train=Painted("train", 30))
    assert all(torch.equal(before[name], value) for name, value in speaker.model.state_dict().items())
    assert all(parameter.grad is None for parameter in speaker.model.parameters())


def test_test_labels_have_no_say_in_the_choice(result: Result) -> None:
    other = measure_probe(speaker_of(), Painted("test", 60, wrong=60), QUICK, train=Painted("train", 90))
    assert other.figures["sweep"] == result.figures["sweep"]
    assert [one["chosen"] for one in other.outputs] == [one["chosen"] for one in result.outputs]
    assert other.scores["top-1"].score < result.scores["top-1"].score


def test_a_cache_gives_the_same_result_without_the_encoder(result: Result, tmp_path: Path) -> None:
    train, test = Painted("train", 90), Painted("test", 60, wrong=12)
    measure_probe(speaker_of(), test, QUICK, train=train, cache=tmp_path)
    speaker = speaker_of()
    speaker.model.encode = None  # type: ignore[method-assign, assignment]
    again = measure_probe(speaker, test, QUICK, train=train, cache=tmp_path)
    assert again.outputs == result.outputs
    assert again.figures == result.figures


def test_a_set_that_changed_under_its_name_is_noticed(tmp_path: Path) -> None:
    train, test = Painted("train", 30), Painted("test", 12)
    measure_probe(speaker_of(), test, QUICK, train=train, cache=tmp_path)
    test.keys = "moved"
    with pytest.raises(ValueError, match=r"test: image 0 is 'moved/0', and the features kept in .* are of 'test/0'"):
        measure_probe(speaker_of(), test, QUICK, train=train, cache=tmp_path)


def test_a_part_of_the_images_is_the_same_for_every_seed() -> None:
    train, test = Painted("train", 90), Painted("test", 60)
    some = [measure_probe(speaker_of(), test, replace(QUICK, seed=seed), train=train, limit=20) for seed in (1, 2)]
    assert some[0].keys == some[1].keys == tuple(f"test/{place}" for place in spread(60, 20))
    assert some[0].figures["sweep"] != some[1].figures["sweep"]


def test_broken_images_are_skipped(caplog: pytest.LogCaptureFixture) -> None:
    found = measure_probe(speaker_of(), Painted("broken", 12), QUICK, train=Painted("train", 30))
    assert found.keys == tuple(f"broken/{i}" for i in range(12) if i != 3)
    assert "skipped picture 3 is broken" in caplog.text


def test_a_class_without_training_images_is_told(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING):
        found = measure_probe(speaker_of(), Painted("test", 12), QUICK, train=Painted("few", 5))
    assert "few: 1 of 6 classes have no training image, so no head can learn them: <white>" in caplog.text
    assert "1 of 6 classes have no training image" in section(found).body


def test_top_5_needs_more_than_five_classes() -> None:
    few = COLOURS[:5]
    found = measure_probe(speaker_of(), Painted("test", 10, few), QUICK, train=Painted("train", 30, few))
    assert list(found.scores) == ["top-1"]


@pytest.mark.parametrize("pooling", ["attentive", "mean"])
def test_bfloat16_models_are_probed_in_float32(pooling: Any) -> None:
    speaker = Speaker(small_model().bfloat16(), ImageConfig(resize="native", min_patches=2, max_patches=9))
    found = measure_probe(speaker, Painted("test", 60), replace(QUICK, pooling=pooling), train=Painted("train", 90))
    assert found.scores["top-1"].score > 0.5


def test_the_page_is_the_same_from_what_was_stored(result: Result, tmp_path: Path) -> None:
    fresh = page("Probe", [section(result)])
    assert page("Probe", [section(read_result(write_result(result, tmp_path)))]) == fresh
    assert f"{result.scores['top-1'].score:.1%}" in fresh
    assert "&lt;white&gt;" in fresh
    assert "<white>" not in fresh
    assert fresh.count(">chosen<") == 1
    assert "were not used for it" in fresh


def test_a_page_without_choice_or_mistakes() -> None:
    found = measure_probe(
        speaker_of(),
        Painted("train", 90),
        ProbeConfig(epochs=150, batch_size=16, learning_rates=[1e-2], validation=0),
        train=Painted("train", 90),
    )
    assert found.scores["top-1"].score == 1, "it has seen these very images"
    body = section(found).body
    assert "Every test image was classified correctly." in body
    assert "One learning rate was given" in body


def test_a_rate_that_diverged_leaves_no_number(result: Result, tmp_path: Path) -> None:
    found = measure_probe(
        speaker_of(), Painted("test", 12), replace(QUICK, learning_rates=(1e-3, 1e30)), train=Painted("train", 30)
    )
    assert [rate["chosen"] for rate in found.figures["sweep"]] == [True, False]
    assert found.figures["sweep"][1]["loss"] is None
    file = write_result(found, tmp_path) / "result.json"
    assert "NaN" not in file.read_text()
    assert "Infinity" not in file.read_text()
    assert "–" in section(read_result(file.parent)).body


def test_many_classes_show_both_ends(result: Result) -> None:
    names = [f"class {i}" for i in range(60)]
    many = replace(
        result,
        outputs=[{"true": i, "chosen": i if i % 2 else 0} for i in range(60)],
        figures={**result.figures, "classes": names, "per_class": [{"training": 1, "test": 1, "accuracy": 1.0}] * 60},
    )
    assert "the 10 best and the 10 worst of 60 classes" in section(many).body


def test_the_same_images_twice_are_warned_of(caplog: pytest.LogCaptureFixture) -> None:
    measure_probe(speaker_of(), Painted("train", 30), QUICK, train=Painted("train", 30))
    assert "training and test images are the same" in caplog.text


@pytest.mark.parametrize(
    ("train", "test", "changes", "message"),
    [
        (
            Painted("a", 30),
            Painted("b", 6, COLOURS[:4]),
            {},
            r"a has 6 classes and b 4.*in the first: \['<white>', 'black'\]",
        ),
        (Painted("a", 30), Painted("b", 6, COLOURS[::-1]), {}, "or others in another order"),
        (Painted("a", 30, COLOURS[:1]), Painted("b", 6, COLOURS[:1]), {}, "a: 1 classes: a probe needs at least 2"),
        (Painted("a", 0), Painted("b", 6), {}, "a: 0 images to encode"),
        (Painted("a", 30), Painted("b", 0), {}, "b: 0 images to encode"),
        (Painted("a", 30), Painted("b", 6), {"limit": 0}, "limit is 0: it must be at least 1"),
        (Painted("a", 1), Painted("b", 6), {}, "1 training images"),
        (Painted("a", 30), Painted("b", 6), {"pooling": "max"}, "pooling is 'max'"),
    ],
)
def test_bad_input_is_refused(train: Painted, test: Painted, changes: dict[str, Any], message: str) -> None:
    fields = {name: changes.pop(name) for name in ("pooling",) if name in changes}
    with pytest.raises(ValueError, match=message):
        measure_probe(speaker_of(), test, replace(QUICK, **fields), train=train, **changes)


def test_a_label_beyond_the_classes_is_named() -> None:
    class Off(Painted):
        def __getitem__(self, index: int) -> Labelled:
            return super().__getitem__(index)._replace(label=6)

    with pytest.raises(ValueError, match="off: 'off/0' has class 6, and there are 6 classes"):
        measure_probe(speaker_of(), Painted("b", 6), QUICK, train=Off("off", 30))
