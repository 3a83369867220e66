"""`genlip train`: it prints the recipe, trains, and resumes."""

from genlip.cli.main import main

from ..train.helpers import SMALL
from .helpers import error_line


def test_train_runs_prints_and_resumes(tmp_path, capsys):
    overrides = [word for key, value in (SMALL | {"steps": 2}).items() for word in (f"--{key}", str(value))]
    command = ["train", "quickstart", "--out", str(tmp_path / "run"), *overrides]
    assert main([*command, "--print-config"]) == 0
    assert "hidden_size: 32" in capsys.readouterr().out
    assert not (tmp_path / "run").exists()
    assert main(command) == 0
    assert (tmp_path / "run" / "model" / "model.safetensors").is_file()
    assert main(command) == 0  # the same again finds the run finished
    assert "go on with --resume auto" in error_line(capsys, *command, "--resume", "never")
    assert "other settings (seed: 0 -> 5)" in error_line(capsys, *command, "--seed", "5")
    elsewhere = [*command, "--out", str(tmp_path / "other")]
    assert "holds no checkpoint to go on from" in error_line(capsys, *elsewhere, "--resume")
