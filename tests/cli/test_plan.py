"""`genlip plan`: what the command prints, and what it refuses."""

import json

import pytest

from genlip.cli.main import main
from genlip.plan.plan import Assumptions
from genlip.plan.planner import plan_run
from genlip.plan.text import plan_text
from genlip.recipes.recipe import load_recipe

SIZE = ["--packing.batch", "64 packs", "--data.workers", "2"]


def test_it_prints_what_python_plans(capsys):
    assert main(["plan", "quickstart", "--gpus", "4", "--gpu", "a100", "--text", "18", "--node", "2", *SIZE]) == 0
    expected = plan_run(load_recipe("quickstart", SIZE), gpus=4, gpu="a100", assume=Assumptions(text=18, node=2))
    assert capsys.readouterr().out == plan_text(expected, "quickstart")


@pytest.mark.parametrize("recipe", ["stage1_l16_cpu", "stage2_g16_cpu", "quickstart", "mllm_align_1p5b_cpu"])
def test_a_recipe_for_a_processor_is_planned_for_this_one_and_says_so(recipe, capsys):
    assert main(["plan", recipe]) == 0
    first, empty, headline, *_ = capsys.readouterr().out.splitlines()
    assert (
        first == f"{recipe} is written for a processor, so this plan is for this machine's; set --gpu or --gpus for others"
    )
    assert (empty, headline.partition(":")[0]) == ("", f"{recipe} on 1 × cpu")


@pytest.mark.parametrize(
    ("arguments", "on"),
    [
        (["stage1_l16_cpu", "--gpu", "a100"], "8 × a100"),
        (["stage1_l16_cpu", "--gpus", "2"], "2 × h100"),
        (["stage1_l16_cpu", "--gpu", "cpu"], "1 × cpu"),
        (["stage1_l16_cpu", "--gpu", "cpu", "--gpus", "2"], "2 × cpu"),
        (["stage1_l16"], "8 × h100"),
    ],
)
def test_what_is_asked_for_is_planned(arguments, on, capsys):
    assert main(["plan", *arguments]) == 0
    assert capsys.readouterr().out.startswith(f"{arguments[0]} on {on}: ")


@pytest.mark.parametrize("name", ["align_1p5b", "align_7b", "instruct_1p5b", "instruct_7b"])
def test_recipes_of_multimodal_llms_are_planned(name, capsys):
    assert main(["plan", f"mllm_{name}", "--supervised", "0.25", "--examples", "500k", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["assumed"]["supervised"] == 0.25
    assert found["parameters"]["language"] == {"1p5b": 1_543_714_304, "7b": 7_615_616_512}[name.split("_")[1]]
    assert found["days"] > 0


def test_a_recipe_on_one_for_a_processor_is_for_a_processor(tmp_path, capsys):
    (tmp_path / "below.yaml").write_text("base: stage1_l16_cpu\nseed: 1\n")
    (tmp_path / "mine.yaml").write_text("base: below.yaml\n")
    assert main(["plan", str(tmp_path / "mine.yaml"), "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["gpu"]["name"] == "cpu"


def test_json_holds_every_figure(capsys):
    assert (
        main(
            [
                "plan",
                "quickstart",
                "--json",
                "--utilisation",
                "0.5",
                "--steps",
                "0",
                "--epochs",
                "2",
                "--examples",
                "1M",
                *SIZE,
            ]
        )
        == 0
    )
    found = json.loads(capsys.readouterr().out)
    assert found["assumed"]["utilisation"] == 0.5
    assert found["updates"] * found["samples_per_update"] == pytest.approx(2e6, rel=0.01)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["nowhere.yaml"], "nowhere.yaml: no such recipe"),
        (["quickstart", "--gpu", "h800"], "unknown gpu 'h800': the table holds a100, h100"),
        (["quickstart", "--gpus", "0"], "gpus is 0: it must be at least 1"),
        (["quickstart", "--utilisation", "2"], "utilisation is 2.0: it must be a share"),
        (["quickstart", "--packing.max_token", "1"], "did you mean packing.max_tokens?"),
        (["quickstart", "--examples", "many"], "'many' is not a whole number"),
    ],
)
def test_wrong_arguments_are_one_line(arguments, message, capsys):
    assert main(["plan", *arguments]) == 1
    out, err = capsys.readouterr()
    assert (out, err.count("\n")) == ("", 1)
    assert err.startswith("genlip: ")
    assert message in err


def test_help_has_an_example_and_the_python_call(capsys):
    with pytest.raises(SystemExit) as stop:
        main(["plan", "--help"])
    told = capsys.readouterr().out
    assert stop.value.code == 0
    assert "  genlip plan " in told
    assert "python: genlip.plan_run(" in told
