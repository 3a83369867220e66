"""`genlip.train.task`: the engine knows no model, and trains, resumes and exports a task that it has never seen."""

import ast
import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from genlip.data.sources import open_source
from genlip.recipes.recipe import RecipeError, load_recipe
from genlip.recipes.run import Run
from genlip.recipes.tasks import TASKS, import_object
from genlip.train import task as task_module
from genlip.train.checkpoints import latest, read_run
from genlip.train.genlip_task import GenLIPTask
from genlip.train.loop import Interrupted, train_model
from genlip.train.parallel import World
from genlip.train.run_page import write_report
from genlip.train.state import begin
from genlip.train.task import PackTask, ParameterGroup, UpdateTask, task_class
from genlip.train.tracking import read_log
from genlip.train.update import update

from .helpers import small_run
from .test_loop import stop_after
from .toy import ENTRY, ToyRun, ToyTask, toy_run

TRAIN = Path(task_module.__file__).parent


@pytest.fixture
def toy(monkeypatch):
    monkeypatch.setitem(TASKS, "toy", ENTRY)


@pytest.mark.parametrize("file", sorted(TRAIN.glob("*.py")), ids=lambda file: file.stem)
def test_the_engine_does_not_know_the_model(file):
    if file.stem == "genlip_task":
        return
    for node in ast.walk(ast.parse(file.read_text())):
        names = {alias.name for alias in getattr(node, "names", ())}
        if isinstance(node, ast.ImportFrom):
            assert node.module != "genlip.model.genlip"
            assert not {"GenLIP", "GenLIPConfig", "genlip_task"} & names
        elif isinstance(node, ast.Import):
            assert not {"genlip.model.genlip", "genlip.model.config", "genlip.train.genlip_task"} & names


@pytest.mark.parametrize("name", TASKS)
def test_every_entry_can_be_imported(name):
    run, kind = import_object(TASKS[name].run), import_object(TASKS[name].task)
    assert issubclass(run, Run)
    assert run.__dataclass_fields__["task"].default == name
    assert PackTask in kind.__mro__ or UpdateTask in kind.__mro__


def test_the_form_of_a_task_decides_how_its_loss_is_computed(tmp_path):
    run = small_run(tmp_path)
    tokenizer = GenLIPTask.find_processor(run, open_source("scenes:0"), None)
    assert task_class(run) is GenLIPTask
    assert not isinstance(GenLIPTask(run, tokenizer), UpdateTask)
    assert isinstance(ToyTask(run, tokenizer), UpdateTask)


def test_default_groups_hold_what_is_trained_and_muon_takes_the_matrices_of_blocks():
    class Two(GenLIPTask):
        def __init__(self):
            pass

        def blocks(self, model):
            return [model[0]]

    model = torch.nn.Sequential(torch.nn.Linear(2, 3), torch.nn.Linear(3, 1))
    model[1].bias.requires_grad_(False)
    (group,) = Two().parameter_groups(model)
    assert [id(p) for p in group.parameters] == [id(model[0].weight), id(model[0].bias), id(model[1].weight)]
    assert group.rate_scale == ParameterGroup([]).rate_scale == 1
    assert [id(p) for p in Two().matrices(model)] == [id(model[0].weight)]


def test_a_task_that_lacks_a_method_is_refused_where_it_is_made():
    class Incomplete(GenLIPTask):
        idle = PackTask.idle

    with pytest.raises(TypeError, match=r"abstract method '?idle"):
        Incomplete(None, "")


@pytest.mark.usefixtures("toy")
def test_frozen_parameters_of_another_task_stay(tmp_path):
    begun = begin(toy_run(tmp_path, freeze='["images.*"]'), World(), open_source("scenes:0"), None)
    before = {name: p.detach().clone() for name, p in begun.model.named_parameters()}
    update(begun, begun.loader.batches(), lambda *_: None, lambda: False)
    moved = {name for name, p in begun.model.named_parameters() if not torch.equal(p, before[name])}
    assert moved == before.keys() - {"images.0.weight", "images.0.bias"}


@pytest.mark.usefixtures("toy")
def test_another_task_trains_resumes_and_exports_bit_for_bit(tmp_path):
    settings = {"steps": 6, "save_every": 2, "evaluate_every": 3, "log_every": 1, "ema": 0.5, "packing__batch": "2 packs"}
    whole = train_model(toy_run(tmp_path / "whole", **settings))
    run = toy_run(tmp_path / "out", **settings)
    for step in (1, 4):
        with pytest.raises(Interrupted):
            train_model(run, on_step=stop_after(step))
    model = train_model(run)
    here, there = (load_file(folder / "model.safetensors") for folder in (model, whole))
    assert here.keys() == there.keys() >= {"log_temperature", "bias", "words.weight"}
    assert all(torch.equal(here[name], there[name]) for name in here)
    stored = read_run(latest(tmp_path / "out"))
    assert isinstance(stored, ToyRun)
    assert stored == run
    (start, *_) = read_log(tmp_path / "out", "start")
    assert (start["run"]["task"], start["attention"], start["run"]["pairs"]["width"]) == ("toy", "none", 6)
    found = read_log(tmp_path / "out", "held_out")
    assert [event["step"] for event in found] == [3, 6]
    assert {"loss", "unit"} == found[0].keys() - {"event", "time", "step"}
    page = write_report(tmp_path / "out").read_text()
    assert "nats per image; least" in page
    with pytest.raises(ValueError, match=r"holds a run with other settings \(pairs.bias: -2.0 -> -3.0\)"):
        train_model(toy_run(tmp_path / "out", pairs__bias=-3, **settings))
    assert json.loads((model / "tokenizer.json").read_text())["model"]["type"] == "BPE"


@pytest.mark.usefixtures("toy")
def test_a_folder_with_the_run_of_another_task_is_refused(tmp_path):
    train_model(small_run(tmp_path, steps=1))
    with pytest.raises(ValueError, match=r"holds a run with other settings \(task: genlip -> toy"):
        train_model(toy_run(tmp_path, steps=1))


@pytest.mark.usefixtures("toy")
def test_a_run_of_the_wrong_class_is_refused(tmp_path):
    run = Run(task="toy", model=small_run(tmp_path).model, out=str(tmp_path))
    with pytest.raises(ValueError, match="the run is a Run, and recipes of task toy are ToyRun"):
        task_class(run)


def test_a_stored_run_whose_task_is_gone_is_refused(tmp_path):
    (tmp_path / "run.yaml").write_text("base: quickstart\ntask: toy\n")
    with pytest.raises(RecipeError, match=r"run.yaml: task is 'toy': need one of genlip"):
        load_recipe(tmp_path / "run.yaml")
