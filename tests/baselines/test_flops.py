"""Work of the baselines against PyTorch's count of a real step, with attention that computes no masked pair."""

import pytest
import torch
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

from genlip.baselines import decoders, towers

from .helpers import built, pack_of, task_of

SHAPES = [(3, 2, 5), (3, 2, 5), (1, 1, 2), (4, 3, 1), (2, 5, 8)]
ARMS = {
    "siglip": {}, "clip": {"pairs__causal": True, "pairs__text_layers": 1},
    "encoder_decoder": {}, "encoder_decoder 0.35": {"decoder__kept": 0.35, "decoder__width": 16, "decoder__heads": 1},
    "cap": {"decoder__width": 48, "decoder__heads": 3, "decoder__layers": 2},
    "genlip_variant": {"variant__registers": 2, "model__gated_attention": False},
    "genlip_variant 0.5": {"variant__kept": 0.5},
}  # fmt: skip


class RowByRow:
    """Attention in which each query asks exactly the keys that it may see."""

    def __init__(self, queries, keys, causal=False):
        self.sizes, self.causal = list(zip(queries, keys, strict=True)), causal

    def __call__(self, layer, q, k, v, predicting=False):
        read, asked, seen = [], 0, 0
        for queries, keys in self.sizes:
            for row in range(queries):
                end = seen + (row + 1 if self.causal else keys)
                scores = torch.bmm(q[asked + row][:, None], k[seen:end].permute(1, 2, 0))
                read.append(torch.bmm(scores.softmax(-1), v[seen:end].transpose(0, 1))[:, 0])
            asked, seen = asked + queries, seen + keys
        return torch.stack(read)


class CausalRowByRow:
    """The same over a pack, patches too."""

    def __init__(self, pack):
        sample, place = pack.sample_of_row, pack.position_in_sample
        self.visible = (sample[:, None] == sample) & (place <= place[:, None])
        self.predictors = pack.predictors

    def __call__(self, layer, q, k, v, predicting=False):
        read = []
        for query, row in zip(q, self.visible[self.predictors] if predicting else self.visible, strict=True):
            scores = torch.bmm(query[:, None], k[row].permute(1, 2, 0))
            read.append(torch.bmm(scores.softmax(-1), v[row].transpose(0, 1))[:, 0])
        return torch.stack(read)


@pytest.mark.parametrize("arm", ARMS)
def test_work_is_what_pytorch_counts(arm, tmp_path, monkeypatch):
    for module in (towers, decoders):
        monkeypatch.setattr(module, "SampleAttention", RowByRow)
    monkeypatch.setattr(decoders, "CausalAttention", CausalRowByRow)
    monkeypatch.setattr("genlip.model.genlip.PackAttention", _prefix_row_by_row)
    task = task_of(tmp_path, arm.split()[0], model__num_hidden_layers=3, **ARMS[arm])
    model, pack = built(task).train(), pack_of(task, SHAPES)
    told = {torch.ops.aten.addmm_: lambda total, a, b, **_: 2 * a[0] * a[1] * b[1]}
    with FlopCounterMode(display=False, custom_mapping=told) as counter, sdpa_kernel(SDPBackend.MATH):
        found = task.embed(model, pack).sum() if hasattr(task, "embed") else task.loss(model, pack)[0]
        found.backward()
    assert task.flops(pack) == counter.get_total_flops()


def _prefix_row_by_row(pack, backend):
    from genlip.model.attention import prefix_mask

    attend = CausalRowByRow(pack)
    attend.visible = prefix_mask(pack)
    return attend
