"""Transformers: the same numbers as genlip, whatever the padding, attention or generation, and folders that both read."""

import dataclasses
import json
import os
import subprocess
import sys

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file

import genlip
from genlip.data.images import ImageConfig, image_patches
from genlip.data.packing import pack_images
from genlip.model.config import GenLIPConfig as PlainConfig
from genlip.model.pack import Pack, Sample

from ..model.helpers import RECORDED, VARIANTS, small_model
from .helpers import TOLERANCE, model_folder, pictures, published_folder, stray

transformers = pytest.importorskip("transformers")
ours = pytest.importorskip("genlip.export.transformers")

from transformers import (  # noqa: E402
    AutoConfig,
    AutoImageProcessor,
    AutoModel,
    AutoModelForImageTextToText,
    AutoProcessor,
    AutoTokenizer,
    LlamaConfig,
    LlavaConfig,
    LlavaForConditionalGeneration,
    LlavaProcessor,
)

from genlip.model.positions import rotary_tables as plain_tables  # noqa: E402
from genlip.model.positions import rotate as plain_rotate  # noqa: E402
from genlip.remote_code.modeling_genlip import _mean, rotary_tables, rotate  # noqa: E402

GREEDY = {"do_sample": False, "max_new_tokens": 8}


@pytest.fixture(scope="module")
def native(tmp_path_factory):
    """(genlip's folder, the folder for Transformers) of a model for native images."""
    folder = tmp_path_factory.mktemp("native")
    return model_folder(folder / "model"), ours.export_transformers(folder / "model", folder / "hf")


@pytest.fixture(scope="module")
def fixed(tmp_path_factory):
    """The same for images of one size."""
    folder = tmp_path_factory.mktemp("fixed")
    return model_folder(folder / "model", resize="fixed"), ours.export_transformers(folder / "model", folder / "hf")


@pytest.fixture(scope="module")
def speaking(native):
    """The model for native images, its processor, and inputs of four images."""
    model = AutoModelForImageTextToText.from_pretrained(native[1])
    processor = AutoProcessor.from_pretrained(native[1])
    return model, processor, processor(images=pictures())


def said(generated, inputs):
    """The new tokens of each sequence, up to the end token."""
    new = generated[:, inputs["input_ids"].shape[1] :].tolist()
    return [row[: row.index(0)] if 0 in row else row for row in new]


def cache_of(out):
    """Of an output: Transformers 5.24 has another name for it."""
    return (
        out["cache"] if "cache" in type(out).__dataclass_fields__ and out.cache is not None else out.get("past_key_values")
    )


def tokens_of_genlip(folder, images, **decoding):
    """What genlip itself would say."""
    speaker = genlip.Speaker.load(folder)
    prompt = speaker.captions.prompt_ids
    pack = pack_images(images, speaker.images, speaker.model.config, prompt)
    return genlip.generate(speaker.model, pack, speaker.decoding(**decoding))


@pytest.mark.parametrize("name", RECORDED)
def test_recorded_features_logits_losses_and_captions_are_met(name, tmp_path):
    folder, recorded = published_folder(name, tmp_path)
    encoder, speaker = AutoModel.from_pretrained(folder), AutoModelForImageTextToText.from_pretrained(folder)
    for sample in recorded.samples:
        pixels, patches = sample["pixel_values"][None], len(sample["features"])
        ids = torch.cat([torch.zeros(patches, dtype=torch.long), sample["caption_ids"]])[None]
        labels = ids.clone()
        labels[:, :patches] = -100
        out = speaker(input_ids=ids, pixel_values=pixels, labels=labels)
        assert stray(encoder(pixels).last_hidden_state[0], sample["features"]) < TOLERANCE
        assert stray(out.logits[0, patches - 1 : -1], sample["text_logits"]) < TOLERANCE
        assert stray(out.loss, sample["token_nll"].mean()) < TOLERANCE
        generated = speaker.generate(ids[:, :patches], pixel_values=pixels, **GREEDY)
        assert generated[0, patches:].tolist() == sample["greedy_ids"].tolist()


@pytest.mark.parametrize("variant", VARIANTS)
def test_every_variant_gives_the_same_logits(variant, tmp_path):
    model = small_model(**VARIANTS[variant]).float()
    folder = genlip.save(model, tmp_path)
    speaker = AutoModelForImageTextToText.from_pretrained(folder)
    config, random = model.config, torch.Generator().manual_seed(0)
    patches = torch.rand(6, config.patch_dim, generator=random) * 2 - 1
    pack = Pack.of([Sample(patches, (2, 3), [4, 2, 7], [True] * 3)])
    ids = torch.tensor([[0] * 6 + [4, 2, 7]])
    logits = speaker(ids, patches[None], spatial_shapes=torch.tensor([[2, 3]])).logits
    assert stray(logits[0, 5:-1], model.logits(pack)) < TOLERANCE


