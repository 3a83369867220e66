"""Training: one update by hand, accumulation, resuming, interruption, and broken samples."""

import io
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from itertools import islice
from pathlib import Path

import pytest
import torch
from PIL import Image
from rich.console import Console
from safetensors.torch import load_file

import genlip
from genlip.data.captions import Captions, train_tokenizer
from genlip.data.folder_lock import own
from genlip.data.loader import Loader
from genlip.data.sample_counts import SkippedTooMany
from genlip.data.samples import SampleReader
from genlip.data.sources import open_source
from genlip.model.genlip import GenLIP
from genlip.threads import Change, Chooser
from genlip.train.checkpoints import latest
from genlip.train.loop import Interrupted, NonFinite, train_model
from genlip.train.tracking import read_log

from .helpers import small_run

ROOT = Path(__file__).parents[2]


def weights(folder):
    return load_file(folder / "model.safetensors")


def equal(a, b):
    return a.keys() == b.keys() and all(torch.equal(a[name], b[name]) for name in a)


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """A run that was never stopped."""
    return train_model(small_run(tmp_path_factory.mktemp("whole"), model__drop_path_rate=0.3))


def stop_after(step):
    def stop(state):
        if state.step == step:
            os.kill(os.getpid(), signal.SIGINT)

    return stop


@pytest.mark.parametrize("workers", [0, 1])
def test_resuming_equals_never_stopping(whole, workers, tmp_path):
    """Bit for bit, twice in a row, DropPath's random numbers included, whatever prepares the batches."""
    run = small_run(tmp_path, model__drop_path_rate=0.3, data__workers=workers)
    for step in (2, 4):
        with pytest.raises(Interrupted, match=r"go on with: genlip train .*run\.yaml"):
            train_model(run, on_step=stop_after(step))
    assert equal(weights(train_model(run)), weights(whole))
    losses = [[event["loss"] for event in read_log(folder, "train")] for folder in (tmp_path, whole.parent)]
    assert losses[0] == losses[1]


def test_a_run_killed_without_warning_resumes_from_its_last_save(whole, tmp_path):
    script = (
        "import os, sys; from tests.train.helpers import small_run\nfrom genlip.train.loop import train_model\n"
        "from genlip.train.checkpoints import latest\n"
        "def kill(state):\n"
        "    while state.step == 5 and latest(sys.argv[1]) is None: pass\n"  # it is written while training goes on
        "    if state.step == 5: os.kill(os.getpid(), 9)\n"
        "train_model(small_run(sys.argv[1], model__drop_path_rate=0.3), on_step=kill)"
    )
    one_thread = os.environ | {"OMP_NUM_THREADS": "1"}  # sums are only equal bit for bit on equally many threads
    done = subprocess.run([sys.executable, "-c", script, str(tmp_path)], capture_output=True, cwd=ROOT, env=one_thread)
    assert done.returncode == -signal.SIGKILL
    assert latest(tmp_path).name == "step-00000003"
    assert equal(weights(train_model(small_run(tmp_path, model__drop_path_rate=0.3))), weights(whole))


