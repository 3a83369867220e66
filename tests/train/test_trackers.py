"""Other programs hear what they should: TensorBoard for real, the others by stand-ins with their signatures."""

import os
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from PIL import Image

from genlip.evaluate.captioning.generated import GeneratedCaption
from genlip.train.trackers import TRACKERS, open_recorder

RUN = {"steps": 3, "model": {"hidden_size": 4}, "tokenizer": "bpe"}
SAID = [GeneratedCaption("k|1", Image.new("RGB", (2, 2)), "a <b> | c\nd", "a b")]
ROWS = [["k|1", "a <b> | c\nd", "a b", "no"]]


def test_tensorboard_files_hold_scalars_captions_and_settings(tmp_path: Path) -> None:
    accumulator = pytest.importorskip("tensorboard.backend.event_processing.event_accumulator")
    recorder = open_recorder("tensorboard", tmp_path, 0, RUN)
    for step in (10, 20, 30):
        recorder.scalars(step, {"train/loss": 1 / step, "train/seconds": float(step)})
    recorder.spoken(30, SAID)
    recorder.close()
    resumed = open_recorder("tensorboard", tmp_path, 20, RUN)
    resumed.scalars(30, {"train/loss": 7.0})
    resumed.close()

    found = accumulator.EventAccumulator(str(tmp_path / "tensorboard"))
    found.Reload()
    losses = [(event.step, event.value) for event in found.Scalars("train/loss")]
    assert losses == [(10, pytest.approx(0.1)), (20, pytest.approx(0.05)), (30, 7.0)]
    (settings, *_) = (event.tensor_proto.string_val[0].decode() for event in found.Tensors("run/text_summary"))
    assert settings == "    steps: 3\n    model:\n      hidden_size: 4\n    tokenizer: bpe\n"


def test_captions_are_a_table_in_tensorboard_whatever_they_hold(tmp_path: Path) -> None:
    accumulator = pytest.importorskip("tensorboard.backend.event_processing.event_accumulator")
    recorder = open_recorder("tensorboard", tmp_path, 0, RUN)
    recorder.spoken(30, SAID)
    recorder.close()
    found = accumulator.EventAccumulator(str(tmp_path / "tensorboard"))
    found.Reload()
    (event,) = found.Tensors("spoken/text_summary")
    assert event.step == 30
    assert event.tensor_proto.string_val[0].decode().splitlines() == [
        "| image | true | said | exact |",
        "| --- | --- | --- | --- |",
        "| k&#124;1 | a &lt;b&gt; &#124; c d | a b | no |",
    ]


class FakeRun:
    """Both packages' runs, as far as they agree."""

    def __init__(self) -> None:
        self.heard: list[Any] = []

    def log(self, data: dict[str, Any], step: int | None = None) -> None:
        self.heard.append((step, data))

    def define_metric(self, name: str, step_metric: str | None = None) -> None:
        self.heard.append((name, step_metric))

    def finish(self) -> None:
        self.heard.append("finish")


class FakeTable:
    def __init__(self, columns: list[str] | None = None, data: list[list[Any]] | None = None) -> None:
        self.columns, self.data = columns, data


@pytest.fixture
def wandb(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    module: Any = ModuleType("wandb")
    module.Table, module.asked = FakeTable, []

    def init(*, project, dir, id, name, config, mode, resume, settings):
        module.asked.append(locals())
        module.run = FakeRun()
        return module.run

    module.init = init
    module.Settings = lambda console, silent: (console, silent)
    monkeypatch.setitem(sys.modules, "wandb", module)
    monkeypatch.delenv("WANDB_MODE", raising=False)
    return module


@pytest.fixture
def trackio(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    module: Any = ModuleType("trackio")
    module.Table, module.asked = FakeTable, []

    def init(project, name=None, *, config=None, resume="never", embed=True):
        module.asked.append(locals())
        print("* Trackio project initialized")
        module.run = FakeRun()
        return module.run

    def finish():
        print("* Run finished")
        module.run.finish()

    module.init, module.finish = init, finish
    monkeypatch.setitem(sys.modules, "trackio", module)
    monkeypatch.setenv("TRACKIO_DIR", "x")
    monkeypatch.delenv("TRACKIO_DIR")
    return module


def test_wandb_works_offline_inside_the_run_with_steps_that_may_go_back(wandb: Any, tmp_path: Path) -> None:
    recorder = open_recorder("wandb", tmp_path / "stage1", 0, RUN)
    recorder.scalars(5, {"train/loss": 2.0})
    recorder.spoken(5, SAID)
    recorder.close()
    (asked,) = wandb.asked
    assert (asked["project"], asked["name"], asked["dir"]) == ("genlip", "stage1", str(tmp_path / "stage1"))
    assert (asked["mode"], asked["config"], asked["settings"]) == ("offline", RUN, ("off", True))
    steps, scalars, (_, said), end = wandb.run.heard
    assert steps == ("*", "step")
    assert scalars == (None, {"step": 5, "train/loss": 2.0})
    assert (said["step"], said["spoken"].columns, said["spoken"].data) == (5, ["image", "true", "said", "exact"], ROWS)
    assert end == "finish"


def test_wandb_goes_online_where_the_user_says_so(wandb: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WANDB_MODE", "online")
    open_recorder("wandb", tmp_path, 0, RUN)
    assert wandb.asked[0]["mode"] == "online"


def test_trackio_stays_inside_the_run_and_off_standard_output(
    trackio: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    recorder = open_recorder("trackio", tmp_path / "stage1", 0, RUN)
    recorder.scalars(5, {"train/loss": 2.0})
    recorder.spoken(5, SAID)
    recorder.close()
    (asked,) = trackio.asked
    assert (asked["project"], asked["config"], asked["embed"]) == ("genlip", RUN, False)
    assert asked["name"].startswith("stage1-")
    scalars, (step, said), end = trackio.run.heard
    assert scalars == (5, {"train/loss": 2.0})
    assert (step, said["spoken"].data, end) == (5, ROWS, "finish")
    assert capsys.readouterr().out == ""
    assert os.environ["TRACKIO_DIR"] == str(tmp_path / "stage1" / "trackio")


@pytest.mark.parametrize(("name", "key"), [("wandb", "id"), ("trackio", "name")])
def test_a_resumed_run_goes_on_under_its_name_and_a_new_one_gets_another(
    name: str, key: str, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    module = request.getfixturevalue(name)
    for step in (0, 10, 20, 0):
        open_recorder(name, tmp_path, step, RUN).close()
    first, second, third, fourth = (asked[key] for asked in module.asked)
    assert first == second == third != fourth
    assert {asked["resume"] for asked in module.asked} == {"allow"}


@pytest.mark.parametrize("name", TRACKERS)
def test_a_missing_package_is_one_line_with_the_command(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, name, None)
    with pytest.raises(ValueError, match=rf'^tracker {name}: .* run pip install "genlip\[{name}\]"[^\n]*$'):
        open_recorder(name, tmp_path, 0, RUN)
    assert not list(tmp_path.iterdir())


def test_an_unknown_name_is_told_the_nearest(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"no tracker 'wandd': need tensorboard, wandb, trackio; did you mean wandb\?"):
        open_recorder("wandd", tmp_path, 0, RUN)