def test_padded_images_of_many_shapes_have_the_features_of_single_ones(native):
    model, processor = AutoModel.from_pretrained(native[1]), AutoImageProcessor.from_pretrained(native[1])
    inputs = processor(pictures(), return_tensors="pt")
    assert (inputs["pixel_attention_mask"] == 0).any()
    out = model(**inputs)
    for i, features in enumerate(genlip.Speaker.load(native[0]).encode(pictures())):
        rows = len(features.patches)
        assert inputs["spatial_shapes"][i].tolist() == list(features.grid)
        assert stray(out.last_hidden_state[i, :rows], features.patches) < TOLERANCE
        assert stray(out.pooler_output[i], features.patches.mean(dim=0)) < TOLERANCE


def test_left_and_right_padding_change_no_logits(speaking):
    model, processor, batch = speaking
    whole = model(**batch).logits
    for i, picture in enumerate(pictures()):
        single = processor(images=[picture])
        logits = model(**single).logits[0]
        assert stray(whole[i, -len(logits) :], logits) < TOLERANCE
        right = {
            "input_ids": torch.nn.functional.pad(single["input_ids"], (0, 3)),
            "attention_mask": torch.nn.functional.pad(single["attention_mask"], (0, 3)),
        }
        assert stray(model(**(single | right)).logits[0, :-3], logits) < TOLERANCE


def images_of_every_mode():
    """Name and image: every mode that Pillow opens, every orientation, and a broken EXIF."""
    random = np.random.default_rng(1)

    def noise(height, width, *channels):
        return random.integers(256, size=(height, width, *channels), dtype=np.uint8)

    deep = Image.fromarray(random.integers(2**16, size=(40, 30), dtype=np.uint16))
    images = {
        "RGB": Image.fromarray(noise(50, 90, 3)),
        "RGBA": Image.fromarray(noise(200, 31, 4)),
        "L": Image.fromarray(noise(33, 64)),
    }
    images |= {mode: images["RGBA"].convert(mode) for mode in ("LA", "P", "CMYK", "1")}
    images |= {
        "I;16": deep,
        "I": deep.convert("I"),
        "F": Image.fromarray(noise(20, 44).astype(np.float32)),
        "column": Image.fromarray(noise(50, 1, 3)),
    }
    images["key"] = images["L"].convert("L")
    images["key"].info["transparency"] = 7
    for orientation in range(2, 9):
        images[f"turned {orientation}"] = Image.fromarray(noise(40, 25, 3))
        images[f"turned {orientation}"].getexif()[0x0112] = orientation
    images["broken"] = Image.fromarray(noise(40, 25, 3))
    images["broken"].getexif().update({0x0112: 6, 0x0100: "text"})
    return images


@pytest.mark.parametrize("resize", ["fixed", "native"])
@pytest.mark.parametrize("channels", [3, 1])
def test_image_processors_give_the_very_pixels_of_genlip(resize, channels):
    images, model = ImageConfig(resize=resize, size=32, max_patches=40), PlainConfig.preset("tiny", num_channels=channels)
    processor = ours.GenLIPImageProcessor(resize=resize, size=32, max_patches=40, num_channels=channels)
    for name, image in images_of_every_mode().items():
        patches, (rows, columns) = image_patches(image, images, model)
        values = processor(image, return_tensors="pt")["pixel_values"][0]
        if resize == "fixed":
            values = torch.nn.functional.unfold(values[None], 16, stride=16)[0].T
        assert len(values) == rows * columns, name
        assert torch.equal(((values + 1) * 127.5).round().to(torch.uint8), torch.from_numpy(patches)), name


def test_images_may_be_arrays_tensors_files_and_nested_lists(native, tmp_path):
    processor = AutoImageProcessor.from_pretrained(native[1])
    array = np.array(pictures()[1])
    expected = processor(pictures()[1])["pixel_values"]
    pictures()[1].save(tmp_path / "picture.png")
    half = torch.from_numpy(array).permute(2, 0, 1).to(torch.bfloat16) / 256
    assert processor(half)["pixel_values"].shape == expected.shape
    arrays = (array, torch.from_numpy(array), array.transpose(2, 0, 1), (array / 255).astype(np.float32))
    for same in (*arrays, tmp_path / "picture.png", str(tmp_path / "picture.png"), [[pictures()[1]]], array[None]):
        assert torch.equal(processor(same)["pixel_values"], expected)


def test_greedy_captions_are_those_of_genlip(native, fixed):
    for folder, hub in (native, fixed):
        processor, model = AutoProcessor.from_pretrained(hub), AutoModelForImageTextToText.from_pretrained(hub)
        inputs = processor(images=pictures())
        expected = tokens_of_genlip(folder, pictures(), max_tokens=8)
        assert said(model.generate(**inputs, **GREEDY), inputs) == expected
        other = processor(images=pictures(), text=["two"] * 4)
        speaker = genlip.Speaker.load(folder, prompt="two")
        texts = processor.batch_decode(model.generate(**other, **GREEDY)[:, other["input_ids"].shape[1] :], True)
        assert [text.strip() for text in texts] == speaker.caption(pictures(), max_tokens=8, repetition_stop=0)


