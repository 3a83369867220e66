"""`genlip.train.resume`: which checkpoint is gone on from, and which runs are the same."""

import shutil

import pytest

from genlip.train.checkpoints import latest
from genlip.train.loop import train_model
from genlip.train.resume import branch
from genlip.train.tracking import read_log

from .helpers import small_run
from .test_loop import images


@pytest.fixture
def done(tmp_path):
    """A finished run over a folder of images; gives what makes the same run, with changes."""
    images(tmp_path / "in", good=30, bad=0)

    def again(**changes):
        given = {"data__source": tmp_path / "in", "data__held_out": "", "data__held_out_samples": 4, "steps": 4}
        return small_run(tmp_path / "out", **{**given, "save_every": 2, "optimizer__warmup_ratio": 0.0} | changes)

    train_model(again())
    return again


@pytest.mark.parametrize("written", ["in/", "./in", "../{name}/in"])
def test_data_that_is_written_differently_is_the_same(written, done, tmp_path, monkeypatch, caplog):
    monkeypatch.chdir(tmp_path)
    train_model(done(data__source=written.format(name=tmp_path.name)), resume="must")
    assert "data.source" not in caplog.text


def test_data_that_was_moved_is_gone_on_with_if_it_is_as_large(done, tmp_path, caplog):
    (tmp_path / "in").rename(tmp_path / "moved")
    train_model(done(data__source=tmp_path / "moved"))
    assert f"data.source was {tmp_path / 'in'} and is {tmp_path / 'moved'}: it is taken for the same, moved" in caplog.text
    (tmp_path / "moved/000.png").unlink()
    (tmp_path / "moved/000.txt").unlink()
    with pytest.raises(ValueError, match=r"the data has changed since the run stopped \(examples 26 then, 25 now\)"):
        train_model(done(data__source=tmp_path / "moved"))


def test_other_procedural_images_are_another_run(tmp_path):
    train_model(small_run(tmp_path, steps=1))
    with pytest.raises(ValueError, match=r"other settings \(data\.source: scenes:0 -> scenes:5\)"):
        train_model(small_run(tmp_path, steps=1, data__source="scenes:5"))


def test_a_finished_run_is_made_longer_on_request_alone(done, tmp_path, caplog):
    """Linear warm-up is off: the rate is a cosine of the share that is done."""
    newest = latest(tmp_path / "out")
    with pytest.raises(
        ValueError, match=r"holds a shorter run \(steps: 4 -> 8\).*--resume must.*raises its learning rate"
    ) as error:
        train_model(done(steps=8))
    assert f"--init_from {newest} --out NEW" in str(error.value)
    train_model(done(steps=8), resume="must")
    assert "the run becomes longer (steps: 4 -> 8): its learning rate goes from 1e-06 to 0.001" in caplog.text
    assert [event["step"] for event in read_log(tmp_path / "out", "train")] == list(range(1, 9))
    with pytest.raises(ValueError, match=r"other settings \(steps: 8 -> 5\).*--init_from .*step-00000008 --out NEW"):
        train_model(done(steps=5), resume="must")


def test_more_epochs_read_every_example_so_often(done, tmp_path):
    shutil.rmtree(tmp_path / "out")
    train_model(done(steps=0, epochs=1))
    train_model(done(steps=0, epochs=3), resume="must")
    (_, end) = read_log(tmp_path / "out", "end")
    assert sum(end["used"].values()) == 3 * 26


def test_a_copy_of_a_checkpoint_is_not_the_newest(done, tmp_path):
    newest = latest(tmp_path / "out")
    shutil.copytree(newest, newest.with_name(f"{newest.name}-best"))
    shutil.copytree(newest, newest.with_name("step-99999999.kept"))
    assert latest(tmp_path / "out") == newest
    train_model(done(steps=6), resume="must")


def damage(path, kind):
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 16
    path.write_bytes({"flipped": bytes(content), "cut": bytes(content[:100]), "emptied": b""}[kind])


@pytest.mark.parametrize("kind", ["flipped", "cut", "emptied"])
@pytest.mark.parametrize("name", ["run.yaml", "state.json", "training", "model.safetensors"])
def test_damage_anywhere_is_found_and_the_newest_whole_checkpoint_named(name, kind, done, tmp_path):
    first, second = sorted((tmp_path / "out/checkpoints").iterdir())
    file = next((second / "training").iterdir()) if name == "training" else second / name
    damage(file, kind)
    with pytest.raises(ValueError) as error:  # noqa: PT011
        train_model(done())
    told = f"{file.relative_to(second)} is not as it was written"
    assert str(error.value) == f"{second} is damaged ({told}): remove it to go on from {first}, the newest whole one"
    damage(first / "state.json", "cut")
    with pytest.raises(ValueError, match="remove it to begin anew: no other is whole"):
        train_model(done())


def test_a_checkpoint_of_an_older_version_has_no_checksums(done, tmp_path):
    newest = latest(tmp_path / "out")
    (newest / "checksums.json").unlink()
    train_model(done())
    (newest / "run.yaml").write_text("")
    with pytest.raises(
        ValueError, match=r"is damaged \(run\.yaml is missing or empty\): remove it to go on from .*00000002"
    ):
        train_model(done())


STABLE = {"optimizer__schedule": "stable", "optimizer__cooldown_ratio": 0.5, "optimizer__warmup_ratio": 0.0, "threads": 1}


def test_a_branch_ends_as_a_run_of_its_own_length(tmp_path):
    """Bit for bit: until the cooldown of the shorter one, both runs are the same."""
    trunk = small_run(tmp_path / "trunk", steps=12, save_every=3, keep_last=9, **STABLE)
    train_model(trunk)
    whole = train_model(small_run(tmp_path / "whole", steps=6, save_every=3, **STABLE))
    run = small_run(tmp_path / "branch", steps=6, save_every=3, **STABLE)
    copy = branch(tmp_path / "trunk/checkpoints/step-00000003", run)
    assert copy == tmp_path / "branch/checkpoints/step-00000003"
    cooled = train_model(run, resume="must")
    assert (cooled / "model.safetensors").read_bytes() == (whole / "model.safetensors").read_bytes()
    assert [event["step"] for event in read_log(tmp_path / "branch", "train")] == [4, 5, 6]


def test_a_branch_off_the_cooldown_or_of_another_run_is_refused(tmp_path):
    train_model(small_run(tmp_path / "trunk", steps=6, save_every=1, keep_last=9, **STABLE))
    late, early = (tmp_path / f"trunk/checkpoints/step-0000000{step}" for step in (5, 2))
    with pytest.raises(ValueError, match=r"the learning rate was .* here, and is .* in the branch: branch off before both"):
        branch(late, small_run(tmp_path / "other", steps=12, **STABLE))
    with pytest.raises(ValueError, match=r"differ in its end alone, and differs in seed: 0 -> 1"):
        branch(early, small_run(tmp_path / "other", steps=12, seed=1, **STABLE))
    with pytest.raises(ValueError, match=r"trunk holds a run: choose another out"):
        branch(early, small_run(tmp_path / "trunk", steps=12, **STABLE))
    assert not (tmp_path / "other").exists()
