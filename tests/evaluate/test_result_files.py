"""Stored results: what comes back is what was written, folders by identity, and files that are damaged or hostile."""

import json
import math
import os
from contextlib import suppress
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from genlip.data.images import decode
from genlip.evaluate.aggregators import AGGREGATORS, bleu, mean_iou
from genlip.evaluate.result import Result
from genlip.evaluate.result_files import evaluations_folder, read_result, read_results, write_result
from genlip.evaluate.scores import Scores
from tests.stopping import Stop, stopped_at

RED, BLUE = Image.new("RGB", (3, 2), "red"), Image.new("RGB", (5, 5), "blue")


def result(**changes: object) -> Result:
    scores = {"top-1": Scores.mean([1, 0, 0.5]), "BLEU-4": Scores(np.arange(30.0).reshape(3, 10), bleu)}
    fields = {
        "measurement": "captioning",
        "model": "runs/quickstart/model",
        "data": "scenes:1",
        "settings": {"size": 64, "prompt": "ä"},
        "scores": scores,
        "keys": ["a", "b", "c"],
        "figures": {"per class": [0.5, None]},
        "outputs": [{"said": "ein Wörtchen\u2028"}, {}, {}],
        "pictures": {"first.png": RED},
        "about": {"seconds": 1.5},
    }
    return Result(**{**fields, **changes})


def test_what_is_read_is_what_was_written(tmp_path: Path) -> None:
    one = result()
    found = read_result(write_result(one, tmp_path))
    for name in ("measurement", "model", "data", "settings", "keys", "figures", "outputs", "about", "identity"):
        assert getattr(found, name) == getattr(one, name), name
    for name, scores in one.scores.items():
        assert found.scores[name].evidence.tolist() == scores.evidence.tolist()
        assert found.scores[name].aggregator is scores.aggregator
        assert found.scores[name].interval() == scores.interval()
    assert decode(found.pictures["first.png"]).tobytes() == RED.tobytes()


def test_a_stored_score_shows_its_value_and_interval_to_other_readers(tmp_path: Path) -> None:
    stored = json.loads((write_result(result(), tmp_path) / "result.json").read_text())["scores"]["top-1"]
    assert stored["value"] == 0.5
    assert stored["interval"] == list(Scores.mean([1, 0, 0.5]).interval())
    assert (stored["formula"], stored["evidence"]) == ("ratio", [[1, 1], [0, 1], [0.5, 1]])


def test_a_score_that_is_not_defined_is_stored_as_json_knows_it(tmp_path: Path) -> None:
    nothing = Scores(np.zeros((3, 4)), mean_iou)
    folder = write_result(result(scores={"mIoU": nothing}), tmp_path)
    text = (folder / "result.json").read_text()
    assert json.loads(text, parse_constant=pytest.fail)["scores"]["mIoU"]["value"] is None
    assert math.isnan(read_result(folder).scores["mIoU"].score)


@pytest.mark.parametrize("formula", AGGREGATORS)
def test_every_formula_has_the_name_that_it_is_stored_by(formula: str) -> None:
    assert AGGREGATORS[formula].__name__ == formula


def test_measuring_again_takes_the_place_and_other_settings_stand_beside(tmp_path: Path) -> None:
    first = write_result(result(pictures={"first.png": RED, "old.png": RED}), tmp_path)
    assert write_result(result(pictures={"first.png": BLUE}), tmp_path) == first
    assert decode(first / "first.png").size == (5, 5)
    assert not (first / "old.png").exists()
    other = write_result(result(settings={"size": 96}), tmp_path)
    assert first.name.startswith("captioning.scenes-1.")
    assert [one.settings["size"] for one in read_results(tmp_path)] == [
        one["size"] for _, one in sorted([(first, {"size": 64}), (other, {"size": 96})])
    ]


def test_a_result_that_was_read_can_be_written_to_its_own_place(tmp_path: Path) -> None:
    folder = write_result(result(), tmp_path)
    assert write_result(read_result(folder), tmp_path) == folder
    assert decode(folder / "first.png").tobytes() == RED.tobytes()


def test_the_name_of_a_set_cannot_leave_the_folder(tmp_path: Path) -> None:
    folder = write_result(result(data="../../etc/a b\n" + "x" * 300), tmp_path / "evaluations")
    assert folder.parent == tmp_path / "evaluations"
    assert len(folder.name) < 80


