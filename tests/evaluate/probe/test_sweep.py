"""The sweep: scikit-learn's optimum, heads that do not disturb each other, and a rate chosen by held-out images alone."""

import math
import warnings
from typing import Any

import numpy as np
import pytest
import torch
from sklearn.linear_model import LogisticRegression

from genlip.evaluate.frozen.features import FrozenFeatures
from genlip.evaluate.probe.pooling import Pooling, ProbeHead
from genlip.evaluate.probe.probe_data import ProbeInputs
from genlip.evaluate.probe.sweep import ProbeConfig, Rate, _best, logits, sweep, train_heads

CPU = torch.device("cpu")


def inputs_of(images: list[np.ndarray], labels: np.ndarray, pooling: Pooling) -> ProbeInputs:
    """Images as Float[p D] each; a column of patches is their grid."""
    features = FrozenFeatures(
        np.concatenate(images).astype(np.float16),
        np.array([[len(image), 1] for image in images], dtype=np.int32),
        tuple(map(str, range(len(images)))),
        np.arange(len(images)),
    )
    return ProbeInputs(features, torch.from_numpy(labels), pooling, CPU)


def blobs(images: int, seed: int, pooling: Pooling = "mean") -> ProbeInputs:
    """Three overlapping classes, in images of 1 to 4 patches with unlike scales of channels."""
    random = np.random.default_rng(seed)
    centres = 0.4 * np.random.default_rng(99).normal(size=(3, 6))
    labels = random.integers(3, size=images)
    scales = np.array([0.1, 1, 3, 1, 0.3, 1])
    shapes = random.integers(1, 5, size=images)
    return inputs_of(
        [scales * (centres[c] + random.normal(size=(p, 6))) + 2 for c, p in zip(labels, shapes, strict=True)],
        labels,
        pooling,
    )


def marked(images: int, seed: int) -> ProbeInputs:
    """In each image four patches say 1 and four -1; the class is what the marked one says, and the mean says nothing."""
    random = np.random.default_rng(seed)
    made, labels = [], []
    for _ in range(images):
        image = random.normal(size=(8, 8)) * 0.3
        said, place = random.permutation([1, 1, 1, 1, -1, -1, -1, -1]), random.integers(8)
        image[:, 0] = said
        image[place, 1] = 4
        made.append(image)
        labels.append(int(said[place] > 0))
    return inputs_of(made, np.array(labels), "attentive")


def means(inputs: ProbeInputs) -> np.ndarray:
    return np.stack([inputs.features[i].numpy().mean(axis=0) for i in range(len(inputs))]).astype(np.float64)


def accuracy(head: ProbeHead, inputs: ProbeInputs) -> float:
    said = logits(head, inputs, np.arange(len(inputs)), 64).argmax(dim=1)
    return float((said == inputs.labels).double().mean())


def test_a_linear_probe_reaches_the_optimum_of_logistic_regression() -> None:
    train, test = blobs(300, seed=1), blobs(1000, seed=2)
    config = ProbeConfig(pooling="mean", epochs=400, batch_size=300, learning_rates=[0.05], weight_decay=0, validation=0)
    found, standardised = sweep(train, 3, heads=2, config=config)
    mean, deviation = means(train).mean(axis=0), means(train).std(axis=0)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of later releases about how no penalty is written
        exact = LogisticRegression(C=1e9, max_iter=10_000, tol=1e-10).fit((means(train) - mean) / deviation, train.labels)
    chances = exact.predict_proba((means(train) - mean) / deviation)[np.arange(300), train.labels]
    assert 0 < found.rates[0].losses[-1] + np.log(chances).mean() < 1e-3, "as near to the least loss, never below it"
    theirs = exact.score((means(test) - mean) / deviation, test.labels)
    assert 0.5 < theirs < 0.99, "the task must not be trivial"
    assert accuracy(found.head, standardised.of(test.features, test.labels)) == pytest.approx(theirs, abs=0.005)


