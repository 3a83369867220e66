"""Perplexity of a model on dialogues, by condition, and the page about it."""

import copy
import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from PIL import Image

from genlip.data.dialogues import Dialogue, Message
from genlip.data.examples import Unusable
from genlip.data.images import ImageConfig
from genlip.evaluate.aggregators import perplexity
from genlip.evaluate.perplexity.measure import condition_losses, perplexity_result, usable_dialogues
from genlip.evaluate.perplexity.page import section
from genlip.evaluate.perplexity.schema import SCHEMA
from genlip.evaluate.perplexity.table import perplexity_table
from genlip.evaluate.schema import check_stored
from genlip.mllm.chat import Chat
from genlip.mllm.reader import DialogueReader
from genlip.mllm.run import ChatConfig, MLLMConfig

from ...mllm.helpers import tokenizer
from ...mllm.test_model import built


class Source(list):
    name = "told"


def dialogue(number, images=1):
    random = np.random.default_rng(number)
    pictures = tuple(Image.fromarray(random.integers(0, 255, (16, 16), np.uint8)).convert("L") for _ in range(images))
    marks = "<image>\n" * images
    return Dialogue(f"d{number}", pictures, (Message("user", f"{marks}what is it"), Message("assistant", "a red circle")))


@pytest.fixture
def parts(tmp_path):
    model, _ = built(tmp_path)
    model = model.float().eval()
    tower = model.tower
    source = Source([dialogue(0), dialogue(1, images=0), dialogue(2), dialogue(3)])
    return model, DialogueReader(source, tower, Chat(tokenizer(), ChatConfig(), "<image>"), MLLMConfig())


def test_only_dialogues_with_images_are_measured(parts):
    _, reader = parts
    assert [one.key for one in usable_dialogues(reader.source, reader, 10)] == ["d0", "d2", "d3"]
    assert [one.key for one in usable_dialogues(reader.source, reader, 2)] == ["d0", "d2"]
    with pytest.raises(ValueError, match="told: 1 usable dialogues with images: need at least 2"):
        usable_dialogues(reader.source, reader, 1)


def test_conditions_differ_in_the_images_alone(parts):
    model, reader = parts
    dialogues = usable_dialogues(reader.source, reader, 10)
    done = []
    found = condition_losses(model, reader, dialogues, advance=done.append)
    assert list(found) == ["own", "other", "none"]
    assert sum(done) == 9
    assert (found["own"][:, 1] == found["other"][:, 1]).all()
    assert (found["own"][:, 1] == found["none"][:, 1]).all()
    assert not np.allclose(found["own"][:, 0], found["other"][:, 0])
    for number, one in enumerate(dialogues):
        pack = reader.pack([reader.sample(one)])
        assert found["own"][number, 0] == pytest.approx(model(pack).item(), rel=1e-4)


def test_the_same_tokens_have_a_loss_in_plain_form_too(parts):
    """Without an image nothing precedes a plain caption, and its first token is read after an end of text."""
    model, reader = parts
    reader = replace(reader, chat=Chat(tokenizer(), ChatConfig(template="plain"), "<image>"))
    dialogues = usable_dialogues(reader.source, reader, 10)
    found = condition_losses(model, reader, dialogues)
    assert (found["own"][:, 1] == found["none"][:, 1]).all()
    ids = [reader.chat.end_ids[-1], *tokenizer()("a red circle\n").input_ids]
    logits = model.language(torch.tensor([ids]), use_cache=False).logits[0].double()
    losses = torch.nn.functional.cross_entropy(logits[:-1], torch.tensor(ids[1:]), reduction="sum")
    assert found["none"][:, 0] == pytest.approx([losses.item()] * 3, rel=1e-4)


def test_other_images_may_need_more_room_than_a_dialogue_has(parts):
    model, reader = parts
    few, many = dialogue(0), replace(dialogue(2), images=(Image.new("L", (64, 64)),))
    native = copy.copy(reader.tower)
    native.encoder = copy.copy(reader.tower.encoder)
    native.encoder.images = ImageConfig(resize="native", min_patches=1, max_patches=256)
    long = replace(few, messages=(few.messages[0], Message("assistant", "a red circle " * 9)))
    reader = replace(reader, tower=native)
    room = max(reader.sample(one).num_rows for one in (long, many))
    reader = replace(reader, max_tokens=room)
    with pytest.raises(Unusable, match=r"raise packing\.max_tokens"):
        reader.sample(replace(long, images=many.images))
    found = condition_losses(model, reader, [long, many])
    assert (found["own"][:, 1] == found["other"][:, 1]).all()


def test_perplexity_is_the_exponential_of_the_mean():
    assert perplexity(np.array([6.0, 3.0])) == pytest.approx(math.e**2)
    assert math.isnan(perplexity(np.array([0.0, 0.0])))


def result(**figures):
    losses = {"own": np.array([[1.0, 2.0], [3.0, 2.0]]), "other": np.array([[4.0, 2.0], [3.0, 2.0]])}
    return perplexity_result(
        "E", "scenes:2", ["a", "b"], {"PPL1": losses, "PPL2": {"own": losses["own"]}},
        settings={"language_model": "LM", "train": "scenes:0", "steps": 7, "learning_rates": [0.001], "seed": 0},
        figures=figures, about={},
    )  # fmt: skip


def test_scores_are_named_by_stage_and_condition():
    found = result()
    assert list(found.scores) == ["PPL1", "PPL1, another image", "PPL2"]
    assert found.scores["PPL1"].score == pytest.approx(math.e)
    assert "PPL1, another image" in perplexity_table([found]).splitlines()[0]


def test_the_page_shows_values_conditions_and_curves():
    curves = [{"stage": "PPL1", "learning_rate": 0.001, "steps": [1, 2], "loss": [2.0, None]}]
    body = section(result(curves=curves, chosen={"PPL1": 0.001})).body
    for part in ("2.718", "right image", "another image", "not measured", "0.001", "LM", "<svg"):
        assert part in body, part


def test_a_stored_result_is_checked():
    curve = {"stage": "PPL1", "learning_rate": 1.0, "steps": [1], "loss": [2.0]}
    stored = {
        "measurement": "perplexity", "model": "E", "data": "scenes:2", "keys": [], "scores": {},
        "settings": {"steps": 7}, "figures": {"curves": [curve]},
    }  # fmt: skip
    check_stored(stored, SCHEMA)
    curve["steps"] = "1"
    with pytest.raises(ValueError, match="steps"):
        check_stored(stored, SCHEMA)
