"""The steps of `gpu.py`: what is checked and measured on a GPU. Each step yields (name, figures) as soon as it has them.

A step runs in a process of its own. `Scale` holds its sizes: the full ones for a GPU, tiny ones for a test on a CPU. On a
CPU the same code runs with the CPU's own attention, so that it cannot break unnoticed; its figures then mean nothing.

Model FLOPs utilisation (MFU) is the work of `genlip.model.flops` (no recomputation, only the attention pairs that the
mask leaves) over seconds and over the rate of the data sheet. `products_tflops` is what square matrix products of the same
card reached in the same process.
"""

from __future__ import annotations

import dataclasses
import gc
import json
import math
import random
import statistics
import time
import warnings
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from itertools import cycle, islice
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import torch
from attention_gpu import COMPARED, Shape, fitting, measure, stage_1, stage_1_shape, stage_2, stage_2_shape
from data_pipeline import Photographs, photograph
from padded_baseline import padded_loss, padded_rows
from torch.profiler import ProfilerActivity, profile

from genlip.data.captions import CaptionConfig, Captions, train_tokenizer
from genlip.data.loader import Loader
from genlip.data.packing import Batch, PackingConfig
from genlip.data.samples import SampleReader
from genlip.data.sources import open_source
from genlip.evaluate.attention.measure import measure_attention
from genlip.machine import memory
from genlip.model.attention import BACKENDS
from genlip.model.attention_choice import disagreement, resolve_attention
from genlip.model.flops import training_flops
from genlip.model.genlip import GenLIP
from genlip.model.pack import Pack, Sample
from genlip.plan.hardware import GPUS
from genlip.plan.plan import Assumptions
from genlip.plan.planner import plan_run
from genlip.quickstart import run_quickstart
from genlip.recipes.recipe import load_recipe
from genlip.recipes.run import Run
from genlip.speaker import Speaker
from genlip.synthetic import vocabulary as words
from genlip.synthetic.random_choices import RandomChoices
from genlip.train.genlip_task import GenLIPTask
from genlip.train.loop import train_model
from genlip.train.optimizer import make_optimizers
from genlip.train.parallel import World, share_model
from genlip.train.precision import autocast, matrix_rate
from genlip.train.state import State
from genlip.train.task import ParameterGroup
from genlip.train.update import Update, update

__all__ = ["FULL", "STEPS", "TINY", "Scale"]

Figures = Iterator[tuple[str, dict[str, Any]]]


@dataclasses.dataclass(frozen=True)
class Scale:
    """Sizes of the steps.

    Attributes:
        compiled: also compile blocks; on a CPU that takes minutes.
        head_dims: of attention heads that are checked.
        rows: of a pack.
        recipe: what follows "stage1_" and "stage2_" in the names of the recipes.
        packs: of an update.
        updates: that are timed; the median counts.
        repeats: of the attention rates.
        quickstart: settings of the quickstart.
        images: of the quickstart that are captioned, and of the sink that are measured.
        workers: processes that prepare packs.
        seconds: for which packs are counted.
        sink: settings of the runs that look for a sink.
    """

    compiled: bool
    head_dims: tuple[int, ...]
    rows: int
    recipe: str
    packs: int
    updates: int
    repeats: int
    quickstart: tuple[str, ...]
    images: int
    workers: int
    seconds: float
    sink: tuple[str, ...]


