"""Chats: ids are Transformers' own, answers and their ends are learned, and a prompt is what its dialogue begins with."""

import itertools
import logging
import pickle
import random

import numpy as np
import pytest
from PIL import Image
from tokenizers import Tokenizer, models, pre_tokenizers
from transformers import CLIPImageProcessor, LlavaProcessor, PreTrainedTokenizerFast

from genlip.data.dialogues import Dialogue, Message
from genlip.data.examples import Unusable
from genlip.mllm.chat import Chat
from genlip.mllm.run import ChatConfig

from .chat_templates import CHATML_TURNS, FORMS, MISTRAL, tokenizer_of
from .test_templates import as_dicts


def chat_of(form, image_token="<image>", **settings):
    tokenizer = tokenizer_of(*FORMS[form])
    return tokenizer, Chat(tokenizer, ChatConfig(**settings), image_token)


def dialogue(*texts, system=None, images=None, key="key 7"):
    """Question, answer, question, ..., with an image for each mark."""
    messages = [Message(("user", "assistant")[n % 2], text) for n, text in enumerate(texts)]
    messages = [Message("system", system)] * (system is not None) + messages
    marks = sum(message.text.count("<image>") for message in messages)
    return Dialogue(key, ("an image",) * (marks if images is None else images), tuple(messages))


def runs(tokenizer, encoded):
    """The texts of the supervised parts."""
    groups = itertools.groupby(zip(encoded.token_ids, encoded.supervised, strict=True), key=lambda pair: pair[1])
    return [tokenizer.decode([number for number, _ in group]) for learned, group in groups if learned]


TALK = ("<image>\nWhat is in this image?", "A cat, and two dogs.", "How many dogs?", "There are two.\nYes, 2.")


@pytest.mark.parametrize("form", FORMS)
def test_ids_are_those_of_transformers_and_answers_are_supervised(form):
    tokenizer, chat = chat_of(form)
    encoded = chat.encode(dialogue(*TALK), [5])
    text = tokenizer.apply_chat_template(as_dicts(dialogue(*TALK).messages), tokenize=False)
    expected = tokenizer(text.replace("<image>", "<image>" * 5), add_special_tokens=False).input_ids
    assert encoded.token_ids.tolist() == expected
    assert (encoded.token_ids.dtype, encoded.supervised.dtype, encoded.cut) == (np.int64, np.bool_, 0)
    end = {"llama3": "<|eot_id|>", "gemma": "<end_of_turn>", "phi": "<|end|>"}.get(form, "</s>")
    end = "<|im_end|>" if FORMS[form][0] == "chatml" else end
    thought = "<think>\n\n</think>\n\n" if form == "thinking" else ""
    found = [run.strip() for run in runs(tokenizer, encoded)]  # SentencePiece: a space before the first word
    assert found == [TALK[1] + end, thought + TALK[3] + end]


def slow_chatml(tokenizer, messages, visual=()):
    """ChatML turn by turn, each part tokenized alone: (role, ids of header, text, end and line break)."""
    visual, turns = iter(visual), []
    for role, text in messages:
        while "<image>" in text:
            text = text.replace("<image>", "<|PICTURE|>" * next(visual), 1)
        parts = [f"<|im_start|>{role}\n", text.replace("<|PICTURE|>", "<image>"), "<|im_end|>", "\n"]
        turns.append((role, *(tokenizer(part, add_special_tokens=False).input_ids for part in parts)))
    return turns


TALKS = [
    dialogue("What is this?", "A cat."),
    dialogue("<image>\nWhat is this?", "A cat.", "And <image> this?", "東京, Straße 😀.\n"),
    dialogue("<image><image>", "\n\nYes.", "No?", "  No.", system="Be\nbrief."),
    dialogue("a\nb\n\nc\n", "1. A\n2. B\n\n\n3. C", "", "ελληνικά"),
    dialogue("No answer follows.", "Yes.", "Or?"),
    dialogue("An image in an answer?", "This <image> one."),
]


