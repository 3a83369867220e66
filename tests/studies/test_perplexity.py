"""The study: runs of equal data, chosen rates, results that can be compared, and going on after a stop."""

import json
import math
from pathlib import Path

import pytest

from genlip.cli.main import main
from genlip.evaluate.comparison.compare import compare_models
from genlip.evaluate.comparison.page import comparison_text
from genlip.evaluate.perplexity.table import perplexity_table
from genlip.evaluate.registry import section_of
from genlip.evaluate.result_files import read_results, write_result
from genlip.studies import perplexity
from genlip.studies.perplexity import PerplexityConfig, encoder_folder, measure_perplexity
from genlip.train.run_log import read_log

CONFIG = PerplexityConfig(steps=6, learning_rates=(1e-3, 1e-2), limit=6)
OVERRIDES = ["--evaluate_every", "3", "--data.held_out_samples", "4", "--images.size", "32", "--log_samples", "true"]


@pytest.fixture(scope="module")
def study(tmp_path_factory):
    out = tmp_path_factory.mktemp("study")
    encoders = ["random:tiny", "random:timm:vit_tiny_patch16_224"]
    trained = []
    results = measure_perplexity(
        encoders, "scenes:2", CONFIG, language_model="random:tiny", train="scenes:0", out=out, overrides=OVERRIDES,
        advance=trained.append,
    )  # fmt: skip
    return out, encoders, results, trained


def test_every_encoder_stage_and_rate_is_one_run(study):
    out, encoders, _, trained = study
    assert len(trained) == 2 * 2 * 2
    assert all((Path(folder) / "model" / "config.json").is_file() for folder in trained)
    samples = [(Path(folder) / "samples-0.jsonl").read_text() for folder in trained]
    assert len(set(samples)) == 1
    assert [Path(folder).parent for folder in trained[::4]] == [encoder_folder(out, encoder) for encoder in encoders]


def test_the_rate_with_the_lowest_held_out_loss_is_taken(study):
    out, encoders, results, _ = study
    for encoder, result in zip(encoders, results, strict=True):
        for stage, rate in result.figures["chosen"].items():
            last = {
                one: read_log(encoder_folder(out, encoder) / f"{stage}-{one:g}-6-seed0", "held_out")[-1]["loss"]
                for one in CONFIG.learning_rates
            }
            assert rate == min(last, key=last.get)


def test_a_rate_whose_loss_is_no_number_is_never_taken():
    run = perplexity.load_recipe("_mllm_perplexity")
    tried = [perplexity._Trained(run, rate, [(6, loss)]) for rate, loss in ((1.0, math.nan), (0.5, None), (0.1, 3.0))]
    assert min(tried, key=perplexity._last_loss).rate == 0.1


def test_all_conditions_are_measured_on_the_same_dialogues(study):
    _, _, results, _ = study
    names = [f"{stage}{end}" for stage in ("PPL1", "PPL2") for end in ("", ", another image", ", no image")]
    assert [list(result.scores) for result in results] == [names] * 2
    assert results[0].keys == results[1].keys
    assert len(results[0].keys) == 6
    for result in results:
        own, other = (result.scores[name].evidence for name in ("PPL1", "PPL1, another image"))
        assert (own[:, 1] == other[:, 1]).all()
        assert (own[:, 0] != other[:, 0]).any()


def test_results_are_stored_compared_and_shown(study, tmp_path):
    _, _, results, _ = study
    folders = []
    for number, result in enumerate(results):
        folder = tmp_path / str(number)
        write_result(result, folder)
        (again,) = read_results(folder)
        assert again.scores["PPL2"].score == pytest.approx(result.scores["PPL2"].score)
        assert "PPL1" in section_of(again).body
        folders.append(str(folder))
    assert "PPL2, no image" in comparison_text(compare_models(folders))
    table = perplexity_table(results)
    assert len(table.splitlines()) == 3
    assert f"{results[0].scores['PPL1'].score:.3f} (" in table


def test_what_is_done_is_not_trained_again(study):
    out, encoders, results, _ = study
    folder = encoder_folder(out, encoders[0]) / "PPL1-0.001-6-seed0"
    before = read_log(folder, "train")
    again = measure_perplexity(
        encoders[:1], "scenes:2", CONFIG, language_model="random:tiny", train="scenes:0", out=out, overrides=OVERRIDES
    )
    assert again[0].scores["PPL1"].score == pytest.approx(results[0].scores["PPL1"].score)
    assert read_log(folder, "train") == before


def test_what_cannot_be_is_refused():
    with pytest.raises(ValueError, match="stages PPL3: need some of PPL1, PPL2"):
        PerplexityConfig(stages=("PPL3",))
    with pytest.raises(ValueError, match="steps 0 must be at least 1"):
        PerplexityConfig(steps=0)
    with pytest.raises(ValueError, match="need at least one, each once"):
        measure_perplexity(["a", "a"], "scenes:2", language_model="x", train="scenes:0")
    with pytest.raises(ValueError, match="scenes:0 is measured and trained on"):
        measure_perplexity(["a"], "scenes:0", language_model="x", train="scenes:0")


def test_the_command_prints_the_table(tmp_path, capsys):
    words = ["eval", "perplexity", "random:tiny", "scenes:2", "--train", "scenes:0", "--llm", "random:tiny", "--steps", "2"]
    words += [
        "--limit",
        "4",
        "--stages",
        "PPL1",
        "--out",
        str(tmp_path),
        "--data.held_out_samples",
        "4",
        "--images.size",
        "32",
    ]
    assert main(words) in (0, None)
    assert "PPL1, another image" in capsys.readouterr().out
    (stored,) = (tmp_path / "random-tiny/evaluations").glob("*/result.json")
    assert json.loads(stored.read_text())["settings"]["steps"] == 2
    assert perplexity.STAGES["PPL1"] == ("projector",)