_SINK = (
    "--data.source=documents:0",
    "--data.held_out=documents:1",
    "--data.held_out_samples=64",
    "--samples=0",
    "--spoken=0",
    "--evaluate_every=100000",
    "--save_every=100000",
    "--keep_every=0",
)
FULL = Scale(
    compiled=True,
    head_dims=(64, 72, 96, 128),
    rows=16_384,
    recipe="l16",
    packs=4,
    updates=5,
    repeats=10,
    quickstart=("--data.workers=8",),
    images=500,
    workers=15,
    seconds=8.0,
    sink=(
        *_SINK,
        "--model=base",
        "--model.vocab_size=4096",
        "--packing.batch=2 packs",
        "--steps=500",
        "--data.workers=14",
        "--optimizer.warmup_ratio=0.1",
    ),
)
TINY = Scale(
    compiled=False,
    head_dims=(16,),
    rows=2048,
    recipe="l16_cpu",
    packs=1,
    updates=1,
    repeats=1,
    quickstart=("--steps=2", "--packing.max_tokens=256", "--data.held_out_samples=8", "--spoken=1"),
    images=4,
    workers=0,
    seconds=0.1,
    sink=(
        *_SINK,
        "--model=tiny",
        "--model.vocab_size=300",
        "--packing.batch=1 pack",
        "--packing.max_tokens=2048",
        "--steps=1",
        "--data.workers=0",
        "--precision=float32",
    ),
)


# -- (a) Is attention right?


def attention_is_right(scale: Scale, device: torch.device, out: Path) -> Figures:
    """Every backend against the reference, values and gradients: the largest error of a row over its length; and a
    compiled model against one that is not."""
    yield "varlen_causal_rule", {"aligned_to": causal_alignment(device)}
    for precision in ("float32", "bfloat16") if scale.compiled else ():
        yield f"compiled blocks, {precision}", compiled_against_plain(device, precision)
    for backend in ("varlen", "sdpa", "flex"):  # the last one is compiled anew for each
        for head_dim in scale.head_dims:
            for dtype in (torch.bfloat16, torch.float32):
                name = f"{backend}, head {head_dim}, {str(dtype).removeprefix('torch.')}"
                yield name, _check(backend, device, dtype, head_dim)


def causal_alignment(device: torch.device) -> str:
    """Does `varlen_attn` align its causal rule to the "end" or the "start" of more keys than queries?"""
    if device.type != "cuda":
        return "unknown: it needs a GPU"
    from torch.nn.attention.varlen import varlen_attn

    asked, keys = 3, 7
    q, k, v = (torch.randn(n, 2, 64, device=device, dtype=torch.bfloat16) for n in (asked, keys, keys))
    ends = [torch.tensor([0, n], dtype=torch.int32, device=device) for n in (asked, keys)]
    read = varlen_attn(q, k, v, *ends, asked, keys, window_size=(-1, 0)).float()
    strays = {}
    for name, shift in (("end", keys - asked), ("start", 0)):
        visible = torch.ones(asked, keys, dtype=torch.bool, device=device).tril(shift)
        scores = torch.einsum("qhd,khd->hqk", q.float(), k.float()) * 64**-0.5
        weights = scores.masked_fill(~visible, -torch.inf).softmax(-1)
        strays[name] = float((torch.einsum("hqk,khd->qhd", weights, v.float()) - read).abs().max())
    return next((name for name, stray in strays.items() if stray < 0.05), f"neither: {strays}")


def _check(backend: str, device: torch.device, dtype: torch.dtype, head_dim: int) -> dict[str, Any]:
    """How far a backend is from the reference, or why it cannot run."""
    try:
        if backend != "flex" or device.type != "cuda":  # flex in float32 is checked although no run would choose it
            resolve_attention(backend, device, dtype, head_dim)
        return {"strays": disagreement(BACKENDS[backend], device, dtype, head_dim)}
    except ValueError as error:
        return {"not_run": str(error)}


def compiled_against_plain(device: torch.device, precision: str) -> dict[str, Any]:
    """Relative differences of the loss and of all gradients, for a small model with the backend that a run would choose."""
    config = load_recipe("quickstart").model
    dtype = torch.bfloat16 if precision == "bfloat16" else torch.float32
    backend = resolve_attention("auto", device, dtype, config.head_dim)
    pack = random_pack(config.patch_dim, config.vocab_size, 512, stage_1_shape(random.Random(0))).to(device)
    results = []
    for compiled in (False, True):
        torch.manual_seed(0)
        model = GenLIP(config, backend).to(device).train()
        if compiled:
            model.compile_blocks()
        with autocast(precision, device):
            loss = model(pack)
        results.append(
            (loss.detach(), torch.cat([g.flatten() for g in torch.autograd.grad(loss, list(model.parameters()))]))
        )
    (plain, gradient), (other, other_gradient) = results
    return {
        "backend": backend,
        "loss": float((plain - other).abs() / plain),
        "gradients": float((gradient - other_gradient).norm() / gradient.norm()),
    }


