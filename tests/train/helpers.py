"""What the training tests share: a run that takes a second."""

from __future__ import annotations

from pathlib import Path

from torch.optim import Optimizer

from genlip.model.genlip import GenLIP
from genlip.recipes.recipe import OptimizerConfig, Run, load_recipe
from genlip.train import captioned_task
from genlip.train.optimizer import make_optimizers
from genlip.train.task import ParameterGroup

# A run learns its tokenizer from 20,000 captions, which takes longer than its updates do here. As an effect of the import,
# since runs in processes of their own are to be equal bit for bit; slow tests take the fixture `all_captions`.
ALL_CAPTIONS, captioned_task._TOKENIZER_CORPUS = captioned_task._TOKENIZER_CORPUS, 300

SMALL = {
    "steps": 6,
    "packing.max_tokens": 320,
    "packing.streams": 2,
    "model.hidden_size": 32,
    "model.intermediate_size": 48,
    "model.num_hidden_layers": 2,
    "model.num_attention_heads": 2,
    "model.vocab_size": 300,
    "data.held_out_samples": 8,
    "data.workers": 0,
    "precision": "float32",
    "optimizer.kind": "adamw",
    "log_every": 1,
    "evaluate_every": 6,
    "save_every": 3,
}


def small_run(out: Path | str, **changes: object) -> Run:
    """The quickstart recipe, shrunk; changes use `__` for the dots of a key."""
    settings = SMALL | {key.replace("__", "."): value for key, value in changes.items()}
    overrides = [word for key, value in settings.items() for word in (f"--{key}", str(value))]
    return load_recipe("quickstart", ["--out", str(out), *overrides])


def optimizers_of(model: GenLIP, config: OptimizerConfig) -> list[Optimizer]:
    """The optimizers with which a run trains a model."""
    matrices = [p for p in model.blocks.parameters() if p.dim() == 2]
    return make_optimizers([ParameterGroup(list(model.parameters()))], matrices, config)