@pytest.mark.parametrize("labels", ["answers", "llava"])
@pytest.mark.parametrize("talk", TALKS)
def test_labels_equal_a_slow_reading_of_chatml(labels, talk):
    """llava: answers from their header to the line break after them, and every line break, <|im_start|> and <|im_end|>."""
    tokenizer, chat = chat_of("smollm", labels=labels, system="You are kind.")
    visual = [3, 2][: len(talk.images)]
    system = [] if talk.messages[0].role == "system" else [Message("system", "You are kind.")]
    ids, learned = [], []
    for role, header, text, end, line in slow_chatml(tokenizer, [*system, *talk.messages], visual):
        ids += header + text + end + line
        answer = [role == "assistant"] * (len(text) + 1)
        whole = labels == "llava" and role == "assistant"
        learned += [whole] * len(header) + answer + [whole]
    picture, start, end, line = tokenizer.convert_tokens_to_ids(["<image>", "<|im_start|>", "<|im_end|>", "Ċ"])
    if labels == "llava":
        learned = [one or number in (start, end, line) for one, number in zip(learned, ids, strict=True)]
    learned = [one and number != picture for one, number in zip(learned, ids, strict=True)]
    encoded = chat.encode(talk, visual)
    assert encoded.token_ids.tolist() == ids
    assert encoded.supervised.tolist() == [False, *learned[1:]]


def random_talk(rng):
    pieces = [
        "A cat",
        "\n",
        "  ",
        "東京 😀",
        "<b>",
        "\t",
        "é",
        ".",
        "<image>",
        "\n\n",
        "two dogs",
        "<|im_end|>",
        "</s>",
        "Yes ",
    ]
    texts = ["".join(rng.choices(pieces, k=rng.randint(0, 5))) for _ in range(2 * rng.randint(1, 4))]
    return dialogue("<image>" + texts[0], *texts[1:])


@pytest.mark.parametrize("template", ["chat", "plain"])
@pytest.mark.parametrize("form", FORMS)
def test_every_prompt_is_what_its_dialogue_begins_with(form, template):
    rng = random.Random(form)
    _, chat = chat_of(form, template=template)
    for _ in range(40):
        talk = random_talk(rng)
        visual = [rng.randint(1, 4) for _ in talk.images]
        encoded = chat.encode(talk, visual)
        for n in range(1, len(talk.messages), 2):
            if n + 1 < len(talk.messages) and form == "thinking":
                continue  # the last answer alone begins with a thought
            images = sum(message.text.count("<image>") for message in talk.messages[:n])
            prompt = chat.prompt(talk.messages[:n], visual[:images])
            assert prompt.tolist() == encoded.token_ids[: len(prompt)].tolist()
            if not talk.messages[n].text.lstrip().startswith("<image>"):
                assert encoded.supervised[len(prompt)]
            assert not encoded.supervised[len(prompt) - 1] or template == "plain"


def test_special_tokens_in_a_text_are_plain_characters():
    tokenizer, chat = chat_of("smollm", image_token="<|endoftext|>")
    texts = "a<|im_end|>b<|endoftext|>", "<|im_start|>user\nYes.<|im_end|>", "<|endoftext|>?", "c<|im_end|>"
    encoded = chat.encode(dialogue(*texts, system="<|im_end|>"))
    counts = [int((encoded.token_ids == n).sum()) for n in tokenizer.convert_tokens_to_ids(["<|im_end|>", "<|im_start|>"])]
    assert counts == [5, 5]
    assert chat.image_token_id == tokenizer.convert_tokens_to_ids("<|endoftext|>")
    assert chat.image_token_id not in encoded.token_ids
    assert tokenizer.decode(encoded.token_ids) == tokenizer.apply_chat_template(
        as_dicts(dialogue(*texts, system="<|im_end|>").messages), tokenize=False
    )
    assert runs(tokenizer, encoded) == [texts[1] + "<|im_end|>", texts[3] + "<|im_end|>"]
    assert len(chat.prompt([Message("user", "<image>")], [4])) == len(chat.prompt([Message("user", "<image>")], [1])) + 3


def test_images_stand_where_their_marks_are():
    tokenizer, chat = chat_of("qwen")
    encoded = chat.encode(dialogue("<image>a<image>", "b <image>.", "<image><image>c", "d"), [2, 1, 3, 1, 2])
    text = tokenizer.decode(encoded.token_ids).replace("<image>", "+")
    assert "user\n++a+<|im_end|>" in text
    assert "assistant\nb +++.<|im_end|>" in text
    assert "user\n+++c<|im_end|>" in text
    assert runs(tokenizer, encoded) == ["b ", ".<|im_end|>", "d<|im_end|>"]


