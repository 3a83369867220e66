"""lmms-eval itself, on a few local questions with its own metrics. Needs `make lmms`, and nothing from a network.

A stand-in of the assistant says how red an image is, or whether that number is even, so the figures are known by hand.
"""

import json

import pytest
from PIL import Image

from genlip.evaluate.lmms.results import read_lmms_results
from genlip.evaluate.lmms.run import measure_lmms

from .local_tasks import offline, write_local_task
from .recorded import results

pytest.importorskip("lmms_eval")

ASSISTANT = '''
"""Python imports this module at its start: it puts a stand-in into the place of genlip.mllm.assistant."""
import sys
from types import ModuleType


class Assistant:
    @classmethod
    def load(cls, folder, *, device, dtype):
        return cls()

    def answer(self, dialogues, batch_size, **decoding):
        assert decoding["temperature"] == 0
        return [self.one(dialogue, decoding["max_tokens"]) for dialogue in dialogues]

    def one(self, dialogue, tokens):
        (image,), text = dialogue.images, dialogue.messages[-1].text
        mark, question, *ending = text.split("\\n")
        assert mark == "<image>", text
        print("asked:", question, ending, tokens)
        red = image.getpixel((0, 0))[0]
        return ("no" if red % 2 else "Yes.") if question.startswith("Is") else f"{red}\\n\\nand so on"


module = sys.modules["genlip.mllm.assistant"] = ModuleType("genlip.mllm.assistant")
module.Assistant = Assistant
'''

DOCVQA = [(12, ["12", "twelve"]), (13, ["13"]), (12, ["123"]), (7, ["something else"])]
CHARTQA = [(100, "104"), (100, "106"), (8, "8"), (9, "nine"), (50, "50.0")]  # numbers may differ by 5 %
MME = [  # image, category, red, answer: pairs of questions
    ("a", "count", 2, "Yes"), ("a", "count", 3, "No"),  # both right: 100 + 100
    ("b", "count", 2, "Yes"), ("b", "count", 4, "No"),  # one right: 50 + 0
    ("c", "color", 1, "Yes"), ("c", "color", 3, "No"),  # 50 + 0
    ("d", "text_translation", 2, "Yes"), ("d", "text_translation", 2, "Yes"),  # cognition
]  # fmt: skip
OCRBENCH = [(12, ["it is 12"]), (12, ["12"]), (12, ["1"])]  # right if a true answer is within what was said


def local(folder, task, file, split, rows):
    """`rows` are pairs of red and columns."""
    images = [(Image.new("RGB", (20, 10), (red, 0, 0)), row) for red, row in rows]
    write_local_task(folder, task, file, split, images)


def write_tasks(folder):
    question = {"question": "What number?"}
    rows = [(red, question | {"answers": true, "questionId": "1", "docId": 1}) for red, true in DOCVQA]
    local(folder, "docvqa_val", "docvqa/docvqa_val.yaml", "validation", rows)
    rows = [(red, question | {"answer": true, "type": "human_test"}) for red, true in CHARTQA]
    local(folder, "chartqa", "chartqa/chartqa.yaml", "test", rows)
    asked = "Is it even? Please answer yes or no."
    rows = [(red, {"question": asked, "answer": true, "question_id": image, "category": of}) for image, of, red, true in MME]
    local(folder, "mme", "mme/mme.yaml", "test", rows)
    kinds = {"dataset": "any", "question_type": "Digit String Recognition"}
    local(
        folder,
        "ocrbench",
        "ocrbench/ocrbench.yaml",
        "test",
        [(red, question | kinds | {"answer": t}) for red, t in OCRBENCH],
    )


@pytest.fixture(scope="module")
def measured(tmp_path_factory):
    """A model's folder, and the scores of a run of lmms-eval."""
    folder = tmp_path_factory.mktemp("lmms")
    for name in ("model", "tasks", "path"):
        (folder / name).mkdir()
    (folder / "model/config.json").write_text("{}")
    (folder / "path/sitecustomize.py").write_text(ASSISTANT)
    write_tasks(folder / "tasks")
    with pytest.MonkeyPatch.context() as patch:
        offline(patch, folder)
        patch.setenv("PYTHONPATH", str(folder / "path"))
        names = ["docvqa_val", "chartqa", "mme", "ocrbench"]
        scores = measure_lmms(folder / "model", tasks=names, include_path=folder / "tasks", batch_size=2, device="cpu")
    return folder / "model", scores


def test_the_figures_of_its_metrics_are_those_by_hand(measured):
    _, scores = measured
    assert {task: score.value for task, score in scores.tasks.items()} == {
        "docvqa_val": pytest.approx(100 * (1 + 1 + 2 / 3 + 0) / 4),  # one of three characters is missing
        "chartqa": pytest.approx(60),
        "mme": pytest.approx(((200 + 50) / 2 + 50) / 20),
        "ocrbench": pytest.approx(0.2),  # two of 1,000
    }
    assert {task: score.asked for task, score in scores.tasks.items()} == {
        "docvqa_val": 4, "chartqa": 5, "mme": 8, "ocrbench": 3,
    }  # fmt: skip
    assert scores.tasks["chartqa"].margin == pytest.approx(196 * (0.6 * 0.4 / 4) ** 0.5)
    assert scores.version


def test_it_asks_what_its_tasks_say(measured):
    model, _ = measured
    asked = {
        task: (model / f"evaluations/lmms.paper14/{task}/log.txt").read_text().count(f"asked: {text}")
        for task, text in {
            "docvqa_val": "What number? ['Answer the question using a single word or phrase.'] 32",
            "chartqa": "What number? ['Answer the question with a single word.'] 16",
            "mme": "Is it even? ['Answer the question using a single word or phrase.'] 16",
            "ocrbench": "What number? [] 128",
        }.items()
    }
    assert asked == {"docvqa_val": 4, "chartqa": 5, "mme": 8, "ocrbench": 3}


def test_its_results_have_the_form_of_those_that_are_recorded(measured):
    model, _ = measured
    place = model / "evaluations/lmms.paper14"
    (file,) = (place / "docvqa_val").glob("*/*_results.json")
    stored, recorded = json.loads(file.read_text()), results({"docvqa_val_local": ({}, 4, 4)}, model=str(model))
    assert recorded.keys() <= stored.keys()
    assert recorded["config"].keys() <= stored["config"].keys()
    assert stored["n-samples"] == recorded["n-samples"]
    assert stored["config"]["model_backend"] == recorded["config"]["model_backend"]
    assert stored["config"]["model_args"] == recorded["config"]["model_args"]
    assert read_lmms_results([place]).model == str(model)
    assert set(read_lmms_results([place]).tasks) == {"docvqa_val", "chartqa", "mme", "ocrbench"}