def test_captions_differ_from_image_to_image_and_from_token_to_token(native):
    tokens = tokens_of_genlip(native[0], pictures(), max_tokens=8)
    assert len(set(map(tuple, tokens))) == 4  # else the tests above and below could not see a wrong position
    assert min(len(set(caption)) for caption in tokens) > 2


@torch.no_grad()
def test_steps_by_hand_need_the_cache_alone(speaking):
    model, _, inputs = speaking
    whole = model.generate(**inputs, **GREEDY, eos_token_id=None)
    start = inputs["input_ids"].shape[1]
    out = model(**inputs, use_cache=True)
    cache, mask = cache_of(out), inputs["attention_mask"]
    for place in range(start, whole.shape[1]):
        assert torch.equal(out.logits[:, -1].argmax(dim=-1), whole[:, place])
        mask = torch.cat([mask, torch.ones_like(mask[:, :1])], dim=1)
        out = model(whole[:, place : place + 1], attention_mask=mask, past_key_values=cache)


def test_pixels_alone_are_captioned_without_a_prompt(native, fixed):
    for folder, hub in (native, fixed):
        speaker = genlip.Speaker.load(folder, prompt="")
        model, images = AutoModelForImageTextToText.from_pretrained(hub), AutoImageProcessor.from_pretrained(hub)
        pixels = images(pictures(), return_tensors="pt")
        patches = max(len(features.patches) for features in speaker.encode(pictures()))
        found = model.generate(**pixels, **GREEDY)[:, patches:].tolist()
        assert [x[: x.index(0)] if 0 in x else x for x in found] == tokens_of_genlip_without_prompt(speaker)


def tokens_of_genlip_without_prompt(speaker):
    pack = pack_images(pictures(), speaker.images, speaker.model.config, [])
    return genlip.generate(speaker.model, pack, speaker.decoding(max_tokens=8))


def test_several_captions_of_each_image_can_be_sampled(speaking):
    model, _, inputs = speaking
    assert len(model.generate(**inputs, do_sample=True, num_return_sequences=3, max_new_tokens=3)) == 12
    best = model.generate(**inputs, num_beams=2, num_return_sequences=2, do_sample=False, max_new_tokens=3)
    assert torch.equal(best[::2], model.generate(**inputs, num_beams=2, do_sample=False, max_new_tokens=3))


@pytest.mark.parametrize("way", [{"cache_implementation": "static"}, {"use_cache": False}, {"do_sample": True, "top_k": 1}])
def test_every_way_to_take_the_likeliest_token_says_the_same(way, speaking):
    model, _, inputs = speaking
    assert torch.equal(model.generate(**inputs, **GREEDY | way), model.generate(**inputs, **GREEDY))


def test_beams_are_those_of_a_slow_search(native, speaking):
    model, processor, _ = speaking
    plain = genlip.load(native[0])
    for picture in pictures()[:2]:
        inputs = processor(images=[picture])
        found = model.generate(**inputs, num_beams=3, max_new_tokens=4, min_new_tokens=4, do_sample=False)
        prompt = inputs["input_ids"][0, inputs["spatial_shapes"].prod() :].tolist()
        assert said(found, inputs) == [beams_by_loop(plain, inputs, prompt, beams=3, steps=4)]


@torch.no_grad()
def beams_by_loop(model, inputs, prompt, beams, steps):
    """Beam search with the whole sequence read anew for every candidate; the end token is left out."""
    grid = tuple(inputs["spatial_shapes"][0].tolist())
    patches = inputs["pixel_values"][0]
    kept = [([], 0.0)]
    for _ in range(steps):
        grown = []
        for tokens, score in kept:
            text = [*prompt, *tokens]
            logits = model.logits(Pack.of([Sample(patches, grid, [*text, 0], [True] * (len(text) + 1))]))[-1]
            chances = logits.masked_fill(torch.arange(len(logits)) == 0, -torch.inf).log_softmax(dim=-1)
            whole = logits.log_softmax(dim=-1)
            best = chances.topk(beams).indices.tolist()
            grown += [([*tokens, token], score + float(whole[token])) for token in best]
        kept = sorted(grown, key=lambda item: -item[1])[:beams]
    return kept[0][0]


def test_a_streamer_hears_every_token(speaking):
    model, processor, _ = speaking
    inputs = processor(images=pictures()[:1])

    class Listener:
        def __init__(self):
            self.heard, self.ended = [], False

        def put(self, value):
            self.heard += value.flatten().tolist()

        def end(self):
            self.ended = True

    listener = Listener()
    whole = model.generate(**inputs, **GREEDY, streamer=listener)
    assert listener.ended
    assert listener.heard == whole[0].tolist()


