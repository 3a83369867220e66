"""The training loop: update, log, evaluate, save, stop.

In: a `Run`. Out: a folder with the trained model in `model/`, the log, and checkpoints from which the run can go on.
A run that is interrupted (Ctrl-C or SIGTERM) saves first; resuming continues with the very next batch.
"""

from __future__ import annotations

import logging
import math
import signal
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from types import FrameType

import numpy as np
import torch
from torch.nn.utils import clip_grad_norm_

from genlip.data.captions import Captions, load_tokenizer, train_tokenizer
from genlip.data.loader import load_batches
from genlip.data.packing import Batch, Packer, Skipped
from genlip.data.sources import Source, Subset, open_source
from genlip.evaluate.held_out import held_out
from genlip.model.genlip import GenLIP
from genlip.model.objective import supervised_tokens
from genlip.model.pack import Pack, Sample
from genlip.train import checkpoints
from genlip.train.optimizer import learning_rate, make_optimizers, set_learning_rate
from genlip.train.precision import Precision, autocast, resolve_precision
from genlip.train.recipe import Run, differences
from genlip.train.tracking import Tracker

__all__ = ["Interrupted", "NonFinite", "SkippedTooMany", "train"]

log = logging.getLogger(__name__)

_TOKENIZER_CORPUS = 20_000  # captions from which a tokenizer is learned


class Interrupted(RuntimeError):
    """The run was asked to stop and has saved; the message says how to go on."""


class NonFinite(ArithmeticError):
    """The loss or its gradient is no longer a number; the weights are those of the update before."""


class SkippedTooMany(ValueError):
    """More samples could not be used than `max_skipped` allows."""


@dataclass
class State:
    """All that resuming needs."""

    run: Run
    model: GenLIP
    captions: Captions
    optimizers: list[torch.optim.Optimizer]
    device: torch.device
    precision: Precision
    step: int = 0
    seconds: float = 0.0
    samples: int = 0
    skipped: Counter[str] = field(default_factory=Counter)

    def save(self) -> Path:
        """Write a checkpoint of this moment."""
        progress = {
            "seconds": self.seconds, "samples": self.samples, "skipped": dict(self.skipped), "precision": self.precision,
        }  # fmt: skip
        return checkpoints.save(self.run, self.model, self.captions, self.optimizers, self.step, progress)


@dataclass(frozen=True)
class Update:
    """What one update measured: mean loss in nats per supervised token, norm of the gradient before clipping, sizes."""

    loss: float
    gradient_norm: float
    learning_rate: float
    samples: int
    rows: int
    seconds: float


def train(run: Run, resume: bool = False, on_step: Callable[[State], None] = lambda state: None) -> Path:
    """Train to the end and return the folder of the model; `resume` continues the run in `run.out`.

    Raises ValueError if the folder already holds a run and `resume` is false, or holds a run with other settings;
    `Interrupted` after a save on Ctrl-C or SIGTERM; `SkippedTooMany` if too many samples are unusable.
    """
    out = Path(run.out)
    newest = _checkpoint_to_resume(run, resume)
    out.mkdir(parents=True, exist_ok=True)
    source, measured = _sources(run)
    state = _start(run, source, newest)
    packer = Packer(source, run.images, state.captions, run.model)
    samples = _held_out_samples(Packer(measured, run.images, state.captions, run.model), run.data.held_out_samples)
    batches = _updates(run, packer, state.step)
    with Tracker(out, run.steps, state.step) as tracker, _interruptible() as interrupted:
        if resume and newest is None:
            tracker.say(f"{run.out} holds no checkpoint to go on from: starting anew")
        _announce(state, tracker, source, samples)
        recent: list[Update] = []
        while state.step < run.steps and not interrupted:
            recent.append(_update(state, batches, tracker))
            on_step(state)
            if _due(run.log_every, state):
                _report(state, recent, tracker)
                recent.clear()
            if _due(run.evaluate_every, state):
                _evaluate(state, samples, tracker)
            if _due(run.save_every, state):
                state.save()
        if interrupted:
            saved = state.save()
            raise Interrupted(f"stopped and saved {saved}; go on with: genlip train {saved / 'run.yaml'} --resume")
        checkpoints.export_model(out / "model", state.model.eval(), state.captions, run)
        tracker.event("end", step=state.step, seconds=round(state.seconds, 2), skipped=dict(state.skipped))
        _say_skipped(state, tracker)
    return out / "model"


