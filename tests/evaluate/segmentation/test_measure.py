"""The segmentation probe on sets whose answer is known, against a count pixel by pixel, and on its page."""

import copy
import dataclasses
import logging
import re
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from sklearn.metrics import accuracy_score, jaccard_score

from genlip.data.datasets.base import IGNORED, Segmented
from genlip.data.examples import Unusable
from genlip.data.images import ImageConfig
from genlip.evaluate.frozen.features import frozen_features
from genlip.evaluate.frozen.head_training import Standard, split_for_validation
from genlip.evaluate.image_batches import spread
from genlip.evaluate.result import Result
from genlip.evaluate.result_files import read_result, write_result
from genlip.evaluate.segmentation.linear_head import FeatureMaps, learn
from genlip.evaluate.segmentation.measure import SegmentationConfig, measure_segmentation
from genlip.evaluate.segmentation.page import section
from genlip.report import html
from genlip.speaker import Speaker
from tests.model.helpers import small_model

COLOURS = np.array([(250, 20, 30), (20, 240, 40), (30, 10, 250), (128, 128, 128)], dtype=np.uint8)
NAMES = ("red", "<green>", "blue")
PATCH = 4


class Tiles:
    """Images of flat 4x4 tiles in the colours of their classes; `scale` pixels of the label map for each tile."""

    def __init__(self, number: int, name: str, grids: tuple[tuple[int, int], ...] = ((4, 4),), scale: int = 1) -> None:
        self.name, self.classes, self.scale = name, NAMES, scale
        random = np.random.default_rng(len(name))
        self.tiles = [random.integers(3, size=grids[i % len(grids)]) for i in range(number)]
        self.read: list[int] = []

    def __len__(self) -> int:
        return len(self.tiles)

    def __getitem__(self, index: int) -> Segmented:
        self.read.append(index)
        tiles = self.tiles[index]
        image = Image.fromarray(COLOURS[tiles].repeat(PATCH, axis=0).repeat(PATCH, axis=1))
        labels = np.where(tiles == 3, IGNORED, tiles).repeat(self.scale, axis=0).repeat(self.scale, axis=1)
        return Segmented(f"{self.name} {index}", image, labels.astype(np.int16))


class Damaged(Tiles):
    """One image has a label map of another size."""

    def __getitem__(self, index: int) -> Segmented:
        if index == 1:
            raise Unusable("label map", f"{self.name} 1: its label map is 3x3 pixels, its image 16x16")
        return super().__getitem__(index)


@pytest.fixture
def speaker() -> Speaker:
    """A random model that sees images of 16x16 pixels; it has no tokenizer, and needs none here."""
    return Speaker(small_model().float(), ImageConfig(size=4 * PATCH))


def test_classes_that_patches_tell_apart_are_found_at_every_pixel(speaker: Speaker) -> None:
    result = measure_segmentation(
        speaker, Tiles(12, "test set"), SegmentationConfig(learning_rates=(0.1,), epochs=20), train=Tiles(40, "train")
    )
    assert result.scores["mIoU"].score == 1
    assert result.scores["pixel accuracy"].score == 1
    assert [one["iou"] for one in result.figures["classes"]] == [1, 1, 1]


def test_native_images_of_many_shapes_are_learned_together(speaker: Speaker) -> None:
    speaker.images = ImageConfig(resize="native", min_patches=1, max_patches=64)
    grids = ((2, 3), (4, 4), (5, 2))
    train, test = Tiles(60, "train", grids), Tiles(12, "test set", grids)
    assert (
        measure_segmentation(speaker, test, SegmentationConfig(learning_rates=(0.1,), epochs=20), train=train)
        .scores["mIoU"]
        .score
        == 1
    )