@pytest.mark.parametrize("attention", ["eager", pytest.param("flex_attention", marks=pytest.mark.slow)])
@torch.no_grad()
def test_attention_implementations_agree(attention, native, speaking):
    model, _, inputs = speaking
    other = AutoModelForImageTextToText.from_pretrained(native[1], attn_implementation=attention)
    real = inputs["attention_mask"].bool()
    assert stray(other(**inputs).logits[real], model(**inputs).logits[real]) < TOLERANCE


def test_attention_weights_and_hidden_states_can_be_had(native):
    model = AutoModel.from_pretrained(native[1], attn_implementation="eager")
    inputs = AutoImageProcessor.from_pretrained(native[1])(pictures(), return_tensors="pt")
    out = model(**inputs, output_hidden_states=True, output_attentions=True)
    assert len(out.hidden_states) == model.config.num_hidden_layers + 1
    assert torch.equal(out.hidden_states[-1], out.last_hidden_state)
    assert len(out.attentions) == model.config.num_hidden_layers
    hidden = inputs["pixel_attention_mask"][:, None, None, :] == 0
    for weights in out.attentions:
        assert torch.allclose(weights.sum(dim=-1), torch.ones(()), atol=1e-5)
        assert weights.masked_select(hidden).max() == 0


def test_training_losses_and_gradients_are_those_of_genlip(native):
    captions = ["a small red circle", "two", "blue squares and the number 4", "a"]
    processor, model = AutoProcessor.from_pretrained(native[1]), AutoModelForImageTextToText.from_pretrained(native[1])
    inputs = processor(images=pictures(), suffix=captions)
    speaker = genlip.Speaker.load(native[0])
    images = [image_patches(picture, speaker.images, speaker.model.config) for picture in pictures()]
    texts = speaker.captions.encode_all(captions)
    pack = Pack.of([Sample(*image, *text) for image, text in zip(images, texts, strict=True)])
    loss = speaker.model(pack) / pack.supervised.sum()
    loss.backward()
    model.train()
    out = model(**inputs)
    out.loss.backward()
    assert stray(out.loss, loss) < TOLERANCE
    expected = {name: parameter.grad for name, parameter in speaker.model.named_parameters()}
    for name, parameter in model.named_parameters():
        assert stray(parameter.grad, expected[name]) < TOLERANCE, name
    # Recomputed blocks give the same gradients.
    whole = {name: parameter.grad.clone() for name, parameter in model.named_parameters()}
    model.zero_grad()
    getattr(model, "activation_checkpointing_enable", model.gradient_checkpointing_enable)()  # renamed in 5.24
    assert model.visual.layers[0].gradient_checkpointing
    model(**inputs).loss.backward()
    assert all(torch.allclose(parameter.grad, whole[name]) for name, parameter in model.named_parameters())


def test_accumulated_losses_are_divided_by_the_labels_of_all_steps(speaking):
    model, processor, _ = speaking
    inputs = processor(images=pictures()[:2], suffix=["a small red circle", "two"])
    labels = (inputs["labels"] != -100).sum()
    loss = model(**inputs).loss
    assert stray(model(**inputs, num_items_in_batch=5 * labels).loss * 5, loss) < TOLERANCE
    assert model.accepts_loss_kwargs


def test_training_keeps_no_cache_unless_it_is_asked_for(native, speaking):
    model = AutoModelForImageTextToText.from_pretrained(native[1]).train()
    inputs = speaking[2]
    assert cache_of(model(**inputs)) is None
    assert cache_of(model(**inputs, use_cache=True)) is not None
    getattr(model, "activation_checkpointing_enable", model.gradient_checkpointing_enable)()
    model(**inputs, use_cache=True).logits.sum().backward()  # recomputing would fill a cache twice


def test_captions_to_learn_are_cut_at_the_models_limit_and_then_have_no_end(native):
    processor = AutoProcessor.from_pretrained(native[1])
    processor.max_tokens = 5
    labels = processor(images=pictures()[:2], suffix=["two", "a small red circle on the left " * 9])["labels"]
    ends = processor.tokenizer(processor.end, add_special_tokens=False)["input_ids"]
    assert labels[0][labels[0] != -100].tolist()[-len(ends) :] == ends
    assert len(labels[1][labels[1] != -100]) == 5
    assert ends[0] not in labels[1].tolist()


def test_drop_path_drops_whole_samples_in_training_alone():
    config = ours.hub_config(PlainConfig.preset("tiny", drop_path_rate=0.5))
    layer = ours.GenLIPVisionModel(config).visual.layers[0]
    branch = torch.ones(4000, 2, 3)
    torch.manual_seed(0)
    dropped = layer.train()._drop(branch)
    assert set(dropped.unique().tolist()) == {0.0, 2.0}
    assert torch.equal(dropped, dropped[:, :1, :1].expand_as(dropped))
    assert 0.45 < float((dropped[:, 0, 0] > 0).float().mean()) < 0.55
    assert layer.eval()._drop(branch) is branch


