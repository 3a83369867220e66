"""The plugin: cheap to import, and lmms-eval finds the model through the entry point."""

import subprocess
import sys
import tomllib
from importlib import import_module, metadata
from pathlib import Path

import pytest

GROUP = "lmms_eval.models"


def test_the_entry_point_names_the_function():
    project = tomllib.loads((Path(__file__).parents[2] / "pyproject.toml").read_text())["project"]
    module, _, name = project["entry-points"][GROUP]["genlip"].partition(":")
    assert callable(getattr(import_module(module), name))


def test_importing_it_imports_nothing_heavy():
    script = "import genlip.mllm.lmms_plugin, sys; print({'torch', 'lmms_eval', 'transformers'} & sys.modules.keys())"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "set()"


def test_it_returns_a_manifest_of_a_chat_model(tmp_path):
    """A fresh program with a stand-in of the class, whose fields are those of lmms-eval 0.7.3."""
    package = tmp_path / "lmms_eval/models"
    package.mkdir(parents=True)
    (tmp_path / "lmms_eval/__init__.py").touch()
    (package / "__init__.py").touch()
    (package / "registry_v2.py").write_text(
        "from dataclasses import dataclass\n\n@dataclass(frozen=True)\nclass ModelManifest:\n    model_id: str\n"
        "    simple_class_path: str | None = None\n    chat_class_path: str | None = None\n    aliases: tuple = ()\n"
    )
    script = (
        f"import sys; sys.path.insert(0, {str(tmp_path)!r})\nfrom genlip.mllm.lmms_plugin import models\nprint(*models())"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    told = "simple_class_path=None, chat_class_path='genlip.mllm.lmms_model.LmmsModel', aliases=()"
    assert done.stdout.strip() == f"ModelManifest(model_id='genlip', {told})"


def test_lmms_eval_finds_the_model():
    pytest.importorskip("lmms_eval")
    if not metadata.entry_points(group=GROUP, name="genlip"):
        pytest.skip("genlip is not installed with its entry points")
    from lmms_eval.models import get_model, get_model_manifest

    assert get_model_manifest("genlip").chat_class_path == "genlip.mllm.lmms_model.LmmsModel"
    pytest.importorskip("genlip.mllm.assistant")
    assert get_model("genlip").is_simple is False
