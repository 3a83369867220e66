"""Chat templates: each character is the template's, a question's or an answer's; what cannot be told apart is refused."""

import random

import pytest

from genlip.data.dialogues import Message
from genlip.data.examples import Unusable
from genlip.mllm.templates import PLAIN_TEMPLATE, ChatTemplate, Segment, added_first, check_texts, folder_template

from .chat_templates import CHATML_TURNS, FORMS, GEMMA, LLAMA3, MISTRAL, MISTRAL_LAST, THINKING, tokenizer_of

ASKED, TOLD = Message("user", "Q"), Message("assistant", "A")
TWO = [ASKED, TOLD, Message("user", "R"), Message("assistant", "B")]


def template_of(form, system=""):
    return ChatTemplate(tokenizer_of(*FORMS[form]), system)


def as_dicts(messages):
    return [{"role": message.role, "content": message.text} for message in messages]


def W(text):
    return Segment(text, True)


def Q(text):
    return Segment(text, False)


def A(text):
    return Segment(text, False, True)


def WA(text):
    return Segment(text, True, True)


BY_HAND = {
    "smollm": [
        W("<|im_start|>system\nYou are a helpful assistant.<|im_end|>\n<|im_start|>user\n"),
        *[Q("Q"), W("<|im_end|>\n<|im_start|>assistant\n"), A("A"), WA("<|im_end|>"), W("\n<|im_start|>user\n")],
        *[Q("R"), W("<|im_end|>\n<|im_start|>assistant\n"), A("B"), WA("<|im_end|>"), W("\n")],
    ],
    "thinking": [
        W("<|im_start|>user\n"),
        *[Q("Q"), W("<|im_end|>\n<|im_start|>assistant\n"), A("A"), WA("<|im_end|>"), W("\n<|im_start|>user\n")],
        *[Q("R"), W("<|im_end|>\n<|im_start|>assistant\n"), WA("<think>\n\n</think>\n\n"), A("B")],
        *[WA("<|im_end|>"), W("\n")],
    ],
    "llama3": [
        W("<|begin_of_text|><|start_header_id|>user<|end_header_id|>\n\n"),
        *[Q("Q"), W("<|eot_id|><|start_header_id|>assistant<|end_header_id|>\n\n"), A("A"), WA("<|eot_id|>")],
        W("<|start_header_id|>user<|end_header_id|>\n\n"),
        *[Q("R"), W("<|eot_id|><|start_header_id|>assistant<|end_header_id|>\n\n"), A("B"), WA("<|eot_id|>")],
    ],
    "mistral": [
        W("<s> [INST] "),
        *[Q("Q"), W(" [/INST]"), WA(" "), A("A"), WA("</s>"), W(" [INST] ")],
        *[Q("R"), W(" [/INST]"), WA(" "), A("B"), WA("</s>")],
    ],
    "gemma": [
        W("<s><start_of_turn>user\n"),
        *[Q("Q"), W("<end_of_turn>\n<start_of_turn>model\n"), A("A"), WA("<end_of_turn>"), W("\n<start_of_turn>user\n")],
        *[Q("R"), W("<end_of_turn>\n<start_of_turn>model\n"), A("B"), WA("<end_of_turn>"), W("\n")],
    ],
    "phi": [
        W("<|user|>\n"),
        *[Q("Q"), W("<|end|>\n<|assistant|>\n"), A("A"), WA("<|end|>"), W("\n<|user|>\n")],
        *[Q("R"), W("<|end|>\n<|assistant|>\n"), A("B"), WA("<|end|>"), W("\n<|endoftext|>")],
    ],
}  # fmt: skip


@pytest.mark.parametrize("form", BY_HAND)
def test_segments_by_hand(form):
    assert template_of(form).segments("k", TWO) == BY_HAND[form]


def test_a_prompt_ends_where_the_answer_begins():
    assert template_of("mistral").segments("k", TWO[:3], prompt=True) == BY_HAND["mistral"][:-3]
    ends = template_of("thinking").segments("k", [ASKED], prompt=True)
    assert ends == [W("<|im_start|>user\n"), Q("Q"), W("<|im_end|>\n<|im_start|>assistant\n")]


