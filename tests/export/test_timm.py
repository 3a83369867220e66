from __future__ import annotations

import copy
import json
import os
import shutil
import subprocess
import sys
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file, save_file
from torch import Tensor

from genlip.data.images import ImageConfig, decode_pixels
from genlip.extras import MissingExtra, require
from genlip.model.checkpoint import CheckpointError, save
from genlip.model.config import GenLIPConfig
from genlip.model.genlip import GenLIP
from genlip.model.pack import Pack, Sample

from ..model.helpers import RECORDED, VARIANTS, recorded_model, recording, small_config
from .helpers import GRIDS, TOLERANCE, lively, published_folder, stray

timm = pytest.importorskip("timm")

from timm.data import create_transform, resolve_model_data_config  # noqa: E402
from timm.data.naflex_dataset import NaFlexCollator  # noqa: E402
from timm.data.naflex_transforms import Patchify  # noqa: E402
from timm.optim import param_groups_layer_decay  # noqa: E402

from genlip.export.timm import from_timm, save_timm, timm_arguments, to_timm  # noqa: E402

VERSION = tuple(int(part) for part in timm.__version__.split(".")[:3] if part.isdecimal())
PRESETS = {"tiny": {}, "base": {"num_hidden_layers": 2}}
RELEASED = {  # what the released files change of the paper's table
    "l16": {"hidden_size": 1152, "intermediate_size": 2752},
    "g16": {"num_attention_heads": 16, "mrope_section": (16, 16, 16)},
}
NAMES = [f"naflexvit_genlip_{size}" for size in ("l16", "so16", "g16", "l16_published", "g16_published")]
TEXT = ("embeddings", "in_proj", "proj", "lm_head")


def random_model(config: GenLIPConfig) -> GenLIP:
    torch.manual_seed(0)
    return lively(GenLIP(config))


def small(**changes: Any) -> GenLIP:
    return random_model(small_config(**changes))


def images(config: GenLIPConfig, grids: list[tuple[int, int]]) -> list[Tensor]:
    """Float[C, H, W] in [-1, 1] of each grid."""
    random, side = np.random.default_rng(1), config.patch_size
    shapes = [(config.num_channels, rows * side, columns * side) for rows, columns in grids]
    return [torch.from_numpy(random.uniform(-1, 1, shape)).float() for shape in shapes]


def patches_by_loop(pixels: Tensor, side: int, channels_last: bool) -> Tensor:
    """The flattened patches of [C, H, W], row by row."""
    boxes = [
        pixels[:, top : top + side, left : left + side]
        for top in range(0, pixels.shape[1], side)
        for left in range(0, pixels.shape[2], side)
    ]
    return torch.stack([(box.permute(1, 2, 0) if channels_last else box).flatten() for box in boxes])


