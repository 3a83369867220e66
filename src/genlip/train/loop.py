"""The training loop: update, log, evaluate, save, stop.

In: a `Run`. Out: a folder with the trained model in `model/`, the log, and checkpoints from which the run can go on.
A run that is interrupted (Ctrl-C or SIGTERM) saves first; resuming continues with the very next batch.
"""

from __future__ import annotations

import dataclasses
import logging
import math
import os
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from types import FrameType

import torch
from torch.nn.utils import clip_grad_norm_

from genlip.data.captions import Captions, load_tokenizer, train_tokenizer
from genlip.data.loader import Loader
from genlip.data.packing import MANY_SKIPPED, Batch
from genlip.data.samples import SampleReader
from genlip.data.sources import Source, corpus, hold_out, open_source
from genlip.data.tally import SkippedTooMany, Tally
from genlip.evaluate.held_out import held_out
from genlip.model.genlip import GenLIP
from genlip.model.objective import supervised_tokens
from genlip.model.pack import Pack, Sample
from genlip.train import checkpoints
from genlip.train.optimizer import learning_rate, make_optimizers, set_learning_rate
from genlip.train.precision import Precision, autocast, resolve_precision
from genlip.train.recipe import Run, differences
from genlip.train.tracking import Tracker

__all__ = ["Interrupted", "NonFinite", "train"]

log = logging.getLogger(__name__)

_NAMED = 20  # examples that cannot be used, on the terminal
_TOKENIZER_CORPUS = 20_000  # captions from which a tokenizer is learned


class Interrupted(RuntimeError):
    """The run was asked to stop and has saved; the message says how to go on."""


class NonFinite(ArithmeticError):
    """The loss or its gradient is no longer a number; the weights are those of the update before."""