def test_weights_begin_as_genlip_begins_them():
    torch.manual_seed(0)
    config = PlainConfig.preset("tiny", text_embed_dim=64)
    model = ours.GenLIPForConditionalGeneration(ours.hub_config(config)).state_dict()
    for name, value in genlip.GenLIP(config).state_dict().items():
        found, expected = model[name], value
        assert found.shape == expected.shape, name
        near = {"rtol": 0.1, "atol": 1e-5}  # the noise of plain biases is 1e-6
        assert torch.isclose(found.double().square().mean().sqrt(), expected.double().square().mean().sqrt(), **near), name
        if found.dim() > 1 and "visual" in name:
            assert torch.isclose(found.abs().max(), expected.abs().max(), rtol=0.02), name  # uniform, so it ends sharply


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
@torch.no_grad()
def test_half_precision_stays_near(dtype, native, speaking):
    model, _, inputs = speaking
    half = AutoModelForImageTextToText.from_pretrained(native[1], dtype=dtype)
    real = inputs["attention_mask"].bool()
    assert half.dtype == dtype
    assert stray(half(**inputs).logits[real].float(), model(**inputs).logits[real]) < 0.1
    assert half.generate(**inputs, **GREEDY).shape[0] == 4


@torch.no_grad()
def test_half_precision_knows_positions_above_256_as_genlip_does(native):
    positions = torch.tensor([[0, 0, 300], [7, 257, 300], [299, 258, 300]])
    plain = genlip.load(native[0]).config
    cos, sin = rotary_tables(positions.unsqueeze(1), ours.hub_config(plain))
    expected = plain_tables(positions, plain)
    half = plain.head_dim // 2
    for found, table in ((cos, expected.cos), (sin, expected.sin)):
        assert found.dtype == torch.float32
        assert torch.equal(found[0, 0, :, :half], table[:, 0])
        assert torch.equal(found[0, 0, :, half:], table[:, 0])
    x = torch.randn(3, 2, plain.head_dim).bfloat16()
    turned = rotate(x.transpose(0, 1)[None], cos, sin)
    assert torch.equal(turned[0].transpose(0, 1), plain_rotate(x, expected))


def test_means_of_half_precision_are_those_of_single(native):
    features = (torch.randn(1, 1000, 4) + 70).half()
    mask = torch.ones(1, 1000, dtype=torch.long)
    assert torch.equal(_mean(features, mask), _mean(features, None))
    assert torch.equal(_mean(features, None), features.float().mean(dim=1).half())


@torch.no_grad()
def test_images_of_one_size_have_their_mean_too(fixed):
    inputs = AutoImageProcessor.from_pretrained(fixed[1])(pictures(), return_tensors="pt")
    pooled = AutoModel.from_pretrained(fixed[1])(**inputs).pooler_output
    for found, features in zip(pooled, genlip.Speaker.load(fixed[0]).encode(pictures()), strict=True):
        assert stray(found, features.patches.mean(dim=0)) < TOLERANCE


@torch.no_grad()
def test_layers_may_lie_on_several_devices(native, speaking, tmp_path):
    pytest.importorskip("accelerate")
    model, _, inputs = speaking
    parts = (
        "vision_embeddings",
        "embeddings",
        "visual.layers.0",
        "visual.layers.1",
        "visual.layers.3",
        "ln_post",
        "lm_head",
    )
    spread = dict.fromkeys(parts, "cpu") | {"in_proj": "cpu", "proj": "cpu", "visual.layers.2": "disk"}
    other = AutoModelForImageTextToText.from_pretrained(native[1], device_map=spread, offload_folder=tmp_path)
    assert other.hf_device_map["visual.layers.2"] == "disk"
    assert torch.equal(other(**inputs).logits, model(**inputs).logits)


def test_a_saved_model_is_read_by_genlip_and_by_transformers_again(native, speaking, tmp_path):
    model, processor, inputs = speaking
    model.save_pretrained(tmp_path)
    processor.save_pretrained(tmp_path)
    before, after = (load_file(folder / "model.safetensors") for folder in (native[0], tmp_path))
    assert before.keys() == after.keys()
    assert all(torch.equal(before[name], after[name]) for name in before)
    assert genlip.load(tmp_path).config == genlip.load(native[0]).config
    again = AutoModelForImageTextToText.from_pretrained(tmp_path)
    assert torch.equal(again(**inputs).logits, model(**inputs).logits)
    same = AutoProcessor.from_pretrained(tmp_path)
    assert (same.prompt, same.end, same.image_token) == (processor.prompt, processor.end, processor.image_token)