@torch.no_grad()
def encoded(model: GenLIP, pixels: list[Tensor]) -> list[Tensor]:
    """`GenLIP.encode` of each image."""
    side = model.config.patch_size
    grids = [(p.shape[1] // side, p.shape[2] // side) for p in pixels]
    samples = [Sample(patches_by_loop(p, side, False), grid) for p, grid in zip(pixels, grids, strict=True)]
    return list(model.encode(Pack.of(samples)).split([rows * columns for rows, columns in grids]))


def naflex(pixels: list[Tensor], side: int) -> dict[str, Tensor]:
    """Images of different sizes in one batch, padded, as timm's NaFlex models read it."""
    rows = [patches_by_loop(p, side, True) for p in pixels]
    longest = max(map(len, rows))
    batch = {
        "patches": torch.zeros(len(rows), longest, rows[0].shape[1]),
        "patch_coord": torch.zeros(len(rows), longest, 2, dtype=torch.long),
        "patch_valid": torch.zeros(len(rows), longest, dtype=torch.bool),
    }
    for i, (patches, p) in enumerate(zip(rows, pixels, strict=True)):
        place = [(r, c) for r in range(p.shape[1] // side) for c in range(p.shape[2] // side)]
        batch["patches"][i, : len(patches)] = patches
        batch["patch_coord"][i, : len(patches)] = torch.tensor(place)
        batch["patch_valid"][i, : len(patches)] = True
    return batch


def published_file(model: GenLIP, folder: Path) -> str:
    return str(save(model, folder) / "model.safetensors")


def write(weights: dict[str, Tensor], file: Path) -> str:
    save_file({name: value.clone() for name, value in weights.items()}, file)
    return str(file)


# The same features


@pytest.mark.parametrize("name", RECORDED)
def test_recorded_features_come_out_of_timm(name: str):
    encoder = to_timm(recorded_model(name))
    for sample in recording(name).samples:
        found = encoder.forward_features(sample["pixel_values"][None])[0]
        assert stray(found, sample["features"]) < TOLERANCE


@pytest.mark.parametrize("name", RECORDED)
@torch.no_grad()
def test_recorded_images_of_different_sizes_share_a_batch(name: str):
    samples = recording(name).samples
    batch = naflex([s["pixel_values"] for s in samples], recording(name).config["patch_size"])
    found = to_timm(recorded_model(name)).forward_features(**batch)
    assert torch.equal(found["patch_valid"], batch["patch_valid"])
    for features, valid, sample in zip(found["patches"], batch["patch_valid"], samples, strict=True):
        assert stray(features[valid], sample["features"]) < TOLERANCE


@pytest.mark.parametrize("preset", PRESETS)
@torch.no_grad()
def test_every_grid_gives_the_features_of_genlip(preset: str):
    model = random_model(GenLIPConfig.preset(preset, vocab_size=16, **PRESETS[preset]))
    encoder, pixels = to_timm(model), images(model.config, GRIDS)
    expected = encoded(model, pixels)
    for one, features in zip(pixels, expected, strict=True):
        assert stray(encoder.forward_features(one[None])[0], features) < TOLERANCE
    batch = naflex(pixels, model.config.patch_size)
    together = encoder.forward_features(**batch)["patches"]
    for found, valid, features in zip(together, batch["patch_valid"], expected, strict=True):
        assert stray(found[valid], features) < TOLERANCE


@pytest.mark.parametrize("variant", [name for name in VARIANTS if name != "chunked"])
@torch.no_grad()
def test_every_variant_that_timm_knows_agrees(variant: str):
    model = small(**VARIANTS[variant])
    pixels = images(model.config, [(3, 5), (3, 5)])
    found = to_timm(model).forward_features(torch.stack(pixels))
    assert stray(found, torch.stack(encoded(model, pixels))) < TOLERANCE


@pytest.mark.parametrize("act", ["silu", "gelu", "gelu_pytorch_tanh", "relu"])
@torch.no_grad()
def test_every_activation_of_the_plain_network_agrees(act: str):
    model = small(use_swiglu_ffn=False, hidden_act=act)
    (pixels,) = images(model.config, [(2, 3)])
    assert stray(to_timm(model).forward_features(pixels[None])[0], encoded(model, [pixels])[0]) < TOLERANCE


@pytest.mark.parametrize(
    ("width", "section"), [(144, (8, 12, 12)), (128, (0, 99, 1)), (128, (32, 0, 0)), (128, (8, 12, 12))]
)
@torch.no_grad()
def test_sections_that_do_not_fill_the_head_agree(width: int, section: tuple[int, int, int]):
    model = small(hidden_size=width, mrope_section=section, rope_theta=100.0)
    (pixels,) = images(model.config, [(7, 4)])
    assert stray(to_timm(model).forward_features(pixels[None])[0], encoded(model, [pixels])[0]) < TOLERANCE


@torch.no_grad()
def test_timms_own_collator_feeds_it():
    model = small()
    pixels = images(model.config, [(3, 4), (1, 2)])
    batch, _ = NaFlexCollator(max_seq_len=15)([(Patchify(4)(p), 0) for p in pixels])
    found = to_timm(model)({key: batch[key] for key in ("patches", "patch_coord", "patch_valid")})
    expected = torch.stack([features.mean(dim=0) for features in encoded(model, pixels)])
    assert stray(found, expected) < TOLERANCE


@torch.no_grad()
def test_pooling_is_selectable():
    model = small()
    pixels = images(model.config, [(3, 4)] * 2)
    batch, expected = torch.stack(pixels), torch.stack(encoded(model, pixels))
    assert stray(to_timm(model)(batch), expected.mean(dim=1)) < TOLERANCE
    assert stray(to_timm(model, global_pool="max")(batch), expected.amax(dim=1)) < TOLERANCE
    assert stray(to_timm(model, global_pool="")(batch), expected) < TOLERANCE
    assert to_timm(model, global_pool="map", num_classes=3)(batch).shape == (2, 3)


@torch.no_grad()
def test_dtype_and_mode_are_the_models():
    model = small()
    encoder = to_timm(model.bfloat16().train())
    assert encoder.training
    assert {p.dtype for p in encoder.parameters()} == {torch.bfloat16}
    (pixels,) = images(model.config, [(40, 25)])
    found = encoder.eval().forward_features(pixels[None].bfloat16())[0]
    expected = encoded(model.eval(), [pixels])[0]
    assert (
        stray(found.float(), expected.float()) < 2**-6
    )  # a few roundings of bfloat16; positions themselves are not rounded


# The same weights


@pytest.mark.parametrize("variant", [name for name in VARIANTS if name != "chunked"])
def test_a_round_trip_is_exact(variant: str):
    model = small(**VARIANTS[variant])
    weights, back = model.state_dict(), from_timm(to_timm(model, num_classes=5, global_pool="map"))
    assert set(back) == {name for name in weights if name.split(".")[0] not in TEXT}
    assert all(torch.equal(back[name], weights[name]) for name in back)
    left_out = GenLIP(model.config).load_state_dict(back, strict=False)
    assert not left_out.unexpected_keys


def test_weights_of_a_round_trip_are_copies():
    encoder = to_timm(small())
    back = from_timm(encoder)
    with torch.no_grad():
        for parameter in encoder.parameters():
            parameter.zero_()
    assert back["visual.layers.0.self_attn.k_proj.weight"].any()
    assert back["vision_embeddings.patch_embedding.weight"].any()


def test_the_hidden_width_is_exact():
    for width in (8, 72, 96, 1024, 1152, 1536):
        for hidden in range(1, 3000, 7):
            config = small_config(hidden_size=width, intermediate_size=hidden)
            ratio = json.loads(json.dumps(timm_arguments(config)["mlp_ratio"]))
            assert int(width * ratio) == hidden


def test_from_timm_refuses_other_models():
    other = timm.create_model("naflexvit_base_patch16_gap", embed_dim=24, depth=1, num_heads=2)
    with pytest.raises(ValueError, match="the position embedding is NoneType: a GenLIP needs rope_type='mrope'"):
        from_timm(other)
    arguments = timm_arguments(small_config())
    with_registers = timm.create_model("naflexvit_base_patch16_gap", **{**arguments, "reg_tokens": 4})
    with pytest.raises(ValueError, match=r"not the encoder of a GenLIP.* it has embeds\.reg_token"):
        from_timm(with_registers)
    norm_after_pooling = timm.create_model("naflexvit_base_patch16_gap", **{**arguments, "fc_norm": True})
    with pytest.raises(ValueError, match=r"it has no norm\.bias, no norm\.weight, fc_norm\.bias, fc_norm\.weight"):
        from_timm(norm_after_pooling)
    channels_first = timm.create_model("naflexvit_base_patch16_gap", **{**arguments, "patchify_channels_last": False})
    with pytest.raises(ValueError, match="embed_proj_type='linear' with patchify_channels_last=True"):
        from_timm(channels_first)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (VARIANTS["chunked"], "mrope_interleaved is false: timm supports only interleaved MRoPE"),
        ({"hidden_act": "gelu"}, "hidden_act 'gelu' with use_swiglu_ffn: timm's SwiGLU supports only silu"),
        ({"layer_norm_eps": 1e-5}, "layer_norm_eps is 1e-05: timm's LayerNorm supports only 1e-06"),
    ],
)
def test_what_timm_cannot_express_is_refused(changes: dict[str, Any], message: str, tmp_path: Path):
    model = small(**changes)
    for convert in (to_timm, lambda m: timm_arguments(m.config), lambda m: save_timm(m, tmp_path / "out")):
        with pytest.raises(ValueError, match=message):
            convert(model)
    assert not (tmp_path / "out").exists()


# The registered names


@pytest.mark.parametrize("name", NAMES)
def test_the_names_have_the_presets_parameters(name: str):
    size = name.split("_")[2]
    config = GenLIPConfig.preset(size, **(RELEASED[size] if name.endswith("published") else {}))
    with torch.device("meta"):
        needed = {n: p.shape for n, p in GenLIP(config).named_parameters() if n.split(".")[0] not in TEXT}
    encoder = timm.create_model(name, device="meta")
    assert {n: p.shape for n, p in from_timm(encoder).items()} == needed
    assert encoder.blocks[0].attn.num_heads == config.num_attention_heads
    assert tuple(encoder.rope.mrope_section) == config.mrope_section
    assert encoder.num_classes == 0


def test_the_published_size_loads_a_published_file(tmp_path: Path):
    sizes = {"hidden_size": 1152, "intermediate_size": 2752, "num_hidden_layers": 1, "num_attention_heads": 16}
    model = random_model(GenLIPConfig(**sizes, vocab_size=16, text_embed_dim=1024, mrope_section=(8, 12, 12)))
    file = published_file(model, tmp_path)
    encoder = timm.create_model("naflexvit_genlip_l16_published", checkpoint_path=file, num_classes=0, depth=1).eval()
    (pixels,) = images(model.config, [(3, 4)])
    assert stray(encoder.forward_features(pixels[None])[0], encoded(model, [pixels])[0]) < TOLERANCE


@pytest.mark.parametrize("name", RECORDED)
@torch.no_grad()
def test_a_recorded_file_loads_by_name(name: str, tmp_path: Path):
    folder, recorded = published_folder(name, tmp_path)
    sizes = timm_arguments(GenLIPConfig.from_dict(recorded.config))
    file = str(folder / "model.safetensors")
    encoder = timm.create_model("naflexvit_genlip_l16", checkpoint_path=file, **sizes).eval()
    pretrained = timm.create_model(
        "naflexvit_genlip_l16", pretrained=True, pretrained_cfg_overlay={"file": file}, **sizes
    ).eval()
    for sample in recorded.samples:
        found = encoder.forward_features(sample["pixel_values"][None])[0]
        assert stray(found, sample["features"]) < TOLERANCE
        assert torch.equal(pretrained.forward_features(sample["pixel_values"][None])[0], found)


def test_timms_own_names_load_as_well(tmp_path: Path):
    model = small()
    encoder = to_timm(model)
    file = write(encoder.state_dict(), tmp_path / "own.safetensors")
    loaded = timm.create_model("naflexvit_genlip_l16", checkpoint_path=file, **timm_arguments(model.config))
    assert all(torch.equal(value, encoder.state_dict()[name]) for name, value in loaded.state_dict().items())


@pytest.mark.parametrize("names", ["published", "timm"])
@pytest.mark.parametrize("pool", ["avg", "map"])
def test_a_file_without_a_classifier_leaves_it_as_it_is(names: str, pool: str, tmp_path: Path):
    model = small()
    weights = model.state_dict() if names == "published" else to_timm(model).state_dict()
    file, sizes = write(weights, tmp_path / "w.safetensors"), timm_arguments(model.config) | {"global_pool": pool}
    torch.manual_seed(3)
    fresh = timm.create_model("naflexvit_genlip_l16", num_classes=10, **sizes).state_dict()
    torch.manual_seed(3)
    loaded = timm.create_model("naflexvit_genlip_l16", num_classes=10, checkpoint_path=file, **sizes).state_dict()
    classifier = {name for name in loaded if name.startswith(("head.", "attn_pool."))}
    assert {"head.weight", "head.bias"} <= classifier
    assert ("attn_pool.q.weight" in classifier) == (pool == "map")
    assert all(torch.equal(loaded[name], fresh[name]) for name in classifier)
    assert not torch.equal(loaded["blocks.0.attn.qkv.weight"], fresh["blocks.0.attn.qkv.weight"])


def test_a_classifier_in_the_file_is_loaded(tmp_path: Path):
    model = small()
    trained = to_timm(model, num_classes=10)
    file, sizes = write(trained.state_dict(), tmp_path / "w.safetensors"), timm_arguments(model.config)
    loaded = timm.create_model("naflexvit_genlip_l16", num_classes=10, checkpoint_path=file, **sizes)
    assert torch.equal(loaded.head.weight, trained.head.weight)
    with pytest.raises(RuntimeError, match=r"size mismatch for head\.weight"):
        timm.create_model("naflexvit_genlip_l16", num_classes=9, checkpoint_path=file, **sizes)


@pytest.mark.parametrize("lenient", [False, True])
def test_every_misfit_of_a_published_file_is_named(lenient: bool, tmp_path: Path):
    model = small()
    weights = model.state_dict()
    del weights["visual.layers.1.self_attn.k_proj.bias"]
    weights["visual.layers.0.mlp.fc2.weight"] = torch.zeros(24, 21)
    weights["visual.layers.2.layer_norm1.bias"] = torch.zeros(24)
    encoder = to_timm(model)
    before = copy.deepcopy(encoder.state_dict())
    with pytest.raises(CheckpointError) as error:
        encoder.load_state_dict(weights, strict=not lenient)
    assert str(error.value).splitlines() == [
        "these are not the weights of a GenLIP of 2 blocks of width 24; create the model with the sizes of the checkpoint's "
        "config.json:",
        "  visual.layers.1.self_attn.k_proj.bias: missing, needs [24]",
        "  visual.layers.2.layer_norm1.bias: not a parameter of this model, has [24]",
        "  visual.layers.0.mlp.fc2.weight: has [24, 21], needs [24, 20]",
    ]
    assert all(torch.equal(value, before[name]) for name, value in encoder.state_dict().items())


def test_other_names_are_unknown():
    encoder = to_timm(small())
    with pytest.raises(RuntimeError, match=r'Unexpected key\(s\) in state_dict: "text_model.bias"'):
        encoder.load_state_dict(encoder.state_dict() | {"text_model.bias": torch.zeros(2)})


def test_long_lists_of_misfits_are_cut():
    with pytest.raises(CheckpointError, match=r"\n  and \d+ more$"):
        to_timm(small(num_hidden_layers=4)).load_state_dict(small(num_hidden_layers=1).state_dict())


@pytest.mark.skipif(VERSION < (1, 0, 31), reason="timm dropped them silently")
def test_unknown_arguments_are_an_error():
    with pytest.raises(TypeError, match="embed_dims"):
        timm.create_model("naflexvit_genlip_l16", **{**timm_arguments(small_config()), "embed_dims": 4})


def test_names_hold_no_weights():
    with pytest.raises(RuntimeError, match="No pretrained weights exist for naflexvit_genlip_l16"):
        timm.create_model("naflexvit_genlip_l16", pretrained=True, **timm_arguments(small_config()))


def test_a_copied_model_still_reads_published_names():
    model = small()
    encoder = copy.deepcopy(to_timm(GenLIP(model.config)))
    encoder.load_state_dict(model.state_dict())
    assert torch.equal(from_timm(encoder)["ln_post.weight"], model.ln_post.weight)


def test_a_model_inside_another_reads_published_names():
    model = small()
    wrapped = torch.nn.ModuleDict({"tower": to_timm(GenLIP(model.config), num_classes=2)})
    wrapped.load_state_dict({f"tower.{name}": value for name, value in model.state_dict().items()})
    assert torch.equal(from_timm(wrapped["tower"])["ln_post.weight"], model.ln_post.weight)


# What else timm's users do


@pytest.mark.parametrize("channels", [3, 1])
def test_timm_prepares_images_as_genlip_does(channels: int):
    model = small(num_channels=channels)
    config = resolve_model_data_config(to_timm(model))
    assert config == {
        "input_size": (channels, 224, 224),
        "interpolation": "bicubic",
        "mean": (0.5,) * channels,
        "std": (0.5,) * channels,
        "crop_pct": 1.0,
        "crop_mode": "squash",
    }
    image = Image.fromarray(np.random.default_rng(0).integers(256, size=(300, 170, 3), dtype=np.uint8).repeat(3, axis=0))
    image = image if channels == 3 else image.convert("L")
    found = create_transform(**config)(image)
    squeezed = image.resize((224, 224), Image.Resampling.BICUBIC)
    expected = torch.from_numpy(decode_pixels(squeezed, mode="RGB" if channels == 3 else "L").copy()).reshape(
        224, 224, channels
    )
    assert stray(found, expected.permute(2, 0, 1) / 127.5 - 1) < 1e-6


@torch.no_grad()
def test_features_only_gives_maps_of_every_block(tmp_path: Path):
    model = small()
    file, sizes = published_file(model, tmp_path), timm_arguments(model.config)
    maps = timm.create_model(
        "naflexvit_genlip_l16",
        pretrained=True,
        pretrained_cfg_overlay={"file": file},
        features_only=True,
        feature_cls="getter",
        out_indices=(0, 1),
        **sizes,
    ).eval()
    (pixels,) = images(model.config, [(3, 5)])
    found = maps(pixels[None])
    last = model.ln_post(found[1].flatten(2).transpose(1, 2)[0])
    assert [tuple(one.shape) for one in found] == [(1, 24, 3, 5)] * 2
    assert maps.feature_info.channels() == [24, 24]
    assert maps.feature_info.reduction() == [4, 4]
    assert stray(last, encoded(model, [pixels])[0]) < TOLERANCE


@torch.no_grad()
def test_intermediates_end_in_the_features():
    model = small()
    (pixels,) = images(model.config, [(3, 5)])
    final, found = to_timm(model).forward_intermediates(pixels[None], norm=True, output_fmt="NLC")
    assert len(found) == 2
    assert stray(final[0], encoded(model, [pixels])[0]) < TOLERANCE
    assert torch.equal(found[-1], final)


@pytest.mark.parametrize("frozen", [True, False])
def test_a_classifier_is_fine_tuned(frozen: bool):
    encoder = to_timm(small(), num_classes=2).train()
    encoder.requires_grad_(not frozen)
    encoder.get_classifier().requires_grad_(True)
    before = copy.deepcopy(encoder.state_dict())
    labels = torch.tensor([0, 1, 1, 0, 1, 0])
    pixels = torch.stack(images(small_config(), [(2, 3)] * 6)) + labels.view(-1, 1, 1, 1)  # a class is a brightness
    groups = param_groups_layer_decay(encoder)  # leaves out what is frozen
    optimizer = torch.optim.AdamW(groups, lr=0.2 if frozen else 0.02)
    losses = []
    for _ in range(40):
        loss = torch.nn.functional.cross_entropy(encoder(pixels), labels)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert losses[-1] < losses[0] / 2
    changed = {name.split(".")[0] for name, value in encoder.state_dict().items() if not torch.equal(value, before[name])}
    assert changed == ({"head"} if frozen else {"head", "blocks", "embeds", "norm"})


def test_recomputing_blocks_changes_no_gradient():
    model = small()
    pixels = torch.stack(images(model.config, [(2, 3)] * 2))

    def gradients(activation_checkpointing: bool) -> list[Tensor]:
        encoder = to_timm(model).train()
        encoder.set_grad_checkpointing(activation_checkpointing)
        encoder(pixels).square().sum().backward()
        return [p.grad for p in encoder.parameters()]

    for found, expected in zip(gradients(True), gradients(False), strict=True):
        torch.testing.assert_close(found, expected)


def drop_rates(encoder: Any) -> list[float]:
    return [getattr(block.drop_path1, "drop_prob", 0.0) for block in encoder.blocks]


def test_drop_path_grows_over_the_blocks():
    encoder = to_timm(small(num_hidden_layers=3, drop_path_rate=0.2))
    assert drop_rates(encoder) == pytest.approx([0.0, 0.1, 0.2])


@pytest.mark.parametrize("name", NAMES)
def test_the_names_drop_no_path_unless_told(name: str):
    assert drop_rates(timm.create_model(name, device="meta", depth=3)) == [0.0, 0.0, 0.0]
    told = timm.create_model(name, device="meta", depth=3, drop_path_rate=0.2)
    assert drop_rates(told) == pytest.approx([0.0, 0.1, 0.2])


def test_a_folder_keeps_the_rate_of_its_model_unless_told(tmp_path: Path):
    folder = f"local-dir:{save_timm(small(num_hidden_layers=3, drop_path_rate=0.2), tmp_path)}"
    assert drop_rates(timm.create_model(folder, pretrained=True)) == pytest.approx([0.0, 0.1, 0.2])
    assert drop_rates(timm.create_model(folder, pretrained=True, drop_path_rate=0.0)) == [0.0, 0.0, 0.0]


def test_an_attentive_probe_learns_while_the_encoder_is_frozen():
    encoder = to_timm(small(), num_classes=2, global_pool="map").train().requires_grad_(False)
    for part in (encoder.attn_pool, encoder.head):
        part.requires_grad_(True)
    before = copy.deepcopy(encoder.state_dict())
    labels = torch.tensor([0, 1, 1, 0, 1, 0])
    pixels = torch.stack(images(small_config(), [(2, 3)] * 6)) + labels.view(-1, 1, 1, 1)  # a class is a brightness
    optimizer = torch.optim.AdamW([p for p in encoder.parameters() if p.requires_grad], lr=0.02)
    losses = []
    for _ in range(40):
        loss = torch.nn.functional.cross_entropy(encoder(pixels), labels)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert losses[-1] < losses[0] / 2
    changed = {name.split(".")[0] for name, value in encoder.state_dict().items() if not torch.equal(value, before[name])}
    assert changed == {"attn_pool", "head"}


# A folder for timm


WITHOUT_GENLIP = """
import sys
sys.modules["genlip"] = None
import timm, torch
from safetensors.torch import load_file, save_file
found = {}
for name in sys.argv[3:]:
    encoder = timm.create_model(name, pretrained=True).eval()
    with torch.no_grad():
        found[name] = encoder.forward_features(load_file(sys.argv[1])["pixels"])
save_file(found, sys.argv[2])
"""


def in_hub_cache(folder: Path, cache: Path) -> str:
    """A folder as if it had been fetched from the Hub; returns its name there."""
    kept = cache / "models--someone--encoder"
    (kept / "refs").mkdir(parents=True)
    (kept / "refs" / "main").write_text("0" * 40)
    shutil.copytree(folder, kept / "snapshots" / ("0" * 40))
    return "hf-hub:someone/encoder"


def test_a_saved_folder_needs_no_genlip(tmp_path: Path):
    models = {
        "plain": recorded_model(RECORDED[1]),
        "published": small(patch_size=16, hidden_size=144, mrope_section=(8, 12, 12)),
        "bare": small(patch_size=16, ls_init_value=0.0, gated_attention=False, use_swiglu_ffn=False, hidden_act="relu"),
    }
    (pixels,) = images(models["plain"].config, [(3, 9)])
    expected = {}
    for name, model in models.items():
        expected[f"local-dir:{save_timm(model, tmp_path / name)}"] = encoded(model, [pixels])[0]
    on_hub = in_hub_cache(tmp_path / "published", tmp_path / "cache")
    expected[on_hub] = expected[f"local-dir:{tmp_path / 'published'}"]
    given, out = write({"pixels": pixels[None]}, tmp_path / "given.safetensors"), tmp_path / "found.safetensors"
    settings = {"HF_HUB_CACHE": str(tmp_path / "cache"), "HF_HUB_OFFLINE": "1", "OMP_NUM_THREADS": "1"}
    command = [sys.executable, "-c", WITHOUT_GENLIP, given, str(out), *expected]
    subprocess.run(command, check=True, env=os.environ | settings)
    found = load_file(out)
    assert set(found) == set(expected)
    for name, features in found.items():
        assert stray(features[0], expected[name]) < TOLERANCE


def test_a_saved_folder_is_timms_layout(tmp_path: Path):
    model = small()
    folder = save_timm(model, tmp_path / "new" / "folder")
    assert sorted(file.name for file in folder.iterdir()) == ["config.json", "model.safetensors"]
    stored = json.loads((folder / "config.json").read_text())
    assert stored["architecture"] in timm.list_models(module="naflexvit")
    assert stored["num_features"] == 24
    assert stored["model_args"] == json.loads(json.dumps(timm_arguments(model.config)))
    own = to_timm(model).state_dict()
    weights = load_file(folder / "model.safetensors")
    assert set(weights) == set(own)
    assert all(torch.equal(weights[name], own[name]) for name in own)


def test_a_saved_folder_takes_a_new_head(tmp_path: Path):
    model = small()
    name = f"local-dir:{save_timm(model, tmp_path)}"
    (pixels,) = images(model.config, [(2, 3)])
    encoder = timm.create_model(name, pretrained=True, num_classes=7).eval()
    assert encoder(pixels[None]).shape == (1, 7)
    assert stray(encoder.forward_features(pixels[None])[0], encoded(model, [pixels])[0]) < TOLERANCE


@pytest.mark.parametrize(("more", "width"), [({"num_classes": 7}, 7), ({"pretrained_strict": False}, 24)])
def test_a_saved_folder_takes_an_attentive_pool(more: dict[str, Any], width: int, tmp_path: Path):
    model = small()
    name = f"local-dir:{save_timm(model, tmp_path)}"
    (pixels,) = images(model.config, [(2, 3)])
    encoder = timm.create_model(name, pretrained=True, global_pool="map", **more).eval()
    assert encoder(pixels[None]).shape == (1, width)
    assert stray(encoder.forward_features(pixels[None])[0], encoded(model, [pixels])[0]) < TOLERANCE


@pytest.mark.parametrize(
    ("settings", "side"),
    [
        (None, 224),
        (ImageConfig(size=384), 384),
        (ImageConfig(resize="native", max_patches=1024), 128),
        (ImageConfig(resize="native", max_patches=60, size=17), 28),
    ],
)
def test_a_saved_folder_tells_how_images_are_prepared(settings: ImageConfig | None, side: int, tmp_path: Path):
    save_timm(small(), tmp_path, settings)  # patches of 4 pixels
    config = resolve_model_data_config(timm.create_model(f"local-dir:{tmp_path}"))
    assert tuple(config["input_size"]) == (3, side, side)
    assert (config["crop_pct"], config["crop_mode"], *config["mean"], *config["std"]) == (1.0, "squash", *[0.5] * 6)


def test_a_size_that_is_no_multiple_of_the_patch_is_refused(tmp_path: Path):
    with pytest.raises(ValueError, match=r"images\.size 42 is not a multiple of the model's patch_size 4"):
        save_timm(small(), tmp_path / "out", ImageConfig(size=42))
    assert not (tmp_path / "out").exists()


def test_without_timm_one_line_says_what_to_install(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.delitem(sys.modules, "genlip.export.timm")
    monkeypatch.setitem(sys.modules, "timm", None)
    with pytest.raises(MissingExtra, match=r'^timm is not installed: pip install "genlip\[timm\]"$'):
        import_module("genlip.export.timm")
    monkeypatch.undo()
    assert require("timm", extra="timm") is timm


def test_a_converted_model_knows_how_its_images_are_prepared():
    images = ImageConfig(size=64)
    encoder = to_timm(random_model(GenLIPConfig.preset("tiny", num_hidden_layers=1)), images=images)
    assert timm.data.resolve_model_data_config(encoder)["input_size"] == (3, 64, 64)
