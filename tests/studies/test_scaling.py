"""The grid: chains of branches, equal work, losses per byte, and going on after a stop."""

import csv
import math
from itertools import islice

import pytest

from genlip.cli.main import main
from genlip.data.samples import spread_indices
from genlip.recipes.recipe import load_recipe
from genlip.studies import scaling
from genlip.studies.cost import Cost
from genlip.studies.measures import Measures, measure_arm
from genlip.studies.runs import train_once
from genlip.studies.scaling import ScalingConfig, ScalingPlan, plan_scaling, tokens_per_byte, train_scaling
from genlip.train.checkpoints import latest, read_progress
from genlip.train.run_log import read_log

SMALL = [
    "--model.hidden_size", "32", "--model.intermediate_size", "64", "--model.num_hidden_layers", "2",
    "--model.num_attention_heads", "2", "--model.vocab_size", "300", "--images.size", "32", "--packing.max_tokens", "256",
    "--packing.batch", "1 pack", "--data.held_out_samples", "8", "--data.workers", "0", "--spoken", "0", "--threads", "1",
]  # fmt: skip
CONFIG = ScalingConfig(widths=(48, 32), samples=(60, 120), seeds=1)


@pytest.fixture(scope="module")
def study(tmp_path_factory):
    out = tmp_path_factory.mktemp("scaling")
    done = []
    runs = train_scaling("quickstart", CONFIG, out=out, overrides=SMALL, advance=done.append)
    return out, runs, done


def test_every_budget_costs_all_widths_the_same(study):
    out, runs, _ = study
    plan = plan_scaling("quickstart", CONFIG, out=out, overrides=SMALL)
    assert [run.width for run in runs] == [32, 32, 48, 48]
    assert plan.samples[48, plan.budgets[0]] == 60
    for (width, budget), number in plan.samples.items():
        assert number * plan.costs[width].flops == pytest.approx(budget, rel=0.02)


def test_longer_runs_branch_off_shorter_ones_before_the_cooldown(study):
    _, runs, _ = study
    for short, long in ((runs[0], runs[1]), (runs[2], runs[3])):
        (start,) = read_log(long.folder, "start")
        assert 0 < start["step"] < read_log(short.folder, "end")[0]["step"]
        rates = [event["learning_rate"] for event in read_log(long.folder, "train") if event["progress"] < 0.75]
        assert len(set(rates)) == 1
        assert long.samples > 1.5 * short.samples


def test_losses_are_in_nats_per_byte(study):
    _, runs, _ = study
    run = load_recipe("quickstart", SMALL)
    source, held_out = scaling.open_sources(run)
    kind = scaling.task_class(run)
    task = kind(run, kind.find_processor(run, source, None))
    texts = [held_out.caption(n) for n in islice(spread_indices(len(held_out), 8), 8)]
    tokens = sum(len(task.captions.tokenizer.encode(text).ids) + 1 for text in texts)
    assert tokens_per_byte(run) == pytest.approx(tokens / sum(map(len, texts)))
    loss = read_log(runs[0].folder, "held_out")[-1]["loss"]
    assert runs[0].loss == pytest.approx(loss * tokens_per_byte(run))


def test_the_table_has_a_row_for_each_run_and_a_second_call_trains_nothing(study, monkeypatch):
    out, runs, done = study
    rows = list(csv.DictReader((out / "results.csv").open()))
    assert [row["folder"] for row in rows] == done == [run.folder for run in runs]
    assert [float(row["loss"]) for row in rows] == pytest.approx([run.loss for run in runs])
    monkeypatch.setattr("genlip.studies.runs.train_model", lambda run: pytest.fail("trained again"))
    assert train_scaling("quickstart", CONFIG, out=out, overrides=SMALL) == runs


