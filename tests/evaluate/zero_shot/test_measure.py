"""Zero-shot classification: scores by a slow loop, counts by hand, what is stored and shown, what is refused."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from genlip.data.captions import CaptionConfig, Captions
from genlip.data.datasets.base import Labelled
from genlip.data.examples import Unusable
from genlip.data.images import ImageConfig, image_patches
from genlip.evaluate.image_batches import spread
from genlip.evaluate.result_files import read_result, write_result
from genlip.evaluate.zero_shot import measure as module
from genlip.evaluate.zero_shot.measure import ZeroShotConfig, measure_zero_shot
from genlip.evaluate.zero_shot.page import section
from genlip.model.genlip import GenLIP
from genlip.model.pack import Pack, Sample
from genlip.report.html import page
from genlip.speaker import Speaker

from ...data.helpers import noise, small_config, small_tokenizer
from ...model.helpers import randomised
from ...report.helpers import EVIL, Checker

NAMES = ("red circle", "blue square", "owl", "large square", "number 47", "z")
NATIVE = ImageConfig(resize="native", min_patches=1, max_patches=12)


@dataclass(frozen=True)
class Set:
    """Images of noise with the labels given; None is an image that cannot be used."""

    labels: Sequence[int | None]
    classes: tuple[str, ...] = NAMES
    sizes: Sequence[tuple[int, int]] = ((16, 16),)
    name: str = "noise"
    asked: list[int] = field(default_factory=list)

    def __len__(self) -> int:
        return len(self.labels)

    def __getitem__(self, index: int) -> Labelled:
        self.asked.append(index)
        label = self.labels[index]
        if label is None:
            raise Unusable("damaged", f"number {index} is damaged")
        height, width = self.sizes[index % len(self.sizes)]
        return Labelled(f"n{index}", Image.fromarray(noise(height, width, seed=index)), label)


def speaker(images: ImageConfig = NATIVE, prompt: str = "", **wording: Any) -> Speaker:
    captions = Captions(small_tokenizer(), CaptionConfig(prompt=prompt, **wording))
    return Speaker(randomised(GenLIP(small_config(num_hidden_layers=2))), images, captions)


def loop_scores(speaker: Speaker, sample: Sample, templates: list[str], normalise: str) -> list[float]:
    """Of each class, each caption written by hand and read after the whole image."""
    words, prompt = speaker.captions, speaker.captions.prompt_ids
    captions = []
    for name in NAMES:
        article = "an" if name == "owl" else "a"
        texts = [template.replace("{a}", f"{article} {name}").replace("{}", name) for template in templates]
        captions += [words.ids(text) + words.end_ids for text in texts]
    pairs = [sample.with_text(prompt + ids, [False] * len(prompt) + [True] * len(ids)) for ids in captions]
    losses = speaker.model.token_losses(Pack.of(pairs)).detach().split([len(pair.token_ids) for pair in pairs])
    scores = [
        -float(loss.sum()) / (len(ids) if normalise == "mean" else 1) for loss, ids in zip(losses, captions, strict=True)
    ]
    return [sum(scores[i : i + len(templates)]) / len(templates) for i in range(0, len(scores), len(templates))]


@pytest.mark.parametrize("normalise", ["mean", "sum"])
@pytest.mark.parametrize("without_picture", [False, True])
@pytest.mark.parametrize("prompt", ["", "what is on the left"])
def test_scores_are_those_of_a_loop_over_images_classes_and_templates(normalise, without_picture, prompt):
    judge, templates = speaker(prompt=prompt), ["a photo of {a}", "the {}, large"]
    data = Set([0, 1, 2, 3, 4], sizes=[(24, 16), (8, 8), (8, 24), (24, 16), (16, 24)])
    result = measure_zero_shot(
        judge, data, ZeroShotConfig(templates=templates, batch_size=3, normalise=normalise, without_picture=without_picture)
    )
    for index, output in enumerate(result.outputs):
        patches, grid = image_patches(data[index].image, judge.images, judge.model.config)
        scores = np.array(loop_scores(judge, Sample(patches, grid), templates, normalise))
        if without_picture:
            scores -= loop_scores(judge, Sample(torch.zeros(patches.shape), grid), templates, normalise)
        best = np.argsort(-scores)[:5]
        assert output["true"] == data.labels[index]
        assert [label for label, _ in output["best"]] == best.tolist()
        # pixels become numbers in float32
        assert [score for _, score in output["best"]] == pytest.approx(scores[best].tolist(), rel=1e-5, abs=2e-5)


def judging(monkeypatch: pytest.MonkeyPatch, likeliest: Sequence[Sequence[int]]) -> Speaker:
    """A speaker that ranks the classes of image after image as given."""
    rows = iter(likeliest)

    def told(model: GenLIP, pack: Pack, captions: Sequence[Sequence[int]]) -> torch.Tensor:
        ranks = [next(rows) for _ in pack.grids]
        by_class = [[-float(order.index(i % len(order))) for i in range(len(captions))] for order in ranks]
        return torch.tensor(by_class) * torch.tensor([len(caption) for caption in captions])

    monkeypatch.setattr(module, "caption_likelihoods", told)
    return speaker()


RANKED = [[0, 1, 2, 3, 4, 5], [2, 0, 1, 3, 4, 5], [1, 0, 2, 3, 4, 5], [1, 2, 3, 4, 5, 0], [1, 0, 2, 3, 4, 5]]


def test_hits_accuracies_and_the_matrix_are_counted(monkeypatch):
    result = measure_zero_shot(judging(monkeypatch, RANKED), Set([0, 0, 1, 0, 2]), model="m")
    assert (result.measurement, result.model, result.data) == ("zero-shot", "m", "noise")
    assert result.scores["top-1"].per_image == [1, 0, 1, 0, 0]
    assert result.scores["top-5"].per_image == [1, 1, 1, 0, 1]
    assert result.keys == ["n0", "n1", "n2", "n3", "n4"]
    first, second, third = result.figures["classes"][:3]
    assert first == {"class": "red circle", "images": 3, "right": 1, "accuracy": 1 / 3}
    assert second == {"class": "blue square", "images": 1, "right": 1, "accuracy": 1.0}
    assert third == {"class": "owl", "images": 1, "right": 0, "accuracy": 0.0}
    assert result.figures["classes"][3]["accuracy"] is None
    assert result.figures["confusion"] == [[1, 1, 1, 0, 0, 0], [0, 1] + [0] * 4, [0, 1] + [0] * 4] + [[0] * 6] * 3
    assert result.outputs[1] == {"true": 0, "best": [[2, 0.0], [0, -1.0], [1, -2.0], [3, -3.0], [4, -4.0]]}


def test_the_first_wrong_and_right_pictures_are_kept(monkeypatch):
    orders = [[0, 1, 2, 3, 4, 5]] * 30
    labels = [0, 1] * 15
    result = measure_zero_shot(judging(monkeypatch, orders), Set(labels, sizes=[(300, 600)]), ZeroShotConfig(batch_size=7))
    shown = result.figures["shown"]
    assert [shown[f"right-{i}.png"] for i in range(6)] == [0, 2, 4, 6, 8, 10]
    assert [shown[f"wrong-{i}.png"] for i in range(12)] == list(range(1, 25, 2))
    assert set(result.pictures) == set(shown)
    assert {picture.size for picture in result.pictures.values()} == {(224, 112)}


@pytest.mark.parametrize(
    ("classes", "top", "names"),
    [
        (NAMES, (1, 5), {"top-1", "top-5"}),
        (NAMES[:5], (1, 5), {"top-1"}),
        (NAMES[:2], (5,), {"top-1"}),
        (NAMES, (3, 2), {"top-1", "top-2", "top-3"}),
    ],
)
def test_a_place_that_takes_all_classes_is_left_out(classes, top, names):
    assert set(measure_zero_shot(speaker(), Set([0, 1], classes), ZeroShotConfig(top=top)).scores) == names


def test_images_are_from_all_over_the_set_and_those_that_cannot_be_used_skipped(caplog):
    data, done = Set([0, 1, 0, 1, 1, None, 0, 1]), []
    with caplog.at_level(logging.WARNING):
        result = measure_zero_shot(speaker(), data, ZeroShotConfig(batch_size=2), limit=4, advance=done.append)
    assert data.asked == spread(8, 4) == [1, 3, 5, 6]
    assert result.keys == ["n1", "n3", "n6"]
    assert done == [2, 2]
    assert "skipped number 5 is damaged" in caplog.text
    assert result.settings["images"] == 4


def test_batches_do_not_change_a_choice():
    data = Set([0, 1, 2, 3, 4], sizes=[(24, 16), (8, 8), (8, 24)])
    whole, single = (
        measure_zero_shot(speaker(), data, ZeroShotConfig(batch_size=batch, without_picture=True)) for batch in (64, 1)
    )
    assert whole.outputs == single.outputs


def test_a_batch_of_which_nothing_can_be_used_is_skipped_with_and_without_a_grey_picture():
    for without_picture in (False, True):
        result = measure_zero_shot(
            speaker(), Set([None, None, 1]), ZeroShotConfig(batch_size=2, without_picture=without_picture)
        )
        assert result.keys == ["n2"]


def test_other_names_or_captions_are_another_measurement():
    data, other = Set([0, 1]), Set([0, 1], (*NAMES[:5], "y"))
    plain = measure_zero_shot(speaker(), data)
    assert plain.settings["templates"] == ["a photo of {a}"]
    assert plain.identity == measure_zero_shot(speaker(), data, ZeroShotConfig(templates=["plain"])).identity
    options: list[dict[str, Any]] = [{"templates": ["{}"]}, {"normalise": "sum"}, {"without_picture": True}]
    changed = [measure_zero_shot(speaker(), data, ZeroShotConfig(**some)) for some in options]
    changed += [measure_zero_shot(speaker(), other), measure_zero_shot(speaker(prompt="a number"), data)]
    assert len({plain.identity, *(one.identity for one in changed)}) == 6


def test_a_bfloat16_model_measures_as_well():
    judge = speaker()
    judge.model.bfloat16()
    result = measure_zero_shot(judge, Set([0, 1, 2]), ZeroShotConfig(without_picture=True))
    assert all(np.isfinite(score) for output in result.outputs for _, score in output["best"])
    assert len(result.outputs) == 3


@pytest.mark.parametrize(
    ("data", "options", "message"),
    [
        (Set([]), {}, "noise holds no images: need at least 1"),
        (Set([None, None]), {}, "noise: none of its images can be used; the log names them"),
        (Set([0], ("cat",)), {}, r"1 classes \(cat\): choosing needs at least 2; name all classes"),
        (Set([0], ("cat", " ")), {}, "class 1, ' ', has no tokens: give it a name in words"),
        (
            Set([0], ("crane", "cat", "crane")),
            {},
            r"classes 0, 'crane', and 2, 'crane', have the same caption \('a photo of a crane', at most 512 tokens",
        ),
        (Set([0], ("cat", "cat ")), {"templates": ["the {}"]}, "classes 0, 'cat', and 1, 'cat ', have the same caption"),
        (Set([0]), {"templates": ["a photo"]}, "the template 'a photo' has no place for the name of a class"),
        (Set([0]), {"templates": []}, r"templates \[\]: need a list"),
        (Set([0]), {"normalise": "median"}, "normalise 'median'.*need 'mean' or 'sum'"),
        (Set([0]), {"top": (0,)}, r"top \(0,\): need 'mean' or 'sum', and numbers from 1"),
        (Set([0]), {"limit": 0}, "0 images of noise, 64 at a time: both must be at least 1"),
    ],
)
def test_what_cannot_be_measured_is_refused(data, options, message):
    limit = options.pop("limit", None)
    with pytest.raises(ValueError, match=message):
        measure_zero_shot(speaker(), data, ZeroShotConfig(**options), limit=limit)


def test_names_that_the_token_limit_cuts_to_the_same_are_refused():
    with pytest.raises(ValueError, match=r"have the same caption .* at most 2 tokens of it"):
        measure_zero_shot(speaker(max_tokens=2), Set([0]))


def test_the_page_is_made_of_the_stored_result(monkeypatch, tmp_path):
    classes = (EVIL, *NAMES[1:])
    result = measure_zero_shot(
        judging(monkeypatch, RANKED), Set([0, 0, 1, 0, 2], classes), ZeroShotConfig(templates=["{a}", f"{{}} {EVIL}"])
    )
    stored = read_result(write_result(result, tmp_path))
    found = Checker(page("zero-shot", [section(stored)]))
    assert section(stored).body == section(result).body
    assert "script" not in found.tags
    assert "choose among 6 classes for each of 5 images" in found.text
    assert "By guessing, 16.7% would be right" in found.text
    assert "40.0%top-1" in found.text
    assert "80.0%top-5" in found.text
    assert "said owl, true is <script" in found.text
    assert "1.000 nats before <script" in found.text
    assert found.text.count("The first images that were told") == 2
    assert found.tags.count("img") == 5


def test_the_page_says_how_scores_were_made(monkeypatch):
    plain = section(measure_zero_shot(speaker(), Set([0, 1]))).body
    assert "the mean log-probability of a token, the end of the caption included." in plain
    other = section(measure_zero_shot(speaker(), Set([0, 1]), ZeroShotConfig(normalise="sum", without_picture=True))).body
    assert "the log-probability of all tokens" in other
    assert "minus what the same caption scores with a grey picture" in other


def test_of_many_classes_the_page_lists_the_best_and_worst_and_the_usual_mistakes(monkeypatch):
    classes = tuple(f"thing {i}" for i in range(60))
    right, wrong = list(range(60)), [7, *range(7), *range(8, 60)]
    labels = [0, 3, 3, 3, *range(20, 50)]
    orders = [right, wrong, wrong, right, *([i, *(j for j in range(60) if j != i)] for i in range(20, 50))]
    result = measure_zero_shot(judging(monkeypatch, orders), Set(labels, classes))
    assert result.figures["confusion"] is None
    text = Checker(section(result).body).text
    assert "best and worst of 32 classes" in text
    assert "thing 3thing 72 of 3" in text  # true, said, how often
    assert "thing 3thing 01 of 3" in text
    assert "thing 59" not in text


def test_nothing_wrong_means_no_list_of_mistakes(monkeypatch):
    classes = tuple(f"thing {i}" for i in range(20))
    result = measure_zero_shot(judging(monkeypatch, [list(range(20))]), Set([0], classes))
    text = Checker(section(result).body).text
    assert "most often taken for" not in text
    assert "told wrong" not in text
    assert "told right" in text
