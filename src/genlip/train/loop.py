"""The training loop: update, log, evaluate, save, stop. One loop for both stages, for one process or many.

In: a `Run`. Out: a folder with the trained model in `model/`, the log, and checkpoints from which the run can be resumed.
A run that is interrupted by a signal such as Ctrl-C or SIGTERM saves first. Started again, it continues with the next batch.
"""

from __future__ import annotations

import filecmp
import logging
import shutil
import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack, closing
from pathlib import Path
from typing import NoReturn

import yaml
from safetensors import SafetensorError

from genlip.data.folder_lock import own
from genlip.data.packing import MANY_SKIPPED, Batch
from genlip.data.sample_counts import SampleCounts, SkippedTooMany
from genlip.data.sources import Source, hold_out
from genlip.machine import machine, memory, versions
from genlip.recipes.recipe import as_run, to_yaml
from genlip.recipes.run import Run
from genlip.report.formatting import counted
from genlip.terminal import program
from genlip.threads import Threads
from genlip.train import checkpoints
from genlip.train.checkpoints import Checkpoints, added
from genlip.train.parallel import choose_strategy, join_world
from genlip.train.precision import matrix_rate
from genlip.train.resume import Resume, checkpoint_to_resume
from genlip.train.sample_log import SampleLog
from genlip.train.signals import interruptible
from genlip.train.spikes import Spikes
from genlip.train.state import State, begin
from genlip.train.task import HeldOutSet, task_class
from genlip.train.tracking import Tracker, free_name
from genlip.train.update import DataUnreadable, NonFinite, Update, update
from genlip.train.validation import held_out_set, measure

__all__ = ["Interrupted", "NoData", "NonFinite", "Resume", "open_sources", "train_model"]

log = logging.getLogger(__name__)

_NAMED = 20  # unusable examples that are named on the terminal
_LONG = 5.0  # seconds for which a run that was asked to stop waits for data


class Interrupted(RuntimeError):
    """The run was asked to stop and has saved; the message says how to resume it."""


class NoData(OSError):
    """The data can no longer be read; the run has saved a checkpoint, which the message names."""


def train_model(
    run: Run | str | Path,
    overrides: Sequence[str] = (),
    *,
    resume: Resume = "auto",
    on_step: Callable[[State], None] = lambda state: None,
) -> Path:
    """Train to the end and return the folder of the model.

    run        a run, or a recipe by its name or file
    overrides  settings of the recipe, such as ["--steps", "2000"]
    on_step    is called after every update

    Under `torchrun` every process calls this. `resume` "auto" resumes the run in `run.out`, or starts one if there is none;
    "must" refuses to start one, and may make the run longer; "never" refuses to resume.

    Raises ValueError if the folder holds a run with other settings, or a run of another process that has not ended;
    `Interrupted` after a save on Ctrl-C, SIGTERM, SIGHUP or SIGUSR1; `SkippedTooMany` if too many samples are unusable;
    `NoData` if they can no longer be read; `NonFinite` if losses are NaN or infinite in many updates in a row; OSError if a
    checkpoint cannot be written or another process of the run ends.
    """
    run = as_run(run, overrides)
    with (
        join_world() as world,
        Threads(run.threads, world.device, world.ranks == 1 and not run.compile) as threads,
        ExitStack() as owned,
    ):
        world.on_rank_0(lambda: owned.enter_context(own(Path(run.out), "run")))
        newest = world.on_rank_0(lambda: checkpoint_to_resume(run, resume))
        Path(run.out).mkdir(parents=True, exist_ok=True)  # other nodes may see the folder of rank 0 late
        source, measured = open_sources(run)
        state = begin(run, world, source, newest)
        held_out: list[HeldOutSet] = []  # of rank 0; an error in reading it ends all ranks
        world.on_rank_0(lambda: held_out.append(held_out_set(state.task.reader(measured), run)))
        with _Loop(state, held_out[0] if world.leads else None, threads, on_step) as loop:
            return loop.go()


