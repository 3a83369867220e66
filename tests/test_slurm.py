"""The Slurm example: the script parses, its commands and settings exist, and it asks for the job again only after a save."""

import re
import shlex
import subprocess
from pathlib import Path

import pytest
from torch.distributed.run import get_args_parser

from genlip.cli.main import _parser
from genlip.recipes.recipe import load_recipe

SCRIPT = Path(__file__).parents[1] / "examples/slurm/train.sbatch"
STAND_INS = {
    "scontrol": 'if [ "$1" = show ]; then printf "node01\\nnode02\\n"; else echo "$@" >> requeued; fi',
    "srun": """
printf "%s\\n" "$@" > launched
for word; do case $word in --output=*) echo "$SAID" > "${word#*=}"; esac; done
exit "$ENDS_WITH"
""",
    "torchrun": 'echo "$TORCHRUN_HELP"',
}


@pytest.fixture
def job(tmp_path):
    """Runs the script with stand-ins for Slurm's commands, which note how they were called."""
    (tmp_path / "bin").mkdir()
    for name, text in STAND_INS.items():
        (tmp_path / "bin" / name).write_text(f"#!/bin/bash\n{text}\n")
        (tmp_path / "bin" / name).chmod(0o755)
    slurm = {
        "SLURM_JOB_ID": "71",
        "SLURM_JOB_NODELIST": "node[01-02]",
        "SLURM_JOB_NUM_NODES": "2",
        "SLURM_GPUS_ON_NODE": "4",
        "SLURM_CPUS_PER_TASK": "16",
    }

    def run(*words, said="", status=0, **environment):
        path = f"{tmp_path / 'bin'}:/usr/bin:/bin"
        names = {"PATH": path, "USER": "me", "SAID": said, "ENDS_WITH": str(status), **slurm, **environment}
        names.setdefault("TORCHRUN_HELP", get_args_parser().format_help())
        done = subprocess.run(["bash", SCRIPT, *words], cwd=tmp_path, env=names, capture_output=True, text=True, check=False)
        requeued = (tmp_path / "requeued").read_text().split() if (tmp_path / "requeued").exists() else []
        return done.returncode, requeued, (tmp_path / "launched").read_text().splitlines()

    return run


def test_the_script_parses():
    subprocess.run(["bash", "-n", SCRIPT], check=True)


def test_it_names_a_recipe_settings_and_options_that_exist(job):
    status, requeued, launched = job("--parallel", "fsdp")
    assert (status, requeued) == (0, [])
    begin, module = launched.index("torchrun") + 1, launched.index("-m")
    options = get_args_parser().parse_args([*launched[begin:module], "script"])
    assert (options.nnodes, options.nproc_per_node, options.rdzv_endpoint) == ("2", "4", "node01:20071")
    args, rest = _parser().parse_known_args(launched[module + 2 :])
    run = load_recipe(args.recipe, rest)
    assert (run.out, run.data.source, run.parallel) == ("/shared/runs/stage1_l16", "/shared/data/shards/*.tar", "fsdp")
    assert run == load_recipe("stage1_l16", ["--out", run.out, "--data.source", run.data.source, "--parallel", "fsdp"])


@pytest.mark.parametrize(
    ("said", "status", "outcome"),
    [
        ("model: runs/x/model", 0, (0, [])),
        ("genlip: stopped and saved runs/x/checkpoints/step-00000004; go on with: …", 1, (0, ["requeue", "71"])),
        ("genlip: rank 0 of 8 with 1 packs an update", 1, (1, [])),
        ("genlip: step 7: the loss is nan, in 5 updates in a row", 137, (137, [])),
    ],
)
def test_only_a_run_that_was_stopped_and_saved_comes_back(said, status, outcome, job):
    assert job(said=said, status=status)[:2] == outcome


def test_the_loop_says_what_the_script_looks_for():
    (sought,) = re.findall(r"grep -q 'genlip: (.*?)'", SCRIPT.read_text())
    assert f'raise Interrupted(f"{sought} ' in (SCRIPT.parents[2] / "src/genlip/train/loop.py").read_text()


@pytest.mark.parametrize(("told", "given"), [("--shutdown-timeout SECONDS", True), ("--node-rank RANK", False)])
def test_time_for_the_save_is_asked_of_a_torchrun_that_can_give_it(told, given, job):
    _, _, launched = job(TORCHRUN_HELP=told)
    assert ("--shutdown-timeout" in launched) == given
    assert launched[launched.index("--max-restarts") + 1] == "0"


def test_processes_are_given_less_time_than_slurm_gives_the_job():
    text = SCRIPT.read_text()
    ((signal, given),) = re.findall(r"--signal=([A-Z]+)@(\d+)", text)
    (left,) = re.findall(r"--shutdown-timeout (\d+)", text)
    assert signal == "TERM"
    assert 30 < int(left) < int(given)


def test_the_readme_names_recipes_that_exist():
    (block,) = re.findall(r"```bash\n(.*?)```", SCRIPT.with_name("README.md").read_text(), re.DOTALL)
    for line in block.splitlines():
        words = shlex.split(line)
        recipe = next((word.removeprefix("RECIPE=") for word in words if word.startswith("RECIPE=")), "stage1_l16")
        assert load_recipe(recipe, words[words.index("examples/slurm/train.sbatch") + 1 :]).out
