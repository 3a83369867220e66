"""The measurement against means taken by hand, its page after a round trip, and the comparison of two models."""

import logging
import re
from dataclasses import replace
from functools import lru_cache
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from genlip.data.captions import CaptionConfig, Captions, train_tokenizer
from genlip.data.images import ImageConfig, prepare_image
from genlip.data.sources import Files, Procedural
from genlip.data.sources.base import Subset
from genlip.evaluate.attention.attention_mass import MASSES, attention_mass
from genlip.evaluate.attention.measure import measure_attention
from genlip.evaluate.attention.page import compare_section, section
from genlip.evaluate.image_batches import spread
from genlip.evaluate.result import Result
from genlip.evaluate.result_files import read_result, write_result
from genlip.model.genlip import GenLIP
from genlip.model.pack import Sample
from genlip.report.html import page
from genlip.speaker import Speaker
from tests.model.helpers import EXACT, randomised, small_config

SCENES = Subset(Procedural("scenes", 1), range(5))
TEXTS = ["a red circle", "two blue squares above 47", "a", "green", "a red square and a circle"]


def speaker(seed: int = 0, native: bool = False, prompt: str = "say", max_tokens: int = 512, **changes: object) -> Speaker:
    model = randomised(GenLIP(small_config(vocab_size=260, **changes)), seed)
    captions = Captions(train_tokenizer(TEXTS, 260), CaptionConfig(prompt=prompt, max_tokens=max_tokens), 260)
    images = ImageConfig(resize="native", min_patches=4, max_patches=12) if native else ImageConfig(size=8)
    return Speaker(model, images, captions)


@pytest.fixture
def files(tmp_path: Path) -> Files:
    """Five images of differing shapes."""
    paths = [tmp_path / f"{i}.png" for i in range(5)]
    for i, path in enumerate(paths):
        Image.new("RGB", (8 + 4 * (i % 3), 8 + 4 * (i % 2)), (50 * i, 20, 90)).save(path)
    return Files(paths, TEXTS)


def by_hand(speaker: Speaker, files: Files) -> np.ndarray:
    """Masses of each image alone, Float64[i L h 5]: the prompt, the caption and its end laid out here."""
    found = []
    for path, text in zip(files.paths, files.captions, strict=True):
        patches, grid, _ = prepare_image(path, speaker.images, speaker.model.config)
        prompt, caption, end = (speaker.captions.ids(part) for part in ("say", text, "<|im_end|>\n"))
        marks = [False] * len(prompt) + [True] * len(caption + end)
        found.append(attention_mass(speaker.model, [Sample(patches, grid, prompt + caption + end, marks)]).masses[0])
    return np.stack(found)


@pytest.mark.parametrize("batch", [1, 3, 16])
def test_scores_are_means_over_layers_and_heads_of_each_image(files: Files, batch: int) -> None:
    speaks, done = speaker(native=True), []
    result = measure_attention(speaks, files, model="m", batch_size=batch, advance=done.append)
    expected = by_hand(speaks, files)
    assert result.keys == [str(path) for path in files.paths]
    assert sum(done) == 5
    for i, name in enumerate(MASSES):
        per_image = expected[..., i].mean(axis=(1, 2))
        np.testing.assert_allclose(result.scores[name].per_image, per_image, **EXACT)
        layers = result.figures["layers"][name]
        np.testing.assert_allclose(layers["value"], expected[..., i].mean(axis=(0, 2)), **EXACT)
        assert all(
            low <= value <= high for low, value, high in zip(layers["low"], layers["value"], layers["high"], strict=True)
        )
        np.testing.assert_allclose(result.figures["heads"][name], expected[..., i].mean(axis=0), atol=1e-6)
        np.testing.assert_allclose([out[name] for out in result.outputs], expected[..., i].mean(axis=2), atol=1e-6)


def test_the_result_says_what_was_measured() -> None:
    result = measure_attention(speaker(), SCENES, model="the model", limit=3)
    assert (result.measurement, result.model, result.data) == ("attention", "the model", "scenes:1")
    assert result.settings == {"resize": "fixed", "size": 8, "images": 3, "prompt": "say"}
    assert result.keys == [f"scenes:1:{place}" for place in spread(5, 3)]
    assert result.figures["even"]["patches to first token"] == 0.25
    assert {name: len(values) for name, values in result.figures["gate"].items()} == {"patches": 2, "text": 2}
    assert len(result.figures["first_patch_norm"]) == 2


def test_gates_and_norms_are_means_over_images(files: Files) -> None:
    speaks = speaker(native=True)
    whole = measure_attention(speaks, files, batch_size=3).figures
    parts = [measure_attention(speaks, Subset(files, [i])).figures for i in range(5)]
    for where in ("patches", "text"):
        np.testing.assert_allclose(whole["gate"][where], np.mean([one["gate"][where] for one in parts], axis=0), atol=2e-6)
    norms = np.mean([one["first_patch_norm"] for one in parts], axis=0)
    np.testing.assert_allclose(whole["first_patch_norm"], norms, atol=2e-6)


def test_an_image_that_cannot_be_used_is_skipped_and_named(files: Files, caplog: pytest.LogCaptureFixture) -> None:
    files.paths[1].write_bytes(b"no image")
    done: list[int] = []
    with caplog.at_level(logging.WARNING):
        result = measure_attention(speaker(), files, batch_size=2, advance=done.append)
    assert result.keys == [str(files.paths[i]) for i in (0, 2, 3, 4)]
    assert done == [2, 2, 1]
    assert str(files.paths[1]) in caplog.text


