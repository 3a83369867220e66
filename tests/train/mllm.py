"""A multimodal LLM that takes a second: a GenLIP of two layers, a language model of two layers, dialogues of a table.

As a program, a rank of `torchrun`: makes updates in float64 and stores what it measured and the weights.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

import numpy as np
import torch
from PIL import Image

import genlip
from genlip.data.captions import train_tokenizer
from genlip.data.dialogues.opening import open_dialogues
from genlip.data.images import ImageConfig
from genlip.data.preprocessing import Preprocessing, save_preprocessing
from genlip.mllm.run import MLLMRun
from genlip.recipes.recipe import load_recipe
from genlip.train.parallel import join_world, whole_tensor
from genlip.train.state import begin
from genlip.train.update import update
from tests.mllm.helpers import language_folder, starcoder
from tests.model.helpers import small_model
from tests.train.toy import _store

SETTINGS = {
    "steps": 6, "packing.max_tokens": 96, "packing.streams": 2, "data.held_out_samples": 6, "data.workers": 0,
    "images.size": 16, "precision": "float32", "parallel": "auto", "log_every": 1, "evaluate_every": 3, "save_every": 3,
    "spoken": 1, "samples": 0, "epochs": 0, "chat.template": "chat", "init_from": "", "optimizer.learning_rate": 1e-3,
    "data.held_out": "",
}  # fmt: skip


def made(folder: Path) -> Path:
    """Encoder, language model, and 60 dialogues, of which every third has an image."""
    random = np.random.default_rng(0)
    model = small_model(num_hidden_layers=2, patch_size=4, num_channels=3, vocab_size=300).float()
    genlip.save(model, folder / "encoder")
    save_preprocessing(folder / "encoder", Preprocessing(images=ImageConfig(size=16)), train_tokenizer(["a"], 257))
    language_folder(folder / "language", starcoder)
    records = []
    for number in range(60):
        words = " ".join(random.choice(["a", "red", "circle", "two", "blue", "green"], 1 + number % 7))
        record = {
            "id": str(number),
            "conversations": [{"from": "human", "value": "what is it"}, {"from": "gpt", "value": words}],
        }
        if number % 3 == 0:
            Image.fromarray(random.integers(0, 255, (16, 16, 3), np.uint8)).save(folder / f"{number}.png")
            record["image"] = f"{number}.png"
            record["conversations"][0]["value"] = "<image>\nwhat is it"
        records.append(record)
    (folder / "data.json").write_text(json.dumps(records))
    return folder


def mllm_run(data: Path, out: Path, **changes: object) -> MLLMRun:
    """The instruct recipe, shrunk; changes use `__` for the dots of a key. `data` is what `made` returned."""
    settings = SETTINGS | {
        "out": out, "model.encoder": data / "encoder", "model.language_model": data / "language",
        "data.source": data / "data.json", "data.fields": "", "train": "[projector, language]",
    }  # fmt: skip
    settings |= {key.replace("__", "."): value for key, value in changes.items()}
    overrides = [f"--{key}={value}" for key, value in settings.items()]
    return load_recipe("mllm_instruct_1p5b_cpu", overrides)  # type: ignore[return-value]


def updates(data: Path, out: Path, number: int, **changes: object) -> None:
    """Make some updates, in float64 unless products are bfloat16.

    Rank 0 stores figures, gradients of the last update, weights, and the images of each pack.
    """
    before = torch.get_default_dtype()
    torch.set_default_dtype(torch.float32 if changes.get("precision") == "bfloat16" else torch.float64)
    try:
        with join_world() as world:
            state = begin(mllm_run(data, out, **changes), world, open_dialogues(str(data / "data.json")), None)
            batches = state.loader.batches()
            images: list[int] = []
            done = [
                update(state, batches, lambda *place: images.append(place[2].pack.num_images), lambda: False)
                for _ in range(number)
            ]
            named = [(name, p) for name, p in state.model.named_parameters() if p.requires_grad]
            gradients = {name: whole_tensor(p.grad) for name, p in named if p.grad is not None}
            weights, of_ranks = state.weights(), world.gather(images)
            if world.leads:
                _store(out, state, done, gradients, weights)
                (out / "images.json").write_text(json.dumps(of_ranks))
    finally:
        torch.set_default_dtype(before)


if __name__ == "__main__":
    updates(Path(sys.argv[1]), Path(sys.argv[2]), 3, **json.loads(sys.argv[3]))
