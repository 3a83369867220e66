"""Two toy tasks. `ToyTask`: two small networks that give an image and its caption one vector each, and SigLIP's loss of all
pairs. `AdapterTask`: a frozen image encoder, a projector and a small language model; packs of odd rows hold no image.

As a program, a rank of `torchrun`: runs updates of a toy in float64 and stores what it measured and the weights; or, with
the word "resume", saves a run after an update without packs and resumes it.
"""

from __future__ import annotations

import dataclasses
import json
import math
import sys
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from safetensors.torch import save_file
from tokenizers import Tokenizer
from torch import Tensor, nn

from genlip.data.captions import Captions, train_tokenizer
from genlip.data.packing import Batch
from genlip.data.samples import SampleReader
from genlip.data.sources import Source, corpus, open_source
from genlip.model.pack import Pack, Sample
from genlip.model.writing import write_json
from genlip.recipes.recipe import load_recipe
from genlip.recipes.run import Run
from genlip.recipes.tasks import TASKS, TaskEntry
from genlip.train.checkpoints import Checkpoints
from genlip.train.parallel import join_world, whole_tensor
from genlip.train.state import State, begin
from genlip.train.task import HeldOutSet, Measured, PackTask, ParameterGroup, Task, UpdateTask
from genlip.train.update import update
from genlip.train.validation import held_out_set, measure


@dataclass(frozen=True, kw_only=True)
class PairConfig:
    """The loss of pairs.

    Attributes:
        width: of the vectors.
        temperature: by which similarities are multiplied at first.
        bias: added to them at first.
        dropout: share of the numbers of a vector that are set to 0 in training.
        loss_noise: size of random numbers that are added to the similarities.
        scale_embeddings: also multiply embeddings by the temperature.
    """

    width: int = 6
    temperature: float = 10.0
    bias: float = -2.0
    dropout: float = 0.25
    loss_noise: float = 0.0
    scale_embeddings: bool = False


@dataclass(frozen=True, kw_only=True)
class ToyRun(Run):
    """A run of the toy.

    Attributes:
        task: the toy.
        pairs: the loss of pairs.
        rate_of_loss: scale of the learning rate of temperature and bias.
    """

    task: str = "toy"
    pairs: PairConfig = field(default_factory=PairConfig)
    rate_of_loss: float = 0.1


class Towers(nn.Module):
    """Two layers for images, a table and a layer for texts; temperature and bias of the loss."""

    def __init__(self, run: ToyRun) -> None:
        super().__init__()
        width = run.pairs.width
        self.images = nn.Sequential(nn.Linear(run.model.patch_dim, 2 * width), nn.GELU())
        self.images_out = nn.Linear(2 * width, width)
        self.words, self.texts = nn.Embedding(run.model.vocab_size, width), nn.Linear(width, width)
        self.log_temperature = nn.Parameter(torch.tensor([math.log(run.pairs.temperature)]))  # FSDP takes no scalars
        self.bias = nn.Parameter(torch.tensor([run.pairs.bias]))
        self.dropout = run.pairs.dropout

    def forward(self, pack: Pack) -> Tensor:
        """Float[s 2 D], the unit vectors of the images and texts of a pack."""
        patches = pack.patches.to(self.texts.weight.dtype) / 255 - 0.5
        images = self.images_out(self.images(patches))
        parts = (
            (images, pack.sample_of_row[: pack.num_patches]),
            (self.texts(self.words(pack.token_ids)), pack.sample_of_row[pack.num_patches :]),
        )
        means = [
            torch.zeros(pack.num_samples, rows.shape[1], dtype=rows.dtype).index_add(0, owner, rows) for rows, owner in parts
        ]
        return F.normalize(F.dropout(torch.stack(means, dim=1), self.dropout, self.training), dim=-1)


