"""LmmsModel: requests of lmms-eval become dialogues and settings, and answers come back in order.

Where lmms-eval is not installed, a stand-in of its class takes its place; the assistant is one in all of these tests.
"""

import random
import sys
from importlib import import_module
from importlib.util import find_spec
from types import ModuleType, SimpleNamespace

import pytest
import torch
from PIL import Image

from genlip.data.dialogues.dialogue import Dialogue, Message
from genlip.data.examples import Unusable


class Lmms:
    """What `lmms_eval.api.model.lmms` of 0.7.3 has, as far as a model sees it."""

    is_simple = True

    def __init__(self):
        self._rank, self._world_size, self.task_dict = 0, 1, {}

    @property
    def rank(self):
        return self._rank

    def clean(self):
        self.cleaned = True


class Assistant:
    """Answers with the key of the dialogue and what was asked; notes how it was called."""

    loaded: list = []

    def __init__(self):
        self.calls = []

    @classmethod
    def load(cls, folder, *, device, dtype):
        cls.loaded.append((folder, device, dtype))
        return cls()

    def answer(self, dialogues, batch_size, **decoding):
        self.calls.append(([one.key for one in dialogues], batch_size, decoding))
        return [f"{one.key}|{one.messages[-1].text}" for one in dialogues]


@pytest.fixture
def module(monkeypatch):
    """`genlip.mllm.lmms_model`, imported anew with the stand-ins."""
    if find_spec("lmms_eval") is None:
        for name in ("lmms_eval", "lmms_eval.api", "lmms_eval.api.model"):
            monkeypatch.setitem(sys.modules, name, ModuleType(name))
        sys.modules["lmms_eval.api.model"].lmms = Lmms
    stand_in = ModuleType("genlip.mllm.assistant")
    stand_in.Assistant = Assistant
    monkeypatch.setitem(sys.modules, "genlip.mllm.assistant", stand_in)
    monkeypatch.delitem(sys.modules, "genlip.mllm.lmms_model", raising=False)
    monkeypatch.setattr(Assistant, "loaded", [])
    yield import_module("genlip.mllm.lmms_model")
    sys.modules.pop("genlip.mllm.lmms_model", None)  # with the stand-in in it


def request(doc, settings, task="docvqa_val"):
    """The six arguments of a chat request of 0.7.3; `doc` is an index into the documents."""
    messages = lambda document: [{"role": "user", "content": document}]  # noqa: E731
    return SimpleNamespace(args=("context", messages, settings, doc, task, "validation"))


def model_of(module, documents, **given):
    model = module.LmmsModel(pretrained="runs/model", device="cpu", **given)
    model.task_dict = {"docvqa_val": {"validation": documents}}
    return model


IMAGE = {"type": "image", "url": Image.new("RGB", (4, 2))}


def text(words):
    return {"type": "text", "text": words}


def test_answers_come_in_the_order_of_the_requests(module):
    documents = [[text(f"question {index}")] for index in range(7)]
    model = model_of(module, documents, batch_size="2")
    kinds = [{"max_new_tokens": 5}, {"max_new_tokens": 9}]
    answers = model.generate_until([request(doc, kinds[doc % 2]) for doc in (6, 1, 4, 3, 2, 5, 0)])
    assert answers == [f"docvqa_val:{doc}|question {doc}" for doc in (6, 1, 4, 3, 2, 5, 0)]
    batches = [(keys, decoding["max_tokens"]) for keys, _, decoding in model.assistant.calls]
    assert batches == [
        (["docvqa_val:6", "docvqa_val:4"], 5),
        (["docvqa_val:2", "docvqa_val:0"], 5),
        (["docvqa_val:1", "docvqa_val:3"], 9),
        (["docvqa_val:5"], 9),
    ]


def test_a_question_that_cannot_be_asked_has_no_answer_and_ends_nothing(module, monkeypatch, caplog):
    given = Assistant.answer

    def answer(self, dialogues, **decoding):
        if any("second" in one.messages[-1].text for one in dialogues):
            raise Unusable("control tokens", "a control token in the question")
        return given(self, dialogues, **decoding)

    monkeypatch.setattr(Assistant, "answer", answer)
    model = model_of(module, [[text(words)] for words in ("first", "second", "third")], batch_size=4)
    said = model.generate_until([request(number, {}) for number in range(3)])
    assert ["first" in said[0], said[1], "third" in said[2]] == [True, "", True]
    assert "docvqa_val:1 has no answer: a control token in the question" in caplog.text


