"""Advice: warnings and notes name the setting to change, and it helps."""

import pytest

from genlip.plan.plan import Assumptions
from genlip.plan.planner import plan_run

from .helpers import run


@pytest.mark.parametrize(
    ("changes", "gpus", "gpu", "says"),
    [
        (
            {"activation_checkpointing": False}, 8, "rtx4090",
            ["does not fit", "--activation_checkpointing true needs", "--packing.max_tokens"],
        ),
        ({"packing__batch": "12 packs"}, 8, "h100", ["others 1, so 25.0%", '"8 packs" or "16 packs", or 6 GPUs, or 12']),
        ({"packing__batch": "4 packs"}, 8, "h100", ["8 GPUs, but 4 packs", '--packing.batch "8 packs", or use 4 GPUs']),
        ({"parallel": "hybrid"}, 8, "h100", ["hybrid needs several equal nodes of 8, not 8 GPUs"]),
        ({"data__workers": 1, "packing__batch": "64 packs"}, 64, "b200", ["waiting for data", "workers", "packing.streams"]),
        ({"samples": 0, "epochs": 1}, 8, "h100", ["give --examples"]),
    ],
)  # fmt: skip
def test_warnings_say_what_to_change(changes, gpus, gpu, says):
    warnings = "\n".join(plan_run(run(**changes), gpus=gpus, gpu=gpu).warnings)
    assert [words for words in says if words not in warnings] == []


def test_a_batch_that_leaves_a_handful_of_updates_is_warned_of():
    """1 M samples in updates of 31,068 are 33; a thousand updates have some 17 packs each."""
    (warning,) = (text for text in plan_run(run(samples="1M"), gpus=8).warnings if "updates of" in text)
    assert warning.startswith("the run has only 33 updates of 31,069 samples, too few to learn much: --packing.batch ")
    assert '"16 packs" gives about 1,056 updates' in warning
    assert not any("has only" in text for text in plan_run(run(steps=10, samples=0), gpus=8).warnings)


def test_a_slow_network_is_named():
    slow = Assumptions(network=0.1)
    plan = plan_run(run(packing__batch="64 packs"), gpus=64, assume=slow)
    assert any(warning.startswith("collectives take") for warning in plan.warnings)
    assert [at.outcome.bottleneck for at in plan.scaling if at.gpus in (8, 64)] == ["compute", "collectives"]


def test_what_fits_is_left_alone():
    plan = plan_run(run(packing__batch="512 packs"), gpus=64, gpu="h200")
    assert plan.warnings == ()
    assert plan.notes[0].startswith("fits without activation checkpointing")


def test_the_advice_for_what_does_not_fit_fits():
    tight = run(activation_checkpointing=False)
    assert plan_run(tight, gpu="rtx4090").memory.total > plan_run(tight, gpu="rtx4090").usable
    for advice in ({"activation_checkpointing": True}, {"packing.max_tokens": 4096, "activation_checkpointing": False}):
        plan = plan_run(run(**advice), gpu="rtx4090")
        assert plan.memory.total <= plan.usable