@pytest.mark.parametrize("name", ["../a.png", "a/b.png", "a.svg", ".png", "a.png\n"])
def test_a_picture_must_lie_in_its_folder(tmp_path: Path, name: str) -> None:
    with pytest.raises(ValueError, match=r"need letters, digits, _ or -, then \.png"):
        write_result(result(pictures={name: RED}), tmp_path)
    folder = write_result(result(), tmp_path)
    stored = json.loads((folder / "result.json").read_text())
    (folder / "result.json").write_text(json.dumps(stored | {"pictures": [name]}))
    with pytest.raises(ValueError, match=r"need letters, digits, _ or -, then \.png"):
        read_result(folder)


@pytest.mark.parametrize(
    "change",
    [
        lambda stored: stored.pop("format"),
        lambda stored: stored.update(format=2),
        lambda stored: stored.pop("keys"),
        lambda stored: stored.update(more=1),
        lambda stored: stored["scores"]["top-1"].update(formula="os.system"),
        lambda stored: stored.update(scores=[1]),
    ],
)
def test_a_damaged_result_says_which_file_it_is(tmp_path: Path, change) -> None:
    folder = write_result(result(), tmp_path)
    stored = json.loads((folder / "result.json").read_text())
    change(stored)
    (folder / "result.json").write_text(json.dumps(stored))
    with pytest.raises(ValueError, match=r"result\.json: not a stored result: "):
        read_results(tmp_path)


def test_a_score_is_of_the_images_that_are_named(tmp_path: Path) -> None:
    message = r"top-1: evidence of shape \(2, 2\) for 3 images; need a row for each"
    with pytest.raises(ValueError, match=message):
        write_result(result(scores={"top-1": Scores.mean([1, 0])}), tmp_path)
    folder = write_result(result(), tmp_path)
    stored = json.loads((folder / "result.json").read_text())
    stored["scores"]["top-1"]["evidence"].pop()
    (folder / "result.json").write_text(json.dumps(stored))
    with pytest.raises(ValueError, match=message):
        read_result(folder)


def test_a_file_that_is_no_json_says_so(tmp_path: Path) -> None:
    folder = write_result(result(), tmp_path)
    for text in ("{", "[]", "1"):
        (folder / "result.json").write_text(text)
        with pytest.raises(ValueError, match="not a stored result"):
            read_result(folder)


def test_a_folder_without_results_has_none(tmp_path: Path) -> None:
    assert read_results(tmp_path) == read_results(tmp_path / "nowhere") == []


def test_results_lie_in_the_models_folder_or_for_an_id_here(tmp_path: Path) -> None:
    assert evaluations_folder(tmp_path) == tmp_path / "evaluations"
    assert evaluations_folder("YanFang/GenLIP-L16-224") == Path("evaluations/YanFang--GenLIP-L16-224")
    assert evaluations_folder("timm:vit_base_patch16_siglip_224") == Path("evaluations/timm--vit_base_patch16_siglip_224")
    assert evaluations_folder("transformers:towers/siglip2") == Path("evaluations/transformers--towers--siglip2")


NO_UTF8 = os.fsdecode(b"caf\xe9-1.png")


def test_names_that_are_no_utf8_are_kept(tmp_path: Path) -> None:
    one = result(data=f"photos/{NO_UTF8}", keys=[NO_UTF8, "b", "c"], outputs=[{"spoken": NO_UTF8}, {}, {}])
    found = read_result(write_result(one, tmp_path))
    assert (found.data, found.keys, found.outputs) == (one.data, one.keys, one.outputs)


def test_a_result_that_stops_on_its_way_leaves_the_old_one_the_new_one_or_a_warning(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    old, new = result(figures={"asked": 1}), result(figures={"asked": 2}, pictures={"first.png": BLUE})
    ends = set()
    for number in range(40):
        home = tmp_path / str(number)
        write_result(old, home)
        caplog.clear()
        with monkeypatch.context() as patched:
            stopped_at(number, patched)
            with suppress(Stop):
                write_result(new, home)
                ends.add("finished")
        found = read_results(home)
        if not found:
            assert "a new result was being put into the place of this one; measure again" in caplog.text
            ends.add("warned")
            continue
        asked = found[0].figures["asked"]
        assert decode(found[0].pictures["first.png"]).tobytes() == {1: RED, 2: BLUE}[asked].tobytes(), number
        ends.add(asked)
    assert ends == {1, "warned", 2, "finished"}
