"""`genlip.evaluate.features.measure`: features by the speaker, planted outliers, and a page made of what was stored."""

import numpy as np
import pytest
import torch
from PIL import Image

from genlip.data.examples import Example
from genlip.data.images import ImageConfig
from genlip.evaluate.features.components import as_colours, principal_components
from genlip.evaluate.features.measure import measure_features, outliers
from genlip.evaluate.features.page import section
from genlip.evaluate.result import Result
from genlip.evaluate.result_files import read_result, write_result
from genlip.report import html

from ...data.helpers import InMemory, noise
from ...report.helpers import EVIL, Checker
from ..speaking import Known, small_speaker

SIZES = [(32, 32), (24, 40), (40, 24), (32, 32), (16, 16)]
NATIVE = ImageConfig(resize="native", min_patches=4, max_patches=64)


def images(sizes=SIZES) -> InMemory:
    pictures = [Image.fromarray(noise(*size, seed=seed)) for seed, size in enumerate(sizes)]
    return InMemory([Example(f"image {i}", picture, "") for i, picture in enumerate(pictures)])


@pytest.fixture(scope="module")
def result() -> Result:
    return measure_features(small_speaker(NATIVE), images(), model="small", queries=3, neighbours=2, batch_size=2)


def test_a_result_says_what_was_measured(result):
    assert (result.measurement, result.model, result.data) == ("features", "small", "memory")
    assert result.settings == {"resize": "native", "patches": [4, 64], "images": len(SIZES), "queries": 3, "neighbours": 2}
    assert result.keys == [f"image {i}" for i in range(5)]
    assert [output["grid"] for output in result.outputs] == [[4, 4], [3, 5], [5, 3], [4, 4], [2, 2]]


def test_lengths_are_those_of_the_features_and_of_the_hidden_rows_before_them(result):
    speaker, rows = small_speaker(NATIVE), []
    speaker.model.ln_post.register_forward_hook(lambda module, given, made: rows.append(given[0]))
    for features, output in zip(speaker.encode([one.image for one in images().examples], 1), result.outputs, strict=True):
        assert output["after"] == pytest.approx([float(row.norm()) for row in features.patches], abs=1e-3)
    before = [float(row.norm()) for row in torch.cat(rows)]
    assert [length for output in result.outputs for length in output["before"]] == pytest.approx(before, abs=1e-3)


def test_maps_are_the_components_of_all_patches_together(result):
    features = small_speaker(NATIVE).encode([one.image for one in images().examples])
    found = principal_components(torch.cat([one.patches for one in features]).numpy())
    assert result.figures["explained variance"] == pytest.approx(found.explained, rel=1e-4)
    colours = as_colours(found.values)[16 : 16 + 15].reshape(3, 5, 3)
    shown = np.asarray(result.pictures["colours-1.png"])
    assert shown.shape == (288, 480, 3)
    np.testing.assert_allclose(shown[48::96, 48::96], colours, atol=1)


def test_neighbours_are_patches_of_other_images_with_their_cosines(result):
    features = small_speaker(NATIVE).encode([one.image for one in images().examples])

    def vector(image: int, row: int, column: int) -> torch.Tensor:
        return features[image].patches[row * features[image].grid[1] + column]

    assert len(result.figures["neighbours"]) == 3
    for one in result.figures["neighbours"]:
        query = vector(*one["patch"])
        assert len({one["patch"][0], *(entry["patch"][0] for entry in one["nearest"])}) == 3
        for entry in one["nearest"]:
            cosine = torch.cosine_similarity(query, vector(*entry["patch"]), dim=0)
            assert entry["cosine"] == pytest.approx(float(cosine), abs=1e-3)
    assert {name for name in result.pictures if name.startswith("like")} == {
        f"like-{i}-{j}.png" for i in "012" for j in "012"
    }


def test_outliers_lie_more_than_six_deviations_above_the_median():
    far, limit = outliers(np.array([9.0, 10, 11, 10, 12, 8, 16.001, 16, 100, 10, 9, 11]))
    assert limit == 10.5 + 6 * 1.5  # by hand: distances .5 .5 .5 .5 .5 1.5 1.5 1.5 2.5 5.5 5.501 89.5 -> median 1.5
    assert np.flatnonzero(far).tolist() == [8]


def test_planted_outliers_are_counted_where_they_are(monkeypatch):
    speaker = small_speaker()
    trunk = speaker.model.trunk

    def with_sink(pack, *args, **options):
        rows = trunk(pack, *args, **options)
        rows[:: pack.patch_counts[0]] *= 50  # the first patch of each image
        rows[7] *= 50  # and another of the first image
        return rows

    monkeypatch.setattr(speaker.model, "trunk", with_sink)
    found = measure_features(speaker, images([(32, 32)] * 3))
    assert found.scores["outlier patches"].evidence.tolist() == [[2, 16], [1, 16], [1, 16]]
    assert [output["outliers"] for output in found.outputs] == [[0, 7], [0], [0]]
    assert found.figures["places"] == [[0, 0, 3, 3], [1, 3, 1, 3]]
    page = Checker(section(found).body)
    assert "row 1, column 1" in page.text
    assert "3 of 3 images" in page.text


def test_one_image_has_no_neighbours_and_bfloat16_works():
    found = measure_features(small_speaker(dtype=torch.bfloat16), images([(32, 32)]))
    assert found.figures["neighbours"] == []
    assert 0 < sum(found.figures["explained variance"]) <= 1
    assert "nearest" not in section(found).body


def test_the_same_images_give_the_same_pictures(result):
    again = measure_features(small_speaker(NATIVE), images(), queries=3, neighbours=2, batch_size=64)
    for name, picture in result.pictures.items():
        if name.startswith("colours"):
            np.testing.assert_allclose(np.asarray(again.pictures[name]), np.asarray(picture).astype(int), atol=1)
    assert [one["patch"] for one in again.figures["neighbours"]] == [one["patch"] for one in result.figures["neighbours"]]


@pytest.mark.parametrize(
    ("data", "options", "message"),
    [
        (Known([]), {}, "known holds no images: need at least 1"),
        (Known([None, None]), {}, "known: none of its images can be used; the log names them"),
        (images(), {"queries": -1}, "queries -1 and neighbours 4: neither may be less than 0"),
        (images(), {"limit": 201}, "201 images: all are shown, so at most 200 can be viewed at a time; lower limit"),
    ],
)
def test_what_cannot_be_viewed_is_said(data, options, message):
    with pytest.raises(ValueError, match=message):
        measure_features(small_speaker(), data, **options)


def test_a_stored_result_writes_the_same_section(result, tmp_path):
    back = read_result(write_result(result, tmp_path))
    title, body = section(back)
    page, fresh = Checker(body), Checker(section(result).body)
    assert (page.text, page.tags) == (fresh.text, fresh.tags)
    assert title == "What the features of memory look like"
    assert body.count("<img") == 5 * 3 + 3 * 3
    assert body.count("<svg") == 2
    assert all(address.startswith(("data:image/png;base64,", "#")) for address in page.addresses)


def test_texts_of_keys_are_escaped():
    data = InMemory([Example(EVIL, Image.fromarray(noise(32, 32, seed=i)), "") for i in range(2)], name=EVIL)
    assert "<script" not in html.page("page", [section(measure_features(small_speaker(), data))])
