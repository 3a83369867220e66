"""`genlip.speaker`: features, captions and readouts are the model's own, whatever the batches; mistakes are named."""

import dataclasses

import numpy as np
import pytest
import torch
from PIL import Image

import genlip
from genlip.data.captions import Captions
from genlip.data.images import ImageConfig, ImageError
from genlip.data.packing import pack_images
from genlip.model.generation import generate, patch_readout
from genlip.model.genlip import GenLIP
from genlip.speaker import Speaker

from .data.helpers import noise, small_tokenizer
from .evaluate.speaking import small_speaker
from .export.helpers import model_folder

NATIVE = ImageConfig(resize="native", min_patches=4, max_patches=64)
IMAGES = [Image.fromarray(noise(*size, seed=seed)) for seed, size in enumerate([(32, 32), (24, 40), (40, 24), (9, 70)])]


@pytest.fixture
def speaker() -> Speaker:
    return small_speaker(NATIVE)


def test_features_are_those_of_the_model_alone(speaker):
    for image, features in zip(IMAGES, speaker.encode(IMAGES), strict=True):
        pack = pack_images([image], NATIVE, speaker.model.config)
        assert features.grid == pack.grids[0]
        torch.testing.assert_close(features.patches, speaker.model.encode(pack))


@pytest.mark.parametrize("batch", [1, 2, 3, 16])
def test_batches_change_nothing(speaker, batch):
    whole, parts = speaker.encode(IMAGES), speaker.encode(IMAGES, batch)
    for one, other in zip(whole, parts, strict=True):
        torch.testing.assert_close(one.patches, other.patches)
    assert speaker.caption(IMAGES, batch, max_tokens=6) == speaker.caption(IMAGES, max_tokens=6)
    assert [said.grid for said in speaker.readout(IMAGES, 2, batch)] == [one.grid for one in whole]


def test_prepared_images_and_files_give_the_same(speaker, tmp_path):
    IMAGES[1].save(tmp_path / "a.png")
    some = [IMAGES[1], speaker.prepare(IMAGES[1]), tmp_path / "a.png", (tmp_path / "a.png").read_bytes()]
    first, *others = speaker.encode(some)
    for one in others:
        torch.testing.assert_close(first.patches, one.patches)


def test_layers_are_the_blocks_outputs_and_the_last_norm_leads_to_the_features(speaker):
    pack = pack_images(IMAGES[:2], NATIVE, speaker.model.config)
    outputs = []
    for block in speaker.model.blocks:
        block.register_forward_hook(lambda _, __, state: outputs.append(state.detach()))
    speaker.model.encode(pack)
    expected = [state.split(list(pack.patch_counts)) for state in outputs[:2]]
    found = speaker.encode_layers(IMAGES[:2], [1, 0, -1])
    for image, (second, first, last) in enumerate(found):
        torch.testing.assert_close(first.patches, expected[0][image])
        torch.testing.assert_close(second.patches, expected[1][image])
        assert torch.equal(second.patches, last.patches)
        torch.testing.assert_close(speaker.last_norm(last.patches), speaker.encode(IMAGES[:2])[image].patches)
    with pytest.raises(ValueError, match="layer 2 of a model with 2 layers"):
        speaker.encode_layers(IMAGES, [2])


def test_features_are_those_of_evaluation_mode_and_the_mode_stays(speaker):
    model = GenLIP(dataclasses.replace(speaker.model.config, drop_path_rate=0.9))
    model.load_state_dict(speaker.model.state_dict())
    dropping = Speaker(model.train(), NATIVE)
    for one, other in zip(speaker.encode(IMAGES), dropping.encode(IMAGES), strict=True):
        torch.testing.assert_close(one.patches, other.patches)
    assert model.training