@pytest.mark.parametrize("pooling", ["mean", "attentive"])
def test_inputs_are_standardised_over_what_heads_read(pooling: Pooling) -> None:
    inputs = blobs(40, seed=3, pooling=pooling)
    learn = np.arange(5, 40)
    batch = inputs.standardised(learn, batch_size=8).batch(learn)
    read = batch.features[batch.real].double()
    raw = means(inputs)[5:] if pooling == "mean" else np.concatenate([inputs.features[i].numpy() for i in learn])
    expected = (raw - raw.mean(axis=0)) / raw.std(axis=0)
    np.testing.assert_allclose(read.numpy(), expected, rtol=1e-4, atol=1e-4)
    assert batch.labels.tolist() == inputs.labels[5:].tolist()


def test_a_constant_channel_becomes_zero() -> None:
    inputs = inputs_of([np.array([[7.0, i]]) for i in range(4)], np.array([0, 1, 0, 1]), "attentive")
    assert inputs.standardised(np.arange(4), 4).batch(np.arange(4)).features[..., 0].tolist() == [[0.0]] * 4


def test_attentive_pooling_finds_the_marked_patch_that_the_mean_cannot() -> None:
    train, test = marked(600, seed=4), marked(400, seed=5)
    config: dict[str, Any] = {"epochs": 15, "batch_size": 32, "learning_rates": [3e-3, 1e-2], "seed": 1}
    found, inputs = sweep(train, 2, heads=1, config=ProbeConfig(**config))
    assert accuracy(found.head, inputs.of(test.features, test.labels)) > 0.95
    flat = ProbeInputs(train.features, train.labels, "mean", CPU)
    found, inputs = sweep(flat, 2, heads=2, config=ProbeConfig(pooling="mean", **config))
    assert accuracy(found.head, inputs.of(test.features, test.labels)) < 0.65


def test_heads_side_by_side_learn_as_each_alone() -> None:
    inputs, some = blobs(60, seed=6, pooling="attentive"), np.arange(60)
    settings: dict[str, Any] = {"epochs": 3, "batch_size": 16, "validation": 0.2, "seed": 3}
    together = [ProbeHead(6, 3, 2) for _ in range(2)]
    losses = train_heads(together, inputs, some, ProbeConfig(learning_rates=[1e-3, 1e-1], **settings))
    for rate, head, of_rate in zip([1e-3, 1e-1], together, losses, strict=True):
        alone = ProbeHead(6, 3, 2)
        assert train_heads([alone], inputs, some, ProbeConfig(learning_rates=[rate], **settings)) == [of_rate]
        assert all(torch.equal(a, b) for a, b in zip(head.parameters(), alone.parameters(), strict=True))


def test_the_loss_is_the_mean_over_images_of_unequal_batches() -> None:
    inputs, head = blobs(10, seed=7), ProbeHead(6, 3, None)
    start = torch.nn.functional.cross_entropy(logits(head, inputs, np.arange(10), 10), inputs.labels)
    config = ProbeConfig(pooling="mean", epochs=1, batch_size=4, learning_rates=[1e-12], validation=0)
    assert train_heads([head], inputs, np.arange(10), config) == [[pytest.approx(float(start), rel=1e-5)]]