# -- (b) How fast is attention?


def attention_rates(scale: Scale, device: torch.device, out: Path) -> Figures:
    """`attention_gpu.py`, at the head sizes of the paper's table and of the published L/16."""
    for width in scale.head_dims[:2]:
        for stage, make in (("stage 1", stage_1), ("stage 2", stage_2)):
            pack = make(scale.rows).to(device)
            for backend in COMPARED:
                yield f"{stage}, head {width}, {backend}", measure(pack, backend, 16, width, device, scale.repeats)


# -- (c) How fast is training, and how much memory does it take?


def random_pack(patch_dim: int, vocab: int, rows: int, shape: Callable[[], Shape], seed: int = 0) -> Pack:
    """Random bytes and tokens of such shapes, as many samples as fit into `rows`, like ones side by side."""
    shapes = fitting(rows, shape)
    noise = np.random.default_rng(seed)
    return Pack.of(
        [
            Sample(
                noise.integers(256, size=(height * width, patch_dim), dtype=np.uint8),
                (height, width),
                noise.integers(vocab, size=text),
                [True] * text,
            )
            for height, width, text in sorted(shapes)
        ]
    )


def training_stage_1(scale: Scale, device: torch.device, out: Path) -> Figures:
    """MFU and memory of stage 1."""
    yield from _training(scale, device, f"stage1_{scale.recipe}", stage_1_shape(random.Random(1)))


def training_stage_2(scale: Scale, device: torch.device, out: Path) -> Figures:
    """MFU and memory of stage 2."""
    yield from _training(scale, device, f"stage2_{scale.recipe}", stage_2_shape(random.Random(2)))


def _run_and_packs(scale: Scale, recipe: str, shape: Callable[[], Shape]) -> tuple[Run, list[Pack]]:
    """The recipe's run at this scale, and the packs of one update."""
    run = load_recipe(recipe, ["--init_from=", f"--packing.batch={scale.packs} packs", f"--packing.max_tokens={scale.rows}"])
    rows, model = run.packing.max_tokens, run.model
    return run, [random_pack(model.patch_dim, model.vocab_size, rows, shape, seed) for seed in range(scale.packs)]


def _training(scale: Scale, device: torch.device, recipe: str, shape: Callable[[], Shape]) -> Figures:
    run, packs = _run_and_packs(scale, recipe, shape)
    yield (
        "packs",
        {
            "samples": sum(len(pack.grids) for pack in packs) / len(packs),
            "rows": sum(pack.num_rows for pack in packs) / len(packs),
            "padded_rows": sum(padded_rows(pack) for pack in packs) / len(packs),
            "products_tflops": matrix_rate(device, "bfloat16") / 1e12,
        },
    )
    for compiled in (True, False) if scale.compiled else (False,):
        as_is, saving = (
            dataclasses.replace(run, compile=compiled, activation_checkpointing=saves) for saves in (False, True)
        )
        ours = _or_too_large(_timed_updates, as_is, packs, device, scale.updates)
        padded = _or_too_large(_timed_padded, as_is, packs, device, scale.updates)
        times = ours.get("samples_per_s", math.nan) / padded.get("samples_per_s", math.nan)
        after = ", compiled" * compiled
        yield "ours" + after, ours
        yield "padded baseline" + after, {**padded, "ours_is_times_as_fast": times}
        yield "ours, recomputed" + after, _or_too_large(_timed_updates, saving, packs, device, scale.updates)


