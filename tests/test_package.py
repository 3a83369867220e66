"""The package as a whole: what it exports, what importing it costs, and whether its README tells the truth."""

import re
import subprocess
import sys
from pathlib import Path

import pytest
from PIL import Image

import genlip
from genlip.train.loop import train_model

from .train.helpers import small_run

ROOT = Path(__file__).parents[1]


def test_every_export_is_there_and_nothing_else_is_promised():
    assert sorted(genlip._HOMES) == sorted(set(genlip.__all__) - {"__version__"})
    for name in genlip.__all__:
        assert getattr(genlip, name).__doc__, name
    with pytest.raises(AttributeError, match="no attribute 'nonsense'"):
        genlip.nonsense  # noqa: B018


def imported_by(statement, modules):
    """Which of the modules a fresh interpreter has imported after a statement."""
    script = f"{statement}\nimport sys; print(sorted({modules} & sys.modules.keys()))"
    return subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True).stdout.strip()


def test_importing_the_package_imports_nothing_heavy():
    assert imported_by("import genlip", {"torch", "PIL", "matplotlib", "tokenizers", "huggingface_hub"}) == "[]"


def test_loading_and_speaking_import_no_training_library():
    assert imported_by("import genlip; genlip.Speaker, genlip.load", {"jsonargparse", "rich", "matplotlib"}) == "[]"


def test_a_caption_waits_for_no_compiler_and_no_distributed_training(tmp_path):
    model = train_model(small_run(tmp_path, steps=2))
    Image.new("RGB", (40, 40)).save(tmp_path / "photo.png")
    words = ["caption", str(model), str(tmp_path / "photo.png"), "--max-tokens", "2"]
    caption = f"with contextlib.redirect_stdout(io.StringIO()): main({words!r})"
    told = imported_by(
        f"import contextlib, io; from genlip.cli.main import main\n{caption}",
        {"torch._dynamo", "torch.distributed.checkpoint", "sympy", "jsonargparse", "rich", "matplotlib"},
    )
    assert told == "[]"


@pytest.fixture(scope="module")
def workplace(tmp_path_factory):
    """A folder in which the README's snippets find what they name."""
    folder = tmp_path_factory.mktemp("readme")
    train_model(small_run(folder / "runs/quickstart", steps=2))
    Image.effect_noise((90, 70), 60).convert("RGB").save(folder / "photo.jpg")
    return folder


SNIPPETS = re.findall(r"```python\n(.*?)```", (ROOT / "README.md").read_text(), re.DOTALL)


@pytest.mark.parametrize("snippet", SNIPPETS)
def test_the_readmes_snippets_run(snippet, workplace, monkeypatch):
    monkeypatch.chdir(workplace)
    exec(compile(snippet, "README.md", "exec"), {"__name__": "__readme__"})


def test_features_need_less_than_ten_lines():
    before, _, _ = SNIPPETS[0].partition("speaker.caption")
    assert "encode" in before
    assert len(before.strip().splitlines()) < 10


def test_the_readmes_tree_names_the_folders_that_exist():
    text = (ROOT / "README.md").read_text()
    named = re.findall(r"^  (\w+)/ ", text[text.index("## Repository layout") :], re.MULTILINE)
    there = [folder.name for folder in (ROOT / "src/genlip").iterdir() if (folder / "__init__.py").exists()]
    assert sorted(named) == sorted(there)


def test_make_says_what_it_installs_before_it_does():
    lines = (ROOT / "Makefile").read_text().splitlines()
    installs = [number for number, line in enumerate(lines) if "pip install" in line]
    assert len(installs) == 4
    assert all(re.match(r"\t@echo .*(GB|silent)", lines[number - 1]) for number in installs)


def test_links_in_the_docs_lead_somewhere():
    for page in [*ROOT.glob("*.md"), *ROOT.glob("benchmarks/*.md"), *ROOT.glob("examples/*/*.md")]:
        for link in re.findall(r"\]\(([^)#]+)\)", page.read_text()):
            assert link.startswith("http") or (page.parent / link).exists(), f"{page.name}: {link}"


def test_the_oldest_libraries_that_are_tested_are_those_that_are_promised():
    promised = set(re.findall(r'"((?:torch|transformers|timm)>=[\d.]+)"', (ROOT / "pyproject.toml").read_text()))
    tested = {line for line in (ROOT / "lowest.txt").read_text().splitlines() if not line.startswith(("#", "torchvision"))}
    assert {line.replace(">=", "==") for line in promised} == {line.replace("2.11.0", "2.11") for line in tested}
    tested = {line for line in tested if not line.startswith("torch")}
    page = (ROOT / "docs/use.md").read_text(encoding="utf8").lower()
    assert all(line.replace("==", " ≥ ").removesuffix(".0") in page for line in tested)
    newest = dict(line.split("==") for line in (ROOT / "constraints.txt").read_text().splitlines() if "==" in line)
    for library in ("transformers", "timm"):
        named = f"{library} {newest[library]}"
        assert named in page
        assert named in (ROOT / "pyproject.toml").read_text()