def test_scores_are_those_of_the_drawn_predictions(speaker: Speaker) -> None:
    """An undertrained layer on label maps finer than patches: its pictures are read back, and scikit-learn counts."""
    test = Tiles(6, "test set", scale=3)
    test.tiles[2][1:, 2:] = 3  # no class there
    result = measure_segmentation(
        speaker, test, SegmentationConfig(epochs=1, batch_size=3), train=Tiles(8, "train", scale=3)
    )
    true = np.concatenate([test[i].labels.flatten() for i in range(6)])
    pictures = [np.asarray(result.pictures[f"{i}-predicted.png"]).reshape(-1, 3) for i in range(6)]
    colours = {colour: NAMES.index(name) for name, colour in result.figures["colours"].items()}
    said = np.array([colours["#{:02x}{:02x}{:02x}".format(*pixel)] for pixel in np.concatenate(pictures).tolist()])
    counted = true != IGNORED
    true, said = true[counted], said[counted]
    assert 0 < result.scores["mIoU"].score < 1
    assert result.scores["mIoU"].score == pytest.approx(jaccard_score(true, said, average="macro"))
    assert result.scores["pixel accuracy"].score == pytest.approx(accuracy_score(true, said))
    each = jaccard_score(true, said, average=None, labels=[0, 1, 2])
    assert [one["iou"] for one in result.figures["classes"]] == pytest.approx(each.tolist())
    assert result.scores["mIoU"].evidence.shape == (6, 6)


def test_a_layer_trained_long_enough_is_the_optimum_of_the_plain_problem(speaker: Speaker) -> None:
    """Against L-BFGS in float64 on standardised features, with another class for some tiles: not separable."""
    data = Tiles(6, "train")
    random = np.random.default_rng(3)
    truth = [np.where(random.random((4, 4)) < 0.4, random.integers(3, size=(4, 4)), tiles) for tiles in data.tiles]
    features = frozen_features(speaker, data)
    rows = torch.from_numpy(features.rows.astype(np.float64))[:, :2]  # few channels: the optimum is finite
    features = dataclasses.replace(features, rows=np.ascontiguousarray(features.rows[:, :2]))
    data.tiles = truth
    maps = FeatureMaps(data, features, Standard.of(features[i] for i in range(6)), torch.device("cpu"))
    (layer,), pixels = learn(maps, range(6), (0.3,), 400, 6, 0, lambda done: None)
    labels = torch.from_numpy(np.stack(truth)).flatten()
    rows = (rows - rows.mean(dim=0)) / rows.std(dim=0, correction=0)
    expected = torch.nn.Linear(2, 3).double()
    optimizer = torch.optim.LBFGS(expected.parameters(), max_iter=300, line_search_fn="strong_wolfe")

    def loss() -> torch.Tensor:
        optimizer.zero_grad()
        value = torch.nn.functional.cross_entropy(expected(rows), labels)
        value.backward()
        return value

    optimizer.step(loss)
    with torch.no_grad():
        chances = [one(rows.to(one.weight.dtype)).softmax(dim=1).double() for one in (layer, expected)]
    torch.testing.assert_close(chances[0], chances[1], atol=2e-3, rtol=0)
    assert pixels.tolist() == torch.bincount(labels, minlength=3).tolist()


def test_the_trunk_stays_as_it_was_and_gets_no_gradient(speaker: Speaker) -> None:
    before = copy.deepcopy(speaker.model.state_dict())
    measure_segmentation(speaker, Tiles(4, "test set"), SegmentationConfig(epochs=1), train=Tiles(8, "train"))
    assert all(torch.equal(value, before[name]) for name, value in speaker.model.state_dict().items())
    assert all(parameter.grad is None for parameter in speaker.model.parameters())


def test_a_bfloat16_model_is_measured_too(speaker: Speaker) -> None:
    speaker.model.bfloat16()
    result = measure_segmentation(
        speaker, Tiles(12, "test set"), SegmentationConfig(learning_rates=(0.1,), epochs=20), train=Tiles(40, "train")
    )
    assert result.scores["pixel accuracy"].score > 0.95


def test_the_same_seed_gives_the_same_result_and_label_maps_are_read_again(speaker: Speaker) -> None:
    train, test, encoded = Tiles(20, "train"), Tiles(4, "test set"), Tiles(20, "train")
    frozen_features(speaker, encoded)
    first, again = (measure_segmentation(speaker, test, SegmentationConfig(epochs=2, seed=5), train=train) for _ in range(2))
    assert np.array_equal(first.scores["mIoU"].evidence, again.scores["mIoU"].evidence)
    assert first.figures == again.figures
    read = [train.read.count(index) - 2 * encoded.read.count(index) for index in range(20)]  # beyond what features need
    held_out = [index for index in range(20) if read[index] == 2 * 3]  # once for each rate
    assert len(held_out) == first.figures["images"]["held out"] == 2
    assert all(read[index] == 2 * 2 for index in set(range(20)) - set(held_out))  # once in each epoch


