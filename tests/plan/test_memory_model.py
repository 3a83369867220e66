"""Memory: the formula against what real steps keep, in float32 and in bfloat16, for every variant of the block.

Two measures that know nothing of the formula: autograd's own hooks say which storages a forward pass keeps, and PyTorch's
MemTracker the peak of all that lives during an update.
"""

from collections.abc import Callable
from unittest import mock

import numpy as np
import pytest
import torch
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.distributed._tools.mem_tracker import MemTracker

from genlip.model import attention, objective
from genlip.model.config import GenLIPConfig
from genlip.model.flops import Load, parameters
from genlip.model.genlip import GenLIP
from genlip.model.pack import Pack, Sample
from genlip.plan.memory_model import Sharing, activations, encoder_activations, matrix_parameters, memory
from genlip.recipes.run import OptimizerConfig

from ..model.helpers import random_samples
from ..train.helpers import optimizers_of

SHAPES = [(5, 5, 17)] * 4 + [(4, 7, 30)] * 4 + [(6, 3, 9), (2, 2, 40)]
SIZES = {"hidden_size": 64, "intermediate_size": 176, "num_hidden_layers": 4, "num_attention_heads": 4, "vocab_size": 300}
VARIANTS = {
    "default": {},
    "plain_mlp": {"use_swiglu_ffn": False, "hidden_act": "gelu"},
    "ungated": {"gated_attention": False},
    "no_layer_scale": {"ls_init_value": 0.0},
    "projected": {"text_embed_dim": 48},
    "drop_path": {"drop_path_rate": 0.2},
}
PRECISIONS = {"float32": 4, "bfloat16": 2}


@pytest.fixture(autouse=True)
def fused_attention(monkeypatch):
    """As on GPUs; on CPU short sequences in bfloat16 keep attention's weights instead."""
    monkeypatch.setattr(attention, "_SHORT", 0)


def make(**changes) -> tuple[GenLIP, Pack]:
    config = GenLIPConfig(**{**SIZES, "patch_size": 4, **changes})
    samples = [sample.with_text(sample.token_ids) for sample in random_samples(config, SHAPES)]
    pack = Pack.of(samples)
    return GenLIP(config).train(), pack._with_tensors(lambda t: t.float() if t.is_floating_point() else t)


def forward(model: GenLIP, pack: Pack, precision: str) -> torch.Tensor:
    with torch.autocast("cpu", torch.bfloat16, enabled=precision == "bfloat16"):
        return model(pack)


def bytes_kept(model: GenLIP, pack: Pack, precision: str, run: Callable[[], torch.Tensor] | None = None) -> int:
    """By autograd from forward to backward, each storage once; neither parameters nor the pack's own tensors."""
    given = [*model.parameters(), pack.patches, pack.token_ids, pack.supervised, pack.positions]
    ours, found = {t.untyped_storage().data_ptr() for t in given}, {}

    def keep(tensor):
        storage = tensor.untyped_storage()
        found[storage.data_ptr()] = storage.nbytes()
        return tensor

    with (
        torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor),
        torch.autocast("cpu", torch.bfloat16, enabled=precision == "bfloat16"),
    ):
        loss = run() if run else model(pack)
    assert loss.requires_grad  # and its graph still holds all that was found
    return sum(size for place, size in found.items() if place not in ours)


def peak(model: GenLIP, pack: Pack, precision: str, activation_checkpointing: bool) -> int:
    """Of an update, all that lives in memory."""
    (optimizer,) = optimizers_of(model, OptimizerConfig())
    model.activation_checkpointing = activation_checkpointing

    def update():
        forward(model, pack, precision).backward()
        optimizer.step()
        optimizer.zero_grad(set_to_none=False)

    update()
    tracker = MemTracker()
    tracker.track_external(model, optimizer)
    with tracker:
        update()
    return tracker.get_tracker_snapshot("peak")[torch.device("cpu")]["Total"]


def planned(model: GenLIP, pack: Pack, precision: str, activation_checkpointing: bool) -> float:
    """What the formula says of the same update."""
    size = PRECISIONS[precision]
    load = Load.of_pack(pack)
    return memory(
        model.config,
        load,
        Sharing(),
        product_bytes=size,
        activation_checkpointing=activation_checkpointing,
        muon=False,
        average=False,
    ).total


