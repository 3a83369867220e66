"""Comparison: what is shared, how images are paired, and what is said of it in text and on a page."""

import re
from pathlib import Path

import numpy as np
import pytest

from genlip.evaluate.aggregators import error_rate
from genlip.evaluate.attention.attention_mass import MASSES
from genlip.evaluate.comparison.compare import compare_models, paired, short_names, tokenizers
from genlip.evaluate.comparison.page import comparison_page, comparison_text
from genlip.evaluate.result import Result
from genlip.evaluate.result_files import write_result
from genlip.evaluate.scores import Scores, difference

DRAW = np.random.default_rng(0)
FIRST, SECOND = DRAW.random(40), DRAW.random(40)
KEYS = [f"image {i}" for i in range(40)]


def result(values: np.ndarray, measurement: str = "own", data: str = "set", size: int = 64, **more: object) -> Result:
    fields = {"scores": {"right": Scores.mean(values)}, "keys": KEYS[: len(values)], "settings": {"size": size}}
    return Result(measurement=measurement, model="m", data=data, **{**fields, **more})


@pytest.fixture
def folders(tmp_path: Path) -> list[str]:
    """Three models: all have "own", the first two another set, the last something of its own."""
    names = [str(tmp_path / name) for name in ("a", "b", "c [x]")]
    for name, values in zip(names, (FIRST, FIRST + 0.125, SECOND), strict=True):
        write_result(result(values), name)
    for name in names[:2]:
        write_result(result(FIRST, data="other & set"), name)
    write_result(result(FIRST, size=96), names[2])
    return names


def test_what_at_least_two_models_share_is_compared_and_the_rest_is_listed(folders: list[str]) -> None:
    found = compare_models(folders)
    assert found.models == tuple(folders)
    assert [(one.data, list(one.results)) for one in found.shared] == [("other & set", folders[:2]), ("set", folders)]
    assert [(one.model, one.result.settings) for one in found.alone] == [(folders[2], {"size": 96})]


def test_the_same_images_are_paired_as_they_stand() -> None:
    found = paired(result(FIRST), result(SECOND), "right")
    assert found.difference == difference(Scores.mean(FIRST), Scores.mean(SECOND))
    assert found.images == 40


def test_images_are_paired_by_their_keys() -> None:
    order = DRAW.permutation(40)[:30]
    other = result(FIRST[order] + 0.25, keys=[KEYS[i] for i in order])
    found = paired(result(FIRST), other, "right")
    assert found.images == 30
    assert found.difference == pytest.approx((0.25, 0.25, 0.25))


def test_an_image_that_occurs_twice_is_left_out_where_keys_differ() -> None:
    twice = [KEYS[0], KEYS[0], *KEYS[2:]]
    found = paired(result(FIRST, keys=twice), result(SECOND[:39], keys=twice[:39]), "right")
    assert found.images == 37
    assert found.difference == difference(Scores.mean(FIRST[2:39]), Scores.mean(SECOND[2:39]))


@pytest.mark.parametrize(
    "other",
    [
        result(SECOND, keys=[f"other {i}" for i in range(40)]),
        result(SECOND, scores={"wrong": Scores.mean(SECOND)}),
        result(SECOND, scores={"right": Scores(np.ones((40, 2)), error_rate)}),
        result(SECOND, scores={"right": Scores(np.ones((40, 3)), Scores.mean([1]).aggregator)}),
    ],
)
def test_what_cannot_be_paired_has_no_difference(other: Result) -> None:
    assert paired(result(FIRST), other, "right") is None


def rows_of(html: str) -> list[list[str]]:
    return [re.findall(r"<td>(.*?)</td>", row) for row in re.findall(r"<tr>(.*?)</tr>", html)]


