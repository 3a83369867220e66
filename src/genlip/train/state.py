"""The state of a run: its parts, and all that resuming needs.

In: a `Run`. Out: a `State`, begun anew, from another model's weights, or from the run's own newest checkpoint.
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass, field
from pathlib import Path

import torch
from tokenizers import Tokenizer
from torch import Tensor, nn
from torch.distributed.fsdp import FSDPModule

from genlip.data.captions import Captions, load_tokenizer, train_tokenizer
from genlip.data.loader import Loader, merge_states
from genlip.data.preprocessing import Preprocessing, save_preprocessing
from genlip.data.sample_counts import SampleCounts
from genlip.data.samples import SampleReader
from genlip.data.sources import Source, corpus
from genlip.machine import versions
from genlip.model import checkpoint
from genlip.model.attention_choice import resolve_attention
from genlip.model.config import GenLIPConfig
from genlip.model.genlip import GenLIP
from genlip.recipes.run import Run
from genlip.train import checkpoints
from genlip.train.checkpoints import Checkpoints
from genlip.train.ema import Average
from genlip.train.optimizer import freeze, make_optimizers
from genlip.train.parallel import World, full, share_model, strategy
from genlip.train.precision import Precision, resolve_precision

__all__ = ["State", "begin", "export"]

_TOKENIZER_CORPUS = 20_000  # captions from which a tokenizer is learned


@dataclass
class State:
    """A run while it trains.

    Attributes:
        model: the trained model; under FSDP its parameters are shards.
        shared: the same, as this rank calls it in training: wrapped where several processes share the work.
        step: updates done. It and the next four are of all ranks together.
        seconds: of training, evaluation and waiting at the start aside.
        tokens: rows that were used, patches and text.
        samples: that were used.
        seen: samples that were used or could not be.
        nonfinite: updates left out in a row, because their loss or gradient was no number.
        sample_counts: samples by source and reason, of this rank; on rank 0 also those from before the run was resumed.
    """

    run: Run
    world: World
    model: GenLIP
    shared: nn.Module
    captions: Captions
    optimizers: list[torch.optim.Optimizer]
    average: Average | None
    loader: Loader
    precision: Precision
    step: int = 0
    seconds: float = 0.0
    tokens: int = 0
    samples: int = 0
    seen: int = 0
    nonfinite: int = 0
    sample_counts: SampleCounts = field(default_factory=SampleCounts)

    @property
    def progress(self) -> float:
        """How much of the run is done, from 0 to 1: by whichever of its ends is nearest."""
        run = self.run
        done = (
            (self.step, run.steps),
            (self.seen, run.epochs * len(self.loader.reader.source)),
            (self.samples, run.samples),
            (self.tokens, run.tokens),
        )
        return min(1.0, max(now / end for now, end in done if end))

    @property
    def sharded(self) -> bool:
        """Does each rank hold a part of the weights only?"""
        return isinstance(self.shared, FSDPModule)

    def whole_sample_counts(self) -> SampleCounts:
        """The counts of all ranks; all must ask."""
        parts = [SampleCounts.from_json(part) for part in self.world.gather(self.sample_counts.to_json())]
        return sum(parts, start=SampleCounts())

    def weights(self) -> dict[str, Tensor]:
        """Copies of the whole weights in host memory, averaged ones if there are; all ranks must ask, rank 0 receives."""
        named = self.average.weights if self.average else dict(self.model.named_parameters())
        whole = ((name, full(value.detach())) for name, value in named.items())
        return {name: value.to("cpu", copy=True) for name, value in whole if self.world.leads}

    def save(self, to: Checkpoints) -> Path:
        """Begin to write a checkpoint of this moment; all ranks must call."""
        progress = {
            "seconds": self.seconds, "tokens": self.tokens, "samples": self.samples, "seen": self.seen,
            "nonfinite": self.nonfinite, "tally": self.whole_sample_counts().to_json(), "precision": self.precision,
            "data": merge_states(self.world.gather(self.loader.state())), "ranks": self.world.ranks, "versions": versions(),
        }  # fmt: skip
        tensors = checkpoints.training_tensors(self.model, self.optimizers, self.average)
        weights = self.weights()
        return to.save(self.step, tensors, progress, lambda folder: export(folder, self.run, weights, self.captions))


def export(folder: Path, run: Run, weights: dict[str, Tensor], captions: Captions) -> None:
    """The folder that users load: weights, config, tokenizer and preprocessing."""
    checkpoint.save_weights(weights, run.model, folder)
    save_preprocessing(folder, Preprocessing(images=run.images, captions=run.captions), captions.tokenizer)


def begin(run: Run, world: World, source: Source, newest: Path | None) -> State:
    """The state to train from: that of the checkpoint `newest`, if there is one."""
    how = strategy(run.parallel, world)
    captions = _captions(run, world, source, newest)
    reader = SampleReader(source, run.images, captions, run.model, run.seed, run.packing.max_tokens)
    precision: Precision = world.agree(_precision(run, world, newest))
    model = _model(run, world, precision, fresh=newest is None)
    freeze(model, run.freeze)
    if run.compile:
        model.compile_blocks()
    shared = share_model(model, how, world)
    optimizers = make_optimizers(model, run.optimizer)
    average = Average(model, run.ema) if run.ema else None
    saved = checkpoints.restore(newest, model, optimizers, average, world) if newest else {}
    loader = Loader(
        reader, run.packing, workers=run.data.workers, rank=world.rank, ranks=world.ranks, epochs=run.epochs,
        state=saved.get("data"),
    )  # fmt: skip
    state = State(run, world, model, shared, captions, optimizers, average, loader, precision)
    if saved:
        counts = ("step", "seconds", "tokens", "samples", "seen", "nonfinite")
        sample_counts = SampleCounts.from_json(saved["tally"]) if world.leads else SampleCounts()
        state = dataclasses.replace(state, **{name: saved[name] for name in counts}, sample_counts=sample_counts)
    return state


def _model(run: Run, world: World, precision: Precision, fresh: bool) -> GenLIP:
    """With random weights, the same on every rank, or with those of `init_from`."""
    dtype = torch.bfloat16 if precision == "bfloat16" else torch.float32
    backend = world.agree(resolve_attention(run.attention, world.device, dtype, run.model.head_dim))
    torch.manual_seed(run.seed)
    model = GenLIP(run.model, backend)
    model.activation_checkpointing = run.activation_checkpointing
    if run.init_from and fresh:
        given = checkpoint.load(run.init_from, dtype=torch.get_default_dtype())
        _check_same_shape(run, given.config)
        model.load_state_dict(given.state_dict())
    return model.to(world.device).train()


def _check_same_shape(run: Run, given: GenLIPConfig) -> None:
    wanted, found = dataclasses.asdict(run.model), dataclasses.asdict(given)
    training_only = {"drop_path_rate", "ls_init_value"}
    if wrong := [f"{k} {found[k]}, not {wanted[k]}" for k in wanted if found[k] != wanted[k] and k not in training_only]:
        raise ValueError(
            f"init_from {run.init_from} is another model than the recipe's ({'; '.join(wrong)}): set --model {run.init_from}"
        )


def _precision(run: Run, world: World, newest: Path | None) -> Precision:
    """As before a stop, or what suits this machine."""
    saved = checkpoints.read_progress(newest)["precision"] if newest else None
    return saved or resolve_precision(run.precision, world.device)


def _captions(run: Run, world: World, source: Source, newest: Path | None) -> Captions:
    """With the run's tokenizer; rank 0 finds or trains it."""
    found = world.agree(_tokenizer(run, source, newest) if world.leads else None)
    return Captions(Tokenizer.from_str(found), run.captions, run.model.vocab_size)


def _tokenizer(run: Run, source: Source, newest: Path | None) -> str:
    if newest is not None:
        return load_tokenizer(newest).to_str()
    given = checkpoint.checkpoint_folder(run.init_from) if run.init_from else None
    if run.tokenizer != "bpe":
        tokenizer = load_tokenizer(run.tokenizer)
        if given is not None and (Path(given) / "tokenizer.json").is_file():
            _check_same_words(run, tokenizer, load_tokenizer(given))
        return tokenizer.to_str()
    if given is not None:
        return load_tokenizer(given).to_str()
    return train_tokenizer(corpus(source, _TOKENIZER_CORPUS), run.model.vocab_size).to_str()


def _check_same_words(run: Run, wanted: Tokenizer, learned: Tokenizer) -> None:
    """A token's weights mean what it meant when they were learned."""
    old, new = ({number: token for token, number in one.get_vocab().items()} for one in (learned, wanted))
    for number in sorted(old.keys() & new.keys()):
        if old[number] != new[number]:
            raise ValueError(
                f"tokenizer {run.tokenizer} is not that of init_from {run.init_from}: token {number} is {new[number]!r}, "
                f"and was {old[number]!r} when its weights were learned; set --tokenizer bpe, which takes that of init_from"
            )
