"""The guides: their recipes load, their code runs, their commands parse, their links lead somewhere."""

import re
import shlex
from pathlib import Path
from textwrap import dedent

import pytest
import yaml

import genlip
from genlip.cli.main import _parser, main
from genlip.data.examples import Turn
from genlip.data.sources import open_source
from genlip.data.sources.fields import CaptionFields
from genlip.evaluate.registry import MEASUREMENTS
from genlip.recipes.recipe import keys, load_recipe, recipe_names
from genlip.train.loop import train_model
from genlip.train.tracking import read_log

from .train.helpers import small_run

ROOT = Path(__file__).parents[1]
GUIDES = [
    "docs/data.md", "docs/training.md", "docs/evaluate.md", "docs/use.md", "docs/mllm.md", "docs/reader.md",
    "docs/baselines.md", "examples/slurm/README.md",
]  # fmt: skip
DATA, TRAINING, EVALUATE, *_ = ((ROOT / page).read_text(encoding="utf8") for page in GUIDES)


def blocks(language: str, text: str = DATA) -> list[str]:
    """The fenced blocks of a language, those in lists too."""
    found = re.findall(rf"^( *)```{language}\n(.*?)^\1```", text, re.DOTALL | re.MULTILINE)
    return [dedent(block) for _, block in found]


def commands(text: str) -> list[list[str]]:
    """The words after `genlip` of every command, also of those that torchrun starts."""
    lines = "\n".join(blocks("bash", text)).replace("\\\n", " ").splitlines()
    found = (re.fullmatch(r"(?:[A-Z_]+=\S* )*(?:torchrun .* -m )?genlip (.*)", line) for line in lines)
    return [shlex.split(one[1], comments=True) for one in found if one]


@pytest.fixture
def desk(tmp_path, monkeypatch):
    """A folder with the recipes of both guides, no way to the Hub, and small tokenizers."""
    for block in blocks("yaml") + blocks("yaml", TRAINING):
        (name,) = re.findall(r"^# (\w+\.yaml):", block)
        (tmp_path / name).write_text(block, encoding="utf8")
    monkeypatch.setattr("genlip.recipes.recipe.read_config", lambda name: genlip.GenLIPConfig.preset("base"))
    monkeypatch.setenv("GENLIP_CACHE", str(tmp_path / "cache"))
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.mark.parametrize(
    ("name", "packs", "resize", "init_from"),
    [
        ("stage1.yaml", 512, "fixed", ""),
        ("stage2.yaml", 256, "native", "runs/stage1/model"),
        ("mine.yaml", 64, "fixed", ""),
    ],
)
def test_the_recipes_load(name, packs, resize, init_from, desk):
    run = load_recipe(name)
    assert (run.model.hidden_size, run.packing.max_tokens, run.steps) == (1024, 16_384, 0)
    assert (run.packing.packs, run.images.resize, run.init_from) == (packs, resize, init_from)
    assert run.epochs or run.samples


def test_the_rehearsal_runs(desk):
    small = ["--data.source=scenes:0", "--data.fields=", "--data.held_out_samples=4", "--steps=2", "--spoken=1"]
    assert load_recipe("rehearsal.yaml").steps == 100
    assert main(["train", "rehearsal.yaml", *small]) == 0
    assert (desk / "runs/rehearsal/model/model.safetensors").is_file()


def test_the_mixture_opens(desk):
    mixture = yaml.safe_load((desk / "long_captions.yaml").read_text())
    mixture["sources"][0] |= {"source": "charts:1", "fields": {"caption": 1.0}}
    (desk / "mixture.yaml").write_text(yaml.safe_dump(mixture))
    source = open_source(str(desk / "mixture.yaml"))
    assert [take / len(source) for take in source.takes] == [0.75, 0.25]


def test_the_conversation_is_one():
    (text,) = blocks("json")
    record = yaml.safe_load(text)
    caption = CaptionFields({"conversations": 1.0}).read(record)
    assert caption == (Turn("What is the total?", False), Turn("EUR 967.92", True))


@pytest.mark.parametrize("page", GUIDES[:3])
def test_every_command_parses_and_names_settings_that_exist(page, desk):
    words = commands((ROOT / page).read_text(encoding="utf8"))
    assert len(words) > 8
    for line in words:
        if "--help" in line:
            continue
        args, rest = _parser().parse_known_args(line)
        assert not rest or args.takes_overrides, line
        if args.takes_overrides:
            load_recipe(args.recipe, rest)


def test_the_code_of_the_data_guide_runs(capsys):
    (code,) = blocks("python")
    names: dict = {}
    exec(compile(code, "docs/data.md", "exec"), names)
    rows = [line.split() for line in capsys.readouterr().out.splitlines()]
    assert [int(stream) for stream, _, _ in rows] == [0, 1]
    assert all(3500 < int(tokens) <= 4096 for _, _, tokens in rows)
    assert names["state"]["step"] == 1