def where_time_goes(scale: Scale, device: torch.device, out: Path) -> Figures:
    """Milliseconds of the slowest kernels of one update of stage 1, of all kernels together, and of the clock; and which
    lines wait for the device. Where the clock runs longer than the kernels, the device had nothing to do."""
    activity = ProfilerActivity.CUDA if device.type == "cuda" else ProfilerActivity.CPU
    run, packs = _run_and_packs(scale, f"stage1_{scale.recipe}", stage_1_shape(random.Random(1)))
    work = sum(training_flops(run.model, pack) for pack in packs)
    for compiled in (True, False) if scale.compiled else (False,):
        state = _state(dataclasses.replace(run, compile=compiled), device)
        batches = cycle(Batch(pack=_pinned(pack, device)) for pack in packs)
        first = _one_update(state, batches).seconds
        seconds = statistics.median(_one_update(state, batches).seconds for _ in range(scale.updates))
        waits = _waits(state, batches, device)
        with profile(activities=[activity], acc_events=True) as profiler:
            _one_update(state, batches)
            _synchronize(device)
        kernels = {
            event.key[:90]: (event.self_device_time_total if device.type == "cuda" else event.self_cpu_time_total) / 1e3
            for event in profiler.key_averages()
        }
        slowest = sorted(kernels.items(), key=lambda kernel: -kernel[1])[:30]
        yield (
            "compiled" if compiled else "as it is",
            {
                "mfu": work / seconds / _data_sheet(device),
                "first_update_ms": 1e3 * first,
                "update_ms": 1e3 * seconds,
                "kernels_ms": sum(kernels.values()),
                "waits": waits,
                "slowest": dict(slowest),
            },
        )


def _waits(state: State, batches: Iterator[Batch], device: torch.device) -> dict[str, int]:
    """How often each line of Python waits for a GPU in one update; while it waits, it queues nothing.

    The backward pass runs in a thread of its own, whose waits may be missing.
    """
    if device.type != "cuda":
        return {}
    torch.cuda.set_sync_debug_mode("warn")
    try:
        with warnings.catch_warnings(record=True) as seen:
            warnings.simplefilter("always")
            _one_update(state, batches)
    finally:
        torch.cuda.set_sync_debug_mode("default")
    return dict(Counter(f"{Path(one.filename).name}:{one.lineno}" for one in seen if "synchroniz" in str(one.message)))


def _or_too_large(timed: Callable[..., dict[str, Any]], *arguments: Any) -> dict[str, Any]:
    """The figures, or that memory did not suffice."""
    try:
        return timed(*arguments)
    except torch.OutOfMemoryError as error:
        return {"not_run": str(error).partition(". ")[0]}


def _timed_updates(run: Run, packs: Sequence[Pack], device: torch.device, updates: int) -> dict[str, Any]:
    """Whole updates of the training engine, on packs that are there already."""
    _forget_peak(device)
    state, batches = _state(run, device), cycle(Batch(pack=_pinned(pack, device)) for pack in packs)
    for _ in range(2):
        _one_update(state, batches)
    seconds = statistics.median(_one_update(state, batches).seconds for _ in range(updates))
    work = sum(training_flops(run.model, pack) for pack in packs)
    return {
        "seconds_per_update": seconds,
        "samples_per_s": sum(len(pack.grids) for pack in packs) / seconds,
        "rows_per_s": sum(pack.num_rows for pack in packs) / seconds,
        "tflops": work / seconds / 1e12,
        "mfu": work / seconds / _data_sheet(device),
        "attention": state.model.attention,
        "peak_gib": memory(device) / 2**30,
        "planned_gib": _planned(run, packs, device) / 2**30,
    }