class _Prepared(Task):
    """What both tasks share: the processor is a tokenizer; samples and packs are GenLIP's."""

    def __init__(self, run: ToyRun, processor: str) -> None:
        self.run = run
        self.captions = Captions(Tokenizer.from_str(processor), run.captions, run.model.vocab_size)

    @classmethod
    def find_processor(cls, run: ToyRun, source: Source, newest: Path | None) -> str:
        if newest is not None:
            return (newest / "tokenizer.json").read_text()
        return train_tokenizer(corpus(source, 100), run.model.vocab_size).to_str()

    def reader(self, source: Source) -> SampleReader:
        run = self.run
        return SampleReader(source, run.images, self.captions, run.model, run.seed, run.packing.max_tokens)

    def load_initial(self, model: nn.Module) -> None:
        if self.run.init_from:
            raise ValueError("the toy starts from random weights: set --init_from ''")

    def idle(self) -> Pack:
        return Pack.of([Sample(np.zeros((1, self.run.model.patch_dim), np.uint8), (1, 1), [0], [False])])

    def flops(self, pack: Pack) -> float:
        return 6.0 * pack.num_rows

    def export(self, folder: Path, weights: dict[str, Tensor]) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        save_file(weights, folder / "model.safetensors")
        (folder / "tokenizer.json").write_text(self.captions.tokenizer.to_str())


class ToyTask(_Prepared, UpdateTask):
    """SigLIP's loss of all pairs."""

    def build(self, attention: str) -> Towers:
        return Towers(self.run)

    def blocks(self, model: Towers) -> list[nn.Module]:
        return [model.images]

    def parameter_groups(self, model: Towers) -> list[ParameterGroup]:
        of_loss = [model.log_temperature, model.bias]
        others = [p for p in model.parameters() if p.requires_grad and all(p is not one for one in of_loss)]
        return [ParameterGroup(others), ParameterGroup(of_loss, self.run.rate_of_loss)]

    def embed(self, model: Towers, pack: Pack) -> Tensor:
        return model(pack) * (model.log_temperature if self.run.pairs.scale_embeddings else 1)

    def loss_of_all(self, model: Towers, embeddings: Tensor) -> tuple[Tensor, int]:
        images, texts = embeddings.unbind(1)
        logits = images @ texts.T * model.log_temperature.exp() + model.bias
        logits = logits + self.run.pairs.loss_noise * torch.randn_like(logits)
        return -F.logsigmoid(logits * (2 * torch.eye(len(logits), dtype=logits.dtype) - 1)).sum(), len(logits)

    def validate(self, model: Towers, on: HeldOutSet) -> Measured:
        model.eval()
        with torch.no_grad():
            loss, terms = self.full_precision_loss(model, self.embed(model, Pack.of(on.samples)))
        return Measured({"loss": float(loss) / terms}, unit="nats per image")


class Adapter(nn.Module):
    """A frozen image encoder, a projector, and a language model that reads its mean output before every token."""

    def __init__(self, run: ToyRun) -> None:
        super().__init__()
        width = run.pairs.width
        self.encoder = nn.Sequential(nn.Linear(run.model.patch_dim, width), nn.GELU()).requires_grad_(False)
        self.projector = nn.Linear(width, width)
        self.words, self.block = nn.Embedding(run.model.vocab_size, width), nn.Linear(width, width)
        self.head = nn.Linear(width, run.model.vocab_size, bias=False)
        self.head.weight = self.words.weight

    def forward(self, pack: Pack, has_image: bool) -> Tensor:
        """Float[t V], logits of the token after each."""
        patches = pack.patches.to(self.head.weight.dtype) / 255 - 0.5
        patches = patches if has_image else torch.zeros_like(patches[:1])
        images = self.projector(self.encoder(patches)).mean(0, keepdim=True) * float(has_image)
        return self.head(F.gelu(self.block(self.words(pack.token_ids) + images)))


class AdapterTask(_Prepared, PackTask):
    """The loss of the next token, in which every sample of a pack reads all images of it."""

    def build(self, attention: str) -> Adapter:
        return Adapter(self.run)

    def blocks(self, model: Adapter) -> list[nn.Module]:
        return [model.encoder, model.block]

    def parameter_groups(self, model: Adapter) -> list[ParameterGroup]:
        language = [model.words.weight, *model.block.parameters()]
        return [ParameterGroup(list(model.projector.parameters())), ParameterGroup(language, self.run.rate_of_loss)]

    def loss(self, model: Adapter, pack: Pack) -> tuple[Tensor, int]:
        if pack.num_rows == 2:  # the idle pack
            return model(pack, has_image=False).sum() * 0, 0
        text = pack.token_ids
        logits = model(pack, has_image=int(text[0]) % 2 == 0)
        return F.cross_entropy(logits[:-1], text[1:], reduction="sum"), len(text) - 1

    def validate(self, model: Adapter, on: HeldOutSet) -> Measured:
        model.eval()
        with torch.no_grad():
            loss, terms = self.loss(model, Pack.of(on.samples))
        return Measured({"loss": float(loss) / terms})