@pytest.mark.parametrize("kind", ["native", "fixed"])
def test_settings_that_a_processor_saved_are_those_that_genlip_reads(kind, request, tmp_path, caplog):
    folder, hub = request.getfixturevalue(kind)
    AutoModelForImageTextToText.from_pretrained(hub).save_pretrained(tmp_path)
    AutoProcessor.from_pretrained(hub).save_pretrained(tmp_path)
    assert not (tmp_path / "preprocessing.json").exists()
    one, other = genlip.Speaker.load(folder), genlip.Speaker.load(tmp_path)
    assert other.images == dataclasses.replace(one.images, max_pixels=other.images.max_pixels)
    assert other.captions.config == one.captions.config
    assert "assuming" not in caplog.text
    assert other.caption(pictures(), max_tokens=8) == one.caption(pictures(), max_tokens=8)


def test_settings_of_a_processor_that_are_altered_are_one_line(native, tmp_path):
    AutoModelForImageTextToText.from_pretrained(native[1]).save_pretrained(tmp_path)
    AutoProcessor.from_pretrained(native[1]).save_pretrained(tmp_path)
    file = tmp_path / "processor_config.json"
    stored = json.loads(file.read_text())
    file.write_text(json.dumps(stored | {"prompt": 5}))
    with pytest.raises(
        ValueError, match=r"processor_config\.json.* cannot be used: captions\.prompt is 5: it must be a text"
    ):
        genlip.Speaker.load(tmp_path)


def test_an_exported_folder_is_still_a_folder_of_genlip(native):
    folder, hub = native
    assert genlip.load(hub).config == genlip.load(folder).config
    assert genlip.Speaker.load(hub).caption(pictures(), max_tokens=8) == genlip.Speaker.load(folder).caption(
        pictures(), max_tokens=8
    )


def test_what_is_written_keeps_the_published_keys(native):
    keys = json.loads((native[1] / "config.json").read_text())
    plain = PlainConfig.from_dict(keys).to_dict()
    assert {name: keys[name] for name in plain if name != "rope_scaling"} == {
        k: v for k, v in plain.items() if k != "rope_scaling"
    }
    assert keys["rope_scaling"]["mrope_section"] == plain["rope_scaling"]["mrope_section"]


def test_an_encoder_may_be_saved_alone(native, tmp_path):
    model = AutoModel.from_pretrained(native[1])
    model.save_pretrained(tmp_path)
    images = torch.rand(1, 3, 24, 32)
    assert torch.equal(AutoModel.from_pretrained(tmp_path)(images).last_hidden_state, model(images).last_hidden_state)


def test_a_folder_with_its_code_needs_no_genlip(native, tmp_path):
    hub = ours.export_transformers(native[0], tmp_path / "hub", remote_code=True)
    pictures()[1].save(tmp_path / "picture.png")
    script = f"""
import sys
sys.modules["genlip"] = None
from PIL import Image
from transformers import AutoImageProcessor, AutoModel, AutoModelForImageTextToText, AutoProcessor
trust = dict(trust_remote_code=True)
image = Image.open({str(tmp_path / "picture.png")!r})
processor = AutoProcessor.from_pretrained({str(hub)!r}, **trust)
model = AutoModelForImageTextToText.from_pretrained({str(hub)!r}, **trust)
inputs = processor(images=[image])
print(model.generate(**inputs, do_sample=False, max_new_tokens=8)[0, inputs["input_ids"].shape[1]:].tolist())
encoder = AutoModel.from_pretrained({str(hub)!r}, **trust)
print(float(encoder(**AutoImageProcessor.from_pretrained({str(hub)!r}, **trust)(image)).pooler_output.abs().sum()))
assert not any(name.startswith("genlip.") for name in sys.modules)
"""
    modules = {"HF_MODULES_CACHE": str(tmp_path / "modules"), "HF_HOME": str(tmp_path / "home"), "HF_HUB_OFFLINE": "1"}
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, env=os.environ | modules)
    assert done.returncode == 0, done.stderr
    tokens, total = done.stdout.splitlines()
    assert json.loads(tokens) == tokens_of_genlip(native[0], pictures()[1:2], max_tokens=8)[0]
    (features,) = genlip.Speaker.load(native[0]).encode(pictures()[1:2])
    assert abs(float(total) / float(features.patches.mean(dim=0).abs().sum()) - 1) < TOLERANCE


