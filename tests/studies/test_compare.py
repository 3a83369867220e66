"""The comparison: what is equal, chosen rates, scores, going on after a stop, and the page."""

import csv

import numpy as np
import pytest
from PIL import Image

from genlip.cli.main import main
from genlip.evaluate.scores import Scores
from genlip.studies.arms import read_arms
from genlip.studies.compare import CompareConfig, compare_arms, plan_comparison
from genlip.studies.compare_page import comparison_lines, comparison_study_page
from genlip.studies.cost import stored_costs
from genlip.studies.measures import Measures
from genlip.train.loop import train_model
from genlip.train.run_log import read_log

from .test_scaling import SMALL

ARMS = read_arms(["genlip", "siglip:pairs.bias=-3", "registers_4"])


@pytest.fixture(scope="module")
def classes(tmp_path_factory):
    """Red and blue images in folders of their classes."""
    folder, draw = tmp_path_factory.mktemp("classes"), np.random.default_rng(0)
    for name, colour in (("red", 0), ("blue", 2)):
        (folder / name).mkdir()
        for number in range(12):
            pixels = draw.integers(0, 60, (32, 32, 3), np.uint8)
            pixels[..., colour] += 180
            Image.fromarray(pixels).save(folder / name / f"{number}.png")
    return str(folder)


@pytest.fixture(scope="module")
def config(classes):
    measures = Measures(
        probe=(classes, classes), segmentation=("scenes:3", "scenes:4"), captioning="scenes:5", attention="scenes:5",
        retrieval="scenes:5",
        limit=6, epochs=2,
    )  # fmt: skip
    return CompareConfig(samples=60, match=("samples", "flops"), seeds=2, rate_factors=(0.1, 1.0), sweep_share=0.5,
                         measures=measures)  # fmt: skip


@pytest.fixture(scope="module")
def study(tmp_path_factory, config):
    out = tmp_path_factory.mktemp("compare")
    done = []
    found = compare_arms("quickstart", ARMS, config, out=out, overrides=SMALL, advance=done.append)
    return out, found, done


def test_budgets_are_equal_in_samples_or_in_work(study, config):
    out, found, _ = study
    plan = plan_comparison("quickstart", ARMS, config, out=out, overrides=SMALL)
    assert len(found) == 3 * 2 * 2
    for one in found:
        assert one.trained.run.samples == plan.samples[one.arm, one.matching]
        assert one.trained.samples >= one.trained.run.samples
        if one.matching == "samples":
            assert one.trained.run.samples == 60
        else:
            work = plan.samples[one.arm, "flops"] * plan.costs[one.arm].flops
            assert work == pytest.approx(60 * plan.costs["genlip"].flops, rel=0.02)
    assert plan.costs["registers_4"].flops > plan.costs["genlip"].flops


def test_runs_that_matchings_share_are_trained_once(study):
    _, found, _ = study
    of_genlip = [one for one in found if one.arm == "genlip"]
    assert len({one.trained.run.out for one in of_genlip}) == 2
    assert len(of_genlip) == 4


def test_the_rate_is_that_with_the_lowest_held_out_loss(study):
    out, found, _ = study
    for arm in ARMS:
        losses = {}
        for folder in (out / "runs").glob("*-30-*-seed0"):
            name, _, rate, _ = folder.name.rsplit("-", 3)
            if name == arm.name.replace(":", "_").replace("=-", "=_"):
                losses[float(rate)] = read_log(folder, "held_out")[-1]["loss"]
        assert len(losses) == 2
        assert {one.rate for one in found if one.arm == arm.name} == {min(losses, key=losses.get)}


def test_each_arm_has_the_scores_that_it_can_have(study):
    _, found, _ = study
    names = {one.arm: set(one.scores) for one in found}
    heads = {"attentive probe", "linear probe", "segmentation mIoU"}
    spoken = {"CIDEr-D", "exact captions", "patches to first token", "text to first token"}
    assert names["genlip"] == heads | spoken | (names["genlip"] & {"numbers read"})
    assert names["siglip:pairs.bias=-3"] == heads | {"image to text", "text to image"}
    assert names["registers_4"] == heads
    assert all(one.scores["linear probe"].score > 0.9 for one in found)


def test_a_second_call_trains_and_measures_nothing(study, config, monkeypatch):
    out, found, _ = study
    monkeypatch.setattr("genlip.studies.runs.train_model", lambda run: pytest.fail("trained again"))
    for name in ("probe", "segmentation", "captioning"):
        monkeypatch.setattr(f"genlip.studies.measures.measure_{name}", lambda *a, **k: pytest.fail("measured again"))
    again = compare_arms("quickstart", ARMS, config, out=out, overrides=SMALL)
    assert [one.scores.keys() for one in again] == [one.scores.keys() for one in found]
    assert len(list(csv.DictReader((out / "results.csv").open()))) == len(found)