def random_messages(rng):
    pieces = ["A cat", "\n", "  ", "東京 😀", "{{ x }}", "<b>", "\t", "é", ".", "<image>", "'", '"', "\\n", "Q"]
    texts = ["".join(rng.choices(pieces, k=rng.randint(0, 6))) for _ in range(2 * rng.randint(1, 4))]
    return [Message(("user", "assistant")[n % 2], text) for n, text in enumerate(texts)]


@pytest.mark.parametrize("form", FORMS)
def test_segments_are_the_rendering_and_texts_stay_with_who_said_them(form):
    tokenizer, rng = tokenizer_of(*FORMS[form]), random.Random(form)
    template = ChatTemplate(tokenizer)
    for _ in range(60):
        messages = random_messages(rng)
        segments = template.segments("k", messages)
        assert "".join(one.text for one in segments) == tokenizer.apply_chat_template(as_dicts(messages), tokenize=False)
        said = [one for one in segments if not one.written]
        assert said == [Segment(m.text.strip(), False, m.role == "assistant") for m in messages if m.text.strip()]


@pytest.mark.parametrize("form", [form for form in FORMS if form != "gemma"])
def test_a_system_message_is_text_that_is_not_learned(form):
    messages = [Message("system", "Be brief."), *TWO]
    template = template_of(form, system="Another text.")
    segments = template.segments("k", messages)
    assert [one.text for one in segments if not one.written] == ["Be brief.", "Q", "A", "R", "B"]
    assert Q("Be brief.") in segments


def test_a_dialogue_may_end_with_a_question():
    segments = template_of("smollm").segments("k", [*TWO, ASKED])
    assert segments[-3:] == [W("\n<|im_start|>user\n"), Q("Q"), W("<|im_end|>\n")]


def test_white_space_of_an_answer_belongs_to_it_unless_the_template_removes_it():
    spaced = [ASKED, Message("assistant", "\n A \n")]
    assert template_of("smollm").segments("k", spaced)[-4:] == [WA("\n "), A("A"), WA(" \n<|im_end|>"), W("\n")]
    assert template_of("llama3").segments("k", spaced)[-2:] == [A("A"), WA("<|eot_id|>")]
    assert template_of("smollm").segments("k", [ASKED, Message("assistant", "")])[-2:] == [WA("<|im_end|>"), W("\n")]


def test_a_space_before_the_end_belongs_to_the_answer():
    spaced = (
        "{% for m in messages %}"
        "{{ '[INST] ' + m.content + ' [/INST]' if m.role == 'user' else m.content + ' </s>' }}{% endfor %}"
    )
    segments = ChatTemplate(tokenizer_of("mistral", spaced)).segments("k", TWO)
    assert segments[3:6] == [W(" [/INST]"), A("A"), WA(" </s>")]
    segments = ChatTemplate(tokenizer_of("mistral", spaced)).segments("k", [ASKED, Message("assistant", "A \n")])
    assert segments[-2:] == [A("A"), WA(" \n </s>")]


def test_what_a_template_says_of_itself():
    found = {form: template_of(form) for form in FORMS}
    assert [form for form in found if found[form].chatml] == ["smollm", "qwen", "thinking"]
    assert {form: found[form].end for form in ("qwen", "mistral", "phi")} == {
        "qwen": "<|im_end|>",
        "mistral": "</s>",
        "phi": "<|end|>",
    }
    assert {"<start_of_turn>", "<end_of_turn>", "<image>"} <= {*found["gemma"].control.ids}
    assert not any(one.bos for one in found.values())


def test_the_first_token_of_the_tokenizer_is_written_where_the_template_forgets_it():
    tokenizer = tokenizer_of("mistral", MISTRAL.replace("{{- bos_token }}", ""))
    assert added_first(tokenizer) == ChatTemplate(tokenizer).bos == "<s>"
    assert ChatTemplate(tokenizer).segments("k", TWO)[:2] == [W("<s>"), W(" [INST] ")]
    assert added_first(tokenizer_of(*FORMS["qwen"])) == added_first(tokenizer_of(*FORMS["phi"])) == ""