def test_the_code_of_the_evaluation_guide_runs(desk, capsys):
    train_model(small_run("runs/quickstart", steps=2))
    (code,) = blocks("python", EVALUATE)
    names: dict = {}
    exec(compile(code, "docs/evaluate.md", "exec"), names)
    assert len(names["result"].keys) == 100
    assert capsys.readouterr().out.splitlines()[-1] == "runs/quickstart/model/evaluations/report.html"
    assert "scenes:1" in Path("runs/quickstart/model/evaluations/report.html").read_text(encoding="utf8")


def test_the_evaluation_guide_names_every_measurement():
    rows = EVALUATE[EVALUATE.index("| name |") :].partition("\n\n")[0].splitlines()[2:]
    of_baselines = {"retrieval"}  # of models with two towers; its results have no page of their own
    assert {re.findall(r"`([^`]+)`", row)[0] for row in rows} == set(MEASUREMENTS) - {"resolution"} | of_baselines


def test_the_training_guide_explains_a_run(desk, capsys):
    """Its code runs on a run, and its tables hold every figure and event that the run wrote."""
    small = ["--steps", "2", "--log_every", "1", "--data.held_out_samples", "2", "--log_samples", "true"]
    assert main(["train", "stage1_l16_cpu", *small]) == 0
    assert main(["report", "runs/stage1_l16_cpu"]) == 0
    with (desk / "runs/stage1_l16_cpu/log.jsonl").open("a") as log:
        log.write('{"event": "spike", "time": 9e9, "step": 2, "loss": 7.5, "usual": 5.0}\n')
    capsys.readouterr()
    found = blocks("python", TRAINING)
    assert len(found) == 2
    for code in found:
        exec(compile(code, "docs/training.md", "exec"), {})
    said = capsys.readouterr().out
    assert "2 7.5 [('documents:0:" in said
    figures = read_log("runs/stage1_l16_cpu", "train")[0].keys() - {"event", "time", "step"}
    assert figures == set(first_column("| figure |"))
    folder = {path.name for path in Path("runs/stage1_l16_cpu").iterdir()}
    assert folder <= {name.split("/")[0] for name in first_column("| in the run's folder |")}


def test_every_event_that_the_code_logs_is_explained():
    given = {
        kind
        for file in (ROOT / "src/genlip/train").glob("*.py")
        for kind in re.findall(r'\.event\(\s*"(\w+)"', file.read_text(encoding="utf8"))
    }
    assert given == set(first_column("| event |"))


def test_settings_and_recipes_that_the_training_guide_names_exist():
    of_genlip = {name for name in recipe_names() if name.startswith("stage")}
    assert set(re.findall(r"`(stage\d_\w+)`", TRAINING)) == of_genlip
    of_reader = {name for name in recipe_names() if name.startswith("pocket")}
    assert of_reader == set(re.findall(r"genlip train (pocket\w*)", (ROOT / "docs/reader.md").read_text(encoding="utf8")))
    of_mllm = set(recipe_names()) - of_genlip - of_reader - {"quickstart"}
    assert of_mllm <= set(re.findall(r"\bmllm_\w+", (ROOT / "docs/mllm.md").read_text(encoding="utf8")))
    known = keys().keys() | {key.rpartition(".")[0] for key in keys()}
    assert set(first_column("| setting |")) <= known
    dotted = re.findall(r"`(?:--)?((?:data|packing|images|captions|model|optimizer)\.\w+)", TRAINING)
    assert len(dotted) > 10
    assert set(dotted) <= known


def first_column(header: str) -> list[str]:
    """The code in the first column of the training guide's table with this header."""
    rows = TRAINING[TRAINING.index(header) :].partition("\n\n")[0].splitlines()[2:]
    return [re.findall(r"`([^`]+)`", row.split("|")[1])[0] for row in rows]


def test_no_page_was_left_half_written():
    for page in [*ROOT.glob("*.md"), *ROOT.glob("docs/*.md"), *ROOT.glob("benchmarks/*.md"), *ROOT.glob("examples/*/*.md")]:
        assert "{{" not in page.read_text(encoding="utf8"), page


@pytest.mark.parametrize("page", [*GUIDES, "README.md"])
def test_links_and_headings_exist(page):
    for target in re.findall(r"\]\(([^)]+)\)", (ROOT / page).read_text(encoding="utf8")):
        if target.startswith("http"):
            continue
        path, _, anchor = target.partition("#")
        file = (ROOT / page).parent / path if path else ROOT / page
        assert file.exists(), target
        assert not anchor or anchor in anchors(file.read_text(encoding="utf8")), target


def anchors(text: str) -> set[str]:
    titles = re.findall(r"^##+ (.*)$", text, re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", title.lower()).replace(" ", "-") for title in titles}


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
