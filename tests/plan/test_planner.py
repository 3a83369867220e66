"""The planner: figures against a calculation by hand."""

import pytest

from genlip.plan.plan import Assumptions
from genlip.plan.planner import plan_run

from .helpers import run


def test_the_first_stage_by_hand():
    """6 FLOPs a parameter and row, and what attention adds, within what the last block and the tables leave out."""
    plan = plan_run(run(activation_checkpointing=False), gpus=8, gpu="h100")
    matrices = 24 * (5 * 1024**2 + 3 * 1024 * 2816)
    by_hand = 270 * 6 * matrices + 74 * 6 * 1024 * 151_936 + 24 * 12 * 1024 * 270**2
    assert plan.flops.total(False) == pytest.approx(by_hand, rel=0.05)
    assert plan.flops.total(False) < by_hand
    assert plan.packs == 512
    assert plan.samples_per_update == pytest.approx(512 * 16_384 / 270)
    assert plan.updates == pytest.approx(8e9 / plan.samples_per_update, abs=1)
    assert plan.rows == 64
    packs_a_second = 0.4 * 989.4e12 / (plan.flops.total(False) * 16_384 / 270)
    assert plan.seconds == pytest.approx(64 / packs_a_second)
    assert plan.days == pytest.approx(plan.updates * plan.seconds / 86_400)
    assert plan.memory.weights == 4 * plan.parameters.total


def test_recomputation_costs_time_and_saves_memory():
    kept, recomputed = (plan_run(run(activation_checkpointing=choice), gpus=8) for choice in (False, True))
    assert 1.25 < recomputed.seconds / kept.seconds < 1.35
    assert recomputed.memory.activations < kept.memory.activations / 5
    assert recomputed.kept == kept.kept


def test_sharding_divides_what_each_holds():
    ddp, fsdp, hybrid = (plan_run(run(parallel=how), gpus=32).memory for how in ("ddp", "fsdp", "hybrid"))
    assert (fsdp.optimizer, hybrid.optimizer) == (ddp.optimizer / 32, ddp.optimizer / 8)
    assert fsdp.gathered == hybrid.gathered > ddp.gathered == 0
    assert fsdp.activations == ddp.activations


def test_lengths_come_from_the_recipe_or_are_named_as_guesses():
    known = plan_run(run())
    assert (known.assumed.patches, known.assumed.text, known.guesses) == (196, 74, ())
    native = {"images.resize": "native", "packing.batch": "3600 samples of 1200 tokens"}
    guessed = plan_run(run(**native))
    assert (guessed.assumed.patches, guessed.assumed.text) == (900, 300)
    assert guessed.guesses == ("900 patches an image (--patches)",)
    said = plan_run(run(**native), assume=Assumptions(patches=700))
    assert (said.assumed.text, said.guesses) == (500, ())
    short = plan_run(run(packing__batch="4 packs"))
    assert short.guesses == ("74 text tokens a sample (--text)",)


def test_the_first_end_counts():
    assert plan_run(run(steps=10)).updates == 10
    assert plan_run(run(tokens="1B")).updates == 120  # of 512 packs of 16,384
    assert plan_run(run(samples=0, epochs=2), assume=Assumptions(examples=1_000_000)).updates == 65


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"gpus": 0}, "gpus is 0"),
        ({"gpu": "h300"}, "unknown gpu 'h300': the table holds a100, h100"),
        ({"assume": Assumptions(text=20_000)}, "raise packing.max_tokens"),
    ],
)
def test_impossible_arguments(arguments, message):
    with pytest.raises(ValueError, match=message):
        plan_run(run(), **arguments)
