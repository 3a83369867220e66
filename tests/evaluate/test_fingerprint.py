"""`genlip.evaluate.fingerprint`: it follows the weights that count, bit by bit, and nothing else."""

import torch

from genlip.evaluate.fingerprint import weights_fingerprint

from .speaking import small_speaker


def test_it_changes_with_any_weight_that_counts_and_with_no_other():
    model = small_speaker().model
    whole, encoder = weights_fingerprint(model), weights_fingerprint(model, ("visual.",))
    assert (whole, encoder) == (weights_fingerprint(small_speaker().model), weights_fingerprint(model, ("visual.",)))
    with torch.no_grad():
        model.lm_head.weight[0, 0] += 1e-3
    assert weights_fingerprint(model) != whole
    assert weights_fingerprint(model, ("visual.",)) == encoder
    with torch.no_grad():
        model.blocks[0].self_attn.k_proj.bias[0] += 1e-3
    assert weights_fingerprint(model, ("visual.",)) != encoder
