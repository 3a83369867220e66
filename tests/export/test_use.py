"""docs/use.md: every snippet runs, in order, in a folder with a model and a photo, and is under ten lines."""

import re
import shlex
from pathlib import Path

import pytest

from genlip.cli.main import main

from ..forks import Done, forks
from .helpers import model_folder, pictures

PAGE = Path(__file__).parents[2] / "docs" / "use.md"
BLOCKS = re.findall(r"^```(python|bash)\n(.*?)^```", PAGE.read_text(encoding="utf8"), re.DOTALL | re.MULTILINE)


@pytest.fixture(scope="module")
def outcomes(tmp_path_factory):
    """What became of each snippet: code in a process of its own, commands in this one."""
    for module in ("transformers", "timm", "onnxscript"):
        pytest.importorskip(module)
    folder = tmp_path_factory.mktemp("use")
    model_folder(folder / "runs" / "quickstart" / "model", resize="fixed", num_hidden_layers=1)
    pictures()[1].convert("RGB").save(folder / "photo.jpg")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        patch.setenv("HF_HUB_OFFLINE", "1")
        with forks("timm, torch, transformers", folder) as run:
            return [[run(text)] if language == "python" else _commands(text) for language, text in BLOCKS]


def _commands(lines):
    return [Done(main(shlex.split(line)[1:]), "", line) for line in lines.splitlines()]


def test_the_page_has_snippets_for_every_library():
    code = "\n".join(text for language, text in BLOCKS if language == "python")
    assert all(
        word in code for word in ("genlip.Speaker", "AutoModel", "LlavaForConditionalGeneration", "to_timm", "OnnxCaptioner")
    )
    assert all(len(text.splitlines()) < 10 for _, text in BLOCKS)


@pytest.mark.parametrize("number", range(len(BLOCKS)))
def test_snippets_run(number, outcomes):
    assert [(done.returncode, done.stderr) for done in outcomes[number] if done.returncode] == []
