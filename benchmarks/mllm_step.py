"""An instruct step of a multimodal LLM on samples of mixed lengths: packed, and as a padded loop of Transformers.

The same samples, the same language model (the sizes of SmolLM2-135M, random weights), the same frozen encoder and projector,
AdamW and bfloat16 autocast in both. The packed step is that of `genlip train`; the padded one is the usual loop over
`LlavaForConditionalGeneration`, which pads the samples of a step to the longest one; *grouped* is the same loop over all
samples sorted by length, which pads least and changes the order of the data. Preparing samples is not timed.

    python benchmarks/mllm_step.py [--steps 6] [--repeats 3] [--max-tokens 2048] [--threads 2]

Each arm runs in a process of its own, in turn. Prints tokens/s without padding, peak memory, and their ratios; the last line
is JSON.
"""

from __future__ import annotations

import argparse
import json
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import torch

from genlip.machine import machine, versions
from genlip.mllm.tiny_language import tiny_tokenizer
from genlip.recipes.recipe import load_recipe
from genlip.train.mllm_task import MLLMTask
from genlip.train.parallel import World
from genlip.train.state import begin
from genlip.train.update import update

SIZES = {
    "vocab_size": 49_152, "hidden_size": 576, "intermediate_size": 1536, "num_hidden_layers": 30, "num_attention_heads": 9,
    "num_key_value_heads": 3, "tie_word_embeddings": True,
}  # fmt: skip
ARMS = ("packed", "padded", "grouped")
DATA = "sources: [{source: 'scenes:0', weight: 2}, {source: 'documents:0', weight: 1}, {source: 'charts:0', weight: 1}]\n"


def run_of(folder: Path, max_tokens: int) -> Any:
    """The run of both arms: 64 patches an image, the projector and the language model are trained."""
    settings = {
        "out": folder / "run", "model.encoder": "random:tiny", "model.language_model": folder / "language",
        "data.source": folder / "data.yaml", "data.held_out": "scenes:1", "data.fields": "conversations", "images.size": 128,
        "packing.max_tokens": max_tokens, "packing.batch": "1 pack", "precision": "bfloat16", "init_from": "",
        "optimizer.learning_rate": 1e-5, "parallel": "auto",
    }  # fmt: skip
    return load_recipe("mllm_instruct_1p5b_cpu", [f"--{key}={value}" for key, value in settings.items()])


def prepare(folder: Path) -> None:
    """A language model with random weights, and the data."""
    from transformers import LlamaConfig, LlamaForCausalLM

    tokenizer = tiny_tokenizer(["what is the value of the red bar", "a large green circle and the number 42"] * 20)
    torch.manual_seed(0)
    LlamaForCausalLM(LlamaConfig(**SIZES)).save_pretrained(folder / "language")
    tokenizer.save_pretrained(folder / "language")
    (folder / "data.yaml").write_text(DATA)


def packed(folder: Path, steps: int, max_tokens: int) -> dict[str, Any]:
    """Steps of `genlip train`; writes the model and which samples each step used for the other arm."""
    run = run_of(folder, max_tokens)
    state = begin(run, World(), MLLMTask.open_source(run, run.data.source), None)
    if not (folder / "model").is_dir():
        state.task.export(folder / "model", state.weights())
    batches = [batch for batch, _ in zip(state.loader.batches(), range(steps + 1), strict=False)]
    (folder / "keys.json").write_text(json.dumps([batch.keys for batch in batches]))
    seconds, tokens = [], []
    for batch in batches:
        began = time.perf_counter()
        done = update(state, iter([batch]), lambda *_: None, lambda: False)
        seconds.append(time.perf_counter() - began)
        tokens.append(done.tokens)
    return {"seconds": seconds[1:], "tokens": tokens[1:]}


def padded(folder: Path, max_tokens: int, grouped: bool = False) -> dict[str, Any]:
    """The usual loop over a model of Transformers, on the same samples; `grouped` sorts them by length first."""
    from transformers import AutoModelForImageTextToText, AutoProcessor

    from genlip.remote_code import register

    register()
    run = run_of(folder, max_tokens)
    source = MLLMTask.open_source(run, run.data.source)
    reader = MLLMTask(run, MLLMTask.find_processor(run, source, None)).reader(source)
    model = AutoModelForImageTextToText.from_pretrained(folder / "model", dtype=torch.float32, attn_implementation="sdpa")
    images = AutoProcessor.from_pretrained(folder / "model").image_processor
    model.train().model.vision_tower.requires_grad_(False).to(torch.bfloat16)
    optimizer = torch.optim.AdamW([p for p in model.parameters() if p.requires_grad], lr=1e-5, fused=True)
    batches = [
        _padded_batch(some, reader, images, model.config.image_token_index) for some in _steps(folder, run, reader, grouped)
    ]
    seconds, tokens = [], []
    for batch in batches:
        began = time.perf_counter()
        optimizer.zero_grad()
        with torch.autocast("cpu", torch.bfloat16):
            loss = model(**batch, use_cache=False).loss
        loss.backward()
        torch.nn.utils.clip_grad_norm_([p for p in model.parameters() if p.requires_grad], 1.0)
        optimizer.step()
        seconds.append(time.perf_counter() - began)
        tokens.append(int(batch["attention_mask"].sum()))
    return {"seconds": seconds[1:], "tokens": tokens[1:], "rows": [batch["input_ids"].numel() for batch in batches[1:]]}


