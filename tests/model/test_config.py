"""`genlip.model.config` against the paper's table, published dictionaries and arithmetic by hand."""

import dataclasses
import json
import re

import pytest
import torch

from genlip.model.config import PRESETS, GenLIPConfig
from genlip.model.genlip import GenLIP

from .helpers import RECORDED, VARIANTS, recording, small_config

# layers, width D, heads, FFN, text width E, vocabulary V. PAPER: Sizes; `tiny` and `base` are this package's.
SIZES = {
    "tiny": (4, 192, 4, 512, 192, 512),
    "base": (12, 768, 12, 2048, 768, 151_936),
    "l16": (24, 1024, 16, 2816, 1024, 151_936),
    "so16": (27, 1152, 16, 3072, 1152, 151_936),
    "g16": (40, 1536, 24, 4096, 1024, 151_936),
}

PUBLISHED_L16 = {
    "architectures": ["GenLIPForCausalLM"],
    "drop_path_rate": 0.1,
    "gated_attention": True,
    "hidden_act": "silu",
    "hidden_size": 1152,
    "intermediate_size": 2752,
    "layer_norm_eps": 1e-6,
    "ls_init_value": 0.1,
    "mrope_interleaved": True,
    "num_attention_heads": 16,
    "num_channels": 3,
    "num_hidden_layers": 24,
    "patch_size": 16,
    "rope_scaling": {"mrope_section": [8, 12, 12], "rope_type": "default", "type": "default"},
    "rope_theta": 10000,
    "text_embed_dim": 1024,
    "tie_word_embeddings": False,
    "torch_dtype": "bfloat16",
    "use_swiglu_ffn": True,
    "vocab_size": 151_936,
}


def trunk_by_hand(layers: int, width: int, ffn: int, gated: bool = True) -> int:
    """Parameters of patch embedding, blocks and ln_post, at 3 channels and patches of 16x16."""
    linear = width * width + width
    attention = 4 * linear + (linear if gated else 0)  # query, key, value, output; gate
    swiglu = 2 * (width * ffn + ffn) + (ffn * width + width)  # fc1 and gate_fc; fc2
    norms, layer_scales = 2 * (width + width), 2 * width
    patch_embedding, ln_post = 3 * 16 * 16 * width + width, width + width
    return patch_embedding + layers * (attention + swiglu + norms + layer_scales) + ln_post


def language_by_hand(width: int, text_width: int, vocabulary: int) -> int:
    """Parameters of the token embedding, lm_head, and the two maps between the widths where these differ."""
    maps = (text_width * width + width) + (width * text_width + text_width) if text_width != width else 0
    return vocabulary * text_width + text_width * vocabulary + maps


def parameters(module: torch.nn.Module) -> int:
    return sum(parameter.numel() for parameter in module.parameters())


@pytest.mark.parametrize("name", SIZES)
def test_parameters_of_a_preset_are_the_sum_of_its_parts(name):
    layers, width, heads, ffn, text_width, vocabulary = SIZES[name]
    with torch.device("meta"):
        model = GenLIP(GenLIPConfig.preset(name))
    trunk = parameters(model.vision_embeddings) + parameters(model.visual) + parameters(model.ln_post)
    assert model.config.num_attention_heads == heads
    assert trunk == trunk_by_hand(layers, width, ffn)
    assert parameters(model) == trunk + language_by_hand(width, text_width, vocabulary)


@pytest.mark.parametrize(("name", "billions"), [("l16", 0.3), ("so16", 0.4), ("g16", 1.1)])
def test_trunks_have_the_papers_size_and_the_gate_adds_a_tenth(name, billions):
    layers, width, _, ffn, _, _ = SIZES[name]
    with torch.device("meta"):
        ungated = GenLIP(GenLIPConfig.preset(name, gated_attention=False))
    trunk = parameters(ungated.vision_embeddings) + parameters(ungated.visual) + parameters(ungated.ln_post)
    assert trunk == trunk_by_hand(layers, width, ffn, gated=False)
    assert round(trunk / 1e9, 1) == billions  # the paper's figure leaves the gate out
    assert 1.07 < trunk_by_hand(layers, width, ffn) / trunk < 1.10


def test_every_preset_is_in_the_table_of_this_test():
    assert PRESETS.keys() == SIZES.keys()


@pytest.mark.parametrize(("name", "rate"), [("l16", 0.1), ("so16", 0.1), ("g16", 0.2)])
def test_presets_of_the_paper_drop_paths_at_its_rate(name, rate):
    config = GenLIPConfig.preset(name)
    assert (config.drop_path_rate, config.ls_init_value, config.rope_theta, config.layer_norm_eps) == (
        rate,
        0.1,
        1e4,
        1e-6,
    )


