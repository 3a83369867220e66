"""An MLLM's plan against real models: parameters, optimizer states, and what real steps keep and hold in memory."""

import weakref

import numpy as np
import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves
from torch.utils.weak import WeakIdKeyDictionary

from genlip.mllm.batch import MLLMPack, MLLMSample
from genlip.mllm.language import build_language_model, recompute_blocks
from genlip.mllm.model import MLLM
from genlip.mllm.vision import VisionTower, encoder_of
from genlip.model import attention
from genlip.plan.memory_model import Sharing
from genlip.plan.mllm_workload import MLLMWorkload
from genlip.plan.workload import Assumptions
from genlip.recipes.recipe import load_recipe
from genlip.train.optimizer import make_optimizers
from genlip.train.task import ParameterGroup

TEXT, SUPERVISED, SAMPLES = 24, 0.5, 6
TRAINED = [
    ("projector",),
    ("projector", "language"),
    ("encoder", "projector"),
    ("encoder", "projector", "language"),
    ("language",),
]


@pytest.fixture(autouse=True)
def fused_attention(monkeypatch):
    """As on GPUs; on CPU short sequences in bfloat16 keep attention's weights instead."""
    monkeypatch.setattr(attention, "_SHORT", 0)


def small_run(recipe="mllm_instruct_1p5b_cpu", **changes):
    settings = {key.replace("__", "."): value for key, value in changes.items()}
    return load_recipe(recipe, [word for key, value in settings.items() for word in (f"--{key}", str(value))])


def trained_model(run, product_bytes):
    """The model that a run trains, as `MLLMTask` builds it."""
    tower = VisionTower(encoder_of(run, "random"))
    workload = MLLMWorkload(run)
    language = build_language_model(workload.config, 0)
    language.init_weights()
    model = MLLM(tower, language, run.model.pixel_shuffle, newline=bool(run.model.tiles))
    model.train_parts(run.train)
    for parameter in model.parameters():
        if not parameter.requires_grad and product_bytes == 2:
            parameter.data = parameter.data.bfloat16()
    if run.activation_checkpointing:
        recompute_blocks(language)
        tower.set_activation_checkpointing("encoder" in run.train)
    return workload, model.train()


def pack_of(run, model):
    """Samples of one image and `TEXT` tokens each."""
    random, tower = np.random.default_rng(0), model.tower
    empty = tower.empty_image(run.images.size // tower.patch_size)
    grid, shuffle = empty.grid, run.model.pixel_shuffle
    visual = np.arange(-(-grid[0] // shuffle) * -(-grid[1] // shuffle))
    is_visual = np.arange(len(visual) + TEXT) < len(visual)
    supervised = np.arange(len(is_visual)) >= len(is_visual) - TEXT * SUPERVISED
    samples = [
        MLLMSample((empty,), visual, random.integers(0, 700, len(is_visual)), supervised, is_visual) for _ in range(SAMPLES)
    ]
    return MLLMPack.of(samples, tower.collate, tower.empty_image(), shuffle)


def planned(workload, product_bytes, activation_checkpointing=False):
    assumed, _ = workload.fill_in(Assumptions(text=TEXT, supervised=SUPERVISED))
    rows = round(SAMPLES * workload.rows(assumed))
    return workload.memory(assumed, rows, Sharing(), product_bytes, activation_checkpointing)


def loss_of(model, pack, product_bytes):
    with torch.autocast("cpu", torch.bfloat16, enabled=product_bytes == 2):
        return model(pack)


def bytes_kept(model, pack, product_bytes):
    """By autograd from forward to backward, each storage once; neither parameters nor the pack's own tensors."""
    given = [*model.parameters(), pack.visual, pack.token_ids, pack.predictors]
    ours, found = {t.untyped_storage().data_ptr() for t in given}, {}

    def keep(tensor):
        storage = tensor.untyped_storage()
        found[storage.data_ptr()] = storage.nbytes()
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        loss = loss_of(model, pack, product_bytes)
    assert loss.requires_grad  # and its graph still holds all that was found
    return sum(size for place, size in found.items() if place not in ours)


def optimizer_of(model):
    groups = [ParameterGroup([p for p in model.parameters() if p.requires_grad])]
    (optimizer,) = make_optimizers(groups, [], load_recipe("mllm_align_1p5b").optimizer)
    return optimizer


class Held(TorchDispatchMode):
    """Counts the bytes of all storages that live, and the most at once. MemTracker of PyTorch refuses frozen parameters."""

    def __init__(self, given):
        super().__init__()
        self.now = self.most = 0
        self.known = WeakIdKeyDictionary()
        for tensor in given:
            self.add(tensor)

    def add(self, tensor):
        storage = tensor.untyped_storage()
        if storage not in self.known:
            self.known[storage] = size = storage.nbytes()
            self.now += size
            self.most = max(self.most, self.now)
            weakref.finalize(storage, self.drop, size)

    def drop(self, size):
        self.now -= size

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        found = function(*args, **(kwargs or {}))
        for one in tree_leaves(found):
            if isinstance(one, torch.Tensor):
                self.add(one)
        return found


def peak(model, pack, product_bytes):
    """Of an update, all that lives in memory, but for the pack."""
    optimizer = optimizer_of(model)

    def update():
        loss_of(model, pack, product_bytes).backward()
        optimizer.step()
        optimizer.zero_grad(set_to_none=False)

    update()
    states = [state for of_one in optimizer.state.values() for state in of_one.values()]
    gradients = [p.grad for p in model.parameters() if p.grad is not None]
    with Held([*model.parameters(), *model.buffers(), *states, *gradients]) as held:
        update()
    return held.most