def test_text_and_page_tell_the_same(folders: list[str]) -> None:
    comparison = compare_models(folders)
    text, html = comparison_text(comparison, width=400), comparison_page(comparison)
    for row in (["b", "+0.125 (+0.125 to +0.125)", "higher, beyond noise"], ["c [x]", "within noise"]):
        assert any(all(word in line for word in row) for line in text.splitlines())
        assert any(all(word in cells for word in row) for cells in rows_of(html))
    assert "only c [x]: own on set" in text
    assert f"c [x]: {folders[2]}" in text
    assert f"<th>c [x]</th><td>{folders[2]}</td>" in html
    assert "Settings: size 64." in text
    assert "other & set" in text
    assert "own on other &amp; set" in html
    assert "<h2>Measured of one model only</h2>" in html


def test_fewer_common_images_are_told(tmp_path: Path) -> None:
    a, b = str(tmp_path / "a"), str(tmp_path / "b")
    write_result(result(FIRST), a)
    write_result(result(FIRST[:20] - 0.25), b)
    text = comparison_text(compare_models([a, b]), width=400)
    assert "lower, beyond noise, on 20 common images" in text


def test_scores_that_cannot_be_paired_are_said_to_be_so(tmp_path: Path) -> None:
    a, b = str(tmp_path / "a"), str(tmp_path / "b")
    write_result(result(FIRST), a)
    write_result(result(SECOND, keys=[f"other {i}" for i in range(40)]), b)
    assert "not comparable" in comparison_text(compare_models([a, b]), width=400)


@pytest.mark.parametrize(("images", "charts"), [(40, True), (39, False)])
def test_attention_over_other_images_is_compared_without_charts(images: int, charts: bool, tmp_path: Path) -> None:
    """As where one model could not use an image, such as one whose caption is too long for its prompt."""
    even = {name: {"value": [0.5, 0.25]} for name in MASSES}
    for name, number, gate in (("a", 40, {"patches": [0.5, 0.5], "text": [0.5, 0.5]}), ("b", images, None)):
        figures = {"layers": even, "gate": gate, "first_patch_norm": [1.0, 2.0]}
        scores = {mass: Scores.mean(FIRST[:number]) for mass in MASSES}
        write_result(result(FIRST[:number], "attention", figures=figures, scores=scores), tmp_path / name)
    html = comparison_page(compare_models([str(tmp_path / "a"), str(tmp_path / "b")]))
    assert ("<svg" in html) == charts
    assert ("on 39 common images" in html) != charts


def test_a_score_that_only_one_model_has_is_left_out(tmp_path: Path) -> None:
    a, b = str(tmp_path / "a"), str(tmp_path / "b")
    write_result(result(FIRST, scores={"right": Scores.mean(FIRST), "rare": Scores.mean(FIRST)}), a)
    write_result(result(SECOND), b)
    assert compare_models([a, b]).shared[0].scores == ["right"]


def test_models_that_share_nothing_are_told_what_to_do(tmp_path: Path) -> None:
    a, b = str(tmp_path / "a"), str(tmp_path / "b")
    write_result(result(FIRST), a)
    write_result(result(FIRST, settings={"size": 64, "epochs": 2}), b)
    comparison = compare_models([a, b])
    assert "No measurement is shared" in comparison_page(comparison)
    text = comparison_text(comparison, width=400)
    assert "Measure them alike" in text
    assert "only a: own on set" in text


@pytest.mark.parametrize(
    ("folders", "names"),
    [
        (["runs/gated/model", "runs/ungated/model"], ["gated", "ungated"]),
        (["runs/a/model", "runs/b"], ["a/model", "b"]),
        (["a", "a/b"], ["a", "a/b"]),
        (["org/one", "org/two"], ["one", "two"]),
        (["x/1/y/2/z", "x/3/y/4/z"], ["1/y/2", "3/y/4"]),
        (["a/model", "b/c/model"], ["a", "b/c"]),
    ],
)
def test_models_are_called_by_what_tells_them_apart(folders: list[str], names: list[str]) -> None:
    assert list(short_names(folders).values()) == names


def test_too_few_models_are_refused(folders: list[str]) -> None:
    for few in ([], folders[:1], [folders[0], folders[0]]):
        with pytest.raises(ValueError, match="need at least 2, each named once"):
            compare_models(few)