def test_other_measures_are_added(study, config):
    out, _, _ = study
    fewer = Measures(probe=config.measures.probe, limit=4, epochs=1)
    config = CompareConfig(samples=60, match=("samples",), seeds=1, rate_factors=(0.1, 1.0), sweep_share=0.5, measures=fewer)
    found = compare_arms("quickstart", ARMS, config, out=out, overrides=SMALL)
    assert [len(one.scores["linear probe"].evidence) for one in found] == [4] * 3


def test_sentences_say_which_differences_are_beyond_noise(study):
    _, found, _ = study
    rows = []
    for arm, values in (("genlip", (0.5, 0.5)), ("siglip:pairs.bias=-3", (0.9, 0.9))):
        for value in values:
            scores = {"probe": Scores.mean([value] * 9), "PPL1": Scores.mean([value] * 9)}
            one = next(r for r in found if r.arm == arm)
            rows.append(one._replace(scores=scores))
    rows = [row._replace(edge="") for row in rows]
    assert comparison_lines(rows) == [
        "probe: siglip:pairs.bias=-3 is better than genlip, +0.400 (+0.400 to +0.400)",
        "PPL1: siglip:pairs.bias=-3 is worse than genlip, +0.400 (+0.400 to +0.400)",
    ]
    noisy = [row._replace(scores={"probe": Scores.mean([v] * 9)}) for row, v in zip(rows, (0.1, 0.9, 0.2, 0.9), strict=True)]
    (line,) = comparison_lines(noisy)
    assert "do not differ beyond noise" in line
    broken = noisy[3]._replace(edge="highest", scores={}, trained=noisy[3].trained._replace(loss=float("inf")))
    _, *doubts = comparison_lines([*noisy[:2], noisy[2]._replace(edge="highest"), broken])
    assert doubts[0].endswith("is the highest tried: widen --rate-factors")
    assert doubts[1] == "siglip:pairs.bias=-3: 1 of 2 runs diverged and are left out"


def test_the_page_shows_all_matchings(study, config):
    out, found, _ = study
    plan = plan_comparison("quickstart", ARMS, config, out=out, overrides=SMALL)
    page = comparison_study_page(found, plan, config, "quickstart")
    assert "the same encoder but for settings of registers_4 in model" in page
    for text in ("At equal samples", "At equal work (FLOPs)", "registers_4", "attentive probe", "do not differ"):
        assert text in page


def test_the_command_plans(study, config, capsys):
    out, _, _ = study
    command = ["study", "compare", "quickstart", "--arms", *(arm.name for arm in ARMS), "--samples", "60", "--seeds", "2"]
    assert main([*command, "--plan", "--gpu", "h100", "--out", str(out), *SMALL]) == 0
    said = capsys.readouterr().out
    assert "registers_4" in said
    assert "on one h100" in said


@pytest.mark.parametrize(
    ("settings", "message"),
    [({"match": ("money",)}, "money"), ({"seeds": 0}, "seeds"), ({"sweep_share": 0.0}, "sweep_share"),
     ({"rate_factors": (0.0,)}, "rate_factors")],
)  # fmt: skip
def test_impossible_settings_are_refused(settings, message):
    with pytest.raises(ValueError, match=message):
        CompareConfig(**{"samples": 60} | settings)


def test_settings_of_the_study_are_refused(tmp_path):
    config = CompareConfig(samples=60)
    with pytest.raises(ValueError, match="--steps: this study sets it itself"):
        plan_comparison("quickstart", ARMS, config, out=tmp_path, overrides=[*SMALL, "--steps=3"])
    with pytest.raises(ValueError, match="--seed: this study sets it itself"):
        plan_comparison("quickstart", read_arms(["genlip:seed=3"]), config, out=tmp_path, overrides=SMALL)


def test_costs_count_each_parameter_once_and_are_kept(tmp_path):
    arms = {name: ("quickstart", [*SMALL, *read_arms([name])[0].overrides]) for name in ("encoder_decoder", "registers_4")}
    costs = stored_costs(arms, tmp_path)
    for name, (recipe, overrides) in arms.items():
        states = []
        train_model(recipe, [*overrides, "--steps", "1", "--out", str(tmp_path / name)], on_step=states.append)
        model = states[0].model
        assert sum(costs[name].parameters.values()) == sum(p.numel() for p in model.parameters())
    assert costs["registers_4"].parameters["registers"] == 4 * 32
    before = (tmp_path / "costs.json").read_text()
    stored_costs(
        {"encoder_decoder": ("quickstart", [*arms["encoder_decoder"][1], "--data.held_out_samples", "9"])}, tmp_path
    )
    assert stored_costs(arms, tmp_path) == costs
    assert len((tmp_path / "costs.json").read_text()) > len(before)


def test_a_measure_needs_all_of_its_names():
    with pytest.raises(ValueError, match="need 2 names"):
        Measures(probe=("train",))