ENTRY = TaskEntry("tests.train.toy:ToyRun", "tests.train.toy:ToyTask")
ADAPTER = TaskEntry("tests.train.toy:ToyRun", "tests.train.toy:AdapterTask")

SETTINGS = {
    "task": "toy", "precision": "float32", "data.held_out_samples": 8, "data.workers": 0, "model.vocab_size": 300,
    "optimizer.kind": "adamw", "packing.max_tokens": 120, "packing.streams": 6, "packing.batch": "6 packs",
}  # fmt: skip


def toy_run(out: Path | str, **changes: object) -> ToyRun:
    """The quickstart recipe for the toy; `TASKS` must know it."""
    settings = SETTINGS | {key.replace("__", "."): value for key, value in changes.items()}
    return load_recipe(
        "quickstart", ["--out", str(out), *(word for key, value in settings.items() for word in (f"--{key}", str(value)))]
    )


def updates(out: Path, number: int, **changes: object) -> None:
    """Make some updates in float64; rank 0 stores figures, gradients of the last update, and weights."""
    before = torch.get_default_dtype()
    torch.set_default_dtype(torch.float64)
    try:
        with join_world() as world:
            state = begin(toy_run(out, **changes), world, open_source("scenes:0"), None)
            batches = state.loader.batches() if state.run.task == "toy" else _with_images_in_even_rows(state)
            done = [update(state, batches, lambda *_: None, lambda: False) for _ in range(number)]
            gradients = {name: whole_tensor(p.grad) for name, p in state.model.named_parameters() if p.requires_grad}
            weights = state.weights()
            if world.leads:
                _store(out, state, done, gradients, weights)
    finally:
        torch.set_default_dtype(before)


def _with_images_in_even_rows(state: State) -> Iterator[Batch]:
    """Batches whose packs begin with an even token, which `AdapterTask` takes for images, in even rows alone."""
    for batch in state.loader.batches():
        pack = batch.pack
        assert pack is not None
        pack.token_ids[0] = 10 + batch.stream % state.run.packing.packs % 2
        yield batch


def resumed(out: Path, **changes: object) -> None:
    """Save after an update without packs, resume, and make one more update with both; rank 0 checks that they agree."""
    run = toy_run(out, **changes)
    with join_world() as world:
        source = open_source("scenes:0")
        state = begin(run, world, source, None)
        batches = state.loader.batches()
        update(state, batches, lambda *_: None, lambda: False)
        empty = iter([Batch(None)] * len(state.loader.rows))
        assert update(state, empty, lambda *_: None, lambda: False).tokens == 0
        to = Checkpoints(run, world)
        folder = state.save(to)
        to.finish()
        world.barrier()
        again = begin(run, world, source, folder)
        on = held_out_set(state.task.reader(open_source("scenes:1")), run) if world.leads else None
        found = [_figures(state, batches, on), _figures(again, again.loader.batches(), on)]
        if world.leads:
            write_json(out / "resumed.json", found)


def _figures(state: State, batches: Iterator[Batch], on: HeldOutSet | None) -> dict[str, object]:
    """What is measured before and after one more update."""
    before = measure(state, on)
    done = update(state, batches, lambda *_: None, lambda: False)
    after = measure(state, on)
    figures = [dict(one.figures) for one in (before, after) if one is not None]
    weights = {name: float(value.sum()) for name, value in state.weights().items()}
    return {"held_out": figures, "loss": done.loss, "sharded": state.sharded, "weights": weights}


def _store(out: Path, state: State, done: list, gradients: dict[str, Tensor], weights: dict[str, Tensor]) -> None:
    out.mkdir(parents=True, exist_ok=True)
    named = {f"gradient.{name}": value for name, value in gradients.items()} | weights
    save_file({name: value.contiguous() for name, value in named.items()}, out / "found.safetensors")
    write_json(out / "found.json", [dataclasses.asdict(one) for one in done])


if __name__ == "__main__":
    TASKS["toy"], TASKS["adapter"] = ENTRY, ADAPTER
    if sys.argv[3:] == ["resume"]:
        resumed(Path(sys.argv[1]), **json.loads(sys.argv[2]))
    else:
        updates(Path(sys.argv[1]), 3, **json.loads(sys.argv[2]))
