"""docs/use.md: every snippet runs, in order, in a folder with a model and a photo, and is under ten lines."""

import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

from genlip.cli import main

from .helpers import model_folder, pictures

PAGE = Path(__file__).parents[2] / "docs" / "use.md"
BLOCKS = re.findall(r"^```(python|bash)\n(.*?)^```", PAGE.read_text(encoding="utf8"), re.DOTALL | re.MULTILINE)


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    folder = tmp_path_factory.mktemp("use")
    model_folder(folder / "runs" / "quickstart" / "model", resize="fixed", num_hidden_layers=1)
    pictures()[1].convert("RGB").save(folder / "photo.jpg")
    return folder


def test_the_page_has_snippets_for_every_library():
    code = "\n".join(text for language, text in BLOCKS if language == "python")
    assert all(
        word in code for word in ("genlip.Speaker", "AutoModel", "LlavaForConditionalGeneration", "to_timm", "OnnxCaptioner")
    )
    assert all(len(text.splitlines()) < 10 for _, text in BLOCKS)


@pytest.mark.parametrize("number", range(len(BLOCKS)))
def test_snippets_run(number, place, monkeypatch):
    for module in ("transformers", "timm", "onnxscript"):
        pytest.importorskip(module)
    language, text = BLOCKS[number]
    if language == "python":
        done = subprocess.run(
            [sys.executable, "-c", text], cwd=place, capture_output=True, text=True, env=os.environ | OFFLINE
        )
        assert done.returncode == 0, done.stderr
        return
    monkeypatch.chdir(place)
    for line in text.splitlines():
        _, *arguments = shlex.split(line)
        assert main(arguments) == 0


OFFLINE = {"HF_HUB_OFFLINE": "1", "OMP_NUM_THREADS": "1"}