def test_captions_are_those_that_the_model_generates(speaker):
    settings = speaker.decoding(max_tokens=7, repetition_stop=0)
    pack = pack_images(IMAGES, NATIVE, speaker.model.config, speaker.captions.prompt_ids)
    expected = [speaker.captions.decode(ids) for ids in generate(speaker.model, pack, settings)]
    assert speaker.caption(IMAGES, max_tokens=7, repetition_stop=0) == expected
    assert "".join(speaker.stream(IMAGES[0], max_tokens=7, repetition_stop=0)).strip() == expected[0].strip()


def test_captions_stop_at_repetitions_unless_told_otherwise(speaker, monkeypatch):
    asked = []
    monkeypatch.setattr("genlip.speaker.generate", lambda model, pack, settings: asked.append(settings) or [[]])
    speaker.caption(IMAGES[:1])
    speaker.caption(IMAGES[:1], repetition_stop=0)
    assert [settings.repetition_stop for settings in asked] == [8, 0]
    assert speaker.decoding().repetition_stop == 0


def test_readouts_are_the_likeliest_tokens_of_each_patch(speaker):
    pack = pack_images(IMAGES[:1], NATIVE, speaker.model.config)
    chances, tokens = patch_readout(speaker.model, pack, 3)
    (said,) = speaker.readout(IMAGES[:1], 3)
    assert said.words == [
        [(speaker.captions.piece(i), round(chance, 4)) for i, chance in zip(*row, strict=True)]
        for row in zip(tokens.tolist(), chances.tolist(), strict=True)
    ]


def test_another_size_is_another_speaker_of_the_same_model(speaker):
    fixed, native = speaker.resized(size=16), speaker.resized(max_patches=2)
    assert fixed.model is native.model is speaker.model
    assert fixed.image_settings() == {"resize": "fixed", "size": 16}
    assert native.image_settings() == {"resize": "native", "patches": [2, 2]}
    assert speaker.images == NATIVE
    with pytest.raises(ValueError, match="size 16 and max_patches 4: give one of both"):
        speaker.resized(size=16, max_patches=4)


def test_the_fingerprint_follows_the_encoder_and_its_images_alone(speaker):
    one = speaker.fingerprint()
    assert one == small_speaker(NATIVE).fingerprint() != speaker.resized(size=16).fingerprint()
    with torch.no_grad():
        speaker.model.lm_head.weight[0] += 1
    assert speaker.fingerprint() == one
    with torch.no_grad():
        speaker.model.ln_post.weight[0] += 1
    assert speaker.fingerprint().weights != one.weights


def test_a_folder_gives_the_model_with_its_preprocessing(tmp_path):
    speaker = Speaker.load(model_folder(tmp_path / "model"), size=16)
    assert speaker.images.size == 16
    assert speaker.name == str(tmp_path / "model")
    assert (speaker.width, speaker.heads, speaker.layers, speaker.patch_size) == (
        speaker.model.config.hidden_size,
        speaker.model.config.num_attention_heads,
        speaker.model.config.num_hidden_layers,
        speaker.model.config.patch_size,
    )
    assert (speaker.dtype, speaker.device.type) == (torch.float32, "cpu")
    assert repr(speaker).startswith(f"Speaker({tmp_path / 'model'}, ")
    assert "\n" not in repr(speaker)


def test_mistakes_are_named(speaker):
    with pytest.raises(TypeError, match=r"images is a single Image: give a list"):
        speaker.encode(IMAGES[0])
    with pytest.raises(ValueError, match="batch_size is 0"):
        speaker.encode(IMAGES, 0)
    with pytest.raises(ImageError, match="not an image"):
        speaker.encode([b"none"])
    mute = Speaker(speaker.model, NATIVE)
    assert not mute.speaks
    with pytest.raises(ValueError, match=r"without a tokenizer\.json"):
        mute.caption(IMAGES)
    assert len(mute.encode(IMAGES)) == len(IMAGES)
    assert Speaker(speaker.model, NATIVE, Captions(small_tokenizer())).speaks
    assert genlip.Speaker is Speaker
    assert np.prod(speaker.prepare(IMAGES[3]).grid) <= 64
