"""Dialogues -> samples: counts of visual tokens, tiles, pixel shuffle, and what cannot be used."""

import pickle

import numpy as np
import pytest
import torch
from PIL import Image

from genlip.data.dialogues import Dialogue, Message
from genlip.data.examples import Unusable
from genlip.data.images import ImageConfig
from genlip.data.order import Draw
from genlip.data.samples import Skipped
from genlip.mllm.chat import Chat
from genlip.mllm.reader import DialogueReader
from genlip.mllm.run import ChatConfig, MLLMConfig
from genlip.mllm.tiles import tile_layout
from genlip.mllm.vision import VisionTower
from genlip.speaker import Speaker

from ..model.helpers import small_model
from .helpers import tokenizer


class Source(list):
    name = "told"


def picture(width, height):
    return Image.fromarray(np.random.default_rng(width).integers(0, 255, (height, width, 3), np.uint8))


def dialogue(*images, question="what is it", answer="a red circle", key="k"):
    marks = "".join("<image>\n" for _ in images)
    return Dialogue(key, images, (Message("user", marks + question), Message("assistant", answer)))


def reader(dialogues=(), images=None, model=None, **changes):
    speaker = Speaker(small_model(patch_size=4, num_channels=3), images or ImageConfig(size=16))
    return DialogueReader(
        Source(dialogues), VisionTower(speaker), Chat(tokenizer(), ChatConfig(), "<image>"), model or MLLMConfig(), **changes
    )


def test_each_patch_has_a_placeholder():
    sample = reader().sample(dialogue(picture(30, 20)))
    assert sample.is_visual.sum() == len(sample.visual) == 16
    assert sample.visual.tolist() == list(range(16))
    assert (sample.token_ids[sample.is_visual] == tokenizer().convert_tokens_to_ids("<image>")).all()
    said = tokenizer().decode(sample.token_ids[sample.supervised])
    assert said == "a red circle<|im_end|>"


def test_native_images_have_as_many_as_their_grids():
    own = reader(images=ImageConfig(resize="native", min_patches=1, max_patches=100))
    sample = own.sample(dialogue(picture(20, 8), picture(12, 12)))
    assert [image.grid for image in sample.images] == [(2, 5), (3, 3)]
    assert sample.visual.tolist() == list(range(19))


def test_pixel_shuffle_gives_a_quarter():
    own = reader(images=ImageConfig(resize="native", min_patches=1, max_patches=100), model=MLLMConfig(pixel_shuffle=2))
    sample = own.sample(dialogue(picture(20, 8), picture(12, 12)))
    assert len(sample.visual) == 1 * 3 + 2 * 2


def test_tiles_follow_the_whole_image():
    own = reader(model=MLLMConfig(tiles=((1, 2), (2, 1), (2, 2))))
    sample = own.sample(dialogue(picture(30, 15), picture(40, 40)))
    assert len(sample.images) == (1 + 2) + (1 + 4)
    first = tile_layout(15, 30, 16, 4, own.model_config.tiles)
    second = tile_layout(40, 40, 16, 4, own.model_config.tiles)
    moved = np.where(second < 0, second, second + 3 * 16)
    assert np.array_equal(sample.visual, np.concatenate([first, moved]))
    pack = own.pack([sample, sample])
    assert int(pack.visual.max()) == 2 * 8 * 16
    base = np.asarray(picture(30, 15).resize((16, 16), Image.Resampling.BICUBIC), np.int16)
    found = sample.images[0].patches.reshape(4, 4, 3, 4, 4).transpose(0, 3, 1, 4, 2).reshape(16, 16, 3)
    assert np.abs(base - found).max() <= 2


def test_text_alone_needs_no_image():
    sample = reader().sample(dialogue())
    assert sample.images == ()
    assert not sample.is_visual.any()
    assert reader().pack([sample]).num_images == 0


def test_a_prompt_ends_where_the_answer_begins():
    own, whole = reader(), dialogue(picture(8, 8))
    asked = Dialogue("k", whole.images, whole.messages[:1])
    prompt, sample = own.prompt(asked), own.sample(whole)
    assert np.array_equal(prompt.token_ids, sample.token_ids[: len(prompt.token_ids)])
    assert sample.supervised[len(prompt.token_ids)]
    assert not sample.supervised[: len(prompt.token_ids)].any()


def test_what_cannot_be_used_is_named():
    damaged = dialogue(b"no image", key="broken")
    two = dialogue(picture(8, 8), b"no image", key="second")
    long = dialogue(picture(8, 8), answer="a " * 200, key="long")
    own = reader([dialogue(picture(8, 8)), damaged, two, long], max_tokens=60)
    found = own.read([Draw(0, number) for number in range(4)])
    assert found[0].key == "k"
    assert [type(one) for one in found[1:]] == [Skipped] * 3
    assert found[1].message.startswith("broken: ")
    assert found[2].message.startswith("second image 2: ")
    assert found[3].reason == "too large for a pack"
    assert "packing.max_tokens" in found[3].message
    samples, skipped = own.some(10)
    assert (len(samples), len(skipped)) == (1, 3)


def test_a_source_that_fails_names_the_dialogue_itself():
    class Failing(Source):
        def __getitem__(self, index):
            raise Unusable("damaged", "told.json, row 1: a bad row")

    own = reader()
    (skip,) = DialogueReader(Failing([1]), own.tower, own.chat, own.model_config).read([Draw(0, 0)])
    assert skip == Skipped("told[0]", "damaged", "told.json, row 1: a bad row", "told")


def test_it_works_after_pickling_without_weights():
    with torch.device("meta"):
        own = reader([dialogue(picture(8, 8))])
    again = pickle.loads(pickle.dumps(own))
    (found,) = again.read([Draw(0, 0)])
    assert np.array_equal(found.sample.token_ids, reader().sample(dialogue(picture(8, 8))).token_ids)
    assert again.limited(7).max_tokens == 7


@pytest.mark.parametrize("size", [(3, 200), (200, 3)])
def test_elongated_images_are_read(size):
    sample = reader(images=ImageConfig(resize="native", min_patches=1, max_patches=16)).sample(dialogue(picture(*size)))
    assert 1 <= len(sample.visual) <= 16