def test_a_caption_of_one_token_that_a_patch_predicts_is_skipped(files: Files, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING):
        result = measure_attention(speaker(prompt="", max_tokens=1), files)
    assert result.keys == [str(files.paths[2])], "only the caption of one letter is not cut, and so has an end"
    assert f"skipped {files.paths[0]}: its only learned token is predicted by a patch" in caplog.text


def test_a_bfloat16_model_is_measured(files: Files) -> None:
    speaks = speaker()
    speaks.model.to(torch.bfloat16)
    scores = measure_attention(speaks, files).scores
    assert scores["text to patches"].score + scores["text to text"].score == pytest.approx(1, abs=1e-5)


@pytest.mark.parametrize("changes", [{"limit": 0}, {"batch_size": 0}])
def test_numbers_below_one_are_refused(files: Files, changes: dict[str, int]) -> None:
    with pytest.raises(ValueError, match="both must be at least 1"):
        measure_attention(speaker(), files, **changes)


def test_a_set_without_a_usable_image_is_refused(files: Files) -> None:
    with pytest.raises(ValueError, match="none of 0 images can be measured: need an image that can be read"):
        measure_attention(speaker(), Subset(files, []))
    files.paths[0].write_bytes(b"no image")
    with pytest.raises(ValueError, match="none of 1 images can be measured"):
        measure_attention(speaker(), Subset(files, [0]))


# -- Pages


def stored(result: Result, folder: Path) -> Result:
    return read_result(write_result(result, folder))


@pytest.mark.parametrize("gated", [True, False])
def test_the_page_is_the_same_after_a_round_trip(tmp_path: Path, gated: bool) -> None:
    result = measure_attention(speaker(gated_attention=gated), SCENES)
    written = section(stored(result, tmp_path))
    # Paths in charts have numbers of their own each time they are drawn.
    bare = [re.sub(r"<svg.*?</svg>", "", one.body, flags=re.DOTALL) for one in (written, section(result))]
    assert bare[0] == bare[1]
    assert written.body.count("<svg") == (5 if gated else 4)
    assert ("Mean gate" in written.body) == gated
    assert f"A model {'with' if gated else 'without'} the gate read 5 images" in written.body


@lru_cache
def of_two_scenes(gate: bool) -> Result:
    return measure_attention(speaker(gated_attention=gate), Subset(SCENES, [0, 1]))


def known(shares: dict[str, float], gate: bool, model: str = "") -> Result:
    """A result of 2 layers with 2 heads, over 2 images, whose numbers are round."""
    result = replace(of_two_scenes(gate), model=model)
    scores = {name: replace(result.scores[name], evidence=np.array([[x, 1], [x, 1]])) for name, x in shares.items()}
    heads = {name: [[0.1, 0.7], [0.3, 0.2]] for name in MASSES}
    return replace(result, scores=scores, figures={**result.figures, "heads": heads})


SHARES = {name: (i + 1) / 16 for i, name in enumerate(MASSES)}


def cells(html: str) -> list[list[str]]:
    rows = re.findall(r"<tr>(.*?)</tr>", html)
    return [re.findall(r"<td>(.*?)</td>", row) for row in rows]


def test_the_tables_show_shares_ratios_and_the_top_heads() -> None:
    rows = cells(section(known(SHARES, gate=True)).body)
    assert ["patches to first token", "6.25%", "6.25% to 6.25%", "25.00%", "0.25"] in rows
    heads = [row for row in rows if row and row[0] == "text"]
    assert heads == [
        ["text", "1", "2", "70.00%"],
        ["text", "2", "1", "30.00%"],
        ["text", "2", "2", "20.00%"],
        ["text", "1", "1", "10.00%"],
    ]


def test_an_image_of_one_patch_has_no_share_to_divide_by() -> None:
    speaks = speaker()
    speaks.images = ImageConfig(size=4)
    rows = cells(section(measure_attention(speaks, Subset(SCENES, [0]))).body)
    (others,) = [row for row in rows if row and row[0] == "text to other patches"]
    assert others[1:] == ["0.00%", "0.00% to 0.00%", "0.00%", "–"]


def test_the_comparison_shows_paired_differences_in_points(tmp_path: Path) -> None:
    more = {name: share + 1 / 16 for name, share in SHARES.items()}
    folders = tmp_path / "with", tmp_path / "without"
    with_gate, without = stored(known(more, True, "<one>"), folders[0]), stored(known(SHARES, False, "b&c"), folders[1])
    compared = compare_section(with_gate, without)
    assert ["text to first token", "18.75%", "12.50%", "+6.25", "+6.25 to +6.25", "yes"] in cells(compared.body)
    assert compared.body.count("<svg") == len(MASSES) + 1
    assert "&lt;one&gt; with the gate, b&amp;c without" in page("a page", [compared])
    same = compare_section(known(SHARES, True), known(SHARES, False))
    assert ["text to first token", "12.50%", "12.50%", "+0.00", "+0.00 to +0.00", "no"] in cells(same.body)


def test_results_that_do_not_belong_together_are_refused() -> None:
    gated, plain = known(SHARES, True), known(SHARES, False)
    with pytest.raises(ValueError, match="results of models without and with gates: give that of a gated model first"):
        compare_section(plain, gated)
    with pytest.raises(ValueError, match="results of models with gates and with gates"):
        compare_section(gated, gated)
    with pytest.raises(ValueError, match="a result of captioning: need two of attention"):
        compare_section(gated, replace(plain, measurement="captioning"))
    with pytest.raises(ValueError, match="2 images of scenes:1 and 2 of scenes:2 differ in images or settings"):
        compare_section(gated, replace(plain, data="scenes:2"))
    with pytest.raises(ValueError, match="measure both models on the same ones"):
        compare_section(gated, replace(plain, keys=["other", "images"]))
