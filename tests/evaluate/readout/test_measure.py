"""`genlip.evaluate.readout.measure`: the result of a small random model, recounted from what it stored, and its page."""

import logging

import numpy as np
import pytest
import torch
from PIL import Image

from genlip.data.datasets.segmented_opening import open_named
from genlip.data.examples import Example
from genlip.data.images import ImageConfig
from genlip.evaluate.readout.localization import KINDS
from genlip.evaluate.readout.measure import measure_readout
from genlip.evaluate.readout.page import readout_page, section
from genlip.evaluate.readout.word_tokens import WordTokens
from genlip.evaluate.result import Result
from genlip.evaluate.result_files import read_result, write_result
from genlip.report import html

from ...data.helpers import InMemory, noise
from ...report.helpers import EVIL, Checker
from ..speaking import Known, named, small_speaker

SPEAKER = small_speaker()
CIRCLE, NUMBER = (("red", "circle"), (0, 0, 16, 16)), (("47",), (20, 8, 30, 30))
DATA = Known(
    [
        named("one", [CIRCLE, NUMBER], seed=1),
        None,
        named("two", [(("blue", "square"), (3, 17, 9, 20)), NUMBER], seed=2),
        named("three", [CIRCLE], seed=3),
        named("none", [], seed=4),
    ]
)


@pytest.fixture(scope="module")
def result() -> Result:
    return measure_readout(SPEAKER, DATA, model="small", k=40, shown=2, batch_size=2)


def test_a_result_says_what_was_measured(result, caplog):
    assert (result.measurement, result.model, result.data) == ("readout", "small", "known")
    assert result.keys == ["one", "two", "three", "none"]
    assert result.settings == {"resize": "fixed", "size": 32, "k": 40, "images": 5}
    assert set(result.pictures) == {"image-0.png", "image-1.png", "surest-0.png", "surest-1.png"}
    with caplog.at_level(logging.WARNING):
        measure_readout(SPEAKER, DATA, limit=5)
    assert "skipped number 1 is damaged" in caplog.text


def test_the_share_in_place_is_recounted_from_the_outputs(result):
    words, hits, patches = WordTokens(SPEAKER.captions), 0, 0
    for output in result.outputs:
        for one in output["objects"]:
            pieces = {piece for word in one["words"] for piece in words.pieces(word)}
            heard = [i for i in one["patches"] if pieces & {token for token, _ in output["words"][i]}]
            assert heard == one["heard"]
            hits, patches = hits + len(heard), patches + len(one["patches"])
    assert 0 < hits < patches
    assert result.scores["in place"].score == hits / patches
    assert result.scores["in place"].evidence[3].tolist() == [0, 0]


def test_objects_own_the_patches_that_their_masks_cover(result):
    assert [[one["patches"] for one in output["objects"]] for output in result.outputs] == [
        [[0, 1, 4, 5], [9, 10, 13, 14, 15]],
        [[2], [9, 10, 13, 14, 15]],
        [[0, 1, 4, 5]],
        [],
    ]


def test_what_patches_say_is_what_the_speaker_reads(result):
    (said,) = SPEAKER.readout([DATA.items[2].image], 40)
    assert result.outputs[1]["grid"] == [4, 4]
    assert [[token for token, _ in patch] for patch in result.outputs[1]["words"]] == [
        [token for token, _ in patch] for patch in said.words
    ]
    first = [row[0][0] for output in result.outputs for row in output["words"]]
    token, share = result.figures["likeliest"][0]
    assert share == first.count(token) / len(first) == max(first.count(one) for one in first) / len(first)
    agree = [max(row.count(one) for one in row) for row in (first[i : i + 16] for i in range(0, 64, 16))]
    assert result.scores["same token"].evidence.tolist() == [[times, 16] for times in agree]


