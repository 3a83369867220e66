"""Losses of answers with right, other and no images."""

from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest

from genlip.data.dialogues import Dialogue, Message
from genlip.evaluate.perplexity.answer_losses import answer_losses, exchange_images, with_other_images, without_images
from genlip.mllm.batch import MLLMPack

from ...mllm.test_model import built, samples


def reader(model):
    return SimpleNamespace(pack=lambda some: MLLMPack.of(some, model.tower.collate, model.tower.empty_image()))


@pytest.mark.parametrize("max_tokens", [1, 20, 1000])
def test_each_sample_has_the_loss_that_it_has_alone(tmp_path, max_tokens):
    model, _ = built(tmp_path)
    model = model.float().eval()
    some = samples(model)
    done = []
    found = answer_losses(model, some, reader(model), max_tokens, done.append)
    for sample, (loss, tokens) in zip(some, found, strict=True):
        pack = reader(model).pack([sample])
        assert loss == pytest.approx(float(model(pack)), rel=1e-4)
        assert tokens == len(pack.targets)
    assert sum(done) == len(some)


def test_other_images_come_from_samples_of_as_many_visual_tokens(tmp_path):
    model, _ = built(tmp_path)
    one, two, text, four = samples(model)
    same = [replace(two, token_ids=two.token_ids + number) for number in range(3)]
    for number, sample in enumerate(same):
        image = sample.images[0]
        same[number] = replace(sample, images=(image._replace(patches=image.patches + np.uint8(number)),))
    places, dealt = with_other_images([one, same[0], text, same[1], four, same[2]])
    assert places == [1, 3, 5]
    for place, sample, own in zip(places, dealt, same, strict=True):
        assert place in places
        assert np.array_equal(sample.token_ids, own.token_ids)
        assert not np.array_equal(sample.images[0].patches, own.images[0].patches)
    given = sorted(int(sample.images[0].patches.sum()) for sample in dealt)
    assert given == sorted(int(sample.images[0].patches.sum()) for sample in same)


def test_two_dialogues_about_one_image_do_not_exchange_it(tmp_path):
    model, _ = built(tmp_path)
    one, *_ = samples(model)
    image = one.images[0]
    other = replace(one, images=(image._replace(patches=image.patches + np.uint8(1)),))
    for seed in range(8):
        places, dealt = with_other_images([one, other, one, one], seed)
        assert places == [0, 1, 2, 3]
        shown = [int(sample.images[0].patches.sum()) for sample in dealt]
        right, wrong = (int(sample.images[0].patches.sum()) for sample in (one, other))
        assert shown == [wrong, right, wrong, wrong]
    assert with_other_images([one, one]) == ([], [])


def dialogue(key, *images):
    marks = "<image>" * len(images)
    return Dialogue(key, images, (Message("user", f"{marks}\nwhat?"), Message("assistant", key)))


def test_images_of_dialogues_are_exchanged():
    given = [dialogue(str(number), f"{number}.png") for number in range(7)]
    given += [dialogue("x", "1", "2"), dialogue("y", "3", "4"), dialogue("text")]
    found = exchange_images(given)
    assert [one.key for one in found] == [one.key for one in given]
    assert [one.messages for one in found] == [one.messages for one in given]
    assert all(here.images != there.images for here, there in zip(found[:9], given, strict=False))
    assert sorted(one.images for one in found) == sorted(one.images for one in given)
    assert found[9].images == ()
    assert exchange_images(given) == found


def test_dialogues_about_one_image_are_not_exchanged_with_each_other():
    given = [dialogue(str(number), f"{number // 4}.png") for number in range(40)]
    assert all(here.images != there.images for here, there in zip(exchange_images(given), given, strict=True))
    with pytest.raises(ValueError, match="0: no other dialogue has 1 images"):
        exchange_images(given[:4])


def test_a_dialogue_without_a_partner_is_named():
    with pytest.raises(ValueError, match="b: no other dialogue has 2 images"):
        exchange_images([dialogue("a", "1"), dialogue("b", "1", "2"), dialogue("c", "3")])


def test_without_images_the_messages_stay():
    assert without_images(dialogue("a", "1.png")) == Dialogue("a", (), (Message("user", "what?"), Message("assistant", "a")))