@pytest.mark.parametrize("kind", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_to_all_processes_of_a_run_saves_it(kind, tmp_path):
    """As Ctrl-C in a terminal and a batch scheduler send it; workers must not die before the run has saved."""
    script = (
        "import sys; from tests.train.helpers import small_run\nfrom genlip.train.loop import train_model\n"
        "say = lambda state: print(state.step, flush=True)\n"
        "run = small_run(sys.argv[1], data__workers=2, steps=100000, save_every=100000, packing__streams=4)\n"
        "train_model(run, on_step=say)"
    )
    process = subprocess.Popen(
        [sys.executable, "-c", script, str(tmp_path)], cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
        start_new_session=True, text=True,
    )  # fmt: skip
    while process.stdout.readline() != "5\n":
        assert process.poll() is None
    os.killpg(process.pid, kind)
    _, told = process.communicate(timeout=60)
    assert "Interrupted: stopped and saved" in told
    assert "DataLoader worker" not in told
    assert latest(tmp_path) is not None


def test_resuming_is_exact_on_a_fixed_number_of_threads_whatever_was_set_before(tmp_path):
    whole = train_model(small_run(tmp_path / "whole", threads=2))
    assert torch.get_num_threads() == 1
    run = small_run(tmp_path / "stopped", threads=2)
    with pytest.raises(Interrupted):
        train_model(run, on_step=stop_after(4))
    assert equal(weights(train_model(run)), weights(whole))
    (start, again) = read_log(tmp_path / "stopped", "start")
    assert (start["threads"], start["threads_fixed"], again["threads"]) == (2, True, 2)
    assert {event["threads"] for event in read_log(tmp_path / "stopped", "train")} == {2}


def test_another_number_of_threads_is_chosen_and_told(tmp_path, monkeypatch, capsys):
    """The measurement itself is tests/test_threads.py's matter."""

    def done(self, units, seconds):
        self.pieces = [*getattr(self, "pieces", []), (units, seconds)]
        if len(self.pieces) != 3:
            return None
        self.threads = self.chosen = 1
        return Change(1, 2, {2: 70.04, 1: 200.0})

    monkeypatch.setattr(Chooser, "done", done)
    monkeypatch.setattr("genlip.threads._set_by_the_user", lambda number: False)
    used = []
    torch.set_num_threads(2)
    try:
        train_model(small_run(tmp_path), on_step=lambda state: used.append(torch.get_num_threads()))
        assert torch.get_num_threads() == 2
    finally:
        torch.set_num_threads(1)
    assert used == [2, 2, 1, 1, 1, 1]
    assert [event["threads"] for event in read_log(tmp_path, "train")] == used
    (event,) = read_log(tmp_path, "threads")
    assert (event["step"], event["threads"], event["before"]) == (3, 1, 2)
    assert event["rates"] == {"2": 70.0, "1": 200.0}
    told = capsys.readouterr().err
    assert "on cpu with up to 2 threads" in told
    assert "step 3: from here on 1 thread of PyTorch instead of 2: 200 tokens/s instead of 70" in told


def test_going_on_with_another_setting_of_threads_is_not_refused(tmp_path):
    with pytest.raises(Interrupted):
        train_model(small_run(tmp_path, threads=1), on_step=stop_after(4))
    assert (train_model(small_run(tmp_path, threads=2)) / "model.safetensors").is_file()


def test_resuming_keeps_the_state_of_muon(tmp_path):
    whole = train_model(small_run(tmp_path / "whole", optimizer__kind="muon"))
    run = small_run(tmp_path / "stopped", optimizer__kind="muon")
    with pytest.raises(Interrupted):
        train_model(run, on_step=stop_after(4))
    assert equal(weights(train_model(run)), weights(whole))


@pytest.mark.usefixtures("all_captions")
def test_the_first_update_is_the_mean_loss_over_all_supervised_tokens(tmp_path):
    """The logged loss and gradient norm of step 1, from a plain computation over the same samples."""
    run = small_run(tmp_path, steps=1)
    train_model(run)
    source = open_source("scenes:0")
    tokenizer = train_tokenizer((source.caption(50 * i) for i in range(20_000)), run.model.vocab_size)
    reader = SampleReader(source, run.images, Captions(tokenizer, run.captions), run.model, run.seed)
    ((batch,),) = islice(Loader(reader, run.packing), 1)
    pack = batch.pack
    torch.manual_seed(run.seed)
    model = GenLIP(run.model)
    loss = torch.nn.functional.cross_entropy(model.logits(pack), pack.token_ids)
    loss.backward()
    norm = torch.cat([p.grad.flatten() for p in model.parameters()]).norm()
    (event,) = read_log(tmp_path, "train")
    assert event["loss"] == pytest.approx(loss.item(), abs=2e-5)
    assert event["gradient_norm"] == pytest.approx(float(norm), rel=1e-3)


def test_an_update_of_several_packs_is_the_mean_loss_over_all_their_supervised_tokens(tmp_path):
    run = small_run(tmp_path, steps=1, packing__batch="3 packs", captions__prompt="the ", packing__max_tokens=200)
    losses, norms = [], []

    def look(state):
        torch.manual_seed(run.seed)
        model = GenLIP(run.model)
        (update,) = islice(Loader(state.loader.reader, run.packing), 1)
        assert len(update) == 3
        logits = torch.cat([model.logits(batch.pack) for batch in update])
        ids, learned = (torch.cat([getattr(b.pack, name) for b in update]) for name in ("token_ids", "supervised"))
        loss = torch.nn.functional.cross_entropy(logits[learned], ids[learned])
        loss.backward()
        losses.append(loss.item())
        norms.append(float(torch.cat([p.grad.flatten() for p in model.parameters()]).norm()))

    train_model(run, on_step=look)
    (event,) = read_log(tmp_path, "train")
    assert event["loss"] == pytest.approx(losses[0], abs=2e-5)
    assert event["gradient_norm"] == pytest.approx(norms[0], rel=1e-3)


@pytest.mark.parametrize(
    ("ends", "unit"), [({"epochs": 2}, "seen"), ({"samples": 30}, "used"), ({"tokens": 1500}, "tokens")]
)
def test_a_run_ends_at_the_first_of_its_ends(ends, unit, tmp_path):
    source, progress, rates = images(tmp_path / "in", good=20, bad=1), [], []

    def look(state):
        progress.append((state.step, state.sample_counts.seen, state.sample_counts.used.total(), state.tokens))
        rates.append(state.optimizers[0].param_groups[0]["lr"])

    run = small_run(tmp_path / "out", data__source=source, data__held_out=source, steps=0, **ends)
    train_model(run, on_step=look)
    limit = {"seen": 2 * 21, "used": 30, "tokens": 1500}[unit]
    values = [dict(zip(("step", "seen", "used", "tokens"), one, strict=True))[unit] for one in progress]
    assert all(value < limit for value in values[:-1])
    assert values[-1] == limit if unit == "seen" else values[-1] >= limit
    assert rates[-1] == pytest.approx(run.optimizer.final_learning_rate)
    (end,) = read_log(tmp_path / "out", "end")
    assert end["step"] == len(progress)
    if unit == "seen":
        assert (sum(end["used"].values()), end["skipped"]) == (40, {str(source): {"not an image": 2}})


def test_a_loss_that_is_no_number_stops_before_the_weights_are_lost(tmp_path):
    run = small_run(
        tmp_path,
        optimizer__learning_rate=1e30,
        optimizer__warmup_ratio=0.0,
        optimizer__max_grad_norm=1e30,
        save_every=1,
        max_nonfinite=3,
    )
    with pytest.raises(NonFinite, match=r"step \d: the loss is .*in 3 updates in a row.*lower optimizer\.learning_rate"):
        train_model(run)
    assert all(torch.isfinite(value).all() for value in weights(latest(tmp_path)).values())


def test_the_model_folder_is_whole(whole):
    assert {p.name for p in whole.iterdir()} == {"config.json", "model.safetensors", "preprocessing.json", "tokenizer.json"}
    speaker = genlip.Speaker.load(whole)
    assert speaker.images.size == 64
    assert len(speaker.caption([Image.new("RGB", (64, 64))], max_tokens=5)) == 1


def test_the_log_tells_the_run(whole):
    events = [json.loads(line)["event"] for line in (whole.parent / "log.jsonl").read_text().splitlines()]
    assert events == ["start"] + ["train"] * 3 + ["save"] + ["train"] * 3 + ["held_out", "spoken", "save", "end"]
    first = read_log(whole.parent, "train")[0]
    assert {"loss", "progress", "gradient_norm", "learning_rate", "samples_per_s", "tokens_per_s"} <= first.keys()


def test_a_panel_shows_where_a_run_goes_on(tmp_path, monkeypatch):
    train_model(small_run(tmp_path, steps=3))
    screen = Console(file=io.StringIO(), width=80, force_terminal=True, force_interactive=True)
    monkeypatch.setattr("genlip.train.tracking.Console", lambda stderr: screen)
    train_model(small_run(tmp_path, steps=6), resume="must")
    steps = re.findall(r"step (\d+) ", screen.file.getvalue())
    assert (steps[0], steps[-1]) == ("3", "6")
    assert "50.0%" in screen.file.getvalue()


def test_old_checkpoints_are_removed(tmp_path):
    train_model(small_run(tmp_path, save_every=1, keep_last=2))
    assert sorted(p.name for p in (tmp_path / "checkpoints").iterdir()) == ["step-00000005", "step-00000006"]


def test_an_old_checkpoint_that_holds_evaluations_stays_and_is_named_once(tmp_path, caplog):
    evaluated = tmp_path / "checkpoints/step-00000002/evaluations"

    def evaluate(state):
        if state.step == 3:
            while not evaluated.parent.is_dir():  # it is written in the background
                time.sleep(0.01)
            evaluated.mkdir()
            (evaluated / "result.json").write_text("{}")

    train_model(small_run(tmp_path, save_every=1, keep_last=2), on_step=evaluate)
    kept = ["step-00000002", "step-00000005", "step-00000006"]
    assert sorted(p.name for p in (tmp_path / "checkpoints").iterdir()) == kept
    assert (evaluated / "result.json").read_text() == "{}"
    told = [record.getMessage() for record in caplog.records]
    stays = f"{evaluated.parent} stays, because it holds evaluations: remove it when it is no longer needed"
    assert told.count(stays) == 1


def test_evaluations_of_a_finished_model_stay_with_it(tmp_path, caplog):
    run = small_run(tmp_path, steps=2, save_every=2)
    model = train_model(run)
    before = (model / "model.safetensors").read_bytes()
    (model / "evaluations").mkdir()
    assert train_model(run) == model  # finished: the same model is written again
    assert (model / "evaluations").is_dir()
    assert "held evaluations" not in caplog.text
    assert train_model(small_run(tmp_path, steps=4, save_every=2), resume="must") == model
    aside = tmp_path / "model-1"
    assert (aside / "evaluations").is_dir()
    assert (aside / "model.safetensors").read_bytes() == before
    assert not (model / "evaluations").exists()
    assert f"{model} held evaluations of an earlier model: both are now {aside}" in caplog.text


def test_a_folder_with_a_run_is_not_overwritten(whole, tmp_path):
    run = small_run(whole.parent, model__drop_path_rate=0.3)
    with pytest.raises(ValueError, match=r"holds a run \(step-00000006\): go on with --resume auto"):
        train_model(run, resume="never")
    with pytest.raises(ValueError, match=r"other settings \(seed: 0 -> 5\)"):
        train_model(small_run(whole.parent, model__drop_path_rate=0.3, seed=5))
    with pytest.raises(ValueError, match="holds no checkpoint to go on from"):
        train_model(small_run(tmp_path), resume="must")
    assert train_model(run, resume="must") == whole  # finished: nothing is left to do


def images(folder, good, bad):
    """A folder of captioned images, some of them no images."""
    folder.mkdir()
    for i in range(good + bad):
        path = folder / f"{i:03}.png"
        Image.new("RGB", (20, 30), (i * 9 % 255, 40, 90)).save(path) if i % (good + bad) < good else path.write_bytes(
            b"no image"
        )
        path.with_suffix(".txt").write_text(f"image number {i}")
    return folder


def test_broken_images_are_counted_named_and_skipped(tmp_path):
    source = images(tmp_path / "in", good=38, bad=2)
    run = small_run(tmp_path / "out", data__source=source, data__held_out="")
    train_model(run)
    skipped = [json.loads(line) for line in (tmp_path / "out" / "log.jsonl").read_text().splitlines() if '"skipped"' in line]
    named = {event["key"] for event in skipped if event["event"] == "skipped"}
    assert named <= {str(source / "038.png"), str(source / "039.png")}
    assert named
    lost = sum(event["event"] == "skipped" for event in skipped)
    assert read_log(tmp_path / "out", "end")[0]["skipped"] == {str(source): {"not an image": lost}}


def test_a_source_that_vanishes_stops_the_run_whatever_was_used_before(tmp_path):
    source = images(tmp_path / "in", good=300, bad=0)
    run = small_run(tmp_path / "out", data__source=source, data__held_out=source, steps=500, max_skipped=0.9)

    def remove(state):
        if state.step == 60:
            shutil.rmtree(source)

    with pytest.raises(
        SkippedTooMany, match=r"2\d\d examples in a row could not be used, the last because of: .*no such file"
    ):
        train_model(run, on_step=remove)


def test_too_many_broken_images_stop_the_run(tmp_path):
    source = images(tmp_path / "in", good=20, bad=20)
    with pytest.raises(SkippedTooMany, match="not an image"):
        train_model(small_run(tmp_path / "out", data__source=source, steps=20))


def test_native_images_of_many_sizes_train(tmp_path):
    (tmp_path / "in").mkdir()
    for i in range(24):
        Image.new("RGB", (10 + 13 * i, 200 - 7 * i), (i, 9 * i, 200)).save(tmp_path / "in" / f"{i}.png")
        (tmp_path / "in" / f"{i}.txt").write_text(f"an image, {i} of many" * (1 + i % 3))
    run = small_run(
        tmp_path / "out", data__source=tmp_path / "in", data__held_out="", images__resize="native", images__max_patches=40,
        captions__prompt="Describe:",
    )  # fmt: skip
    train_model(run)
    losses = [event["loss"] for event in read_log(tmp_path / "out", "train")]
    assert losses[-1] < losses[0]


def test_a_small_source_with_no_held_out_part_says_what_to_do(tmp_path):
    source = images(tmp_path / "in", good=5, bad=0)
    with pytest.raises(ValueError, match=r"5 samples, of which 8 would be held out, and at most half may be; name a source"):
        train_model(small_run(tmp_path / "out", data__source=source, data__held_out=""))


def test_a_vocabulary_that_is_too_small_is_refused(tmp_path):
    tokenizer = train_tokenizer(["some words"], 280)
    tokenizer.save(str(tmp_path / "tokenizer.json"))
    with pytest.raises(ValueError, match=r"raise model\.vocab_size to at least"):
        train_model(small_run(tmp_path / "out", tokenizer=tmp_path / "tokenizer.json", model__vocab_size=100))


def test_bfloat16_training_follows_float32(tmp_path):
    losses = []
    for precision in ("float32", "bfloat16"):
        train_model(small_run(tmp_path / precision, precision=precision))
        losses.append([event["loss"] for event in read_log(tmp_path / precision, "train")])
    assert losses[1] == pytest.approx(losses[0], rel=0.01)


def run_here(script, *words, **environment):
    """What a script says that trains in another process, and how it ends."""
    done = subprocess.run(
        [sys.executable, "-c", script, *map(str, words)], cwd=ROOT, capture_output=True, text=True, timeout=300,
        env=os.environ | environment,
    )  # fmt: skip
    return done.returncode, done.stderr


FEEDS_UNTIL = """
import os, signal, sys, time
from dataclasses import dataclass
from genlip.data.sources import procedural
from genlip.train.loop import train_model
from tests.train.helpers import small_run

whole, asked = procedural.Procedural.__getitem__, [0]
def fails(self, index):
    asked[0] += 1
    if asked[0] > 60 and __import__("multiprocessing").parent_process():
        {fault}
    return whole(self, index)
procedural.Procedural.__getitem__ = fails
train_model(small_run(sys.argv[1], steps=100000, save_every=100000, data__workers=1))
"""


@pytest.mark.parametrize(
    ("fault", "told"),
    [
        (
            "os.kill(os.getpid(), 9)",
            r"NoData: worker process \d+ was ended by SIGKILL; .*; what was learned is saved: .*step-",
        ),
        ("raise OSError('the server is gone')", r"NoData: the server is gone; what was learned is saved: .*step-"),
    ],
)
def test_a_loader_that_dies_ends_the_run_after_a_save(fault, told, tmp_path):
    status, said = run_here(FEEDS_UNTIL.format(fault=fault), tmp_path)
    assert status == 1
    assert re.search(told, said.splitlines()[-1])
    saved = latest(tmp_path)
    losses = [event["step"] for event in read_log(tmp_path, "train")]
    assert saved.name == f"step-{losses[-1]:08}"


def test_a_run_that_waits_for_data_saves_when_it_is_asked_to_stop(tmp_path):
    script = FEEDS_UNTIL.format(fault="open(sys.argv[2], 'w').close(); time.sleep(1000)")
    process = subprocess.Popen(
        [sys.executable, "-c", script, str(tmp_path / "out"), str(tmp_path / "stuck")], cwd=ROOT, stderr=subprocess.PIPE,
        text=True,
    )  # fmt: skip
    while not (tmp_path / "stuck").exists():
        assert process.poll() is None
        time.sleep(0.05)
    time.sleep(1)
    process.send_signal(signal.SIGTERM)
    _, told = process.communicate(timeout=120)
    assert "Interrupted: stopped and saved" in told
    assert latest(tmp_path / "out") is not None


def test_a_second_run_in_the_folder_is_refused(tmp_path):
    with own(tmp_path, "run"), pytest.raises(ValueError, match=rf"another run is writing there \(process {os.getpid()} on "):
        train_model(small_run(tmp_path))


def test_a_start_that_fails_leaves_no_folder(tmp_path):
    with pytest.raises(ValueError, match="would be held out"):
        train_model(small_run(tmp_path / "a/b", data__source=images(tmp_path / "in", good=5, bad=0), data__held_out=""))
    assert [path.name for path in tmp_path.iterdir()] == ["in"]


def test_tasks_of_slurm_that_know_nothing_of_each_other_are_refused(tmp_path, monkeypatch):
    monkeypatch.setenv("SLURM_NTASKS", "4")
    with pytest.raises(
        ValueError, match=r"SLURM_NTASKS is 4 and RANK is not set: .* start one torchrun on each node, as in srun"
    ):
        train_model(small_run(tmp_path / "out"))
    assert not list(tmp_path.iterdir())


def test_a_log_that_cannot_be_written_is_named(tmp_path):
    script = (
        "import sys, resource; from tests.train.helpers import small_run\nfrom genlip.train.loop import train_model\n"
        "limit = lambda state: resource.setrlimit(resource.RLIMIT_FSIZE, (9_000, resource.RLIM_INFINITY))\n"
        "train_model(small_run(sys.argv[1], save_every=1000, steps=1000, spoken=0), on_step=limit)"
    )
    status, told = run_here(script, tmp_path)
    assert status == 1
    assert told.splitlines()[-1] == (
        f"OSError: {tmp_path}/log.jsonl: cannot be written: File too large; make room, and start the same command again"
    )


def test_a_kill_between_the_renames_loses_no_evaluations(tmp_path):
    model = train_model(run := small_run(tmp_path, steps=2))
    (model / "evaluations").mkdir()
    model.rename(tmp_path / "model.old")
    assert train_model(run) == model
    assert (model / "evaluations").is_dir()


def test_a_model_that_is_there_is_replaced_as_a_whole(tmp_path):
    for left in ("model", "model.old", "model.partial"):  # by kills
        (tmp_path / left).mkdir()
        (tmp_path / left / "config.json").write_text("{}")
        (tmp_path / left / "stray").touch()
    model = train_model(small_run(tmp_path, steps=1))
    assert not (model / "stray").exists()
    assert genlip.load(model).config.hidden_size == 32
    assert not [path.name for path in tmp_path.iterdir() if path.name.startswith("model.")]
