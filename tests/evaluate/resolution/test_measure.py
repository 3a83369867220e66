"""Curves over sizes with a measurement that says how it was asked, and with real captioning of a small random model."""

import re
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from genlip.data.captions import CaptionConfig, Captions
from genlip.data.examples import Example
from genlip.data.images import ImageConfig
from genlip.evaluate.captioning.measure import CaptioningConfig, measure_captioning
from genlip.evaluate.resolution.measure import measure_resolution
from genlip.evaluate.resolution.page import section
from genlip.evaluate.result import Result, settings_of
from genlip.evaluate.result_files import read_result, write_result
from genlip.evaluate.scores import Scores, difference
from genlip.report import html
from genlip.speaker import Speaker
from tests.data.helpers import InMemory, noise, small_tokenizer
from tests.model.helpers import small_model

IMAGES = ImageConfig(resize="fixed", size=16, min_patches=9, max_pixels=12345)


@pytest.fixture
def speaker() -> Speaker:
    """A random model of 4x4 patches, without a tokenizer."""
    return Speaker(small_model(), IMAGES)


def asked(speaker: Speaker) -> Result:
    """A measurement whose scores are how the images are seen; its second score is not defined."""
    images = speaker.images
    seen = images.size / 100 if images.resize == "fixed" else images.max_patches / 1000
    return Result(
        measurement="asked",
        model="a model",
        data="a set",
        settings=settings_of(speaker, seed=3),
        scores={"seen": Scores.mean([seen, seen + 0.1]), "<none>": Scores(np.zeros((2, 2)), Scores.mean([1]).aggregator)},
        keys=["first", "second"],
    )


def test_each_size_is_seen_by_the_same_model(speaker: Speaker) -> None:
    seen: list[Speaker] = []
    measure_resolution(lambda one: seen.append(one) or asked(one), speaker, sizes=[8, 32], max_patches=[4, 64])
    assert all(one.model is speaker.model for one in seen)
    assert [one.images for one in seen] == [
        ImageConfig(resize="fixed", size=8, min_patches=9, max_pixels=12345),
        ImageConfig(resize="fixed", size=32, min_patches=9, max_pixels=12345),
        ImageConfig(resize="native", size=16, min_patches=4, max_patches=4, max_pixels=12345),
        ImageConfig(resize="native", size=16, min_patches=9, max_patches=64, max_pixels=12345),
    ]
    assert speaker.images == IMAGES


def test_scores_and_figures_are_those_of_each_size(speaker: Speaker) -> None:
    done: list[int] = []
    result = measure_resolution(asked, speaker, sizes=[8, 32], max_patches=[64], advance=done.append)
    assert list(result.scores) == [
        f"{score} at {size}" for size in ("8x8", "32x32", "up to 64 patches") for score in ("seen", "<none>")
    ]
    assert [result.scores[f"seen at {size}"].score for size in ("8x8", "32x32")] == pytest.approx([0.13, 0.37])
    assert [(one["name"], one["resize"], one["patches"]) for one in result.figures["points"]] == [
        ("8x8", "fixed", 4),
        ("32x32", "fixed", 64),
        ("up to 64 patches", "native", 64),
    ]
    value, low, high = result.figures["points"][0]["scores"]["seen"]
    assert (value, (low, high)) == (pytest.approx(0.13), result.scores["seen at 8x8"].interval())
    assert result.figures["points"][0]["scores"]["<none>"] == [None, None, None]
    assert (result.measurement, result.model, result.data, result.keys) == (
        "resolution", "a model", "a set", ["first", "second"],
    )  # fmt: skip
    assert done == [1, 1, 1]


def test_settings_name_the_measurement_and_what_all_sizes_share(speaker: Speaker) -> None:
    shared = {"measurement": "asked", "sizes": [8], "of_measurement": {"seed": 3}}
    assert measure_resolution(asked, speaker, sizes=[8]).settings == {**shared, "max_patches": []}
    assert measure_resolution(asked, speaker, sizes=[8], max_patches=[64]).settings == {
        **shared, "max_patches": [64], "min_patches": 9,
    }  # fmt: skip


