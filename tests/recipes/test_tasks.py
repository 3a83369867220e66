"""`genlip.recipes.tasks`: recipes name a task, and may hold the sections of its subclass of `Run`."""

import pytest
import yaml

from genlip.recipes.recipe import RecipeError, Run, describe_settings, differences, keys, load_recipe, to_yaml
from genlip.recipes.tasks import TASKS, check_task, import_object

from ..train.toy import ENTRY, PairConfig, ToyRun


@pytest.fixture
def toy(monkeypatch):
    monkeypatch.setitem(TASKS, "toy", ENTRY)


def test_runs_are_of_genlip_unless_they_say_otherwise(tmp_path):
    run = load_recipe("quickstart")
    assert (type(run), run.task) == (Run, "genlip")
    stored = yaml.safe_load(to_yaml(run))
    assert next(iter(stored)) == "task"
    del stored["task"]  # as stored by a version without tasks
    (tmp_path / "run.yaml").write_text(yaml.safe_dump(stored))
    assert load_recipe(tmp_path / "run.yaml") == run


@pytest.mark.parametrize("name", ["genlib", "", 3, ["genlip"]])
def test_unknown_tasks_are_refused_with_those_that_are_known(name):
    with pytest.raises(ValueError, match=r"task is .*: need one of genlip"):
        check_task(name)


def test_the_nearest_task_is_named_and_where_it_stands(tmp_path):
    with pytest.raises(
        RecipeError, match=r"^the command line: task is 'genlib': need one of genlip, mllm, .*; did you mean genlip\?"
    ):
        load_recipe("quickstart", ["--task", "genlib"])
    (tmp_path / "a.yaml").write_text("base: quickstart\ntask: [genlip]\n")
    with pytest.raises(RecipeError, match=r"a\.yaml: task is "):
        load_recipe(tmp_path / "a.yaml")
    with pytest.raises(ValueError, match="task is 'blip': need one of genlip"):
        Run(task="blip", model=load_recipe("quickstart").model)


def test_an_entry_names_what_is_imported():
    assert import_object("genlip.recipes.run:Run") is Run
    assert import_object(TASKS["genlip"].run) is Run


@pytest.mark.usefixtures("toy")
def test_a_task_brings_sections_of_its_own(tmp_path):
    (tmp_path / "a.yaml").write_text("base: quickstart\ntask: toy\npairs: {width: 3, bias: -4}\nrate_of_loss: 0.5\n")
    (tmp_path / "b.yaml").write_text("base: a.yaml\npairs.bias: -5\n")  # the task of its base
    run = load_recipe(tmp_path / "b.yaml", ["--pairs.width", "4", "--optimizer.beta1", "0.8"])
    assert isinstance(run, ToyRun)
    assert (run.task, run.pairs, run.rate_of_loss, run.optimizer.beta1) == ("toy", PairConfig(width=4, bias=-5), 0.5, 0.8)
    assert run.model.hidden_size == 192
    (tmp_path / "run.yaml").write_text(to_yaml(run))
    assert load_recipe(tmp_path / "run.yaml") == run
    assert load_recipe("quickstart", ["--task", "toy", "--pairs.temperature", "2"]).pairs.temperature == 2


@pytest.mark.usefixtures("toy")
@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--task", "toy", "--pairs.widht", "3"], r"unknown key pairs.widht; did you mean pairs.width\? \(of the vectors\)"),
        (["--task", "toy", "--pairs.width", "wide"], "the command line: pairs.width is 'wide': need a whole number"),
        (["--task", "toy", "--pairs", "3"], "pairs is a section"),
        (["--task", "toy", "--step", "3"], r"did you mean steps\? \(end after so many updates"),
        (["--pairs.width", "3"], "unknown key pairs.width"),
        (["--task", "toi"], r"need one of genlip, mllm, .*toy; did you mean toy\?"),
    ],
)
def test_sections_of_a_task_are_checked_as_all_others(words, message):
    with pytest.raises(RecipeError, match=message):
        load_recipe("quickstart", words)


@pytest.mark.usefixtures("toy")
def test_keys_and_descriptions_of_a_task(tmp_path):
    assert keys(ToyRun).keys() - keys().keys() == {
        "pairs.width",
        "pairs.temperature",
        "pairs.bias",
        "pairs.dropout",
        "pairs.loss_noise",
        "pairs.scale_embeddings",
        "rate_of_loss",
    }
    assert (keys(ToyRun)["task"], keys()["task"]) == ("toy", "genlip")
    described = describe_settings(ToyRun)
    assert "--task toy\n        the toy." in described
    assert "--optimizer.beta1 0.9\n" in described


@pytest.mark.usefixtures("toy")
def test_the_task_belongs_to_what_a_run_is():
    one, two = load_recipe("quickstart"), load_recipe("quickstart", ["--task", "toy"])
    assert differences(one, two) == ["task: genlip -> toy"]
    assert differences(two, load_recipe("quickstart", ["--task", "toy", "--pairs.width", "3"])) == ["pairs.width: 6 -> 3"]