def _steps(folder: Path, run: Any, reader: Any, grouped: bool) -> list[list[Any]]:
    """The dialogues of each step."""
    keys = keys_of(folder)
    named = {key: MLLMTask.open_source(run, key.rpartition(":")[0]) for step in keys for key in step}
    steps = [[named[key][int(key.rpartition(":")[2])] for key in step] for step in keys]
    if not grouped:
        return steps
    longest_last = sorted((one for step in steps for one in step), key=lambda one: len(reader.sample(one).token_ids))
    sizes = [len(step) for step in steps]
    return [longest_last[sum(sizes[:n]) : sum(sizes[: n + 1])] for n in range(len(sizes))]


def _padded_batch(dialogues: list[Any], reader: Any, images: Any, placeholder: int) -> dict[str, torch.Tensor]:
    samples = [reader.sample(dialogue) for dialogue in dialogues]
    longest = max(len(sample.token_ids) for sample in samples)
    ids = torch.zeros(len(samples), longest, dtype=torch.long)
    labels, mask = torch.full_like(ids, -100), torch.zeros_like(ids)
    for row, sample in enumerate(samples):
        length = len(sample.token_ids)
        ids[row, :length] = torch.from_numpy(sample.token_ids)
        ids[row, :length][torch.from_numpy(sample.is_visual)] = placeholder
        labels[row, :length] = torch.where(torch.from_numpy(sample.supervised), ids[row, :length], -100)
        mask[row, :length] = 1
    pixels = images([image for dialogue in dialogues for image in dialogue.images], return_tensors="pt").pixel_values
    return {"input_ids": ids, "labels": labels, "attention_mask": mask, "pixel_values": pixels}


def keys_of(folder: Path) -> list[list[str]]:
    """Keys of the samples of each step."""
    found: list[list[str]] = json.loads((folder / "keys.json").read_text())
    return found


def arm(name: str, folder: Path, arguments: argparse.Namespace) -> dict[str, Any]:
    """One arm in a process of its own: tokens/s without padding, and peak memory in GiB."""
    command = [
        sys.executable, __file__, "--arm", name, "--folder", str(folder), "--steps", str(arguments.steps),
        "--max-tokens", str(arguments.max_tokens), "--threads", str(arguments.threads),
    ]  # fmt: skip
    told = subprocess.run(command, check=True, capture_output=True, text=True).stdout.splitlines()[-1]
    found: dict[str, Any] = json.loads(told)
    return found


def main() -> None:
    """Run the arms in turn and print figures."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--steps", type=int, default=6, help="timed steps of each arm")
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--max-tokens", type=int, default=2048, help="rows of a pack")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--arm", choices=ARMS, help=argparse.SUPPRESS)
    parser.add_argument("--folder", type=Path, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.arm:
        torch.set_num_threads(arguments.threads)
        if arguments.arm == "packed":
            found = packed(arguments.folder, arguments.steps, arguments.max_tokens)
        else:
            found = padded(arguments.folder, arguments.max_tokens, arguments.arm == "grouped")
        rate = sum(found["tokens"]) / sum(found["seconds"])
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
        share = sum(found["tokens"]) / sum(found.get("rows", found["tokens"]))
        print(json.dumps({"tokens_per_s": rate, "peak_gib": peak, "used": share, "tokens": found["tokens"]}))
        return
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        prepare(folder)
        rounds = [{name: arm(name, folder, arguments) for name in ARMS} for _ in range(arguments.repeats)]
    print(f"{machine(torch.device('cpu'))}, {arguments.threads} threads, torch {versions()['torch']}")
    medians: dict[str, dict[str, float]] = {}
    for name in ARMS:
        medians[name] = {
            key: statistics.median(one[name][key] for one in rounds) for key in ("tokens_per_s", "peak_gib", "used")
        }
        one = medians[name]
        print(f"{name}: {one['tokens_per_s']:.0f} tokens/s, peak {one['peak_gib']:.2f} GiB, {one['used']:.0%} of rows used")
    for other in ARMS[1:]:
        ratios = [one["packed"]["tokens_per_s"] / one[other]["tokens_per_s"] for one in rounds]
        memory = medians["packed"]["peak_gib"] / medians[other]["peak_gib"]
        faster = f"{statistics.median(ratios):.2f} ({min(ratios):.2f} to {max(ratios):.2f})"
        print(f"packed / {other}: {faster} times the tokens/s, {memory:.2f} times the memory")
    print(json.dumps({"medians": medians, "rounds": rounds}))


if __name__ == "__main__":
    main()