def test_rates_warm_up_and_end_near_zero(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[float] = []
    step = torch.optim.AdamW.step

    def watched(self: torch.optim.AdamW, *args: Any, **keywords: Any) -> Any:
        seen.append(self.param_groups[0]["lr"])
        return step(self, *args, **keywords)

    monkeypatch.setattr(torch.optim.AdamW, "step", watched)
    config = ProbeConfig(pooling="mean", epochs=20, batch_size=10, learning_rates=[0.1], validation=0)
    train_heads([ProbeHead(6, 3, None)], blobs(30, seed=8), np.arange(30), config)
    # 60 steps, 3 of them warm-up
    cosine = [0.05 * (1 + math.cos(math.pi * k / 57)) for k in range(57)]
    assert seen == pytest.approx([0.025, 0.05, 0.075, *cosine])


def test_the_rate_is_chosen_by_held_out_images() -> None:
    inputs = blobs(200, seed=9)
    config = ProbeConfig(pooling="mean", epochs=5, batch_size=32, learning_rates=[1e-7, 3e-2, 1e-6], validation=0.25)
    found, _ = sweep(inputs, 3, heads=2, config=config)
    assert (found.learned, found.held_out) == (150, 50)
    accuracies = [rate.accuracy for rate in found.rates]
    assert found.best == 1 == accuracies.index(max(accuracies, key=float))
    assert [rate.learning_rate for rate in found.rates] == [1e-7, 3e-2, 1e-6]


def test_held_out_images_teach_nothing() -> None:
    """Wrong labels on whatever is held out change the figures of the choice, and no parameter."""
    inputs, config = blobs(50, seed=10), ProbeConfig(pooling="mean", epochs=2, learning_rates=[1e-2], validation=0.4, seed=5)
    right, _ = sweep(inputs, 3, heads=2, config=config)
    order = np.random.default_rng((5, 1)).permutation(50)
    labels = inputs.labels.clone()
    labels[order[:20]] = (labels[order[:20]] + 1) % 3
    wrong, _ = sweep(inputs.of(inputs.features, labels), 3, heads=2, config=config)
    assert all(torch.equal(a, b) for a, b in zip(right.head.parameters(), wrong.head.parameters(), strict=True))
    assert right.rates[0].loss != wrong.rates[0].loss


@pytest.mark.parametrize(
    ("rates", "best"),
    [
        ([(0.5, 1.0), (0.7, 9.0), (0.6, 0.1)], 1),
        ([(0.5, 1.0), (0.5, 0.9), (0.5, math.inf)], 1),
        ([(0.5, math.inf), (0.4, 0.1)], 1),
        ([(0.5, math.inf), (0.6, math.inf)], 1),
        ([(None, None)], 0),
    ],
)
def test_most_right_answers_win_and_the_loss_decides_between_equals(rates: list[tuple[Any, Any]], best: int) -> None:
    assert _best([Rate(1.0, [], *figures) for figures in rates]) == best


def test_progress_counts_each_image_once_per_epoch() -> None:
    done: list[int] = []
    config = ProbeConfig(pooling="mean", epochs=2, batch_size=4, learning_rates=[1e-3], validation=0.1)
    sweep(blobs(10, seed=11), 3, heads=2, config=config, advance=done.append)
    assert done == [4, 4, 1, 4, 4, 1]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"pooling": "max"}, "pooling is 'max': need 'attentive' or 'mean'"),
        ({"epochs": 0}, "epochs 0 and batch_size 256"),
        ({"weight_decay": -1.0}, "weight_decay is -1"),
        ({"learning_rates": []}, r"learning_rates are \[\]: need at least one"),
        ({"learning_rates": [1e-3, 0.0]}, "all above 0"),
        ({"validation": 0}, "above 0 to choose among 5 learning rates"),
        ({"validation": 1.0}, "validation is 1.0"),
    ],
)
def test_impossible_settings_are_refused(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        ProbeConfig(**changes)


@pytest.mark.parametrize(("rates", "validation"), [([1e30], 0), ([1e30, 1e31], 0.2)])
def test_rates_that_all_diverge_are_an_error_and_no_score(rates: list[float], validation: float) -> None:
    config = ProbeConfig(epochs=3, batch_size=8, learning_rates=rates, validation=validation)
    with pytest.raises(ValueError, match=r"training diverged at all learning rates of \[1e\+30.*: give smaller ones"):
        sweep(blobs(40, seed=13, pooling="attentive"), 3, heads=2, config=config)


def test_too_few_images_to_hold_some_out() -> None:
    with pytest.raises(ValueError, match=r"1 training images, of which validation 0\.1 holds out 1"):
        sweep(blobs(1, seed=12), 3, heads=2, config=ProbeConfig(pooling="mean"))