def test_the_rate_is_chosen_on_held_out_training_images(speaker: Speaker, monkeypatch: pytest.MonkeyPatch) -> None:
    """The first layer names each colour as the test set does, the second as the training set does: the second is chosen."""

    def learn_two(*arguments: object) -> tuple[list[torch.nn.Linear], np.ndarray]:
        (right, misled), pixels = learn(*arguments)
        misled.weight.data, misled.bias.data = right.weight.data.roll(1, dims=0), right.bias.data.roll(1)
        return [misled, right], pixels

    monkeypatch.setattr("genlip.evaluate.segmentation.measure.learn", learn_two)
    test = Tiles(12, "test set")
    real = test.tiles
    test.tiles = [(tiles + 1) % 3 for tiles in real]
    result = measure_segmentation(
        speaker, _Recoloured(test, real), SegmentationConfig(learning_rates=(0.1, 0.1), epochs=20), train=Tiles(40, "train")
    )
    assert [one["mIoU"] for one in result.figures["sweep"]] == [0, 1]
    assert result.figures["chosen"] == 1
    assert result.scores["mIoU"].score == 0


class _Recoloured:
    """The images of tiles that are not those of the label map."""

    def __init__(self, labels: Tiles, tiles: list[np.ndarray]) -> None:
        self.name, self.classes = labels.name, labels.classes
        self._labels, self._shown = labels, Tiles(0, "shown")
        self._shown.tiles = tiles

    def __len__(self) -> int:
        return len(self._labels)

    def __getitem__(self, index: int) -> Segmented:
        return self._labels[index]._replace(image=self._shown[index].image)


def test_a_class_that_only_the_test_set_has_counts_as_0_and_is_named(
    speaker: Speaker, caplog: pytest.LogCaptureFixture
) -> None:
    train = Tiles(40, "train")
    train.tiles = [tiles % 2 for tiles in train.tiles]
    with caplog.at_level(logging.WARNING):
        result = measure_segmentation(
            speaker, Tiles(12, "test set"), SegmentationConfig(learning_rates=(0.1,), epochs=20), train=train
        )
    assert "no training pixel has these classes: blue (1)" in caplog.text
    assert result.figures["classes"][2] == {"class": "blue", "iou": 0, "learned_from": 0}
    assert "No training pixel had these classes, so they could not be learned: blue (1)." in section(result).body


def test_a_class_that_occurs_nowhere_is_left_out_of_the_mean(speaker: Speaker) -> None:
    train, test = Tiles(40, "train"), Tiles(12, "test set")
    for data in (train, test):
        data.tiles = [tiles % 2 for tiles in data.tiles]
    result = measure_segmentation(speaker, test, SegmentationConfig(learning_rates=(0.1,), epochs=20), train=train)
    assert result.figures["classes"][2]["iou"] is None
    assert result.scores["mIoU"].score == 1


def test_an_image_that_cannot_be_used_is_skipped_and_named(speaker: Speaker, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING):
        result = measure_segmentation(speaker, Damaged(4, "test set"), SegmentationConfig(epochs=1), train=Tiles(8, "train"))
    assert result.keys == ["test set 0", "test set 2", "test set 3"]
    assert "test set 1: its label map is 3x3 pixels, its image 16x16" in caplog.text


def test_a_label_map_that_becomes_unusable_later_stops_with_the_error_of_the_set(speaker: Speaker, tmp_path: Path) -> None:
    train = Tiles(8, "train")
    measure_segmentation(speaker, Tiles(20, "test set"), SegmentationConfig(epochs=1), train=train, cache=tmp_path)
    with pytest.raises(Unusable, match="its label map is 3x3 pixels, its image 16x16"):
        measure_segmentation(speaker, Damaged(20, "test set"), SegmentationConfig(epochs=1), train=train, cache=tmp_path)