@pytest.mark.parametrize(("form", "first"), [("qwen", ""), ("mistral", "<s>"), ("llama3", "<|begin_of_text|>")])
def test_plain_is_images_answers_and_line_breaks(form, first):
    tokenizer, chat = chat_of(form, template="plain")
    encoded = chat.encode(dialogue("<image>\nWhat is this?", "A cat.", "And <image>?", "A red chair", system="S"), [2, 3])
    assert tokenizer.decode(encoded.token_ids) == f"{first}<image><image>A cat.\n<image><image><image>A red chair\n"
    assert runs(tokenizer, encoded) == ["A cat.\n", "A red chair\n"]
    line = encoded.token_ids[-1]
    assert tokenizer.decode([line]) == "\n"
    assert (encoded.token_ids == line).sum() == 2  # alone also after a full stop: it ends an answer
    assert chat.end_ids == (line, tokenizer.eos_token_id)
    assert tokenizer.decode(chat.prompt([Message("user", "What? <image>")], [2])) == f"{first}<image><image>"


def test_the_first_token_is_never_supervised():
    tokenizer, chat = chat_of("qwen", template="plain")
    encoded = chat.encode(dialogue("What?", "A cat"))
    assert tokenizer.decode(encoded.token_ids) == "A cat\n"
    assert encoded.supervised.tolist() == [False] + [True] * (len(encoded.token_ids) - 1)


def test_the_system_text_of_the_settings_is_for_dialogues_without_one():
    tokenizer, chat = chat_of("qwen", system="Be kind.")
    first = "<|im_start|>system\n{}<|im_end|>\n<|im_start|>user\nQ<|im_end|>\n<|im_start|>assistant\n"
    assert tokenizer.decode(chat.prompt(dialogue("Q").messages)) == first.format("Be kind.")
    assert tokenizer.decode(chat.prompt(dialogue("Q", system="S").messages)) == first.format("S")
    own = "You are Qwen, created by hand. You are a helpful assistant."
    assert tokenizer.decode(chat_of("qwen")[1].prompt(dialogue("Q").messages)) == first.format(own)


def test_ends_of_answers():
    for form, expected in [
        ("qwen", ["<|im_end|>"]),
        ("llama3", ["<|eot_id|>", "<|end_of_text|>"]),
        ("mistral", ["</s>"]),
        ("gemma", ["<end_of_turn>", "</s>"]),
        ("phi", ["<|end|>", "<|endoftext|>"]),
    ]:
        tokenizer, chat = chat_of(form)
        assert tokenizer.convert_ids_to_tokens(list(chat.end_ids)) == expected


def test_a_tokenizer_without_line_breaks_ends_with_its_own_token_alone():
    backend = Tokenizer(models.WordLevel({"<image>": 0, "</s>": 1, "1.": 2, "cat": 3, "?": 4}, unk_token="?"))
    backend.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=backend, unk_token="?", eos_token="</s>", additional_special_tokens=["<image>"]
    )
    chat = Chat(tokenizer, ChatConfig(template="plain"), "<image>")
    assert chat.end_ids == (1,)
    assert chat.encode(dialogue("<image> cat", "cat"), [2]).token_ids.tolist() == [0, 0, 3]


def test_a_pickled_copy_encodes_the_same_and_encoding_changes_nothing():
    tokenizer, chat = chat_of("gemma")
    rng, before = random.Random(0), tokenizer("a <s> b<image>").input_ids
    for _ in range(10):
        talk = random_talk(rng)
        visual = [2] * len(talk.images)
        first, again = chat.encode(talk, visual), chat.encode(talk, visual)
        other = pickle.loads(pickle.dumps(chat)).encode(talk, visual)
        assert first.token_ids.tolist() == again.token_ids.tolist() == other.token_ids.tolist()
        assert first.supervised.tolist() == again.supervised.tolist() == other.supervised.tolist()
    assert tokenizer("a <s> b<image>").input_ids == before


LONG = (
    "<image>\n" + "How many dogs? " * 30 + "東京😀" * 9,
    "There are two.",
    "And cats? 😀",
    "One " * 9,
    "Is this a table?",
    "No.",
)


