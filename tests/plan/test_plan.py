"""Plans as JSON, and assumptions that are refused."""

import json

import pytest
import torch

from genlip.model.genlip import GenLIP
from genlip.plan.plan import Assumptions
from genlip.plan.planner import plan_run

from .helpers import run


def test_every_figure_is_plain_json():
    found = json.loads(json.dumps(plan_run(run(), gpus=16).to_json()))
    with torch.device("meta"):
        model = GenLIP(run().model)
    assert found["parameters"]["total"] == sum(p.numel() for p in model.parameters())
    assert [at["gpus"] for at in found["scaling"]] == [1, 2, 4, 8, 16, 32, 64]


def test_impossible_assumptions():
    with pytest.raises(ValueError, match=r"utilisation is 1\.2"):
        Assumptions(utilisation=1.2)
    with pytest.raises(ValueError, match="supervised is 2: it must be a share"):
        Assumptions(supervised=2)