def test_kept_features_of_other_images_are_refused(speaker: Speaker, tmp_path: Path) -> None:
    train, test = Tiles(8, "train"), Tiles(4, "test set")
    measure_segmentation(speaker, test, SegmentationConfig(epochs=1), train=train, cache=tmp_path)
    with pytest.raises(ValueError, match=r"is 'other \d', and the features that were kept are of 'train \d': the set has"):
        measure_segmentation(
            speaker, test, SegmentationConfig(epochs=1), train=_Renamed(Tiles(8, "other"), "train"), cache=tmp_path
        )


class _Renamed:
    """A set under the name of another."""

    def __init__(self, data: Tiles, name: str) -> None:
        self.name, self.classes, self._data = name, data.classes, data

    def __len__(self) -> int:
        return len(self._data)

    def __getitem__(self, index: int) -> Segmented:
        return self._data[index]


def test_a_single_step_teaches(speaker: Speaker) -> None:
    """Of its own rate, not of the 0 at which the cosine would end."""
    config = SegmentationConfig(learning_rates=(0.1,), validation=0, epochs=1)
    result = measure_segmentation(speaker, Tiles(12, "test set"), config, train=Tiles(8, "train"))
    assert result.scores["pixel accuracy"].score > 0.5, "one class everywhere would be a third"


def test_images_are_from_all_over_the_set_and_progress_counts_encoding_and_epochs(speaker: Speaker) -> None:
    done: list[int] = []
    train, test = Tiles(30, "train"), Tiles(9, "test set")
    result = measure_segmentation(speaker, test, SegmentationConfig(epochs=2), train=train, limit=10, advance=done.append)
    assert result.keys == [f"test set {i}" for i in range(9)]
    assert sorted(set(train.read)) == spread(30, 10)
    assert sum(done) == 10 + 9 + 2 * 9  # one of ten is held out


def test_held_out_images_without_a_class_cannot_choose_a_rate(speaker: Speaker) -> None:
    train = Tiles(8, "train")
    _, held = split_for_validation(8, 0.25, seed=3)
    for index in held.tolist():
        train.tiles[index] = np.full((4, 4), 3)
    with pytest.raises(ValueError, match="train: no pixel of the 2 held-out images has a class, so no rate can be chosen"):
        measure_segmentation(
            speaker, Tiles(4, "test set"), SegmentationConfig(epochs=1, validation=0.25, seed=3), train=train
        )


def other_classes(data: Tiles) -> Tiles:
    data.classes = ("red", "blue", "<green>")
    return data


def without_classes(data: Tiles) -> Tiles:
    data.tiles = [np.full((4, 4), 3) for _ in data.tiles]
    return data


def with_unknown_labels(data: Tiles) -> Tiles:
    data.classes = NAMES[:2]
    return data


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"train": Tiles(0, "train")}, "train: 0 images: segmentation needs at least 1 to test on, and 2 to train on"),
        ({"data": Tiles(0, "test set")}, "test set: 0 images"),
        ({"train": Tiles(1, "train")}, r"1 training images, of which validation 0\.1 holds out 1: none is left"),
        (
            {"data": other_classes(Tiles(3, "test set"))},
            r"train has the classes red, <green>, blue \(3\), test set has red, blue, <green> \(3\): a layer that learned",
        ),
        ({"data": without_classes(Tiles(3, "test set"))}, "test set: no pixel of 3 images has a class"),
        (
            {"train": without_classes(Tiles(8, "train"))},
            "train: no pixel of 7 images has a class: there is nothing to learn",
        ),
        (
            {"train": with_unknown_labels(Tiles(3, "train")), "data": with_unknown_labels(Tiles(3, "test set"))},
            r"train: train . has labels from 0 to 2: need 0 to 1, the 2 classes, or -1 where a pixel has none",
        ),
        ({"epochs": 0}, "epochs 0 and batch_size 16: both must be at least 1"),
        ({"limit": 0}, "limit is 0: it must be at least 1, or None for all"),
        ({"learning_rates": ()}, r"learning_rates are \[\]: need at least one, all above 0"),
        ({"learning_rates": (1e-3, 0.0)}, "all above 0"),
        ({"validation": 0}, "validation is 0: need a share of the training images below 1, and above 0 to choose among 3"),
        ({"validation": 1}, "validation is 1: need a share"),
    ],
)
def test_what_cannot_be_measured_is_said_in_one_line(speaker: Speaker, settings: dict, message: str) -> None:
    asked = {"train": Tiles(8, "train"), "data": Tiles(3, "test set"), **settings}
    fields = {name: asked.pop(name) for name in ("epochs", "learning_rates", "validation") if name in asked}
    with pytest.raises(ValueError, match=message) as error:
        measure_segmentation(speaker, config=SegmentationConfig(**fields), **asked)
    assert "\n" not in str(error.value)


