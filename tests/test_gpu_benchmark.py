"""`benchmarks/gpu.py`: every step runs on a CPU at tiny size, a step that fails costs only itself, the baseline is fair."""

import json
import subprocess
import sys
from pathlib import Path

import gpu
import pytest
import torch
from gpu_steps import STEPS, TINY
from padded_baseline import padded_loss, padded_rows

from genlip.model.genlip import GenLIP

from .model.helpers import random_pack, small_config

SCRIPT = Path(gpu.__file__)


def test_the_padded_baseline_gives_the_same_loss_and_gradients():
    torch.manual_seed(0)
    model = GenLIP(small_config()).double().train()
    pack = random_pack(model.config, [(2, 3, 4), (1, 1, 0), (3, 3, 9), (1, 2, 1)])
    assert padded_rows(pack) == 4 * 18
    ours, theirs = model(pack), padded_loss(model, pack)
    torch.testing.assert_close(ours, theirs, rtol=1e-12, atol=0)
    for mine, other in zip(*(torch.autograd.grad(loss, list(model.parameters())) for loss in (ours, theirs)), strict=True):
        torch.testing.assert_close(mine, other, rtol=1e-9, atol=1e-12)


def tiny(step: str, folder: Path) -> dict[str, dict]:
    found = dict(STEPS[step][0](TINY, torch.device("cpu"), folder))
    json.dumps(found)
    return found


def test_attention_is_checked_or_said_not_to_run(tmp_path):
    found = tiny("attention", tmp_path)
    assert found["sdpa, head 16, float32"]["strays"] < 1e-5 < found["sdpa, head 16, bfloat16"]["strays"] < 0.1
    assert "needs a CUDA GPU" in found["varlen, head 16, bfloat16"]["not_run"]


@pytest.mark.parametrize("step", ["stage1", "stage2"])
def test_training_is_timed_beside_the_padded_baseline(step, tmp_path):
    found = tiny(step, tmp_path)
    assert found["packs"]["rows"] <= min(TINY.rows, found["packs"]["padded_rows"])
    ours, padded = found["ours"], found["padded baseline"]
    assert ours["samples_per_s"] == pytest.approx(TINY.packs * found["packs"]["samples"] / ours["seconds_per_update"])
    assert padded["ours_is_times_as_fast"] == pytest.approx(ours["samples_per_s"] / padded["samples_per_s"])
    assert ours["mfu"] == pytest.approx(ours["tflops"] / 989.4)
    assert found["ours, recomputed"]["planned_gib"] < ours["planned_gib"]


def test_the_kernels_of_an_update_are_listed(tmp_path):
    found = tiny("kernels", tmp_path)["as it is"]
    assert "aten::mm" in found["slowest"]
    assert 0 < sum(found["slowest"].values()) <= found["kernels_ms"] * (1 + 1e-9)
    assert found["waits"] == {}


def test_the_quickstart_is_run_to_its_end(tmp_path):
    assert tiny("quickstart", tmp_path)["quickstart"]["results"]["captions"] == TINY.images


def test_packs_are_counted_alone_and_beside_training(tmp_path):
    found = tiny("data", tmp_path)
    assert found["packs of JPEG files"]["samples_per_s"] > 0
    assert 0 <= found["training from JPEG files"]["waited"] <= 1


def test_attention_is_timed(tmp_path):
    found = tiny("rates", tmp_path)
    assert found["stage 1, head 16, sdpa"]["ms"] > 0
    assert "needs a CUDA GPU" in found["stage 2, head 16, flex"]["not_run"]


def test_the_first_patch_is_measured_with_the_gate_and_without(tmp_path):
    found = tiny("sink", tmp_path)
    assert all(0 < found[name]["shares"]["text to first token"] < 1 for name in ("gated", "ungated"))


def test_a_step_that_fails_or_takes_too_long_is_said_and_the_next_one_runs(tmp_path, monkeypatch):
    script = tmp_path / "steps.py"
    script.write_text(
        "import sys, time\n"
        'print(\'{"first": {"rate": 1.23456}}\', flush=True)\n'
        "sys.exit('no such card') if sys.argv[2] == 'stage1' else time.sleep(60) if sys.argv[2] == 'stage2' else None\n"
    )
    monkeypatch.setattr(gpu, "HERE", script)
    monkeypatch.setitem(STEPS, "stage2", (STEPS["stage2"][0], 1.5))
    found = gpu.run(["stage1", "stage2", "data"], True, 9, tmp_path / "gpu.json")
    assert found["stage1"]["failed"] == {"why": "ended with status 1", "last_lines": ["no such card"]}
    assert found["stage2"]["failed"]["why"] == "stopped after 2 s"
    assert [found[step]["first"]["rate"] for step in ("stage1", "stage2", "data")] == [1.235] * 3
    assert json.loads((tmp_path / "gpu.json").read_text()) == found
    assert gpu.run(["sink"], True, 0, tmp_path / "none.json")["sink"] == {"not_run": "no time was left"}
    with pytest.raises(SystemExit, match=r"unknown step sinks: the steps are stage1, "):
        gpu.run(["sinks"], True, 9, tmp_path / "none.json")


def test_the_whole_script_ends_with_json(tmp_path):
    command = [sys.executable, str(SCRIPT), "--tiny", "--steps", "attention", "--out", str(tmp_path / "gpu.json")]
    done = subprocess.run(command, capture_output=True, text=True, check=True, cwd=tmp_path)
    found = json.loads(done.stdout.splitlines()[-1])
    assert found == json.loads((tmp_path / "gpu.json").read_text())
    assert set(found) == {"machine", "versions", "cores", "tiny", "attention"}
    assert found["tiny"] is True