def test_a_preset_takes_changes():
    assert GenLIPConfig.preset("l16", vocab_size=99) == dataclasses.replace(GenLIPConfig.preset("l16"), vocab_size=99)


def test_text_width_is_the_trunks_unless_given():
    assert small_config().text_embed_dim == 24
    assert small_config(text_embed_dim=10).text_embed_dim == 10


def test_sections_are_thirds_unless_given():
    assert small_config(num_attention_heads=1).mrope_section == (4, 4, 4)
    assert small_config(num_attention_heads=2).mrope_section == (2, 2, 2)
    assert small_config(num_attention_heads=3).mrope_section == (0, 2, 2)


@pytest.mark.parametrize("half", range(1, 41))
def test_sections_that_are_not_given_sum_to_half_the_head(half):
    section = small_config(hidden_size=4 * half).mrope_section
    assert min(section) >= 0
    assert sum(section) == half


@pytest.mark.parametrize(
    ("changes", "found", "needed"),
    [
        ({"hidden_size": 0}, "hidden_size is 0", "at least 1"),
        ({"intermediate_size": -4}, "intermediate_size is -4", "at least 1"),
        ({"num_hidden_layers": 0}, "num_hidden_layers is 0", "at least 1"),
        ({"num_attention_heads": 0}, "num_attention_heads is 0", "at least 1"),
        ({"vocab_size": 0}, "vocab_size is 0", "at least 1"),
        ({"text_embed_dim": 0}, "text_embed_dim is 0", "at least 1"),
        ({"patch_size": 0}, "patch_size 0", "at least 1 pixel"),
        ({"num_channels": 2}, "num_channels 2", "1 or 3 channels"),
        ({"num_attention_heads": 5}, "hidden_size 24 over 5 heads", "multiple of 10"),
        ({"num_attention_heads": 8}, "hidden_size 24 over 8 heads", "multiple of 16"),
        ({"hidden_act": "swish"}, "'swish'", "silu, gelu"),
        ({"drop_path_rate": 1.0}, "drop_path_rate is 1.0", "[0, 1)"),
        ({"drop_path_rate": -0.1}, "drop_path_rate is -0.1", "[0, 1)"),
        ({"drop_path_rate": float("nan")}, "drop_path_rate is nan", "a finite number"),
        ({"rope_theta": float("inf")}, "rope_theta is inf", "a finite number"),
        ({"rope_theta": 10**400}, "rope_theta is 1000", "a finite number"),
        ({"layer_norm_eps": "1e-6"}, "layer_norm_eps is '1e-6'", "a finite number"),
        ({"ls_init_value": True}, "ls_init_value is True", "a finite number"),
        ({"use_swiglu_ffn": "false"}, "use_swiglu_ffn is 'false'", "true or false"),
        ({"gated_attention": 1}, "gated_attention is 1", "true or false"),
        ({"mrope_interleaved": {}}, "mrope_interleaved is {}", "true or false"),
        ({"hidden_act": ["silu"]}, "hidden_act is ['silu']", "a text"),
        ({"ls_init_value": -0.1}, "ls_init_value is -0.1", "not be negative"),
        ({"layer_norm_eps": -1e-6}, "layer_norm_eps is -1e-06", "not be negative"),
        ({"rope_theta": 0}, "rope_theta is 0", "must be positive"),
        *(
            ({name: value}, f"{name} is {value!r}", "whole number")
            for name in (
                "hidden_size",
                "intermediate_size",
                "num_hidden_layers",
                "num_attention_heads",
                "vocab_size",
                "text_embed_dim",
                "patch_size",
                "num_channels",
            )
            for value in (3.0, True, "3")
        ),
        ({"hidden_size": None}, "hidden_size is None", "whole number"),
        ({"mrope_section": (1.5, 2, 2)}, "(1.5, 2, 2)", "three counts"),
        ({"mrope_section": (True, 2, 2)}, "(True, 2, 2)", "three counts"),
        ({"mrope_section": (3, 3)}, "(3, 3)", "three counts"),
        ({"mrope_section": (-1, 4, 3)}, "(-1, 4, 3)", "three counts"),
        ({"mrope_section": 5}, "mrope_section 5", "three counts"),
        ({"mrope_section": (2, 3, 3), "mrope_interleaved": False}, "sums to 8", "half the head dimension, 6"),
    ],
    ids=lambda value: json.dumps(value) if isinstance(value, dict) else "",
)
def test_an_impossible_value_is_refused_with_what_was_found_and_needed(changes, found, needed):
    with pytest.raises(ValueError, match=f"{re.escape(found)}.*{re.escape(needed)}"):
        small_config(**changes)