# -- the page


@pytest.fixture
def stored(speaker: Speaker, tmp_path: Path) -> Callable[..., Result]:
    """A result that was written and read again."""

    def measured(**settings: object) -> Result:
        result = measure_segmentation(
            speaker,
            Tiles(9, "test set", scale=2),
            SegmentationConfig(epochs=1, **settings),
            train=Tiles(8, "train <1>", scale=2),
        )
        return read_result(write_result(result, tmp_path))

    return measured


def test_the_page_is_the_same_from_a_stored_result(speaker: Speaker, tmp_path: Path) -> None:
    result = measure_segmentation(
        speaker, Tiles(9, "test set", scale=2), SegmentationConfig(epochs=1), train=Tiles(8, "train", scale=2)
    )
    read = read_result(write_result(result, tmp_path))
    bodies = [
        re.sub(r'(?<=[#"])[mp][0-9a-f]{10}\b', "", section(one).body) for one in (read, result)
    ]  # names drawn by chance
    assert bodies[0] == bodies[1]
    assert read.identity == result.identity
    assert read.settings["train"] == "train"


def test_the_page_shows_scores_classes_the_sweep_and_eight_images(stored: Callable[..., Result]) -> None:
    result = stored()
    markup = html.page("A page", [section(result)])
    assert f"<b>{result.scores['mIoU'].score:.1%}</b><span>mIoU</span>" in markup
    assert "learned from train &lt;1&gt; which class" in markup
    assert "&lt;green&gt;</span>" in markup
    assert "<green>" not in markup
    assert markup.count("<img") == 3 * 8
    assert "test set 7" in markup
    assert "test set 8" not in markup
    assert markup.count("<td>chosen</td>") == 1


def test_a_single_rate_needs_nothing_held_out(stored: Callable[..., Result]) -> None:
    result = stored(learning_rates=(0.1,), validation=0)
    assert result.figures["images"] == {"learned from": 8, "held out": 0, "tested on": 9}
    body = section(result).body
    assert "One learning rate was given; no image was held out to choose it." in body
    assert "<td>not measured</td>" in body


def test_of_many_classes_the_best_and_the_worst_are_listed(stored: Callable[..., Result]) -> None:
    result = stored()
    classes = [{"class": f"class {i}", "iou": i / 40 if i else None, "learned_from": 5} for i in range(40)]
    listed = section(dataclasses.replace(result, figures={**result.figures, "classes": classes})).body
    assert "The best and the worst of 39 classes that occur:" in listed
    shown = [i for i in range(40) if f"<td>class {i}</td>" in listed]
    assert shown == [*range(1, 11), *range(30, 40)]


def test_a_rate_at_the_end_of_the_sweep_is_remarked(stored: Callable[..., Result]) -> None:
    result = stored()
    figures = {**result.figures, "sweep": [{"learning_rate": r, "mIoU": 0.5} for r in (1e-3, 1e-2, 1e-1)]}
    bodies = [section(dataclasses.replace(result, figures={**figures, "chosen": place})).body for place in range(3)]
    assert "The chosen rate, 0.001, is at the end of those tried: a smaller one may do better" in bodies[0]
    assert "at the end of those tried" not in bodies[1]
    assert "The chosen rate, 0.1, is at the end of those tried: a larger one may do better" in bodies[2]