@pytest.mark.parametrize("labels", ["answers", "llava"])
def test_only_questions_are_shortened_and_only_as_far_as_needed(labels):
    tokenizer, chat = chat_of("smollm", system="You are kind." * 5, labels=labels)
    whole = chat.encode(dialogue(*LONG), [7])
    size = len(whole.token_ids)
    least = len(chat.encode(dialogue("<image>", LONG[1], "", LONG[3], "", LONG[5], system=""), [7]).token_ids)
    for room in [*range(least, least + 40), size - 20, size - 1, size, size + 5]:
        encoded = chat.encode(dialogue(*LONG), [7], room)
        assert room - 12 <= len(encoded.token_ids) <= room or room >= size == len(encoded.token_ids)
        assert encoded.cut == size - len(encoded.token_ids)
        assert (encoded.token_ids == chat.image_token_id).sum() == 7
        text = tokenizer.decode(encoded.token_ids)
        assert "\ufffd" not in text  # no half of a character
        roles = [part.partition("\n")[0] for part in text.split("<|im_start|>")[1:]]
        assert roles == ["system", *["user", "assistant"] * 3]
        if labels == "answers":
            assert runs(tokenizer, encoded) == runs(tokenizer, whole)
        for answer in LONG[1::2]:
            assert f"<|im_start|>assistant\n{answer}<|im_end|>\n" in text
    assert chat.encode(dialogue(*LONG), [7], size).token_ids.tolist() == whole.token_ids.tolist()


def test_the_longest_text_is_shortened_first_in_its_middle():
    tokenizer, chat = chat_of("smollm")
    talk = dialogue("<image>" + "1" * 20 + "2" * 20, "A", "3" * 12, "B", system="4" * 15)  # a token for each digit
    size = len(chat.encode(talk, [1]).token_ids)
    for cut, sizes in [(0, (40, 12, 15)), (10, (30, 12, 15)), (27, (14, 12, 14)), (36, (10, 10, 10)), (66, (0, 0, 0))]:
        encoded = chat.encode(talk, [1], size - cut)
        text = tokenizer.decode(encoded.token_ids)
        found = [sum(text.count(digit) for digit in digits) for digits in ("12", "3", "4")]
        assert sum(found) + cut <= 67
        assert tuple(found) == sizes
        assert abs(text.count("1") - text.count("2")) <= 1
        assert "21" not in text


def test_no_character_is_cut_in_parts():
    tokenizer, chat = chat_of("smollm")
    talk = dialogue("😀" * 15, "A")
    size, least = len(chat.encode(talk).token_ids), len(chat.encode(dialogue("", "A")).token_ids)
    for room in range(least, size):
        text = tokenizer.decode(chat.encode(talk, (), room).token_ids)
        assert "\ufffd" not in text
        assert room - least - 8 <= 4 * text.count("😀") <= room - least  # a token for each byte


def test_what_the_template_writes_is_not_cut_where_a_token_joins_it_with_a_question():
    turns = "{% for m in messages %}{{ m.content + '\\n' if m.role == 'user' else m.content + '<|im_end|>' }}{% endfor %}"
    tokenizer = tokenizer_of("chatml", turns)
    chat = Chat(tokenizer, ChatConfig(), "<image>")
    whole = chat.encode(dialogue("12.", "A")).token_ids
    assert tokenizer.decode(whole[2:3]) == ".\n"
    assert chat.encode(dialogue("12.", "A"), (), len(whole) - 2).token_ids.tolist() == whole[2:].tolist()
    with pytest.raises(Unusable, match="but room for 2 in all"):
        chat.encode(dialogue("12.", "A"), (), len(whole) - 3)


def test_what_does_not_fit_is_refused_with_its_sizes():
    _, chat = chat_of("smollm")
    talk = dialogue(*LONG)
    fixed = chat.encode(dialogue("<image>", LONG[1], "", LONG[3], "", LONG[5]), [7])
    room, answers = len(fixed.token_ids) - 1, int(fixed.supervised.sum())
    with pytest.raises(Unusable, match=r"raise packing\.max_tokens") as error:
        chat.encode(talk, [7], room)
    assert error.value.reason == "too large for a pack"
    assert str(error.value).startswith(
        f"key 7: {answers} tokens of answers and {room + 1 - answers} of images and the chat template, but room for {room} "
    )


@pytest.mark.parametrize(
    ("talk", "reason", "message"),
    [
        (dialogue("<image> a", "b", images=0), "mark without image", "1 marks <image> in its texts and 0 images"),
        (dialogue("a", "b <image>", images=3), "image without mark", "1 marks <image> in its texts and 3 images"),
        (dialogue("a"), "no answer", "no token is supervised"),
        (dialogue("a", "b\ud83d"), "damaged", "message 2 holds U+D83D"),
        (dialogue("a", "b\ufdd1"), "damaged", "message 2 holds U+FDD1"),
        (Dialogue("key 7", (), ()), "refused by the chat template", "no message"),
    ],
)
def test_dialogues_that_cannot_be_used_are_named(talk, reason, message):
    for template in ("chat", "plain"):
        if not talk.messages and template == "plain":
            continue
        with pytest.raises(Unusable) as error:
            chat_of("smollm", template=template)[1].encode(talk, [2] * len(talk.images))
        assert error.value.reason == reason
        assert str(error.value).startswith("key 7: ")
        assert message in str(error.value)