class _Loop:
    """The loop with what it uses besides the state: the stop signals, the tracker, the logs and the checkpoint writer."""

    def __init__(
        self, state: State, held_out: HeldOutSet | None, threads: Threads, on_step: Callable[[State], None]
    ) -> None:
        run, world = state.run, state.world
        self.state, self.held_out, self.threads, self.on_step = state, held_out, threads, on_step
        self.recent: list[Update] = []
        self.part = SampleCounts()  # of the current update
        self.spikes, self.named = Spikes(), 0
        self.path, self.saved = checkpoints.latest(run.out) or Path(), state.step or -1  # of the last checkpoint
        self.checkpoints = Checkpoints(run, world)
        self._open = ExitStack()
        out, trackers = Path(run.out), [name.strip() for name in run.trackers.split(",") if name.strip()]
        settings = yaml.safe_load(to_yaml(run))
        log_file = "log.jsonl" if world.leads else f"log.rank-{world.rank}.jsonl"
        self.tracker = self._open.enter_context(
            Tracker(out, state.step, trackers, settings, active=world.leads, file=log_file, progress=state.progress)
        )
        self.samples = self._open.enter_context(SampleLog(out, world.rank, run.log_samples))
        self.batches = self._open.enter_context(closing(state.loader.batches(self.wait)))
        self.signals = self._open.enter_context(interruptible())

    def __enter__(self) -> _Loop:
        return self

    def __exit__(self, *error: object) -> None:
        self._open.close()

    def go(self) -> Path:
        """Train to the end and return the folder of the model."""
        state, run = self.state, self.state.run
        self.announce()
        while state.progress < 1:
            try:
                done = update(state, self.batches, self.note, stop=lambda: bool(self.signals))
                self.check(done)
            except (DataUnreadable, SkippedTooMany) as failure:
                self.save_and_fail(failure)
            if done.ended:
                break
            if done.tokens:  # else all samples were unusable
                self.recent.append(done)
                self.choose_threads(done)
                self.on_step(state)
                if _due(run.log_every, state):
                    self.report()
                if _due(run.evaluate_every, state):
                    self.evaluate()
                if _due(run.save_every, state):
                    self.save()
            if done.stop:
                self.save_and_stop()
        return self.finish()

    def note(self, number: int, row: int, batch: Batch) -> None:
        """Count and log a batch before it is used."""
        if batch.pack is not None:  # an update in which all streams have ended does not count
            self.samples.add(number, row, batch)
        self.part.add([batch])
        for skip in batch.skipped:
            self.tracker.event("skipped", update=number, **skip._asdict())
            self.named += 1
            if self.named <= _NAMED:
                log.warning(
                    "skipped %s%s", skip.message, "; further ones are named in the log only" * (self.named == _NAMED)
                )
        if batch.pack is None and len(batch.skipped) >= MANY_SKIPPED:
            lost = len(batch.skipped)
            raise SkippedTooMany(f"{lost} examples in a row could not be used, the last because of: {skip.message}")

    def check(self, done: Update) -> None:
        """Count an update's samples; raise if too many are unusable or the loss is not finite too often; report spikes."""
        state, run = self.state, self.state.run
        state.sample_counts, self.part = state.sample_counts + self.part, SampleCounts()
        self.samples.flush()
        self.checkpoints.check()
        if done.lost:
            waiting = sum(state.world.gather(state.loader.waiting))
            state.whole_sample_counts().check(run.max_skipped, len(state.loader.reader.source), waiting)
        if done.finite:
            state.nonfinite = 0
            if done.tokens and (usual := self.spikes.usual(done.loss)) is not None:
                self.tracker.event("spike", step=state.step, loss=round(done.loss, 5), usual=round(usual, 5))
                self.tracker.say(f"step {state.step}: the loss is {done.loss:.3f} and was about {usual:.3f}")
            return
        state.nonfinite += 1
        found = f"the loss is {done.loss:.4g}, the norm of its gradient {done.gradient_norm:.4g}"
        self.tracker.event(
            "nonfinite", step=state.step, loss=done.loss, gradient_norm=done.gradient_norm, samples=done.suspects,
            parameters=done.broken,
        )  # fmt: skip
        self.tracker.say(f"step {state.step} is skipped: {found}; log.jsonl names its samples")
        if state.nonfinite >= run.max_nonfinite:
            saved = self.save(wait=True)
            raise NonFinite(
                f"step {state.step}: {found}, in {state.nonfinite} updates in a row; {saved} holds the weights before them, "
                "and log.jsonl the names of the samples; start another run from it, with --init_from, a new --out, and a "
                "lower optimizer.learning_rate or precision float32"
            )

    def choose_threads(self, done: Update) -> None:
        """Use the number of threads that is measured to be fastest, and report a change."""
        change = self.threads.done(done.tokens, done.seconds)
        if change is None:
            return
        step, rates = self.state.step, {number: round(rate, 1) for number, rate in change.rates.items()}
        self.tracker.event("threads", step=step, threads=change.threads, before=change.before, rates=rates)
        self.tracker.say(
            f"step {step}: from here on {counted(change.threads, 'thread')} of PyTorch instead of {change.before}: "
            f"{rates[change.threads]:.0f} tokens/s instead of {rates[change.before]:.0f}"
        )

    def report(self) -> None:
        """Log the mean over the updates since the last report."""
        state, recent = self.state, self.recent
        skipped = state.whole_sample_counts().skipped.total()
        used = max(state.world.gather(memory(state.world.device)))
        if not recent:
            return
        seconds = sum(one.seconds for one in recent)
        finite = [one for one in recent if one.finite] or recent
        rate = sum(one.flops for one in recent) / seconds
        self.tracker.train(
            state.step,
            state.progress,
            loss=round(sum(one.loss for one in finite) / len(finite), 5),
            gradient_norm=round(sum(one.gradient_norm for one in finite) / len(finite), 4),
            learning_rate=recent[-1].learning_rate,
            samples_per_s=round(sum(one.samples for one in recent) / seconds, 2),
            tokens_per_s=round(sum(one.tokens for one in recent) / seconds, 1),
            seconds_per_step=round(seconds / len(recent), 4),
            seconds=round(state.seconds, 2),
            matrix_share=round(rate / self.matrix_rate, 4),
            packing_efficiency=round(sum(one.packing_efficiency for one in recent) / len(recent), 4),
            wait=round(sum(one.waited for one in recent) / seconds, 4),
            skipped=skipped,
            memory=used,
            threads=self.threads.number if self.threads.on_processor else None,
            left=round(state.seconds * (1 - state.progress) / max(state.progress, 1e-9)),
        )
        recent.clear()

    def evaluate(self) -> None:
        """Measure on held-out samples, on rank 0, while the others wait."""
        state, tracker = self.state, self.tracker
        found = measure(state, self.held_out)
        if found is not None:
            figures = {name: round(value, 5) for name, value in found.figures.items()}
            tracker.held_out(state.step, found.unit, **figures)
            tracker.spoken(state.step, found.spoken)
        state.world.barrier()

    def save(self, wait: bool = False) -> Path:
        """Start to write a checkpoint of this step, if there is none; `wait` until it is complete."""
        began = time.perf_counter()
        if self.saved != self.state.step:
            self.path, self.saved = self.state.save(self.checkpoints), self.state.step
            self.tracker.event("save", step=self.saved, seconds=round(time.perf_counter() - began, 3), path=str(self.path))
        if wait:
            self.checkpoints.finish()
            self.state.world.barrier()  # if a rank exits early, torchrun stops rank 0 while it writes
        return self.path

    def save_and_stop(self) -> None:
        """Save and raise, as a signal requested."""
        if self.recent:
            self.report()
        saved = self.save(wait=True)
        several = ", under torchrun as before" if self.state.world.ranks > 1 else ""
        raise Interrupted(f"stopped and saved {saved}; go on with: {program()} train {saved / 'run.yaml'}{several}")

    def wait(self) -> None:
        """Called while data is waited for: gives up soon if the run was asked to stop."""
        if self.signals and time.monotonic() - self.signals[0] > _LONG:
            raise NoData("no data comes")

    def save_and_fail(self, failure: DataUnreadable | SkippedTooMany) -> NoReturn:
        """Save and raise: the data failed, and the weights are valid."""
        self.part = SampleCounts()
        if isinstance(failure, DataUnreadable) and failure.stop:
            self.save_and_stop()
        saved = f"; what was learned is saved: {self.save(wait=True)}" if self.state.step else ""
        error_type = SkippedTooMany if isinstance(failure.__cause__ or failure, SkippedTooMany) else NoData
        raise error_type(f"{failure}{saved}") from failure

    def finish(self) -> Path:
        """Report, measure and save at the end of the run, and export the model."""
        state, run = self.state, self.state.run
        if self.recent:
            self.report()
        if state.step % run.evaluate_every:
            self.evaluate()
        self.save(wait=True)
        model, weights, counts = Path(run.out) / "model", state.weights(), state.whole_sample_counts()
        if state.world.leads:
            _replace(model, lambda folder: state.task.export(folder, weights))
        self.tracker.event("end", step=state.step, seconds=round(state.seconds, 2), tokens=state.tokens, **counts.to_json())
        if counts.skipped:
            self.tracker.say(f"{counts.skipped.total()} of {counts.seen} samples could not be used: {counts.words()}")
        if counts.squeezed:
            self.tracker.say(f"{counts.squeezed} images are longer than images.max_patches to 1 and were squeezed")
        state.world.barrier()
        return model

    def announce(self) -> None:
        """Report what is going to be trained, on which data and on which machine."""
        state, run, world = self.state, self.state.run, self.state.world
        parameters = sum(p.numel() for p in state.model.parameters())
        self.matrix_rate = sum(world.gather(matrix_rate(world.device, state.precision)))
        source, strategy = state.loader.reader.source, choose_strategy(run.parallel, world)
        self.tracker.start(
            step=state.step, parameters=parameters, precision=state.precision, attention=state.attention, parallel=strategy,
            ranks=world.ranks, device=str(world.device), machine=machine(world.device), versions=versions(),
            threads=self.threads.most, threads_fixed=self.threads.fixed,
            matrix_rate=round(self.matrix_rate), source=run.data.source, samples=len(source),
            held_out=run.data.held_out or f"{run.data.held_out_samples} of {run.data.source}",
        )  # fmt: skip
        number = len(self.held_out.samples) if self.held_out else 0
        self.tracker.say(
            f"{parameters / 1e6:.1f} M parameters, {len(source)} samples of {run.data.source} to learn from, "
            f"{number} of {run.data.held_out or 'it'} held out, {state.precision} and {state.attention} attention on "
            f"{world.device}"
            + (f" times {world.ranks} by {strategy}" if world.ranks > 1 else f" with {self.threads}")
            + (f", starting from {run.init_from}" if run.init_from and not state.step else "")
            + (f", going on after step {state.step}" if state.step else "")
        )