def refusal(kind, template, system=""):
    with pytest.raises(ValueError, match=r"^chat\.|chat\.template to plain") as error:
        ChatTemplate(tokenizer_of(kind, template), system)
    assert "\n" not in str(error.value)
    return str(error.value)


def test_templates_that_cannot_be_used_are_refused():
    assert "has no chat template: set chat.template to plain" in refusal("chatml", None)
    assert "chat.system is 'Be kind.', but the language model takes no system message (the chat template fails: System" in (
        refusal("gemma", GEMMA, "Be kind.")
    )
    dropping = "{% for m in messages if m.role != 'system' %}<|im_start|>{{ m.content }}<|im_end|>{% endfor %}"
    assert "leaves out the text of message 1 (system)): set chat.system to an empty text" in (
        refusal("chatml", dropping, "Be kind.")
    )
    ending = "; use another language model, or set chat.template to plain"
    for template, reason in [
        ("{% for m in messages %}{{ m.content.nothing.more }}{% endfor %}", "the chat template fails: "),
        ("{% for m in messages %}{{ m.content }", "the chat template fails: "),
        ("{% for m in messages %}{{ 1 // 0 }}{% endfor %}", "the chat template fails: "),
        (
            "{% for m in messages %}{{ m.content + '\n' }}{% endfor %}",
            r"writes '\n' after an answer, and no token that ends",
        ),
        (
            "{% for m in messages %}{{ m.content | upper }}<|im_end|>{% endfor %}",
            "changes or leaves out the text of message 1",
        ),
        ("{% for m in messages %}{{ m.content * 2 }}<|im_end|>{% endfor %}", "the text of message 2 (assistant)"),
        (
            "{% for m in messages %}{{ m.content }}<|im_end|>{% endfor %}{{ messages[0].content }}<|im_end|>",
            "a text more than once",
        ),
        (
            "{% for m in messages %}<|im_start|>{{ m.content }}{% endfor %}"
            "{% if not add_generation_prompt %}<|im_end|>{% endif %}",
            "writes '<|im_start|>' after one answer, and '<|im_end|>' after another",
        ),
        (
            "{{ messages | length }}{% for m in messages %}{{ m.content }}<|im_end|>{% endfor %}",
            "writes the messages before message 2 otherwise once that one follows",
        ),
        (
            "{% for m in messages if not add_generation_prompt %}{{ m.content }}<|im_end|>{% endfor %}",
            "writes the messages before message 2 otherwise once that one follows",
        ),
    ]:
        message = refusal("chatml", template)
        assert message.startswith("chat.template: ")
        assert message.endswith(ending)
        assert reason in message


def test_templates_whose_turns_are_no_prefixes_are_refused_with_a_system_message_alone():
    assert "moves, changes or leaves out the text of message 1 (system)" in refusal("mistral", MISTRAL_LAST, "Be kind.")
    template = ChatTemplate(tokenizer_of("mistral", MISTRAL_LAST))
    assert template.segments("k", TWO)
    assert template.segments("k", [Message("system", "S"), *TWO[:2]])
    with pytest.raises(Unusable, match=r"^key 7: the chat template moves.*message 1 \(system\)$") as error:
        template.segments("key 7", [Message("system", "S"), *TWO])
    assert error.value.reason == "refused by the chat template"


def test_dialogues_that_a_template_refuses_are_named():
    for kind, template, messages, reason in [
        ("gemma", GEMMA, [Message("system", "S"), *TWO], "the chat template fails: System role not supported"),
        ("mistral", MISTRAL, [ASKED, *TWO], "the chat template fails: roles must alternate"),
        ("chatml", THINKING, [ASKED, Message("assistant", "<think>x</think>A"), *TWO[2:]], "text of message 2 (assistant)"),
        ("llama3", LLAMA3, [TOLD], "no message comes before the first answer"),
    ]:
        with pytest.raises(Unusable) as error:
            ChatTemplate(tokenizer_of(kind, template)).segments("key 7", messages)
        assert str(error.value).startswith("key 7: ")
        assert reason in str(error.value)