def test_repeats_of_a_request_are_drawn_with_seeds_of_their_own(module):
    model = model_of(module, [[text("a")]], batch_size=1, seed=7)
    model.generate_until([request(0, {"do_sample": True, "temperature": 0.7})] * 3)
    assert [decoding["seed"] for _, _, decoding in model.assistant.calls] == [7, 8, 9]


def test_a_question_about_an_image_reads_as_in_training(module):
    found = module.dialogue([{"role": "user", "content": [IMAGE, text("What is it?\nAnswer with a word.")]}], "a:0")
    assert found == Dialogue("a:0", (IMAGE["url"],), (Message("user", "<image>\nWhat is it?\nAnswer with a word."),))


def test_images_stand_where_the_task_puts_them(module):
    parts = [text("Compare "), IMAGE, text(" with "), IMAGE, text(" now.")]
    messages = [
        {"role": "system", "content": "Be brief."},
        {"role": "user", "content": parts},
        {"role": "assistant", "content": [text("Equal.")]},
        {"role": "user", "content": [IMAGE, IMAGE, text("And these?")]},
    ]
    found = module.dialogue(messages, "a:0")
    assert [message.text for message in found.messages] == [
        "Be brief.",
        "Compare <image> with <image> now.",
        "Equal.",
        "<image><image>And these?",
    ]
    assert len(found.images) == 4


def test_texts_are_those_of_the_chat_template_of_a_folder(module):
    """The same messages written by the template with which Transformers opens the folder, for 300 random dialogues."""
    templates, jinja2 = pytest.importorskip("genlip.mllm.templates"), pytest.importorskip("jinja2")
    plain = "{% for message in messages %}[{{ message.role }}]{{ message.content }}{% endfor %}"
    environment = jinja2.Environment(trim_blocks=True, lstrip_blocks=True)  # as that of Transformers
    template = environment.from_string(templates.folder_template(plain, "<image>", ""))
    choose = random.Random(0)
    parts = [text("a"), text("b c"), text(" x\n"), text(""), IMAGE, IMAGE]
    for _ in range(300):
        roles = ["system"] * choose.randrange(2) + ["user", "assistant"] * choose.randrange(3) + ["user"]
        messages = []
        for role in roles:
            known = parts if role == "user" else parts[:4]
            messages.append({"role": role, "content": choose.choices(known, k=choose.randrange(1, 5))})
        found = module.dialogue(messages, "a:0")
        assert "".join(f"[{one.role}]{one.text}" for one in found.messages) == template.render(messages=messages)


def test_the_characters_of_the_mark_in_a_question_are_no_image(module):
    found = module.dialogue([{"role": "user", "content": [IMAGE, text("A. <image>\nB. red")]}], "seed:1")
    assert found.messages[0].text == "<image>\nA. [image]\nB. red"


@pytest.mark.parametrize(
    ("messages", "told"),
    [
        ([{"role": "user", "content": [{"type": "video", "url": "x.mp4"}]}], "t:3: a message holds video: this model reads"),
        ([], "t:3: messages of nobody: need user and assistant in turn, the user last"),
        ([{"role": "assistant", "content": "a"}], "t:3: messages of assistant: need user"),
        ([{"role": "user", "content": "a"}] * 2, "t:3: messages of user, user: need user"),
        ([{"role": "user", "content": "a"}, {"role": "assistant", "content": "b"}], "the user last"),
    ],
)
def test_messages_that_cannot_be_answered_are_one_line(messages, told, module):
    with pytest.raises(ValueError, match=told):
        module.dialogue(messages, "t:3")


@pytest.mark.parametrize(
    ("settings", "max_tokens", "temperature", "top_p"),
    [
        ({"max_new_tokens": 32, "temperature": 0, "do_sample": False, "until": ["\n\n"]}, 32, 0.0, 1.0),
        ({"max_new_tokens": 16, "temperature": 0, "top_p": None, "num_beams": 1, "do_sample": False}, 16, 0.0, 1.0),
        ({"until": ["ASSISTANT:"], "image_aspect_ratio": "original"}, 1024, 0.0, 1.0),
        ({"do_sample": True}, 1024, 1.0, 1.0),
        ({"temperature": 0.2, "top_p": 0.9}, 1024, 0.2, 0.9),
        ({"temperature": 0.2, "do_sample": False}, 1024, 0.0, 1.0),
    ],
)
def test_settings_of_tasks_become_those_of_the_assistant(settings, max_tokens, temperature, top_p, module):
    assert module.decoding(settings) == {"max_tokens": max_tokens, "temperature": temperature, "top_p": top_p}