def _checkpoint_to_resume(run: Run, resume: bool) -> Path | None:
    newest = checkpoints.latest(run.out)
    if newest is None:
        return None
    if not resume:
        raise ValueError(f"{run.out} holds a run ({newest.name}): go on with --resume, or choose another folder with --out")
    if changed := differences(checkpoints.read_run(newest), run):
        raise ValueError(
            f"{run.out} holds a run with other settings ({'; '.join(changed)}): undo them or choose another --out"
        )
    return newest


def _sources(run: Run) -> tuple[Source, Source]:
    """What is learned from, and what is measured on."""
    source = open_source(run.data.source)
    if run.data.held_out:
        return source, open_source(run.data.held_out)
    if len(source) < 2 * run.data.held_out_samples:
        raise ValueError(
            f"{run.data.source}: {len(source)} samples, of which {run.data.held_out_samples} would be held out, and at most "
            "half may be; name a source with --data.held_out or lower --data.held_out_samples"
        )
    dealt = np.random.default_rng(run.seed).permutation(len(source)).tolist()
    return Subset(source, sorted(dealt[run.data.held_out_samples :])), Subset(source, dealt[: run.data.held_out_samples])


def _start(run: Run, source: Source, newest: Path | None) -> State:
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    captions = _captions(run, source, newest)
    torch.manual_seed(run.seed)
    model = GenLIP(run.model, run.attention).to(device).train()
    optimizers = make_optimizers(model, run.optimizer)
    if newest is None:
        return State(run, model, captions, optimizers, device, resolve_precision(run.precision, device))
    saved = checkpoints.restore(newest, model, optimizers)
    skipped = Counter(saved.pop("skipped"))
    return State(run, model, captions, optimizers, device, skipped=skipped, **saved)


def _captions(run: Run, source: Source, newest: Path | None) -> Captions:
    if newest is not None:
        tokenizer = load_tokenizer(newest)
    elif run.tokenizer == "bpe":
        corpus = (source.caption(i) for i in range(min(len(source), _TOKENIZER_CORPUS)))
        tokenizer = train_tokenizer(corpus, run.model.vocab_size)
    else:
        tokenizer = load_tokenizer(run.tokenizer)
    return Captions(tokenizer, run.captions, run.model.vocab_size)


def _held_out_samples(packer: Packer, wanted: int) -> list[Sample]:
    """The first usable samples of the held-out source, in its order."""
    skipped: list[Skipped] = []
    samples = list(islice(packer.samples(range(len(packer.source)), skipped), wanted))
    for _, _, message in skipped:
        log.warning("skipped held-out %s", message)
    if len(samples) < 2:
        raise ValueError(f"{len(samples)} usable held-out samples: need at least 2")
    return samples


def _updates(run: Run, packer: Packer, first: int) -> Iterator[list[Batch]]:
    """The packs of each update, from update `first` on."""
    batches = load_batches(
        packer, run.batch // run.accumulate, run.seed, first * run.accumulate, run.steps * run.accumulate, run.data.workers
    )
    while update := list(islice(batches, run.accumulate)):
        yield update


def _update(state: State, updates: Iterator[list[Batch]], tracker: Tracker) -> Update:
    """One step of the optimizer on all packs of the next update; its time includes waiting for the data."""
    began = time.perf_counter()
    batches = next(updates)
    _count_skipped(state, batches, tracker)
    packs = [batch.pack for batch in batches if batch.pack is not None]
    rate = learning_rate(state.run.optimizer, state.step, state.run.steps)
    set_learning_rate(state.optimizers, rate)
    torch.manual_seed((state.run.seed << 32) + state.step)  # DropPath of update n is a function of (seed, n)
    state.model.zero_grad()
    loss = _backward(state, packs)
    norm = clip_grad_norm_(state.model.parameters(), state.run.optimizer.clip)
    if not math.isfinite(loss) or not torch.isfinite(norm):
        raise NonFinite(
            f"update {state.step + 1}: the loss is {loss} and the norm of its gradient {float(norm)}; lower "
            "optimizer.learning_rate or set precision to float32, and go on from the last checkpoint with --resume"
        )
    if packs:
        for optimizer in state.optimizers:
            optimizer.step()
    samples, seconds = sum(len(pack.grids) for pack in packs), time.perf_counter() - began
    state.step, state.samples, state.seconds = state.step + 1, state.samples + samples, state.seconds + seconds
    return Update(loss, float(norm), rate, samples, sum(pack.num_rows for pack in packs), seconds)


