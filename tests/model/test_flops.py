"""Arithmetic: parameters against real models, work against PyTorch's own count of a real step."""

import pytest
import torch
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

from genlip.model.attention import prefix_mask
from genlip.model.config import PRESETS, GenLIPConfig
from genlip.model.flops import Load, encoder_flops, parameters, step_flops, training_flops
from genlip.model.genlip import GenLIP
from genlip.model.objective import caption_loss

from .helpers import VARIANTS, random_pack, small_config

SHAPES = [(3, 2, 5), (3, 2, 5), (1, 1, 0), (4, 3, 1), (2, 5, 8)]


def counted(model, pack, attend=None) -> int:
    """What PyTorch counts in a forward and backward pass, with attention made of plain products.

    Its counter knows `addmm` but not the `addmm_` with which the head adds to its gradient, so it is told.
    """
    told = {torch.ops.aten.addmm_: lambda total, a, b, **_: 2 * a[0] * a[1] * b[1]}
    with FlopCounterMode(display=False, custom_mapping=told) as counter, sdpa_kernel(SDPBackend.MATH):
        read = model.proj(model.ln_post(model.trunk(pack, predicting=True, attend=attend)))
        caption_loss(read, model.lm_head.weight, pack.token_ids, pack.supervised).backward()
    return counter.get_total_flops()


def row_by_row(pack):
    """Attention in which each query asks exactly the keys that it may see: nothing is computed under a mask."""
    visible = prefix_mask(pack)

    def attend(layer, q, k, v, predicting=False):
        read = []
        for query, row in zip(q, visible[pack.predictors] if predicting else visible, strict=True):
            scores = torch.bmm(query[:, None], k[row].permute(1, 2, 0))  # [h 1 d] @ [h d l]
            read.append(torch.bmm(scores.softmax(-1), v[row].transpose(0, 1))[:, 0])
        return torch.stack(read)

    return attend


@pytest.mark.parametrize("variant", VARIANTS)
def test_work_is_what_pytorch_counts(variant):
    config = small_config(**VARIANTS[variant], num_hidden_layers=3)
    pack = random_pack(config, SHAPES)
    model = GenLIP(config).double().train()
    assert training_flops(config, pack) == counted(model, pack, row_by_row(pack))


@pytest.mark.parametrize("variant", ["default", "projected", "ungated"])
def test_the_backend_adds_only_masked_pairs(variant):
    """The backend also computes scores of text that a token may not see: at most all text before and after it."""
    config = small_config(**VARIANTS[variant], num_hidden_layers=3)
    pack = random_pack(config, SHAPES)
    masked = sum(2 * t * (t - 1) / 2 + t * (t + 1) / 2 for _, _, t in SHAPES)  # two blocks, and the last
    above = counted(GenLIP(config).double().train(), pack) - training_flops(config, pack)
    assert 0 <= above <= 3 * 4 * config.hidden_size * masked


@pytest.mark.parametrize("variant", ["default", "projected", "plain_mlp"])
def test_recomputation_is_what_pytorch_counts(variant):
    config = small_config(**VARIANTS[variant], num_hidden_layers=3)
    pack = random_pack(config, SHAPES)
    model = GenLIP(config).double().train()
    model.activation_checkpointing = True
    assert training_flops(config, pack, activation_checkpointing=True) == counted(model, pack, row_by_row(pack))


@pytest.mark.parametrize("variant", VARIANTS)
def test_work_of_the_encoder_is_what_pytorch_counts(variant):
    config = small_config(**VARIANTS[variant], num_hidden_layers=3)
    pack = random_pack(config, SHAPES)
    with FlopCounterMode(display=False) as counter, sdpa_kernel(SDPBackend.MATH), torch.no_grad():
        GenLIP(config).encode(pack)
    assert encoder_flops(config, pack.patch_counts) == counter.get_total_flops()


def test_work_by_hand():
    """One sample of 2 patches and 1 token, two blocks of width 4: every product of the forward pass on paper."""
    config = GenLIPConfig(
        hidden_size=4, intermediate_size=8, num_hidden_layers=2, num_attention_heads=1, vocab_size=10, patch_size=2
    )
    flops = step_flops(config, Load.of_samples([(2, 1)]))
    assert flops.forward.patch_embedding == 2 * 2 * 12 * 4
    assert flops.forward.projections == 2 * 4 * 4 * (5 * 3 + 3 * 1 + 2 * 3)  # five maps of 3 rows; three of 1, two of 3
    assert flops.forward.scores == 2 * 2 * 4 * ((4 + 3) + 2)  # patches 2 x 2, the token 3; last: its predictor, 2
    assert flops.forward.feed_forward == 2 * 3 * 4 * 8 * (3 + 1)
    assert flops.forward.head == 2 * 4 * 10
    assert flops.backward.total == 2 * flops.forward.total - flops.forward.patch_embedding
    assert flops.recomputed.total == flops.forward.projections + flops.forward.scores + flops.forward.feed_forward


@pytest.mark.parametrize("variant", VARIANTS)
def test_parameters_of_variants(variant):
    config = small_config(**VARIANTS[variant])
    assert parameters(config).total == sum(p.numel() for p in GenLIP(config).parameters())


@pytest.mark.parametrize("preset", PRESETS)
def test_parameters_of_presets(preset):
    config = GenLIPConfig.preset(preset)
    with torch.device("meta"):
        model = GenLIP(config)
    found = parameters(config)
    assert found.total == sum(p.numel() for p in model.parameters())
    text = [p for name, p in model.named_parameters() if name.startswith(("embeddings", "in_proj", "proj", "lm_head"))]
    assert found.trunk == found.total - sum(p.numel() for p in text)


def test_sizes_of_the_paper():
    """Its table gives 0.3, 0.4 and 1.1 billion for the trunk; only without the gate do they round so."""
    trunks = [parameters(GenLIPConfig.preset(name)) for name in ("l16", "so16", "g16")]
    assert [round((trunk.trunk - trunk.gate) / 1e9, 1) for trunk in trunks] == [0.3, 0.4, 1.1]