def test_a_run_that_was_stopped_goes_on_and_is_not_branched_again(tmp_path, monkeypatch):
    config, trained = ScalingConfig(widths=(32,), samples=(60, 120), seeds=1), []
    real = scaling.train_once

    def stopped(run):
        if run.samples == 120 and not trained:
            trained.append(read_progress(latest(run.out))["step"])
            raise KeyboardInterrupt
        return real(run)

    monkeypatch.setattr(scaling, "train_once", stopped)
    with pytest.raises(KeyboardInterrupt):
        train_scaling("quickstart", config, out=tmp_path, overrides=SMALL)
    runs = train_scaling("quickstart", config, out=tmp_path, overrides=SMALL)
    assert read_log(runs[1].folder, "start")[0]["step"] == trained[0]


def test_the_command_plans_trains_and_writes_a_page(study, capsys):
    out, _, _ = study
    command = ["study", "scaling", "quickstart", "--widths", "32", "48", "--samples", "60", "120", "--seeds", "1"]
    command += ["--out", str(out)]
    assert main([*command, "--plan", "--gpu", "h100", *SMALL]) == 0
    assert "on one h100" in capsys.readouterr().out
    assert main([*command, *SMALL]) == 0
    said = capsys.readouterr().out
    assert "No check: 2 budgets" in said
    assert "Scaling study" in (out / "study.html").read_text()


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"widths": ()}, "widths"),
        ({"samples": (5, 5)}, "each once"),
        ({"cooldown": 1.0}, "cooldown"),
        ({"of_width": 48}, "of_width 48"),
    ],
)
def test_impossible_grids_are_refused(settings, message):
    with pytest.raises(ValueError, match=message):
        ScalingConfig(**{"widths": (32,), "samples": (60,)} | settings)


@pytest.mark.parametrize(
    ("settings", "message"),
    [(["--task", "siglip"], "no loss of caption tokens"), (["--seed", "7"], "--seed: this study sets it itself")],
)
def test_other_tasks_and_settings_of_the_study_are_refused(settings, message, tmp_path):
    with pytest.raises(ValueError, match=message):
        plan_scaling("quickstart", CONFIG, out=tmp_path, overrides=[*SMALL, *settings])


@pytest.mark.parametrize("samples", range(400, 5000, 350))
def test_checkpoints_reach_back_before_the_cooldown(samples, tmp_path):
    """Whatever the rounding: those that a run keeps at its end hold one from which a longer run can branch off."""
    cost = Cost(1.0, 1.0, 60.0, {})
    plan = ScalingPlan({48: cost}, (1.0,), {(48, 1.0): samples}, 0, 0)
    run = scaling._run("quickstart", CONFIG, plan, 48, 1.0, 0, tmp_path, SMALL)
    steps = math.ceil(samples / 60)
    kept = [*range(run.save_every, steps, run.save_every), steps][-run.keep_last :]
    assert any(60 * step <= (1 - CONFIG.cooldown) * samples for step in kept)


def test_held_out_captions_of_a_seed_give_their_own_ratio():
    parts = ["--data.held_out", "", "--data.source", "notes:0"]
    ratios = {tokens_per_byte(load_recipe("quickstart", [*SMALL, *parts, "--seed", str(seed)])) for seed in (0, 1)}
    assert len(ratios) == 2


def test_a_run_that_diverges_counts_as_infinitely_bad_and_ends_no_study(tmp_path):
    run = load_recipe("quickstart", [*SMALL, "--out", str(tmp_path), "--optimizer.kind", "adamw", "--steps", "40",
                                     "--optimizer.learning_rate", "1e30", "--optimizer.warmup_ratio", "0"])  # fmt: skip
    trained = train_once(run)
    assert trained.loss == math.inf
    assert measure_arm(trained, Measures(captioning="scenes:5")) == {}
    assert train_once(run).loss == math.inf


def test_widths_are_multiples_of_a_head(tmp_path):
    with pytest.raises(ValueError, match="multiple of the size of a head, 16"):
        plan_scaling("quickstart", ScalingConfig(widths=(40,), samples=(60,)), out=tmp_path, overrides=SMALL)