def _timed_padded(run: Run, packs: Sequence[Pack], device: torch.device, updates: int) -> dict[str, Any]:
    """The same updates by the padded baseline: same weights, precision, optimizer and clipping."""
    _forget_peak(device)
    model = _model(run, device, "sdpa")
    if run.compile:
        model.compile_blocks()
    optimizers = _optimizers(run, model)
    here = [pack.to(device) for pack in packs]

    def once() -> float:
        _synchronize(device)
        began = time.perf_counter()
        model.zero_grad()
        for pack in here:
            with autocast("bfloat16", device):
                loss = padded_loss(model, pack)
            (loss / sum(len(pack.token_ids) for pack in here)).backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), run.optimizer.max_grad_norm)
        for optimizer in optimizers:
            optimizer.step()
        _synchronize(device)
        return time.perf_counter() - began

    once(), once()
    seconds = statistics.median(once() for _ in range(updates))
    return {
        "seconds_per_update": seconds,
        "samples_per_s": sum(len(pack.grids) for pack in packs) / seconds,
        "peak_gib": memory(device) / 2**30,
    }


def _one_update(state: State, batches: Iterator[Batch]) -> Update:
    return update(state, batches, note=lambda *_: None, stop=lambda: False)


def _state(run: Run, device: torch.device) -> State:
    """What the engine trains, with a stand-in for the loader."""
    model = _model(run, device, resolve_attention("auto", device, torch.bfloat16, run.model.head_dim))
    model.activation_checkpointing = run.activation_checkpointing
    if run.compile:
        model.compile_blocks()
    loader = SimpleNamespace(rows=range(run.packing.packs), ended=False, reader=SimpleNamespace(source=range(10**9)))
    world, optimizers = World(device=device), _optimizers(run, model)
    task = GenLIPTask(run, train_tokenizer(["a caption"], 300).to_str())
    shared = share_model(model, (), "single", world)
    parts = run, world, task, model, shared, model.attention, optimizers, None, loader
    return State(*parts, precision="bfloat16")  # type: ignore[arg-type]


def _optimizers(run: Run, model: GenLIP) -> list[torch.optim.Optimizer]:
    matrices = [p for p in model.blocks.parameters() if p.dim() == 2]
    return make_optimizers([ParameterGroup(list(model.parameters()))], matrices, run.optimizer)


def _model(run: Run, device: torch.device, backend: str) -> GenLIP:
    """Random weights, made where they will be used."""
    torch.manual_seed(0)
    with device:
        return GenLIP(run.model, backend).train()


def _planned(run: Run, packs: Sequence[Pack], device: torch.device) -> float:
    """Bytes that `genlip plan` expects for packs like these."""
    samples = sum(len(pack.grids) for pack in packs)
    patches, text = (sum(n) / samples for n in zip(*((p.num_patches, len(p.token_ids)) for p in packs), strict=True))
    assumed = Assumptions(patches=patches, text=text, examples=10**9)
    return plan_run(run, gpus=1, gpu=_card(device), assume=assumed).memory.total


def _card(device: torch.device) -> str:
    """The card's name in `genlip.plan.hardware`; an unknown card is taken for an H100."""
    name = torch.cuda.get_device_name(device).lower() if device.type == "cuda" else ""
    return next((gpu for gpu in GPUS if gpu in name), "h100")


def _data_sheet(device: torch.device) -> float:
    return GPUS[_card(device)].bfloat16


def _pinned(pack: Pack, device: torch.device) -> Pack:
    return pack.pin_memory() if device.type == "cuda" else pack


