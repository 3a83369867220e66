"""`genlip.evaluate.readout.patch_tokens`: the speaker's own readout, with ids, and objects among the patches."""

import numpy as np
import pytest
import torch

from genlip.data.images import ImageConfig
from genlip.evaluate.image_batches import read_image
from genlip.evaluate.readout.patch_tokens import read_patch_tokens

from ..speaking import named, small_speaker

ITEM = named("one", [(("red", "circle"), (0, 0, 16, 9)), (("47",), (30, 30, 32, 32))])


def seen(speaker, item, image=None):
    """An item as it is looked at, with another image."""
    return read_image(item if image is None else item._replace(image=image), speaker)


def test_texts_chances_and_ids_are_those_of_the_readout_in_order():
    speaker = small_speaker(ImageConfig(resize="native", min_patches=4, max_patches=64))
    images = [ITEM.image, ITEM.image.resize((40, 24)), ITEM.image.rotate(90)]
    reads = read_patch_tokens(
        speaker, [seen(speaker, ITEM), *(seen(speaker, named("n", []), image) for image in images[1:])], 3
    )
    alone = [speaker.readout([image], 3)[0] for image in images]
    assert [read.said.grid for read in reads] == [said.grid for said in alone] == [(4, 4), (3, 5), (4, 4)]
    for read, said in zip(reads, alone, strict=True):
        assert read.said.words == [
            [(text, pytest.approx(chance, abs=2e-4)) for text, chance in patch] for patch in said.words
        ]
        assert [[speaker.captions.piece(i) for i in row] for row in read.patch_tokens.ids.tolist()] == [
            [text for text, _ in patch] for patch in said.words
        ]


def test_objects_lie_on_the_grid_of_the_image():
    speaker = small_speaker()
    (read,) = read_patch_tokens(speaker, [seen(speaker, ITEM)], 2)
    shape, number = read.patch_tokens.places
    assert (read.key, shape.words, number.words) == ("one", ("red", "circle"), ("47",))
    assert np.flatnonzero(shape.own).tolist() == [0, 4]
    assert np.flatnonzero(shape.touched).tolist() == [0, 1, 4, 5]
    assert np.flatnonzero(number.own).tolist() == np.flatnonzero(number.touched).tolist() == [15]


def test_a_mask_of_another_size_is_refused():
    speaker = small_speaker()
    with pytest.raises(ValueError, match=r"one: the mask of 'red circle' is 32x32 pixels, its image 16x32: give masks"):
        read_patch_tokens(speaker, [seen(speaker, ITEM, ITEM.image.resize((16, 32)))], 2)


def test_nothing_is_asked_of_nothing_and_bfloat16_works():
    assert read_patch_tokens(small_speaker(), [], 2) == []
    speaker = small_speaker(dtype=torch.bfloat16)
    (read,) = read_patch_tokens(speaker, [seen(speaker, ITEM)], 2)
    assert read.patch_tokens.ids.shape == (16, 2)
