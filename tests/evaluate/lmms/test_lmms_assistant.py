"""lmms-eval on a folder of a tiny random model: the answers are those of its `Assistant`. Needs `make lmms`.

Some of the true answers are what the model says, asked without lmms-eval; so the figures are known.
"""

import pytest

from genlip.data.dialogues.dialogue import Dialogue, Message
from genlip.evaluate.lmms.run import measure_lmms

from .local_tasks import offline, write_local_task

pytest.importorskip("lmms_eval")
from genlip.mllm.assistant import Assistant

from ...mllm.folders import TinyMLLM, make_encoder, pictures

ENDING = "Answer the question using a single word or phrase."


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    return TinyMLLM.of(make_encoder("genlip native")).write(tmp_path_factory.mktemp("mllm") / "model")


def spoken(model, images):
    """What it says about each image, as lmms-eval leaves it."""
    asked = [Dialogue(str(i), (one,), (Message("user", f"<image>\nWhat is it?\n{ENDING}"),)) for i, one in enumerate(images)]
    answers = Assistant.load(model).answer(asked, batch_size=1, max_tokens=32)
    return [answer.partition("\n\n")[0].strip() for answer in answers]


def test_the_figure_is_that_of_the_models_own_answers(model, tmp_path, monkeypatch):
    said = spoken(model, pictures())
    assert len(set(said)) == len(said) == 3
    rows = [
        (image, {"question": "What is it?", "answers": [true], "questionId": "1", "docId": 1})
        for image, true in zip(pictures(), [said[0], "€", said[2]], strict=True)
    ]
    write_local_task(tmp_path / "tasks", "docvqa_val", "docvqa/docvqa_val.yaml", "validation", rows)
    offline(monkeypatch, tmp_path)
    scores = measure_lmms(
        model, tasks=["docvqa_val"], include_path=tmp_path / "tasks", batch_size=2, device="cpu", dtype="float32"
    )
    assert scores.tasks["docvqa_val"].value == pytest.approx(200 / 3)