def test_an_unknown_preset_is_refused_with_the_known_ones():
    with pytest.raises(ValueError, match="unknown preset 'l14': the presets are tiny, base, l16, so16, g16"):
        GenLIPConfig.preset("l14")


@pytest.mark.parametrize("name", PRESETS)
def test_a_preset_survives_its_json(name):
    config = GenLIPConfig.preset(name)
    assert GenLIPConfig.from_dict(json.loads(json.dumps(config.to_dict()))) == config


@pytest.mark.parametrize("variant", VARIANTS)
def test_a_variant_survives_its_json(variant):
    config = small_config(**VARIANTS[variant], rope_theta=500.0, drop_path_rate=0.3, layer_norm_eps=1e-5)
    assert GenLIPConfig.from_dict(json.loads(json.dumps(config.to_dict()))) == config


@pytest.mark.parametrize("published", [PUBLISHED_L16, *(recording(name).config for name in RECORDED)])
def test_a_published_config_is_read_without_a_warning_and_written_with_the_same_values(published, caplog):
    written = GenLIPConfig.from_dict(published).to_dict()
    assert not caplog.records
    assert {key: written.get(key) for key in published.keys() - {"architectures", "torch_dtype"}} == {
        key: value for key, value in published.items() if key not in ("architectures", "torch_dtype")
    }


def test_published_sections_need_not_sum_to_half_the_head():
    config = GenLIPConfig.from_dict(PUBLISHED_L16)
    assert (config.head_dim, config.mrope_section) == (72, (8, 12, 12))


def test_whole_numbers_in_json_are_as_good_as_fractions():
    model = GenLIP(GenLIPConfig.from_dict({**small_config().to_dict(), "ls_init_value": 1, "drop_path_rate": 0}))
    assert model.blocks[0].layer_scale1.lambda1.tolist() == [1.0] * 24


def test_an_unknown_key_is_logged_with_the_nearest_known_one(caplog):
    published = {**small_config().to_dict(), "hiden_act": "relu", "zzz": 1}
    assert GenLIPConfig.from_dict(published) == small_config()
    (record,) = caplog.records
    assert record.levelname == "WARNING"
    assert "hiden_act (did you mean hidden_act?), zzz" in record.getMessage()


def test_an_unknown_key_of_rope_scaling_is_logged(caplog):
    published = small_config().to_dict()
    published["rope_scaling"]["factor"] = 4.0
    assert GenLIPConfig.from_dict(published) == small_config()
    assert "factor" in caplog.text


@pytest.mark.parametrize("theta_inside", [True, False])
def test_rotary_settings_are_read_under_the_name_of_transformers_5(theta_inside, caplog):
    published = small_config(rope_theta=500.0, mrope_section=(1, 3, 2)).to_dict()
    rope = published.pop("rope_scaling") | {"partial_rotary_factor": 1.0}
    if theta_inside:
        rope["rope_theta"] = published.pop("rope_theta")
    config = GenLIPConfig.from_dict({**published, "rope_parameters": rope})
    assert (config.rope_theta, config.mrope_section) == (500.0, (1, 3, 2))
    assert not caplog.records


def test_what_transformers_5_adds_to_a_config_says_nothing_about_the_network(caplog):
    # PreTrainedConfig().to_dict() of transformers 5.24, and what its GenLIP adds.
    added = {
        "_name_or_path": "", "architectures": None, "bos_token_id": None, "chunk_size_feed_forward": 0, "dtype": None,
        "eos_token_id": 3, "id2label": {"0": "LABEL_0"}, "image_size": 224, "image_token_id": 7, "initializer_range": 0.02,
        "is_encoder_decoder": False, "label2id": {"LABEL_0": 0}, "output_attentions": False, "output_hidden_states": False,
        "pad_token_id": 3, "problem_type": None, "return_dict": True, "transformers_version": "5.24.0", "use_cache": True,
    }  # fmt: skip
    assert GenLIPConfig.from_dict({**added, **small_config().to_dict()}) == small_config()
    assert not caplog.records


def test_missing_keys_are_named_next_to_the_ones_that_are_there():
    published = {"hidden_size": 24, "num_attention_heads": 2, "vocab_size": 17, "model_type": "other"}
    with pytest.raises(ValueError, match="intermediate_size, num_hidden_layers missing; it has hidden_size, model_type"):
        GenLIPConfig.from_dict(published)


def test_tied_embeddings_are_refused():
    with pytest.raises(ValueError, match=r"tie_word_embeddings is true.*set it to false"):
        GenLIPConfig.from_dict({**small_config().to_dict(), "tie_word_embeddings": True})