@pytest.mark.parametrize("text", ["\ud800", "a\udfffb", "\ufdd0", "x\ufdd4"])
def test_texts_that_are_none_are_refused(text):
    with pytest.raises(Unusable, match=r"^key 7: message 2 holds U\+(D|F)[0-9A-F]{3}, which is no character$"):
        check_texts("key 7", [ASKED, Message("assistant", text)])
    check_texts("key 7", [Message("user", "\ue000 \U0010ffff \x00 😀")])


IMAGE = {"type": "image"}


def text(words):
    return {"type": "text", "text": words}


def in_folder(messages, template=CHATML_TURNS, system="", bos=False, kind="chatml", prompt=False):
    tokenizer = tokenizer_of(kind, folder_template(template, "<image>", system, bos))
    return tokenizer.apply_chat_template(messages, tokenize=False, add_generation_prompt=prompt)


@pytest.mark.parametrize(
    ("content", "flat"),
    [
        ([IMAGE, text("Q")], "<image>\nQ"),
        ([IMAGE, IMAGE, text("Q"), text("R")], "<image>\n<image>\nQR"),
        ([text("Q"), IMAGE, text("R")], "Q<image>R"),
        ([IMAGE], "<image>"),
        ([IMAGE, text("")], "<image>"),
        ([text("Q")], "Q"),
        ("Q <image>", "Q <image>"),
        ([], ""),
    ],
)
def test_parts_of_the_first_question_become_a_text(content, flat):
    turns = [{"role": "assistant", "content": "A"}, {"role": "user", "content": [IMAGE, text("R")]}]
    flat_turns = [{"role": "assistant", "content": "A"}, {"role": "user", "content": "<image>R"}]
    expected = tokenizer_of("chatml", CHATML_TURNS).apply_chat_template(
        [{"role": "user", "content": flat}, *flat_turns], tokenize=False
    )
    assert in_folder([{"role": "user", "content": content}, *turns]) == expected


@pytest.mark.parametrize("form", [form for form in FORMS if form != "gemma"])
def test_the_folders_template_adds_the_system_message_and_then_writes_what_the_model_writes(form):
    kind, template = FORMS[form]
    system = 'Say "x" \\ it\'s\n{{ 1 }} %} 😀 é IMAGE SYSTEM'
    tokenizer, asked = tokenizer_of(kind, template), as_dicts([ASKED])
    for prompt in (False, True):
        expected = tokenizer.apply_chat_template(
            [{"role": "system", "content": system}, *asked], tokenize=False, add_generation_prompt=prompt
        )
        assert in_folder(asked, template, system, kind=kind, prompt=prompt) == expected
        own = as_dicts([Message("system", "S"), ASKED])
        expected = tokenizer.apply_chat_template(own, tokenize=False, add_generation_prompt=prompt)
        assert in_folder(own, template, system, kind=kind, prompt=prompt) == expected


def test_the_folders_template_keeps_white_space_at_the_start_and_writes_the_first_token():
    assert in_folder(as_dicts([ASKED]), "\n {{ messages[0].content }}") == "\n Q"
    assert (
        in_folder(as_dicts([ASKED]), MISTRAL.replace("{{- bos_token }}", ""), bos=True, kind="mistral")
        == "<s> [INST] Q [/INST]"
    )


def test_the_plain_template_of_a_folder_keeps_images_and_answers():
    messages = [{"role": "user", "content": [text("Q"), IMAGE, IMAGE]}, {"role": "assistant", "content": [text("A")]}]
    assert in_folder(messages, PLAIN_TEMPLATE) == "<image><image>A\n"
    assert in_folder(messages[:1], PLAIN_TEMPLATE, prompt=True) == "<image><image>"


def test_a_part_of_another_kind_is_refused():
    with pytest.raises(Exception, match="a part of a message must be an image or a text, found video"):
        in_folder([{"role": "user", "content": [{"type": "video"}]}])