@pytest.mark.parametrize("precision", PRECISIONS)
@pytest.mark.parametrize("variant", VARIANTS)
def test_activations_are_what_autograd_keeps(variant, precision):
    """Within 1.5 %: masks, the factors of DropPath and the indices of the last block's rows are not counted."""
    model, pack = make(**VARIANTS[variant])
    size = PRECISIONS[precision]
    expected = activations(model.config, Load.of_pack(pack), size, activation_checkpointing=False)
    expected += 4 * parameters(model.config).head  # the head's gradient, which the loss computes ahead
    if size == 2:
        expected += 2 * matrix_parameters(model.config)
    assert expected == pytest.approx(bytes_kept(model, pack, precision), rel=0.015)


@pytest.mark.parametrize("activation_checkpointing", [False, True])
@pytest.mark.parametrize("precision", PRECISIONS)
@pytest.mark.parametrize("variant", VARIANTS)
def test_activations_of_an_encoder_are_what_autograd_keeps(variant, precision, activation_checkpointing):
    """Of images alone, which another model reads: within 2 %, besides the copies of matrices that autocast keeps."""
    model, pack = make(**VARIANTS[variant])
    model.activation_checkpointing = activation_checkpointing
    size = PRECISIONS[precision]
    found = bytes_kept(model, pack, precision, lambda: model.encode(pack).sum())
    found += pack.patches.nbytes if size == 4 else 0  # the pack's own
    if activation_checkpointing:
        found += 4 * model.config.head_dim * pack.num_patches  # cosines and sines, which blocks share
    elif size == 2:
        found -= 2 * (matrix_parameters(model.config) - parameters(model.config).text_maps)
    expected = encoder_activations(model.config, pack.num_patches, size, activation_checkpointing)
    assert expected == pytest.approx(found, rel=0.02)


@pytest.mark.parametrize("activation_checkpointing", [False, True])
@pytest.mark.parametrize("precision", PRECISIONS)
@pytest.mark.parametrize("variant", ["default", "plain_mlp"])
def test_the_total_is_the_peak_of_an_update(variant, precision, activation_checkpointing):
    """Within 7 %: the sum takes parts together that do not all peak at once, and leaves passing gradients out."""
    model, pack = make(**VARIANTS[variant])
    assert planned(model, pack, precision, activation_checkpointing) == pytest.approx(
        peak(model, pack, precision, activation_checkpointing), rel=0.07
    )


@pytest.mark.parametrize("activation_checkpointing", [False, True])
def test_the_total_at_real_size(activation_checkpointing):
    """Width and vocabulary of L/16 and a full pack, on tensors that have shapes and no numbers."""
    config = GenLIPConfig.preset("l16", num_hidden_layers=2)
    text, pixels = np.zeros(74, np.int64), np.zeros((196, config.patch_dim), np.uint8)
    pack = Pack.of([Sample(pixels, (14, 14)).with_text(text)] * 60)
    as_on_a_gpu = mock.patch.dict(objective._CHUNK_LOGITS, cpu=objective.chunk_logits("cuda"))
    with as_on_a_gpu, FakeTensorMode(allow_non_fake_inputs=True):
        model = GenLIP(config).train()
        measured = peak(model, pack, "bfloat16", activation_checkpointing)
    assert measured > 7e9
    assert planned(model, pack, "bfloat16", activation_checkpointing) == pytest.approx(measured, rel=0.05)


@pytest.mark.parametrize("kind", ["adamw", "muon"])
def test_the_optimizer_holds_its_states(kind):
    model, pack = make()
    optimizers = optimizers_of(model, OptimizerConfig(kind=kind))
    forward(model, pack, "float32").backward()
    for optimizer in optimizers:
        optimizer.step()
    states = [state for optimizer in optimizers for state in optimizer.state.values()]
    held = sum(t.nbytes for state in states for t in state.values() if isinstance(t, torch.Tensor) and t.dim())
    found = memory(
        model.config,
        Load.of_pack(pack),
        Sharing(),
        product_bytes=4,
        activation_checkpointing=False,
        muon=kind == "muon",
        average=True,
    )
    assert found.optimizer == held
    assert found.average == found.weights == found.gradients == sum(p.nbytes for p in model.parameters())
