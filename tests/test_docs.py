"""The guides: their recipes load, their code runs, their commands parse, their links lead somewhere."""

import re
import shlex
from pathlib import Path

import pytest
import yaml

import genlip
from genlip.cli import _parser
from genlip.data.examples import Turn
from genlip.data.sources import open_source
from genlip.data.sources.fields import CaptionFields

ROOT = Path(__file__).parents[1]
DATA = (ROOT / "docs/data.md").read_text(encoding="utf8")


def blocks(language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", DATA, re.DOTALL)


def block(name: str) -> str:
    """The YAML block whose first line names this file."""
    (found,) = [text for text in blocks("yaml") if text.startswith(f"# {name}:")]
    return found


@pytest.mark.parametrize("name", ["stage1.yaml", "stage2.yaml"])
def test_the_recipes_load(name, tmp_path):
    (tmp_path / name).write_text(block(name))
    run = genlip.load_recipe(tmp_path / name)
    assert (run.model.hidden_size, run.packing.max_tokens, run.steps) == (1024, 16_384, 0)
    assert run.epochs or run.samples


def test_the_rehearsal_is_a_valid_run(tmp_path):
    (tmp_path / "stage1.yaml").write_text(block("stage1.yaml"))
    (command,) = re.findall(r"genlip train stage1\.yaml (--data\.source scenes.*?) +# the same", DATA.replace("\\\n", ""))
    run = genlip.load_recipe(tmp_path / "stage1.yaml", shlex.split(command))
    assert (run.data.source, run.samples, run.packing.packs) == ("scenes:0", 500, 1)


def test_the_mixture_opens(tmp_path, monkeypatch):
    monkeypatch.setenv("GENLIP_CACHE", str(tmp_path / "cache"))
    mixture = yaml.safe_load(block("long_captions.yaml"))
    mixture["sources"][0] |= {"source": "charts:1", "fields": {"caption": 1.0}}
    (tmp_path / "mixture.yaml").write_text(yaml.safe_dump(mixture))
    source = open_source(str(tmp_path / "mixture.yaml"))
    assert [take / len(source) for take in source.takes] == [0.75, 0.25]


def test_the_conversation_is_one():
    (text,) = blocks("json")
    record = yaml.safe_load(text)
    caption = CaptionFields({"conversations": 1.0}).read(record)
    assert caption == (Turn("What is the total?", False), Turn("EUR 967.92", True))


def test_every_command_parses():
    commands = [
        line for text in blocks("bash") for line in re.sub(r"\\\n", " ", text).splitlines() if line.startswith("genlip")
    ]
    assert len(commands) > 8
    for command in commands:
        args, rest = _parser().parse_known_args(shlex.split(command, comments=True)[1:])
        assert not rest or args.takes_overrides, command


def test_the_code_runs(capsys):
    (code,) = blocks("python")
    names: dict = {}
    exec(compile(code, "docs/data.md", "exec"), names)
    rows = [line.split() for line in capsys.readouterr().out.splitlines()]
    assert [int(stream) for stream, _, _ in rows] == [0, 1]
    assert all(3500 < int(tokens) <= 4096 for _, _, tokens in rows)
    assert names["state"]["step"] == 1


def test_no_page_was_left_half_written():
    for page in [*ROOT.glob("*.md"), *ROOT.glob("docs/*.md"), *ROOT.glob("benchmarks/*.md"), *ROOT.glob("examples/*/*.md")]:
        assert "{{" not in page.read_text(encoding="utf8"), page


def test_links_and_headings_exist():
    anchors = {
        re.sub(r"[^\w\- ]", "", title.lower()).replace(" ", "-") for title in re.findall(r"^## (.*)$", DATA, re.MULTILINE)
    }
    for target in re.findall(r"\]\(([^)]+)\)", DATA):
        if target.startswith("#"):
            assert target[1:] in anchors, target
        elif not target.startswith("http"):
            assert (ROOT / "docs" / target).exists(), target


def test_every_reason_that_the_code_gives_is_explained():
    given = {
        reason
        for file in (ROOT / "src/genlip/data").rglob("*.py")
        for reason in re.findall(
            r'(?:ImageError|Unusable|Skipped)\(\s*(?:key, )?"([a-z ]+)"', file.read_text(encoding="utf8")
        )
    }
    assert given >= {"missing", "damaged", "no caption", "too large for a pack"}
    explained = set(re.findall(r"`([a-z ]+)`", DATA[DATA.index("| reason |") : DATA.index("What is *not* bad")]))
    assert given <= explained