@dataclass
class State:
    """All that resuming needs."""

    run: Run
    model: GenLIP
    captions: Captions
    optimizers: list[torch.optim.Optimizer]
    device: torch.device
    precision: Precision
    loader: Loader
    step: int = 0
    seconds: float = 0.0
    tokens: int = 0
    tally: Tally = field(default_factory=Tally)
    named: int = 0

    @property
    def progress(self) -> float:
        """How much of the run is done, from 0 to 1: by whichever of its ends is nearest."""
        run, tally = self.run, self.tally
        done = (
            (self.step, run.steps),
            (tally.seen, run.epochs * len(self.loader.reader.source)),
            (tally.used.total(), run.max_samples),
            (self.tokens, run.max_tokens),
        )
        return min(1.0, max(now / end for now, end in done if end))

    def save(self) -> Path:
        """Write a checkpoint of this moment."""
        progress = {
            "seconds": self.seconds, "tokens": self.tokens, "tally": self.tally.to_json(), "precision": self.precision,
            "data": self.loader.state(),
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
    if int(os.environ.get("WORLD_SIZE", "1")) > 1:
        raise ValueError(
            f"WORLD_SIZE is {os.environ['WORLD_SIZE']}: training runs as one process so far; start it without torchrun"
        )
    out = Path(run.out)
    newest = _checkpoint_to_resume(run, resume)
    out.mkdir(parents=True, exist_ok=True)
    source, measured = _sources(run)
    state = _start(run, source, newest)
    samples = _held_out_samples(dataclasses.replace(state.loader.reader, source=measured), run.data.held_out_samples)
    with closing(iter(state.loader)) as updates, Tracker(out, state.step) as tracker, _interruptible() as interrupted:
        if resume and newest is None:
            tracker.say(f"{run.out} holds no checkpoint to go on from: starting anew")
        _announce(state, tracker, source, samples)
        recent: list[Update] = []
        while state.progress < 1 and not interrupted and (update := _update(state, updates, tracker)):
            recent.append(update)
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
        _finish(state, recent, samples, tracker)
    return out / "model"


def _finish(state: State, recent: list[Update], samples: list[Sample], tracker: Tracker) -> None:
    """Report, measure and save the end, whatever brought it, and export the model."""
    if recent:
        _report(state, recent, tracker)
    if state.step % state.run.evaluate_every:
        _evaluate(state, samples, tracker)
    state.save()
    checkpoints.export_model(Path(state.run.out) / "model", state.model.eval(), state.captions, state.run)
    tally = state.tally
    tracker.event("end", step=state.step, seconds=round(state.seconds, 2), tokens=state.tokens, **tally.to_json())
    if tally.skipped:
        tracker.say(f"{tally.skipped.total()} of {tally.seen} samples could not be used: {tally.words()}")
    if tally.squeezed:
        tracker.say(f"{tally.squeezed} images are longer than images.max_patches to 1 and were squeezed")


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
    source = open_source(run.data.source, run.data.fields)
    if run.data.held_out:
        return source, open_source(run.data.held_out, run.data.fields)
    if len(source) < 2 * run.data.held_out_samples:
        raise ValueError(
            f"{run.data.source}: {len(source)} samples, of which {run.data.held_out_samples} would be held out, and at most "
            "half may be; name a source with --data.held_out or lower --data.held_out_samples"
        )
    return hold_out(source, run.data.held_out_samples, run.seed)


def _start(run: Run, source: Source, newest: Path | None) -> State:
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    captions = _captions(run, source, newest)
    reader = SampleReader(source, run.images, captions, run.model, run.seed, run.packing.max_tokens)
    torch.manual_seed(run.seed)
    model = GenLIP(run.model, run.attention).to(device).train()
    optimizers = make_optimizers(model, run.optimizer)
    saved = checkpoints.restore(newest, model, optimizers) if newest else {}
    loader = Loader(reader, run.packing, workers=run.data.workers, epochs=run.epochs, state=saved.pop("data", None))
    precision = saved.pop("precision", None) or resolve_precision(run.precision, device)
    tally = Tally.from_json(saved.pop("tally")) if saved else Tally()
    return State(run, model, captions, optimizers, device, precision, loader, tally=tally, **saved)


def _captions(run: Run, source: Source, newest: Path | None) -> Captions:
    if newest is not None:
        tokenizer = load_tokenizer(newest)
    elif run.tokenizer == "bpe":
        tokenizer = train_tokenizer(corpus(source, _TOKENIZER_CORPUS), run.model.vocab_size)
    else:
        tokenizer = load_tokenizer(run.tokenizer)
    return Captions(tokenizer, run.captions, run.model.vocab_size)


def _held_out_samples(reader: SampleReader, wanted: int) -> list[Sample]:
    """Usable samples from all over the held-out source."""
    samples, skipped = reader.some(wanted)
    for skip in skipped:
        log.warning("skipped held-out %s", skip.message)
    if len(samples) < 2:
        raise ValueError(f"{len(samples)} usable held-out samples: need at least 2")
    return samples


def _update(state: State, updates: Iterator[list[Batch]], tracker: Tracker) -> Update | None:
    """One step of the optimizer on the packs of the next update, None once the data has ended; waiting for it counts."""
    began = time.perf_counter()
    packs: list[Pack] = []
    while not packs:
        batches = next(updates, None)
        if batches is None:
            return None
        _count(state, batches, tracker)
        packs = [batch.pack for batch in batches if batch.pack is not None]
    rows = sum(pack.num_rows for pack in packs)
    state.step, state.tokens = state.step + 1, state.tokens + rows
    rate = learning_rate(state.run.optimizer, state.progress)
    set_learning_rate(state.optimizers, rate)
    torch.manual_seed((state.run.seed << 32) + state.step - 1)  # DropPath of an update is a function of (seed, its number)
    state.model.zero_grad()
    loss = _backward(state, packs)
    norm = clip_grad_norm_(state.model.parameters(), state.run.optimizer.clip)
    if not math.isfinite(loss) or not torch.isfinite(norm):
        raise NonFinite(
            f"update {state.step}: the loss is {loss} and the norm of its gradient {float(norm)}; lower "
            "optimizer.learning_rate or set precision to float32, and go on from the last checkpoint with --resume"
        )
    for optimizer in state.optimizers:
        optimizer.step()
    seconds = time.perf_counter() - began
    state.seconds += seconds
    return Update(loss, float(norm), rate, sum(len(pack.grids) for pack in packs), rows, seconds)


def _backward(state: State, packs: list[Pack]) -> float:
    """Gradients of the mean loss over the supervised tokens of all packs; returns that loss."""
    tokens, total = supervised_tokens(packs), 0.0
    for pack in packs:
        with autocast(state.precision, state.device):
            loss = state.model(pack.to(state.device)) / tokens
        loss.backward()
        total += float(loss.detach())
    return total


def _count(state: State, batches: list[Batch], tracker: Tracker) -> None:
    """Count samples, name those that could not be used, and stop where they are too many."""
    state.tally.add(batches)
    for skip in (skip for batch in batches for skip in batch.skipped):
        tracker.event("skipped", update=state.step + 1, **skip._asdict())
        state.named += 1
        if state.named <= _NAMED:
            log.warning("skipped %s%s", skip.message, "; from now on, log.jsonl alone names them" * (state.named == _NAMED))
    state.tally.check(state.run.max_skipped, len(state.loader.reader.source), state.loader.waiting)
    for skipped in (batch.skipped for batch in batches if batch.pack is None and len(batch.skipped) >= MANY_SKIPPED):
        raise SkippedTooMany(
            f"{len(skipped)} examples in a row could not be used, the last because of: {skipped[-1].message}"
        )


def _report(state: State, recent: list[Update], tracker: Tracker) -> None:
    """Log the mean over the updates since the last report."""
    seconds = sum(update.seconds for update in recent)
    tracker.train(
        state.step,
        state.progress,
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
    return state.step % every == 0
