"""What all towers share: batches of several grids keep their order, and images that cannot be used are named."""

import numpy as np
import pytest
import torch
from PIL import Image

from genlip.data.images import ImageError
from genlip.encoders import TimmEncoder, TransformersEncoder
from genlip.encoders.tower import name_with_choices

from .towers import IMAGES, random_timm, random_tower


@pytest.fixture(scope="module", params=["fixed", "native"])
def encoder(request):
    if request.param == "fixed":
        return TimmEncoder(random_timm(img_size=64), "fixed")
    return TransformersEncoder(*random_tower("siglip2"), "native")


@pytest.mark.parametrize("batch", [1, 2, 4, 99])
def test_batches_change_neither_features_nor_order(encoder, batch):
    alone = [encoder.encode([image])[0] for image in IMAGES]
    for one, other in zip(alone, encoder.encode(IMAGES, batch), strict=True):
        assert one.grid == other.grid
        torch.testing.assert_close(one.patches, other.patches, rtol=1e-5, atol=1e-5)
    assert encoder.encode([]) == []


def test_prepared_images_files_and_modes_of_colour_are_taken(encoder, tmp_path):
    IMAGES[0].save(tmp_path / "a.png")
    first, *others = encoder.encode([IMAGES[0], encoder.prepare(IMAGES[0]), tmp_path / "a.png"])
    for one in others:
        torch.testing.assert_close(one.patches, first.patches)
    grey = encoder.encode([IMAGES[0].convert("L")])[0]
    torch.testing.assert_close(grey.patches, encoder.encode([IMAGES[0].convert("L").convert("RGB")])[0].patches)


def test_images_that_cannot_be_used_are_named(encoder, monkeypatch):
    with pytest.raises(ImageError, match="not an image"):
        encoder.prepare(b"none")
    with pytest.raises(ImageError, match="an image of 1x201 pixels: one side is more than 200 times the other"):
        encoder.prepare(Image.new("RGB", (1, 201)))
    monkeypatch.setattr(encoder, "max_pixels", 100)
    with pytest.raises(ImageError, match="100"):
        encoder.prepare(IMAGES[0])


def test_mistakes_are_named(encoder):
    with pytest.raises(TypeError, match="images is a single Image: give a list"):
        encoder.encode(IMAGES[0])
    with pytest.raises(ValueError, match="batch_size is 0"):
        encoder.encode(IMAGES, 0)
    with pytest.raises(ValueError, match="layer 2 of a model with 2 layers"):
        encoder.encode_layers(IMAGES, [2])
    with pytest.raises(ValueError, match="size None and max_patches None: give one of both"):
        encoder.resized()


def test_the_mode_of_the_model_returns(encoder):
    encoder.model.train()
    encoder.encode(IMAGES[:1])
    assert encoder.model.training
    encoder.model.eval()


def test_features_keep_no_graph_and_are_of_the_models_type(encoder):
    (one,) = encoder.encode(IMAGES[:1])
    assert not one.patches.requires_grad
    assert (one.patches.dtype, one.patches.shape) == (torch.float32, (int(np.prod(one.grid)), 32))


def test_choices_of_the_preprocessing_are_in_the_name():
    assert name_with_choices("timm:vit", False) == "timm:vit"
    assert name_with_choices("timm:vit", True) == "timm:vit+squash"
    assert name_with_choices("vit", True, {"std": (0.5, 1), "mean": [0.1]}) == "vit+squash+mean=0.1+std=0.5,1"