def test_a_model_without_results_is_named(folders: list[str], tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    with pytest.raises(ValueError, match="empty: no results in"):
        compare_models([folders[0], str(tmp_path / "empty")])


def loss_of(tokenizer: str | None, name: str = "loss", measurement: str = "captioning") -> Result:
    about = {} if tokenizer is None else {"tokenizer": tokenizer}
    return result(FIRST, measurement, scores={name: Scores.mean(FIRST)}, about=about)


@pytest.mark.parametrize(
    ("first", "second", "name", "measurement", "told"),
    [
        ("a", "a", "loss", "captioning", "same"),
        ("a", "b", "loss", "captioning", "different"),
        ("a", "b", "picture gain", "captioning", "different"),
        (None, "b", "picture gain", "captioning", "unknown"),
        (None, None, "loss", "captioning", "unknown"),
        ("a", "b", "BLEU-4", "captioning", "no matter"),
        ("a", "b", "same token", "readout", "different"),
        ("a", "b", "top-1", "probe", "no matter"),
    ],
)
def test_what_is_counted_in_tokens_needs_the_same_tokenizer(first, second, name, measurement, told) -> None:
    one, other = loss_of(first, name, measurement), loss_of(second, name, measurement)
    assert tokenizers(one, other, name) == told
    assert (paired(one, other, name) is None) == (told == "different")


def test_over_sizes_the_inner_measurement_decides() -> None:
    settings = {"measurement": "captioning"}
    one, other = (
        result(FIRST, "resolution", settings=settings, scores={}, about={"tokenizer": name}) for name in ("a", "b")
    )
    assert tokenizers(one, other, "loss at 64x64") == "different"
    assert tokenizers(one, other, "BLEU-4 at 64x64") == "no matter"


@pytest.mark.parametrize(
    ("second", "told"),
    [
        ("b", "not comparable: counted in tokens of another tokenizer"),
        (None, "whether the tokenizers are the same is unknown"),
    ],
)
def test_text_and_page_say_why_a_loss_is_not_compared(second: str | None, told: str, tmp_path: Path) -> None:
    names = [str(tmp_path / "one"), str(tmp_path / "two")]
    write_result(loss_of("a"), names[0])
    write_result(loss_of(second), names[1])
    found = compare_models(names)
    assert told in " ".join(comparison_text(found, width=300).split())
    assert told in comparison_page(found)


def test_encoders_of_other_image_sizes_are_compared_and_the_page_says_so(tmp_path: Path) -> None:
    names = [str(tmp_path / name) for name in ("ours", "theirs", "both")]
    write_result(result(FIRST, settings={"resize": "fixed", "size": 64, "epochs": 3}), names[0])
    write_result(result(FIRST + 0.125, settings={"resize": "fixed", "size": 224, "epochs": 3}), names[1])
    for size in (32, 48):  # which of the two is meant is not known
        write_result(result(SECOND, settings={"resize": "fixed", "size": size, "epochs": 3}), names[2])
    found = compare_models(names)
    assert [list(one.results) for one in found.shared] == [names[:2]]
    assert [one.model for one in found.alone] == [names[2]] * 2
    assert found.shared[0].image_settings == {
        name: {"resize": "fixed", "size": size} for name, size in zip(names, (64, 224), strict=False)
    }
    for text in (" ".join(comparison_text(found).split()), comparison_page(found)):
        assert "Settings: epochs 3. Images were prepared differently:" in text
        assert "size 64 for ours; resize fixed, size 224 for theirs" in text
    assert repr(found) == f"<Comparison of {', '.join(names)}: 1 shared measurements>"


def test_other_settings_than_those_of_images_are_never_compared(tmp_path: Path) -> None:
    names = [str(tmp_path / name) for name in ("a", "b")]
    write_result(result(FIRST, settings={"size": 64, "epochs": 3}), names[0])
    write_result(result(SECOND, settings={"size": 224, "epochs": 4}), names[1])
    assert compare_models(names).shared == []
