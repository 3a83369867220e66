"""Plans: figures against a calculation by hand, warnings that say what to change, and text that can be read."""

import json

import pytest
import torch

from genlip.model.genlip import GenLIP
from genlip.plan.plan import Assumptions
from genlip.plan.planner import make_plan
from genlip.plan.text import _hours, plan_text
from genlip.recipes.recipe import load_recipe

STAGE1 = {
    "model.hidden_size": 1024,
    "model.intermediate_size": 2816,
    "model.num_hidden_layers": 24,
    "model.num_attention_heads": 16,
    "model.vocab_size": 151_936,
    "model.text_embed_dim": 1024,
    "model.mrope_section": "[8, 12, 12]",
    "images.size": 224,
    "packing.max_tokens": 16_384,
    "packing.batch": "31640 samples of 270 tokens",
    "optimizer.kind": "adamw",
    "data.workers": 12,
    "steps": 0,
    "samples": 8_000_000_000,
    "parallel": "auto",
    "activation_checkpointing": True,
    "precision": "auto",
}


def run(**changes):
    settings = STAGE1 | {key.replace("__", "."): value for key, value in changes.items()}
    return load_recipe("quickstart", [word for key, value in settings.items() for word in (f"--{key}", str(value))])


def test_the_first_stage_by_hand():
    """6 FLOPs a parameter and row, and what attention adds, within what the last block and the tables leave out."""
    plan = make_plan(run(activation_checkpointing=False), gpus=8, gpu="h100")
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
    kept, recomputed = (make_plan(run(activation_checkpointing=choice), gpus=8) for choice in (False, True))
    assert 1.25 < recomputed.seconds / kept.seconds < 1.35
    assert recomputed.memory.activations < kept.memory.activations / 5
    assert recomputed.kept == kept.kept


def test_sharding_divides_what_each_holds():
    ddp, fsdp, hybrid = (make_plan(run(parallel=how), gpus=32).memory for how in ("ddp", "fsdp", "hybrid"))
    assert (fsdp.optimizer, hybrid.optimizer) == (ddp.optimizer / 32, ddp.optimizer / 8)
    assert fsdp.gathered == hybrid.gathered > ddp.gathered == 0
    assert fsdp.activations == ddp.activations


@pytest.mark.parametrize(
    ("changes", "gpus", "gpu", "says"),
    [
        (
            {"activation_checkpointing": False}, 8, "rtx4090",
            ["does not fit", "--activation_checkpointing true needs", "--packing.max_tokens"],
        ),
        ({"packing__batch": "12 packs"}, 8, "h100", ["others 1, so 25.0%", '"8 packs" or "16 packs", or 6 GPUs, or 12']),
        ({"packing__batch": "4 packs"}, 8, "h100", ["8 GPUs, but 4 packs", '--packing.batch "8 packs", or 4 GPUs']),
        ({"parallel": "hybrid"}, 8, "h100", ["hybrid needs several equal nodes of 8, not 8 GPUs"]),
        ({"data__workers": 1, "packing__batch": "64 packs"}, 64, "b200", ["waiting for data", "workers", "packing.streams"]),
        ({"samples": 0, "epochs": 1}, 8, "h100", ["say --examples"]),
    ],
)  # fmt: skip
def test_warnings_say_what_to_change(changes, gpus, gpu, says):
    warnings = "\n".join(make_plan(run(**changes), gpus=gpus, gpu=gpu).warnings)
    assert [words for words in says if words not in warnings] == []


def test_a_batch_that_leaves_a_handful_of_updates_is_warned_of():
    """1 M samples in updates of 31,068 are 33; a thousand updates have some 17 packs each."""
    (warning,) = (text for text in make_plan(run(samples="1M"), gpus=8).warnings if "updates of" in text)
    assert warning.startswith("33 updates of 31,069 samples are the whole run, few to learn within: --packing.batch ")
    assert '"16 packs" makes about 1,056 of them' in warning
    assert not any("whole run" in text for text in make_plan(run(steps=10, samples=0), gpus=8).warnings)


@pytest.mark.parametrize(
    ("hours", "text"), [(4451.2, "4,451"), (12.34, "12"), (3.456, "3.5"), (0.123, "0.12"), (1e-5, "under 0.01")]
)
def test_hours_are_rounded_to_what_matters(hours, text):
    assert _hours(hours) == text


def test_a_slow_network_is_named():
    slow = Assumptions(network=0.1)
    plan = make_plan(run(packing__batch="64 packs"), gpus=64, assume=slow)
    assert any(warning.startswith("collectives take") for warning in plan.warnings)
    assert [at.outcome.bottleneck for at in plan.scaling if at.gpus in (8, 64)] == ["compute", "collectives"]


def test_what_fits_is_left_alone():
    plan = make_plan(run(packing__batch="512 packs"), gpus=64, gpu="h200")
    assert plan.warnings == ()
    assert plan.notes[0].startswith("fits without recomputation")


def test_the_advice_for_what_does_not_fit_fits():
    tight = run(activation_checkpointing=False)
    assert make_plan(tight, gpu="rtx4090").memory.total > make_plan(tight, gpu="rtx4090").usable
    for advice in ({"activation_checkpointing": True}, {"packing.max_tokens": 4096, "activation_checkpointing": False}):
        plan = make_plan(run(**advice), gpu="rtx4090")
        assert plan.memory.total <= plan.usable


def test_lengths_come_from_the_recipe_or_are_named_as_guesses():
    known = make_plan(run())
    assert (known.assumed.patches, known.assumed.text, known.guesses) == (196, 74, ())
    native = {"images.resize": "native", "packing.batch": "3600 samples of 1200 tokens"}
    guessed = make_plan(run(**native))
    assert (guessed.assumed.patches, guessed.assumed.text) == (900, 300)
    assert guessed.guesses == ("900 patches an image (--patches)",)
    said = make_plan(run(**native), assume=Assumptions(patches=700))
    assert (said.assumed.text, said.guesses) == (500, ())
    short = make_plan(run(packing__batch="4 packs"))
    assert short.guesses == ("74 text tokens a sample (--text)",)


def test_the_first_end_counts():
    assert make_plan(run(steps=10)).updates == 10
    assert make_plan(run(tokens="1B")).updates == 120  # of 512 packs of 16,384
    assert make_plan(run(samples=0, epochs=2), assume=Assumptions(examples=1_000_000)).updates == 65


def test_the_text_says_what_decides():
    plan = make_plan(run(), gpus=64)
    text = plan_text(plan, "stage1")
    assert text.startswith("stage1 on 64 × h100: 2.9 days, 4,451")
    for words in ("646 M parameters", "196 patches + 74 text tokens", "fits", "feed-forward", "optimizer", "--utilisation"):
        assert words in text
    assert max(map(len, text.splitlines())) <= 100
    assert max(map(len, plan_text(plan, "stage1", width=80).splitlines())) <= 80
    assert len(text.splitlines()) < 45


def test_every_figure_is_plain_json():
    found = json.loads(json.dumps(make_plan(run(), gpus=16).to_json()))
    with torch.device("meta"):
        model = GenLIP(run().model)
    assert found["parameters"]["total"] == sum(p.numel() for p in model.parameters())
    assert [at["gpus"] for at in found["scaling"]] == [1, 2, 4, 8, 16, 32, 64]


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
        make_plan(run(), **arguments)


def test_impossible_assumptions():
    with pytest.raises(ValueError, match=r"utilisation is 1\.2"):
        Assumptions(utilisation=1.2)
