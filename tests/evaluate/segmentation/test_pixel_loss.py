"""Logits at pixels against tables by hand, the gathered gradient against one plain graph, overlaps against loops."""

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from sklearn.metrics import jaccard_score
from torch import Tensor

from genlip.data.datasets.base import IGNORED
from genlip.evaluate.aggregators import mean_iou
from genlip.evaluate.segmentation import pixel_loss as pixel_classes
from genlip.evaluate.segmentation.pixel_loss import at_pixels, backward, overlap, predict

GRIDS = [(2, 3), (1, 1), (2, 3), (3, 2), (2, 3)]
SIZES = [(8, 9), (4, 4), (5, 7), (3, 2), (8, 9)]
CLASSES = 4


def random_maps(seed: int = 0) -> tuple[Tensor, list[Tensor]]:
    """Float64 logits of all patches, and label maps in which about one pixel in four is ignored."""
    random = np.random.default_rng(seed)
    logits = torch.from_numpy(random.normal(size=(sum(r * c for r, c in GRIDS), CLASSES)))
    return logits, [torch.from_numpy(random.integers(IGNORED, CLASSES - 1, size)) for size in SIZES]


def by_loop(logits: Tensor, grids: list[tuple[int, int]], size: tuple[int, int], place: int) -> Tensor:
    """Float[c H W] of one image, by the rule: pixel centres among patch centres, edges repeated."""
    start = sum(r * c for r, c in grids[:place])
    (rows, columns), (height, width) = grids[place], size
    found = torch.zeros(logits.shape[1], height, width, dtype=logits.dtype)
    for y in range(height):
        for x in range(width):
            r = min(max((y + 0.5) * rows / height - 0.5, 0), rows - 1)
            c = min(max((x + 0.5) * columns / width - 0.5, 0), columns - 1)
            for row in range(rows):
                for column in range(columns):
                    share = max(0, 1 - abs(row - r)) * max(0, 1 - abs(column - c))
                    found[:, y, x] += share * logits[start + columns * row + column]
    return found


def test_logits_lie_at_the_centres_of_patches() -> None:
    row = torch.tensor([[[[0.0, 4.0]]]])
    assert at_pixels(row, (1, 4)).flatten().tolist() == [0.0, 1.0, 3.0, 4.0]
    assert torch.equal(at_pixels(row, (1, 2)), row)


def test_predictions_are_those_of_the_loop_in_the_order_of_images() -> None:
    logits, _ = random_maps()
    found = predict(logits, GRIDS, SIZES)
    for place, size in enumerate(SIZES):
        assert torch.equal(found[place], by_loop(logits, GRIDS, size, place).argmax(dim=0))


@pytest.mark.parametrize("held", [1, 2**24])
def test_the_gathered_gradient_is_that_of_one_mean_over_pixels(held: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pixel_classes, "_HELD", held)
    values, labels = random_maps()
    logits, plain = values.clone().requires_grad_(), values.clone().requires_grad_()
    loss = backward(logits, GRIDS, labels)
    pixels = torch.cat([by_loop(plain, GRIDS, size, place).flatten(1).T for place, size in enumerate(SIZES)])
    truth = torch.cat([one.flatten() for one in labels])
    expected = -F.log_softmax(pixels, dim=1)[truth != IGNORED].gather(1, truth[truth != IGNORED][:, None]).mean()
    expected.backward()
    assert loss == pytest.approx(expected.item(), rel=1e-12)
    torch.testing.assert_close(logits.grad, plain.grad, rtol=1e-10, atol=1e-12)


def test_a_batch_of_ignored_pixels_teaches_nothing() -> None:
    logits = torch.ones(1, 2, requires_grad=True)
    assert backward(logits, [(1, 1)], [torch.full((3, 3), IGNORED)]) == 0
    assert torch.equal(logits.grad, torch.zeros(1, 2))


def test_overlaps_are_counted_pixel_by_pixel() -> None:
    _, labels = random_maps(1)
    _, predicted = random_maps(2)
    for true, said in zip(labels, (one.clamp(min=0) for one in predicted), strict=True):
        both, either = [0] * CLASSES, [0] * CLASSES
        for t, s in zip(true.flatten().tolist(), said.flatten().tolist(), strict=True):
            for c in range(CLASSES):
                both[c] += t != IGNORED and t == c == s
                either[c] += t != IGNORED and (t == c or s == c)
        assert overlap(said, true, CLASSES).tolist() == both + either


@pytest.mark.parametrize("seed", range(5))
def test_miou_of_summed_overlaps_is_that_of_scikit_learn(seed: int) -> None:
    """The last class is never true, and never predicted in odd seeds; scikit-learn averages over those that occur."""
    _, labels = random_maps(seed)
    _, others = random_maps(seed + 100)
    predicted = [(one.clamp(min=0) + (seed % 2 == 0)).clamp(max=CLASSES - 1) for one in others]
    evidence = sum(overlap(said, true, CLASSES) for said, true in zip(predicted, labels, strict=True))
    true, said = (torch.cat([one.flatten() for one in some]) for some in (labels, predicted))
    expected = jaccard_score(true[true != IGNORED], said[true != IGNORED], average="macro")
    assert (evidence[-1] > 0) == (seed % 2 == 0)
    assert mean_iou(evidence) == pytest.approx(expected, rel=1e-12)
