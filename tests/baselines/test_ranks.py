"""Several ranks train the baselines to the same parameters as one, in float64."""

import pytest
import torch
from safetensors.torch import load_file

from ..train.distributed import launch, train_here

ARMS = {
    "siglip": {}, "clip": {}, "encoder_decoder": {"decoder.kept": 0.5}, "cap": {"decoder.parallel": 0.5},
    "genlip_variant": {"variant.registers": 2}, "genlip_from_language": {"language.gated": True},
}  # fmt: skip


@pytest.mark.parametrize("arm", ARMS)
def test_two_ranks_train_the_same_parameters_as_one(arm, tmp_path):
    changes = {
        "task": arm,
        "model.drop_path_rate": 0,
        "steps": 4,
        "save_every": 4,
        "evaluate_every": 4,
        "ema": 0,
        **ARMS[arm],
    }
    train_here(tmp_path / "one", **changes)
    for strategy in ("ddp", "fsdp"):
        launch(tmp_path / strategy, 2, parallel=strategy, **changes)
        one, two = (load_file(tmp_path / name / "model/arm/model.safetensors") for name in ("one", strategy))
        assert one.keys() == two.keys()
        assert max(float((one[name] - two[name]).abs().max()) for name in one) < 1e-9
        assert all(value.dtype == torch.float64 for value in one.values())