def open_sources(run: Run) -> tuple[Source, Source]:
    """The source for training, and the one for measuring. Raises ValueError or OSError that names the setting."""
    source = _open(run, "source")
    if run.data.held_out:
        return source, _open(run, "held_out")
    if len(source) < 2 * run.data.held_out_samples:
        raise ValueError(
            f"{run.data.source}: {len(source)} samples, of which {run.data.held_out_samples} would be held out, and at most "
            "half may be; name a source with --data.held_out or lower --data.held_out_samples"
        )
    return hold_out(source, run.data.held_out_samples, run.seed)


def _open(run: Run, setting: str) -> Source:
    """The source of a setting of `run.data`, which errors name."""
    try:
        return task_class(run).open_source(run, getattr(run.data, setting))
    except (ValueError, OSError) as error:
        kind = OSError if isinstance(error, OSError) else ValueError
        raise kind(f"{error}; it is data.{setting} of the recipe, and --data.{setting} names another") from error


def _replace(folder: Path, write: Callable[[Path], None]) -> None:
    """Write a folder under another name and then rename it: a reader finds the new folder or the old one, each complete.

    An old folder to which files were added, such as evaluations, is not removed: it is kept where the same model is written
    again, and gets another name where a different model is written.
    """
    partial, old = (folder.with_name(f"{folder.name}.{ending}") for ending in ("partial", "old"))
    if old.exists() and not folder.exists():  # the process was killed between the two renames below
        old.rename(folder)
    for left in (partial, old):  # of a process that was killed
        shutil.rmtree(left, ignore_errors=True)
    try:
        write(partial)
        more = added(folder, partial) if folder.exists() else []
        if more and _same_files(partial, folder):
            shutil.rmtree(partial)
            return
        if folder.exists():
            folder.rename(aside := free_name(folder) if more else old)
        partial.rename(folder)
    except (OSError, SafetensorError) as error:
        raise OSError(f"{folder} could not be written: {error}; make room, and start the same command again") from error
    if more:
        log.warning("%s held %s of an earlier model: both are now %s", folder, ", ".join(more), aside)
    shutil.rmtree(old, ignore_errors=True)


def _same_files(folder: Path, other: Path) -> bool:
    """Whether the other folder holds every file of this one with the same bytes."""
    names = [path.name for path in folder.iterdir()]
    return sorted(filecmp.cmpfiles(folder, other, names, shallow=False)[0]) == sorted(names)


def _due(every: int, state: State) -> bool:
    return state.step % every == 0