def _synchronize(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def _forget_peak(device: torch.device) -> None:
    torch.compiler.reset()  # what is compiled holds on to the model
    gc.collect()
    if device.type == "cuda":
        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats(device)


# -- (d) Does it learn?


def quickstart_to_the_end(scale: Scale, device: torch.device, out: Path) -> Figures:
    """The quickstart, whole: exact captions and seconds."""
    began = time.perf_counter()
    page = run_quickstart(out / "quickstart", scale.quickstart, images=scale.images)
    yield (
        "quickstart",
        {
            "seconds": time.perf_counter() - began,
            "results": json.loads((page.parent / "results.json").read_text(encoding="utf8")),
        },
    )


# -- (e) Can the processor feed it?


def data_beside_training(scale: Scale, device: torch.device, out: Path) -> Figures:
    """JPEG files to packs by all workers, alone and while the model of stage 1 learns from them."""
    run = load_recipe(
        f"stage1_{scale.recipe}", [f"--packing.batch={scale.packs} packs", f"--packing.max_tokens={scale.rows}"]
    )
    texts = [" ".join(words.sentence(rng) for _ in range(6)) for rng in (RandomChoices(0, seed) for seed in range(512))]
    source = Photographs([photograph(768, 1024, seed) for seed in range(8)], texts)
    captions = Captions(train_tokenizer(texts, min(8192, run.model.vocab_size)), CaptionConfig(), run.model.vocab_size)
    reader = SampleReader(source, run.images, captions, run.model, 0, run.packing.max_tokens)
    packing = PackingConfig(
        batch=run.packing.batch, max_tokens=run.packing.max_tokens, streams=max(scale.workers, scale.packs)
    )
    with_workers = Loader(reader, packing, workers=scale.workers).batches()
    list(islice(with_workers, 2 * max(1, scale.workers)))  # what was prepared while the workers started
    yield "packs of JPEG files", {"workers": scale.workers, "image": "1024 x 768", **_counted(with_workers, scale.seconds)}
    state, began, done = _state(run, device), time.perf_counter(), []
    _one_update(state, with_workers)
    while time.perf_counter() - began < 2 * scale.seconds or not done:
        done.append(_one_update(state, with_workers))
    with_workers.close()
    seconds = sum(one.seconds for one in done)
    yield (
        "training from JPEG files",
        {
            "samples_per_s": sum(one.samples for one in done) / seconds,
            "waited": sum(one.waited for one in done) / seconds,
            "mfu": sum(one.flops for one in done) / seconds / _data_sheet(device),
        },
    )


def _counted(batches: Iterator[Batch], seconds: float) -> dict[str, float]:
    """Rates over whole packs that take at least so long."""
    began, samples, packs = time.perf_counter(), 0, 0
    while (passed := time.perf_counter() - began) < seconds or not packs:
        samples, packs = samples + len(next(batches).keys), packs + 1
    passed = time.perf_counter() - began
    return {"samples_per_s": samples / passed, "packs_per_s": packs / passed}


# -- (f) Is there a sink?


def sink(scale: Scale, device: torch.device, out: Path) -> Figures:
    """`base` on procedural documents, with and without the gate: what the first patch gets of attention."""
    documents, tokenizer = open_source("documents:2"), out / "tokenizer.json"
    vocabulary = load_recipe("stage1_l16", [*scale.sink, "--tokenizer=bpe"]).model.vocab_size
    train_tokenizer((documents[index].caption for index in range(scale.images)), vocabulary).save(str(tokenizer))
    for gated in (True, False):
        name = "gated" if gated else "ungated"
        settings = [
            *scale.sink,
            f"--model.gated_attention={str(gated).lower()}",
            f"--out={out / name}",
            f"--tokenizer={tokenizer}",
        ]
        began = time.perf_counter()
        model = train_model(load_recipe("stage1_l16", settings))
        seconds = time.perf_counter() - began
        result = measure_attention(Speaker.load(model, device=device), documents, limit=min(scale.images, 100))
        scores = {name: score.score for name, score in result.scores.items()}
        yield name, {"training_seconds": seconds, "shares": scores, "spread_evenly": result.figures["even"]}


# In the order of worth, should time run out; seconds are the most that a step may take.
STEPS: dict[str, tuple[Callable[[Scale, torch.device, Path], Figures], float]] = {
    "stage1": (training_stage_1, 150),
    "stage2": (training_stage_2, 150),
    "kernels": (where_time_goes, 120),
    "quickstart": (quickstart_to_the_end, 120),
    "attention": (attention_is_right, 90),
    "data": (data_beside_training, 60),
    "rates": (attention_rates, 60),
    "sink": (sink, 200),
}