def test_llava_takes_it_as_its_tower(fixed, tmp_path):
    text = LlamaConfig(hidden_size=32, intermediate_size=64, num_hidden_layers=2, num_attention_heads=2, vocab_size=400)
    config = LlavaConfig(
        vision_config=AutoConfig.from_pretrained(fixed[1]), text_config=text, image_token_id=300,
        vision_feature_layer=-1, vision_feature_select_strategy="full",
    )  # fmt: skip
    torch.manual_seed(0)
    model = LlavaForConditionalGeneration(config).eval()
    model.model.vision_tower.load_state_dict(AutoModel.from_pretrained(fixed[1]).state_dict())
    images, tokenizer = AutoImageProcessor.from_pretrained(fixed[1]), AutoTokenizer.from_pretrained(fixed[1])
    processor = LlavaProcessor(
        images, tokenizer, patch_size=4, vision_feature_select_strategy="full", image_token="<|image_pad|>"
    )
    inputs = processor(images=pictures()[:2], text=["<|image_pad|> two"] * 2, return_tensors="pt")
    assert (inputs["input_ids"] == 300).sum(dim=1).tolist() == [36, 36]  # one for each patch: there is no class token
    found = model.get_image_features(inputs["pixel_values"])
    found = torch.stack(list(getattr(found, "pooler_output", found)))
    features = torch.stack([x.patches for x in genlip.Speaker.load(fixed[0]).encode(pictures()[:2])])
    assert stray(found, model.model.multi_modal_projector(features)) < TOLERANCE
    logits = model(**inputs).logits
    without = model(**inputs | {"pixel_values": torch.zeros_like(inputs["pixel_values"])}).logits
    assert stray(without, logits) > 0.01
    assert model.generate(**inputs, **GREEDY, pad_token_id=0, eos_token_id=None).shape[1] == inputs["input_ids"].shape[1] + 8
    model.save_pretrained(tmp_path)
    assert torch.equal(LlavaForConditionalGeneration.from_pretrained(tmp_path)(**inputs).logits, logits)