def test_images_without_known_objects_have_what_patches_agree_on_alone():
    images = InMemory([Example(f"{i}", Image.fromarray(noise(32, 32, seed=i)), "") for i in range(2)])
    found = measure_readout(SPEAKER, images, k=2)
    assert list(found.scores) == ["same token"]
    assert found.figures["words"] == {}
    assert "in place" not in section(found).body


def test_native_images_grids_of_their_own_and_bfloat16():
    speaker = small_speaker(ImageConfig(resize="native", min_patches=4, max_patches=30), torch.bfloat16)
    found = measure_readout(speaker, open_named("scenes:1"), limit=3, k=3, shown=1)
    assert [output["grid"] for output in found.outputs] == [[5, 5]] * 3
    assert found.scores["in place"].evidence[:, 1].min() > 0


def test_all_finished_images_are_told_in_turn():
    done: list[int] = []
    measure_readout(SPEAKER, DATA, batch_size=2, advance=done.append)
    assert done == [2, 2, 1]


@pytest.mark.parametrize(
    ("data", "options", "message"),
    [
        (Known([]), {}, "known holds no images: need at least 1"),
        (Known([None]), {}, "known: none of its images can be used; the log names them"),
        (Known(DATA.items[:1]), {}, "1 images with known objects that can be used"),
        (DATA, {"k": 301}, "k is 301: need between 1 and the vocabulary's 300 tokens"),
        (Known([named("a", [((" ",), (0, 0, 9, 9))])] * 2), {}, "the word ' ' has no visible character"),
    ],
)
def test_what_cannot_be_measured_is_said(data, options, message):
    with pytest.raises(ValueError, match=message):
        measure_readout(SPEAKER, data, **options)


def test_a_stored_result_writes_the_same_section(result, tmp_path):
    back = read_result(write_result(result, tmp_path))
    page, stored = (Checker(section(one).body) for one in (result, back))
    assert (stored.text, stored.tags) == (page.text, page.tags)
    assert {name: one.score for name, one in back.scores.items()} == pytest.approx(
        {name: one.score for name, one in result.scores.items()}, nan_ok=True
    )


def test_the_section_shows_scores_words_and_a_cell_for_every_patch(result):
    title, body = section(result)
    page = Checker(html.page("page", [section(result)]))
    assert title == "What each patch of known would say"
    assert f"{result.scores['in place'].score:.1%}" in body
    assert all(kind in page.text for kind in KINDS)
    assert body.count('class="patch') == 32 + 2  # and the two grids that hold them
    assert "red circle: " in page.text
    assert "word 2 of 2" in page.text
    assert all(address.startswith(("data:image/png;base64,", "#")) for address in page.addresses)


def test_texts_of_keys_and_words_are_escaped():
    data = Known([named(EVIL, [((EVIL,), (0, 0, 16, 16))], seed=i) for i in range(2)], name=EVIL)
    assert "<script" not in html.page("page", [section(measure_readout(SPEAKER, data))])


def test_a_page_of_image_files_names_each_and_reads_all_its_patches(tmp_path):
    paths = [tmp_path / f"{name}.png" for name in ("cat", "dog")]
    for seed, path in enumerate(paths):
        Image.fromarray(noise(40, 24, seed=seed)).save(path)
    markup = readout_page(SPEAKER, [str(paths[0]), paths[1], Image.new("RGB", (8, 8))], 2)
    page = Checker(markup)
    assert all(f"<h2>{name}</h2>" in markup for name in ("cat.png", "dog.png", "image 3"))
    assert markup.count('<div class="patch"') + markup.count('<div class="patch dim"') == 3 * 16
    assert all(address.startswith("data:") for address in page.addresses)
    chances = [f"{patch[1][1]:.1%}" for patch in SPEAKER.readout([paths[0]], 2)[0].words]
    assert all(chance in page.text for chance in chances)


def test_the_surest_picture_is_larger_than_its_image(result):
    assert max(np.asarray(result.pictures["surest-0.png"]).shape) == 960
    assert result.pictures["image-0.png"].size == (32, 32)
