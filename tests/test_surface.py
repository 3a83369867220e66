"""The Python surface: every call that README and the help texts name works as written, in a fresh interpreter."""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from PIL import Image

import genlip
from genlip.recipes.recipe import load_recipe
from genlip.train.loop import train_model

from .export.hub_standin import TOKEN, hub_settings, running_hub
from .mllm.folders import TinyMLLM, make_encoder
from .train.helpers import small_run

ROOT = Path(__file__).parents[1]
TABLE = re.search(r"^\| command .*?\n\n", (ROOT / "README.md").read_text(), re.MULTILINE | re.DOTALL).group()
CALLS = [call for row in TABLE.splitlines()[2:] for call in re.findall(r"`([a-z]+[.\w]*(?: = [\w.]+)?\(.*?\))`", row)]
QUICK = {'"1500"': '"2"', '"2000"': '"2"', "length=1000": "length=3"}  # the same calls, of less work


@pytest.fixture(scope="module")
def workplace(tmp_path_factory):
    """A folder that holds what the calls name: a run with a measured model, another model, an image and a folder of them."""
    folder = tmp_path_factory.mktemp("surface")
    for name in ("quickstart", "other"):
        train_model(small_run(folder / "runs" / name, steps=2))
        speaker = genlip.Speaker.load(folder / "runs" / name / "model")
        result = genlip.measure_captioning(speaker, genlip.open_source("scenes:1"), limit=3)
        genlip.write_result(result, folder / "runs" / name / "model/evaluations")
    Image.effect_noise((90, 70), 60).convert("RGB").save(folder / "photo.jpg")
    TinyMLLM.of(make_encoder("genlip")).write(folder / "runs/llava/model")
    (folder / "images").mkdir()
    for number in range(4):
        Image.effect_noise((40, 40), 60).convert("RGB").save(folder / f"images/{number}.png")
        (folder / f"images/{number}.txt").write_text(f"noise number {number}")
    return folder


def test_every_command_of_the_table_names_a_call():
    assert len([line for line in TABLE.splitlines()[2:] if line]) == 18
    assert len(CALLS) == 20


@pytest.mark.parametrize("call", CALLS)
def test_the_calls_of_the_readme_work_in_a_fresh_interpreter(call, workplace, tmp_path):
    shutil.copytree(workplace, tmp_path / "here")
    if "run_quickstart" in call or "train_model" in call:
        shutil.rmtree(tmp_path / "here/runs")
    for long, short in QUICK.items():
        call = call.replace(long, short)
    call = call.replace('(speaker, "scenes:1")', '(speaker, "scenes:1", limit=3)')
    script = "import genlip\n"
    script += 'speaker = genlip.Speaker.load("runs/quickstart/model")\n' * ("speaker" in call)
    script += (
        f"found = {call}\nassert repr(found)\nassert len(repr(found)) < 5000 or isinstance(found, (list, str)), repr(found)"
    )
    with running_hub(tmp_path / "hub") as hub:
        environment = os.environ | hub_settings(hub.url, tmp_path / "home") | {"HF_TOKEN": TOKEN, "HF_HUB_OFFLINE": "0"}
        done = subprocess.run(
            [sys.executable, "-c", script],
            cwd=tmp_path / "here",
            env=environment,
            capture_output=True,
            text=True,
            check=False,
        )
    assert done.returncode == 0, done.stderr


def test_everything_that_is_promised_is_there():
    script = (
        "import genlip\n"
        "assert set(genlip.__all__) <= set(dir(genlip))\n"
        "import genlip.train.loop, genlip.plan.planner, genlip.export, genlip.evaluate.registry, genlip.inspect.page\n"
        "for name in genlip.__all__: assert getattr(genlip, name).__doc__ or name == '__version__', name\n"
        "assert callable(genlip.encoders.timm) and callable(genlip.encoders.transformers)\n"
    )
    subprocess.run([sys.executable, "-c", script], check=True)


def test_no_name_is_that_of_a_folder_or_module():
    """Importing `genlip.train` puts that module into the place of a name `genlip.train`."""
    modules = {path.stem for path in Path(genlip.__file__).parent.iterdir()}
    assert not set(genlip.__all__) & modules


def test_the_helps_name_calls_that_are_there():
    for file in (ROOT / "src/genlip/cli").glob("*.py"):
        for call in re.findall(r"python: genlip\.(\w+)\(", file.read_text()):
            assert call in genlip.__all__, f"{file.name}: {call}"


def test_recipes_are_taken_by_name_wherever_a_run_is(tmp_path):
    by_name = genlip.plan_run("stage1_l16", ["--steps", "7"], gpus=2, gpu="h100")
    assert by_name.updates == genlip.plan_run(load_recipe("stage1_l16", ["--steps", "7"]), gpus=2, gpu="h100").updates == 7
    with pytest.raises(ValueError, match=r"overrides .* of a Run"):
        genlip.train_model(small_run(tmp_path), ["--steps", "3"])
    with pytest.raises(ValueError, match=r"no such recipe.*did you mean quickstart"):
        genlip.train_model("quickstrat")
