"""`genlip.train.checkpoints`: what is written, what is read back, which folders stay, and what is said of damage."""

import hashlib
import json

import pytest
import torch
from torch import nn
from torch.optim import AdamW

from genlip.train.checkpoints import (
    Checkpoints,
    added,
    check_whole,
    latest,
    read_progress,
    read_run,
    restore,
    training_tensors,
)
from genlip.train.ema import EMA
from genlip.train.parallel import World

from .helpers import small_run


def export(folder):
    (folder / "config.json").write_text("{}")


def make(seed):
    """A model after an update, with its optimizer and average."""
    torch.manual_seed(seed)
    model = nn.Sequential(nn.Linear(3, 2), nn.Linear(2, 1))
    optimizer, average = AdamW(model.parameters(), lr=0.1 * (seed + 1)), EMA(model, 0.5)
    model(torch.randn(4, 3)).sum().backward()
    optimizer.step()
    average.update(model, 1)
    return model, [optimizer], average


def write(to, step, progress=None, seed=0):
    folder = to.save(step, training_tensors(*make(seed)), progress or {}, export)
    to.finish()
    return folder


def test_a_checkpoint_is_one_folder_with_checksums_of_all_its_files(tmp_path):
    run = small_run(tmp_path)
    folder = write(Checkpoints(run, World()), 7, {"seconds": 1.5})
    assert folder == tmp_path / "checkpoints/step-00000007" == latest(tmp_path)
    assert read_progress(folder) == {"step": 7, "seconds": 1.5}
    assert read_run(folder) == run
    sums = json.loads((folder / "checksums.json").read_text())
    files = {path.relative_to(folder).as_posix(): path for path in folder.rglob("*") if path.is_file()}
    assert sums.keys() == files.keys() - {"checksums.json"}
    assert all(hashlib.sha256(files[name].read_bytes()).hexdigest() == value for name, value in sums.items())
    assert {"config.json", "run.yaml", "state.json"} <= sums.keys()
    assert not list(tmp_path.glob("checkpoints/*.partial"))
    check_whole(folder)


def test_weights_optimizer_and_average_are_read_back(tmp_path):
    folder = write(Checkpoints(small_run(tmp_path), World()), 1, seed=0)
    (model, optimizers, average), wanted = make(1), make(0)
    before = {name: value.clone() for name, value in training_tensors(*wanted).items()}
    assert restore(folder, model, optimizers, average, World()) == {"step": 1}
    after = training_tensors(model, optimizers, average)
    assert after.keys() == before.keys()
    assert all(torch.equal(after[name], value) for name, value in before.items())
    assert {name.split(".")[0] for name in after} == {"model", "optimizer", "average"}


def test_the_newest_the_milestones_and_those_with_additions_stay(tmp_path, caplog):
    to = Checkpoints(small_run(tmp_path, keep_last=2, keep_every=4), World())
    for step in range(1, 8):
        folder = write(to, step)
        if step == 2:
            (folder / "results").mkdir()
    assert [one.name[-1] for one in sorted((tmp_path / "checkpoints").iterdir())] == ["2", "4", "6", "7"]
    assert caplog.text.count("stays, because it holds results") == 1
    assert added(tmp_path / "checkpoints/step-00000002", latest(tmp_path)) == ["results"]


def test_the_same_step_is_written_once_and_what_a_kill_left_is_removed(tmp_path):
    left = tmp_path / "checkpoints/step-00000003.partial"
    left.mkdir(parents=True)
    to = Checkpoints(small_run(tmp_path), World())
    assert not left.exists()
    folder = write(to, 3, {"seconds": 1})
    write(to, 3, {"seconds": 2})
    assert read_progress(folder)["seconds"] == 1


def test_an_export_that_cannot_be_written_is_reported_by_the_next_call(tmp_path):
    def fails(folder):
        raise OSError("disk full")

    to = Checkpoints(small_run(tmp_path), World())
    whole = write(to, 1)
    to.save(2, training_tensors(*make(0)), {}, fails)
    with pytest.raises(OSError, match=rf"step-00000002 could not be written: OSError: disk full; {whole} is the last whole"):
        to.finish()
    to.check()
    assert latest(tmp_path) == whole


def test_a_file_that_changed_or_is_gone_makes_it_damaged(tmp_path):
    to = Checkpoints(small_run(tmp_path), World())
    first, second = write(to, 1), write(to, 2)
    (second / "config.json").write_text("{ }")
    with pytest.raises(ValueError, match=rf"config.json is not as it was written\): remove it to go on from {first}"):
        check_whole(second)
    (second / "config.json").unlink()
    with pytest.raises(ValueError, match=r"config\.json is missing"):
        check_whole(second)
    (first / "state.json").unlink()
    with pytest.raises(ValueError, match="is damaged"):
        read_progress(first)


def test_a_run_of_another_version_says_how_to_use_its_weights(tmp_path):
    folder = write(Checkpoints(small_run(tmp_path), World()), 1)
    file = folder / "run.yaml"
    file.write_text(file.read_text().replace("init_from:", "start_from:"))
    message = r"unknown key start_from; did you mean init_from\?.*by another version .* --init_from \S*step-00000001"
    with pytest.raises(ValueError, match=message):
        read_run(folder)


def test_tied_weights_are_restored_tied(tmp_path):
    def tied(seed):
        torch.manual_seed(seed)
        model = nn.Sequential(nn.Embedding(3, 2), nn.Linear(2, 3, bias=False))
        model[1].weight = model[0].weight
        optimizer, average = AdamW(model.parameters(), lr=0.1), EMA(model, 0.5)
        model(torch.tensor([0, 2])).square().sum().backward()
        optimizer.step()
        return model, [optimizer], average

    saved, other = tied(0), tied(1)
    to = Checkpoints(small_run(tmp_path), World())
    folder = to.save(1, training_tensors(*saved), {}, export)
    to.finish()
    restore(folder, *other, World())
    assert torch.equal(other[0][0].weight, saved[0][0].weight)
    assert other[0][1].weight is other[0][0].weight
    states = [next(iter(one[1][0].state.values())) for one in (saved, other)]
    assert torch.equal(states[0]["exp_avg"], states[1]["exp_avg"])