def test_plain_dialogues_without_any_text_have_no_answer():
    for talk in (Dialogue("key 7", (), ()), dialogue("a"), dialogue("<image> a")):
        with pytest.raises(Unusable, match=r"^key 7: no token is supervised"):
            chat_of("smollm", template="plain")[1].encode(talk, [1] * len(talk.images))


def test_settings_that_cannot_be_met_are_refused():
    tokenizer = tokenizer_of(*FORMS["mistral"])
    for settings, image_token, message in [
        ({"labels": "llava"}, "<image>", "for ChatML templates, and the chat template of the language model is another"),
        ({"labels": "llava", "template": "plain"}, "<image>", "for ChatML templates, and chat.template is plain"),
        ({}, "<picture>", "'<picture>' is no special token of the tokenizer: add it as one first"),
        ({"system": "See <image>."}, "<image>", "chat.system holds <image>"),
        ({"system": "\ufdd0"}, "<image>", "chat.system: message 1 holds U\\+FDD0"),
    ]:
        with pytest.raises(ValueError, match=message):
            Chat(tokenizer, ChatConfig(**settings), image_token)
    with pytest.raises(ValueError, match="is no fast tokenizer"):
        Chat(object(), ChatConfig(), "<image>")


def test_wrong_calls_are_errors():
    _, chat = chat_of("smollm")
    with pytest.raises(ValueError, match="key 7: 2 numbers of visual tokens for 1 images"):
        chat.encode(dialogue("<image>", "b"), [1, 2])
    for messages in ([], dialogue("a", "b").messages):
        with pytest.raises(ValueError, match="the last message must be from the user"):
            chat.prompt(messages)
    with pytest.raises(Unusable, match="the question: 1 marks <image> in its texts and 0 images"):
        chat.prompt(dialogue("<image>").messages)
    with pytest.raises(ValueError, match="plain reads images, not questions: give an image"):
        chat_of("smollm", template="plain")[1].prompt(dialogue("What?").messages)


def test_a_template_that_writes_the_date_is_told(caplog):
    dated = CHATML_TURNS + "{% if false %}{{ strftime_now('%d') }}{% endif %}"
    with caplog.at_level(logging.WARNING):
        Chat(tokenizer_of("chatml", CHATML_TURNS), ChatConfig(), "<image>")
        assert not caplog.records
        Chat(tokenizer_of("chatml", dated), ChatConfig(), "<image>")
    assert "today's date" in caplog.text


PICTURE = Image.new("RGB", (50, 40), "red")
FORGETFUL = MISTRAL.replace("{{- bos_token }}", "")  # the tokenizer writes <s>


@pytest.mark.parametrize("settings", [{}, {"system": 'Say "no".\n'}, {"template": "plain"}])
@pytest.mark.parametrize("form", [*FORMS, "forgetful"])
def test_the_processor_of_a_folder_writes_the_same_prompt(form, settings):
    if form == "gemma" and "system" in settings:
        pytest.skip("takes no system message")
    tokenizer = tokenizer_of(*({**FORMS, "forgetful": ("mistral", FORGETFUL)}[form]))
    chat = Chat(tokenizer, ChatConfig(**settings), "<image>")
    images = CLIPImageProcessor(size={"height": 32, "width": 32}, crop_size={"height": 32, "width": 32})
    processor = LlavaProcessor(
        images, tokenizer, patch_size=8, vision_feature_select_strategy="full", chat_template=chat.folder_template()
    )
    picture = {"type": "image", "image": PICTURE}
    for questions, contents in [
        (("<image>\nWhat?",), ([picture, {"type": "text", "text": "What?"}],)),
        (("What is\nthis <image>",), ([{"type": "text", "text": "What is\nthis "}, picture],)),
        (("<image>\n<image>\nA?", "B?"), ([picture, picture, {"type": "text", "text": "A?"}], "B?")),
    ]:
        talk = dialogue(*itertools.chain.from_iterable((question, "An answer") for question in questions))
        messages = as_dicts(talk.messages[:-1])
        for message, content in zip(messages[::2], contents, strict=True):
            message["content"] = content
        found = processor.apply_chat_template(messages, tokenize=True, return_dict=True, add_generation_prompt=True)
        expected = chat.prompt(talk.messages[:-1], [16] * len(talk.images))
        assert np.ravel(found["input_ids"]).tolist() == expected.tolist()