@pytest.mark.parametrize(
    ("sizes", "message"),
    [
        ({}, "no size to measure at: give sizes"),
        ({"sizes": [8, 30]}, "size 30 is no multiple of the model's patch_size 4; near it are 28 and 32"),
        ({"sizes": [3]}, "size 3 is no multiple of the model's patch_size 4; near it are 4$"),
        ({"sizes": [8, 8]}, r"sizes are \[8, 8\]: need each once, and at least 1"),
        ({"max_patches": [0]}, r"max_patches are \[0\]: need each once, and at least 1"),
    ],
)
def test_sizes_that_cannot_be_are_refused_before_anything_is_measured(speaker: Speaker, sizes: dict, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        measure_resolution(lambda one: pytest.fail("it was measured"), speaker, **sizes)


def changing(**fields: object) -> Callable[[Speaker], Result]:
    """The measurement `asked`, but with other fields at 32x32."""

    def measure(speaker: Speaker) -> Result:
        result = asked(speaker)
        for name, value in fields.items() if speaker.images.size == 32 else ():
            object.__setattr__(result, name, value)
        return result

    return measure


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"keys": ["first", "third"]}, "at 32x32 2 images were measured, and at the first size 2 or others"),
        ({"data": "b set"}, "at 32x32 asked on b set gave seen, <none>, before it asked on a set gave seen, <none>"),
        ({"scores": {"seen": Scores.mean([1, 2])}}, "at 32x32 asked on a set gave seen, before it"),
    ],
)
def test_sizes_must_measure_the_same_of_the_same_images(speaker: Speaker, fields: dict, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        measure_resolution(changing(**fields), speaker, sizes=[8, 32])


def test_the_page_is_made_of_the_stored_result(speaker: Speaker, tmp_path: Path) -> None:
    result = measure_resolution(asked, speaker, sizes=[8, 32], max_patches=[64])
    read = read_result(write_result(result, tmp_path))
    bodies = [re.sub(r'(?<=[#"])[mp][0-9a-f]{10}\b', "", section(one).body) for one in (read, result)]  # names by chance
    assert bodies[0] == bodies[1]
    assert section(read).title == "Over resolutions: asked"
    assert "<none>" not in html.page("A page", [section(read)])


def test_the_table_compares_each_size_with_the_first(speaker: Speaker) -> None:
    result = measure_resolution(asked, speaker, sizes=[8, 32])
    body = section(result).body
    gained = difference(result.scores["seen at 8x8"], result.scores["seen at 32x32"])
    assert gained.value == pytest.approx(0.24)
    assert "<td>8x8</td><td>4</td><td>0.130 (0.080 to 0.180)</td><td></td>" in body
    assert "<td>32x32</td><td>64</td><td>0.370 (0.320 to 0.420)</td><td>+0.240 (+0.240 to +0.240)</td>" in body
    assert body.count("<td>not measured</td>") == 3  # both sizes, and their difference


def test_captions_of_a_random_model_are_scored_at_each_size() -> None:
    captions = Captions(small_tokenizer(), CaptionConfig(), 300)
    speaker = Speaker(small_model(vocab_size=300), IMAGES, captions)
    pictures = [Image.fromarray(noise(20, 30, seed=seed)) for seed in range(3)]
    data = InMemory([Example(f"image {i}", picture, f"number {i}") for i, picture in enumerate(pictures)])

    def measure(one: Speaker) -> Result:
        return measure_captioning(one, data, CaptioningConfig(max_tokens=4), limit=3)

    result = measure_resolution(measure, speaker, sizes=[8, 16], max_patches=[20])
    assert result.settings["measurement"] == "captioning"
    assert result.settings["of_measurement"]["max_tokens"] == 4
    for name in result.figures["scores"]:
        alone = measure(Speaker(speaker.model, ImageConfig(size=8), captions)).scores[name]
        assert np.array_equal(result.scores[f"{name} at 8x8"].evidence, alone.evidence)
    losses = {result.scores[f"loss at {size}"].score for size in ("8x8", "16x16", "up to 20 patches")}
    assert len(losses) == 3