@pytest.mark.parametrize("patch", [4, 8])
def test_placeholders_are_counted_from_sizes_alone_as_vllm_asks_for_them(patch, fixed):
    images, token = ours.GenLIPImageProcessor(size=24, patch_size=patch), "<|image_pad|>"
    named = {"patch_size": patch, "vision_feature_select_strategy": "full", "image_token": token}
    processor = LlavaProcessor(images, AutoTokenizer.from_pretrained(fixed[1]), **named)
    sizes = [(picture.height, picture.width) for picture in pictures()]
    found = processor._get_num_multimodal_tokens(image_sizes=sizes)
    written = processor(images=pictures(), text=[token] * 4)["input_ids"]
    assert found["num_image_tokens"] == [len(ids) for ids in written] == [(24 // patch) ** 2] * 4
    assert found["num_image_patches"] == [1] * 4


@pytest.mark.parametrize("limits", [{"min_patches": 4, "max_patches": 40}, {"min_patches": 30, "max_patches": 30}])
def test_patches_are_counted_from_sizes_alone(limits):
    processor = ours.GenLIPImageProcessor(resize="native", patch_size=4, **limits)
    counts = [processor.get_number_of_image_patches(picture.height, picture.width) for picture in pictures()]
    assert counts == processor(pictures(), return_tensors="pt")["pixel_attention_mask"].sum(dim=1).tolist()
    fixed = processor.get_number_of_image_patches(7, 9, {"resize": "fixed", "size": 12})
    assert fixed == 9
    assert processor.crop_size is None


def test_pipelines_of_transformers_work(fixed):
    encode = transformers.pipeline("image-feature-extraction", model=str(fixed[1]))
    (features,) = genlip.Speaker.load(fixed[0]).encode(pictures()[:1])
    assert stray(torch.tensor(encode(pictures()[0]))[0], features.patches) < TOLERANCE
    speak = transformers.pipeline("image-text-to-text", model=str(fixed[1]))
    (answer,) = speak(images=pictures()[0], text="two", max_new_tokens=4)
    expected = genlip.Speaker.load(fixed[0], prompt="two").caption(pictures()[:2], max_tokens=4)
    assert answer["generated_text"].removeprefix("two").strip() == expected[0]
    answers = speak(images=pictures()[:2], text=["two", "two"], max_new_tokens=4)
    assert [answer["generated_text"].removeprefix("two").strip() for (answer,) in as_lists(answers)] == expected
    chat = [{"role": "user", "content": [{"type": "image", "image": pictures()[0]}, {"type": "text", "text": "two"}]}]
    (answer,) = speak(text=chat, max_new_tokens=4)
    assert answer["generated_text"][-1]["content"].strip() == expected[0]


def as_lists(answers):
    return [answer if isinstance(answer, list) else [answer] for answer in answers]


def test_a_chat_becomes_its_text_or_the_models_own_prompt(native):
    processor = AutoProcessor.from_pretrained(native[1])
    image = {"type": "image", "image": pictures()[1]}
    asked = [{"role": "user", "content": [image, {"type": "text", "text": "two"}]}]
    bare = [{"role": "user", "content": [image]}]
    for chat, text in ((asked, "two"), (bare, "describe the image")):
        inputs = processor.apply_chat_template(chat, tokenize=True, return_dict=True, return_tensors="pt")
        expected = processor(images=[pictures()[1]], text=[text])
        assert torch.equal(inputs["input_ids"], expected["input_ids"])
        assert torch.equal(inputs["pixel_values"], expected["pixel_values"])


@pytest.mark.parametrize("prompt", ["Describe 😀", "Опиши “это”\n{{ 7 }} {% x %} \\ \"'", "𝒜 tab\there"])
def test_a_prompt_of_any_characters_survives_the_chat_template(prompt, tmp_path):
    out = ours.export_transformers(model_folder(tmp_path / "model", prompt=prompt), tmp_path / "out")
    processor = AutoProcessor.from_pretrained(out)
    chat = [{"role": "user", "content": [{"type": "image", "image": pictures()[1]}]}]
    assert processor.apply_chat_template(chat) == prompt
    inputs = processor.apply_chat_template(chat, tokenize=True, return_dict=True, return_tensors="pt")
    assert torch.equal(inputs["input_ids"], processor(images=[pictures()[1]], text=[prompt])["input_ids"])


def test_text_goes_on_without_an_image(speaking):
    model, _, _ = speaking
    ids = torch.tensor([[5, 6, 7, 8]])
    logits = model(ids).logits
    assert stray(model(ids[:, :2]).logits, logits[:, :2]) < TOLERANCE  # later text is out of sight
    assert model.generate(ids, **GREEDY).shape[0] == 1


def test_errors_say_what_was_found_and_what_is_needed(native, speaking):
    model, processor, _ = speaking
    short = torch.full((2, 40), 300)
    short[0, 7] = 5
    with pytest.raises(ValueError, match=r"begin with \[35, 36\] placeholders .* have \[36, 36\] patches"):
        model(short, torch.zeros(2, 3, 24, 24))
    with pytest.raises(ValueError, match=r"shape \(1, 6, 48\): need images .* together with spatial_shapes"):
        AutoModel.from_pretrained(native[1])(torch.zeros(1, 6, 48))
    with pytest.raises(ValueError, match="images of 22x24 pixels: both sides must be multiples of patch_size 4"):
        AutoModel.from_pretrained(native[1])(torch.zeros(1, 3, 22, 24))
    with pytest.raises(ValueError, match="2 of text for 4 images"):
        processor(images=pictures(), text=["a", "b"])
    with pytest.raises(ValueError, match="needs images"):
        processor(text="a")
    for slip in ({"max_patch": 3}, {"do_resize": False}, {"data_format": "channels_last"}):
        with pytest.raises(TypeError, match=f"cannot do {next(iter(slip))}"):
            processor(images=pictures(), **slip)
    for setting, message in (
        ({"resize": "natve"}, "'natve'"),
        ({"max_patches": 0}, "max_patches 0"),
        ({"size": 25}, "size is 25"),
    ):
        with pytest.raises(ValueError, match=message):
            processor(images=pictures(), **setting)
    with pytest.raises(ValueError, match="truncation=True: a GenLIPProcessor pads on the left"):
        processor(images=pictures(), truncation=True)
    with pytest.raises(ValueError, match="no images: give at least one"):
        processor(images=[])
    with pytest.raises(ValueError, match=r"shape \(8, 8, 2\): need"):
        processor(images=[np.zeros((8, 8, 2), np.uint8)])
    with pytest.raises(ValueError, match="numbers in"):
        processor(images=[np.full((8, 8, 3), np.nan)])
    with pytest.raises(ValueError, match="numbers in"):
        processor(images=[np.full((8, 8, 3), 7.0)])
    encoder = AutoModel.from_pretrained(native[1])
    native_images = AutoImageProcessor.from_pretrained(native[1])(pictures(), return_tensors="pt")
    with pytest.raises(TypeError, match="takes no argument pixel_attn_mask"):
        encoder(native_images["pixel_values"], pixel_attn_mask=native_images["pixel_attention_mask"])
    with pytest.raises(ValueError, match=r"spatial_shapes hold .* but pixel_values have .* that are not padding"):
        encoder(native_images["pixel_values"], spatial_shapes=native_images["spatial_shapes"])
    bare = AutoModelForImageTextToText.from_pretrained(native[1])
    bare.config.image_token_id = None
    with pytest.raises(ValueError, match=r"begin with \[4\] placeholders .* have \[36\] patches"):
        bare(torch.tensor([[1, 2, 3, 4]]), torch.zeros(1, 3, 24, 24))
    for wrong, message in (
        ({"hidden_size": 30, "num_attention_heads": 4}, "even head dimension"),
        ({"num_attention_heads": 0}, "even head dimension"),
        ({"hidden_act": "slu"}, "hidden_act is 'slu': need one of"),
        ({"tie_word_embeddings": True}, "separate embeddings"),
        ({"rope_parameters": {"mrope_section": [8, 8]}}, "need channels for time, row and column"),
        ({"rope_parameters": {"mrope_section": [8, 8, 8]}, "mrope_interleaved": False}, "chunked ones must sum"),
    ):
        with pytest.raises(ValueError, match=message):
            ours.GenLIPConfig(**wrong)
    with pytest.raises(ValueError, match="Flash"):
        AutoModelForImageTextToText.from_pretrained(native[1], attn_implementation="flash_attention_2")
