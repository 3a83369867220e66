"""The published layout: a round trip changes no file."""

from genlip.cli.main import main

from .helpers import model_folder


def test_the_published_layout_comes_back_without_a_changed_bit(tmp_path):
    model = model_folder(tmp_path / "model", num_hidden_layers=1)
    assert main(["export", str(model), str(tmp_path / "a"), "--to", "published"]) == 0
    assert main(["export", str(tmp_path / "a"), str(tmp_path / "b"), "--to", "published"]) == 0
    for name in ("config.json", "model.safetensors", "preprocessing.json", "tokenizer.json"):
        assert (model / name).read_bytes() == (tmp_path / "a" / name).read_bytes() == (tmp_path / "b" / name).read_bytes()