def test_settings_that_it_does_not_have_are_refused(module):
    with pytest.raises(ValueError, match=r"^generation_kwargs has num_beams 5: there is no beam search, set it to 1$"):
        module.decoding({"num_beams": 5})
    with pytest.raises(
        ValueError, match=r"^generation_kwargs has top_k: this model has do_sample, max_new_tokens, .* alone$"
    ):
        module.decoding({"top_k": 3})


@pytest.mark.parametrize(
    ("until", "left"),
    [(["\n\n"], "one\ntwo"), ("two", "one\n"), (["zzz", "three", "two"], "one\n"), (None, None), ([], None), ([""], None)],
)
def test_an_answer_ends_before_the_first_text_of_until(until, left, module):
    answer = "one\ntwo\n\nthree"
    assert module.cut(answer, until) == (answer if left is None else left)


def test_until_of_the_request_is_honoured(module):
    model = model_of(module, [[text("a##b")]])
    assert model.generate_until([request(0, {"until": ["##"]})]) == ["docvqa_val:0|a"]


def test_a_request_of_a_simple_model_is_told_apart(module):
    """lmms-eval makes one for a task that is given as a file: its second argument are the settings."""
    one = SimpleNamespace(args=("context", {"max_new_tokens": 5}, print, 0, "docvqa_val", "validation"))
    with pytest.raises(ValueError, match=r"^a request without messages: call lmms-eval with the name of a task"):
        model_of(module, [[]]).generate_until([one])


def test_rounds_follow_each_other_until_the_task_ends_them(module):
    seen = []

    def messages(document, round_idx=None, previous_output=None, previous_round_info=None):
        if round_idx is None:
            return [{"role": "user", "content": document}]
        seen.append((round_idx, previous_output, previous_round_info))
        following = [{"role": "user", "content": f"{document} again"}]
        return (following, False, previous_output, f"told {round_idx}") if round_idx < 2 else (None, True, None, None)

    def single(document, round_idx=None, previous_output=None, previous_round_info=None):
        return [{"role": "user", "content": document}]

    model = model_of(module, ["why", "how"])
    requests = [
        SimpleNamespace(args=("", one, {}, doc, "docvqa_val", "validation")) for doc, one in enumerate((messages, single))
    ]
    first, second = "docvqa_val:0, round 1|why", "docvqa_val:0, round 2|why again"
    assert model.generate_until_multi_round(requests) == [[first, second], ["docvqa_val:1, round 1|how"]]
    assert seen == [(1, [first], None), (2, [first, second], "told 1")]


def test_it_is_created_as_lmms_eval_creates_it(module, monkeypatch):
    model = module.LmmsModel(pretrained="runs/model", dtype="bfloat16", batch_size="4", device="cpu")
    assert Assistant.loaded == [("runs/model", torch.device("cpu"), torch.bfloat16)]
    assert (model.is_simple, model.batch_size, model.rank, model.device) == (False, 4, 0, torch.device("cpu"))
    module.LmmsModel(pretrained="runs/model", device="cpu")
    assert Assistant.loaded[-1][2] is torch.float32
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setenv("LOCAL_RANK", "3")
    module.LmmsModel(pretrained="runs/model")
    assert Assistant.loaded[-1][1:] == (torch.device("cuda:3"), torch.bfloat16)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert module.LmmsModel(pretrained="runs/model").device == torch.device("cpu")


@pytest.mark.parametrize(
    ("given", "told"),
    [
        ({"pretrained": ""}, "model_args names no model: need pretrained=FOLDER"),
        ({"batch_size": "auto"}, "batch_size is 'auto': need a whole number of at least 1"),
        ({"batch_size": 0}, "batch_size is 0: need a whole number"),
        ({"dtype": "int8"}, "dtype is 'int8': need auto, float32 or bfloat16"),
    ],
)
def test_arguments_that_it_cannot_use_are_one_line(given, told, module):
    with pytest.raises(ValueError, match=told):
        module.LmmsModel(**{"pretrained": "m", "device": "cpu"} | given)


def test_likelihoods_are_refused_and_the_model_can_be_freed(module):
    model = model_of(module, [])
    with pytest.raises(NotImplementedError, match=r"^lmms-eval asks chat models for texts alone: choose a task"):
        model.loglikelihood([])
    model.clean()
    assert model.assistant is None
