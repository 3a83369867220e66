"""Work of a step: against PyTorch's own count of a real one, and on paper."""

import numpy as np
import pytest
import torch
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

from genlip.data.images import ImageConfig, Patches
from genlip.mllm import language
from genlip.mllm.batch import MLLMPack, MLLMSample, shuffled_grid
from genlip.mllm.flops import MLLMLoad, MLLMSizes, step_flops, training_flops
from genlip.mllm.model import MLLM
from genlip.mllm.vision import VisionTower
from genlip.speaker import Speaker

from ..model.helpers import small_model
from .helpers import llama

TRAINED = [
    ("projector",), ("language",), ("encoder",), ("projector", "language"), ("encoder", "projector"),
    ("encoder", "projector", "language"),
]  # fmt: skip


def built(train, shuffle=1):
    """A model of a GenLIP and a LLaMA with fewer keys than queries, and a pack of samples with two images, one, and none."""
    config = llama(300).config
    reader = language.build_language_model(config, 0)
    reader.init_weights()
    model = MLLM(VisionTower(Speaker(small_model(num_hidden_layers=2), ImageConfig())), reader, shuffle)
    model.train_parts(train)
    model.train()
    random, samples = np.random.default_rng(0), []
    for grids, text in (([(2, 3), (4, 4)], 4), ([(4, 2)], 6), ([], 5)):
        images = tuple(
            Patches(
                random.integers(0, 255, (rows * columns, 3 * model.tower.patch_size**2), np.uint8), (rows, columns), False
            )
            for rows, columns in grids
        )
        visual = np.arange(sum(int(np.prod(shuffled_grid(grid, shuffle))) for grid in grids))
        is_visual = np.arange(1 + len(visual) + text) - 1 < len(visual)
        is_visual[0] = False
        ids = random.integers(0, 300, len(is_visual))
        samples.append(MLLMSample(images, visual, ids, ~is_visual, is_visual))
    return model, MLLMPack.of(samples, model.tower.collate, model.tower.empty_image(), shuffle)


def row_by_row(q, k, v, queries, keys, scaling, causal):
    """Attention in which each query asks exactly the keys that it may see: nothing is computed under a mask."""
    assert causal
    k, v = (x.repeat_interleave(len(q) // len(x), 0) for x in (k, v))
    read, begin = [], 0
    for length in queries:
        for row in range(begin, begin + length):
            scores = torch.bmm(q[:, row, None], k[:, begin : row + 1].transpose(1, 2)) * scaling
            read.append(torch.bmm(scores.softmax(-1), v[:, begin : row + 1]))
        begin += length
    return torch.cat(read, dim=1)


def counted(model, pack):
    """What PyTorch counts in a forward and backward pass; its counter is told of `addmm_`. Older Transformers multiply
    positions with the frequencies of the rotary embedding as matrices, which is left out."""
    told = {torch.ops.aten.addmm_: lambda total, a, b, **_: 2 * a[0] * a[1] * b[1]}
    with FlopCounterMode(display=False, custom_mapping=told) as counter, sdpa_kernel(SDPBackend.MATH):
        model(pack).backward()
    parts = counter.get_flop_counts().items()
    return counter.get_total_flops() - sum(sum(part.values()) for name, part in parts if name.endswith("rotary_emb"))


@pytest.mark.parametrize("shuffle", [1, 2])
@pytest.mark.parametrize("train", TRAINED)
def test_work_is_what_pytorch_counts(train, shuffle, monkeypatch):
    monkeypatch.setattr(language, "_by_sample", row_by_row)
    model, pack = built(train, shuffle)
    assert training_flops(model.tower, model.language.config, pack, train, shuffle) == counted(model, pack)


@pytest.mark.parametrize("train", TRAINED)
def test_recomputation_is_what_pytorch_counts(train, monkeypatch):
    monkeypatch.setattr(language, "_by_sample", row_by_row)
    model, pack = built(train)
    language.recompute_blocks(model.language)
    model.tower.set_activation_checkpointing("encoder" in train)
    flops = step_flops(MLLMSizes.of(model.tower, model.language.config), MLLMLoad.of_pack(model.tower, pack), train)
    assert flops.total(activation_checkpointing=True) == counted(model, pack)


def test_work_by_hand():
    """A sample of 4 patches, which become one token, and 2 tokens of text, of which 1 is supervised."""
    sizes = MLLMSizes(patch=12, width=8, shuffle=2, hidden=16, matrices=1000, last=300, heads=32, vocabulary=50)
    load = MLLMLoad(encoder=7000, patches=4, features=1, rows=3, pairs=6, supervised=1)
    flops = step_flops(sizes, load, ("projector",))
    assert flops.forward == (7000, 2 * (32 * 16 + 16 * 16), 2 * 3 * 1000, 4 * 6 * 32, 2 * 16 * 50)
    frozen = (0, flops.forward.projector + 2 * 16 * 16, 6000, 2 * 4 * 6 * 32, 1600)  # of inputs alone
    assert flops.backward == frozen
    assert flops.recomputed == (0, 0, 2 * 3 * 700, 768, 0)
    everything = step_flops(sizes, load, ("encoder", "projector", "language"))
    assert everything.backward.total == 2 * everything.forward.total - 2 * 4 * 12 * 8
    assert everything.recomputed.encoder == 7000 - 2 * 4 * 12 * 8
