"""How models are spelled, and which spelling an error names."""

import json

import pytest

from genlip.encoders.names import check_genlip, is_genlip, library_of, split_random


@pytest.mark.parametrize(
    ("model", "expected"),
    [
        ("timm:vit_base_patch16_224", ("timm", "vit_base_patch16_224")),
        ("transformers:google/siglip2", ("transformers", "google/siglip2")),
        ("transformers:C:/towers", ("transformers", "C:/towers")),
        ("runs/quickstart/model", ("", "runs/quickstart/model")),
        ("C:/model", ("", "C:/model")),
        ("timm:", ("", "timm:")),
        ("owner/name", ("", "owner/name")),
        ("random:timm:vit", ("timm", "vit")),
        ("random:transformers:owner/tower", ("transformers", "owner/tower")),
        ("random:runs/x/model", ("", "runs/x/model")),
        ("random:", ("", "random:")),
    ],
)
def test_the_library_stands_before_the_colon(model, expected):
    assert library_of(model) == expected


@pytest.mark.parametrize(
    ("model", "expected", "trained"),
    [
        ("random:l16", (True, "l16"), False),
        ("random:timm:vit", (True, "timm:vit"), False),
        ("timm:vit", (False, "timm:vit"), False),
        ("runs/random:x/model", (False, "runs/random:x/model"), True),
        ("owner/random", (False, "owner/random"), True),
        ("random:", (False, "random:"), True),
    ],
)
def test_random_before_a_name_asks_for_new_weights(model, expected, trained):
    assert split_random(model) == expected
    assert is_genlip(model) == trained


@pytest.mark.parametrize(
    ("config", "message"),
    [
        ({"model_type": "siglip2"}, "holds a siglip2 of Transformers, no GenLIP: write transformers:"),
        ({"architecture": "vit_base"}, "holds a vit_base of timm, no GenLIP: write timm:"),
    ],
)
def test_a_folder_of_another_library_is_told_by_its_config(config, message, tmp_path):
    (tmp_path / "config.json").write_text(json.dumps(config))
    with pytest.raises(ValueError, match=message):
        check_genlip(str(tmp_path))


def test_other_folders_are_left_to_the_reader(tmp_path):
    for text in ('{"model_type": "genlip"}', "[]", "no json"):
        (tmp_path / "config.json").write_text(text)
        check_genlip(str(tmp_path))
    check_genlip("owner/name")


def test_a_model_of_another_library_is_refused_where_one_of_genlip_is_needed():
    with pytest.raises(ValueError, match="timm:vit is a model of timm, and this command takes one of genlip"):
        check_genlip("timm:vit")
    for model in ("random:l16", "random:timm:vit"):
        with pytest.raises(
            ValueError, match=f"{model} asks for new weights, and this command takes a trained model of genl"
        ):
            check_genlip(model)