def _backward(state: State, packs: list[Pack]) -> float:
    """Gradients of the mean loss over the supervised tokens of all packs; returns that loss."""
    tokens, total = supervised_tokens(packs), 0.0
    for pack in packs:
        with autocast(state.precision, state.device):
            loss = state.model(pack.to(state.device)) / tokens
        loss.backward()
        total += float(loss.detach())
    return total


def _count_skipped(state: State, batches: list[Batch], tracker: Tracker) -> None:
    for key, reason, message in (skip for batch in batches for skip in batch.skipped):
        state.skipped[reason] += 1
        tracker.event("skipped", key=key, reason=reason, message=message)
        log.warning("skipped %s", message)
    used = sum(len(batch.keys) for batch in batches)
    lost, seen = state.skipped.total(), state.samples + used + state.skipped.total()
    if lost > max(state.run.max_skipped * max(seen, 100), 1):
        raise SkippedTooMany(
            f"{lost} of {seen} samples could not be used ({_by_reason(state)}); see log.jsonl, or raise max_skipped"
        )


def _report(state: State, recent: list[Update], tracker: Tracker) -> None:
    """Log the mean over the updates since the last report."""
    seconds = sum(update.seconds for update in recent)
    tracker.train(
        state.step,
        loss=round(sum(update.loss for update in recent) / len(recent), 5),
        gradient_norm=round(sum(update.gradient_norm for update in recent) / len(recent), 4),
        learning_rate=recent[-1].learning_rate,
        samples_per_s=round(sum(update.samples for update in recent) / seconds, 2),
        tokens_per_s=round(sum(update.rows for update in recent) / seconds, 1),
        seconds_per_step=round(seconds / len(recent), 4),
        seconds=round(state.seconds, 2),
    )


def _evaluate(state: State, samples: list[Sample], tracker: Tracker) -> None:
    with autocast(state.precision, state.device):
        measured = held_out(state.model, samples)
    tracker.event("held_out", step=state.step, loss=round(measured.loss, 5), picture_gain=round(measured.picture_gain, 5))
    tracker.say(
        f"step {state.step}: held-out loss {measured.loss:.3f}, picture gain {measured.picture_gain:.3f} nats per token"
    )


def _announce(state: State, tracker: Tracker, source: Source, samples: list[Sample]) -> None:
    parameters = sum(p.numel() for p in state.model.parameters())
    tracker.event("start", step=state.step, parameters=parameters, precision=state.precision, torch=torch.__version__)
    tracker.say(
        f"{parameters / 1e6:.1f} M parameters, {len(source)} samples of {state.run.data.source} to learn from, "
        f"{len(samples)} of {state.run.data.held_out or 'it'} held out, "
        f"{state.precision} on {state.device} with {torch.get_num_threads()} threads"
        + (f", going on after step {state.step}" if state.step else "")
    )


def _say_skipped(state: State, tracker: Tracker) -> None:
    if state.skipped:
        tracker.say(f"{state.skipped.total()} samples could not be used: {_by_reason(state)}")


@contextmanager
def _interruptible() -> Iterator[list[int]]:
    """A list that fills when the user presses Ctrl-C or the system sends SIGTERM; a second one stops at once."""
    heard: list[int] = []

    def hear(number: int, frame: FrameType | None) -> None:
        heard.append(number)
        print("\nstopping after this update; again to stop at once", file=sys.stderr)
        for kind, handler in before.items():
            signal.signal(kind, handler)

    if threading.current_thread() is not threading.main_thread():
        yield heard
        return
    before = {kind: signal.getsignal(kind) for kind in (signal.SIGINT, signal.SIGTERM)}
    for kind in before:
        signal.signal(kind, hear)
    try:
        yield heard
    finally:
        for kind, handler in before.items():
            signal.signal(kind, handler)


def _due(every: int, state: State) -> bool:
    return state.step % every == 0 or state.step == state.run.steps


def _by_reason(state: State) -> str:
    return ", ".join(f"{count} {reason}" for reason, count in state.skipped.most_common())
