"""`genlip.data.captions` against what its parts must be, and its refusals."""

import json
import re

import huggingface_hub
import numpy as np
import pytest
from huggingface_hub.errors import HFValidationError, LocalEntryNotFoundError
from hypothesis import given
from hypothesis import strategies as st
from tokenizers import Tokenizer, models

from genlip.data.captions import CaptionConfig, Captions, load_tokenizer, train_tokenizer, usual_end
from genlip.data.examples import Conversation, Turn
from genlip.model.file_kinds import LFS_POINTER

from ..export.hub_standin import hub_at, running_hub
from .helpers import examples, small_tokenizer

END = "<|im_end|>"
SYLLABLES = ["ka", "lo", "mi", "nu", "re", "ta", "so", "pi"]
WORDS = [first + second + third for first in SYLLABLES for second in SYLLABLES for third in SYLLABLES]
CORPUS = [f"the numbers 1990 and 47 of {word}, 474747" for word in WORDS]  # digits that a plain BPE would merge
TOKENIZER = train_tokenizer(CORPUS, 400)


def tokens(text: str, tokenizer: Tokenizer = TOKENIZER) -> list[str]:
    return tokenizer.encode(text, add_special_tokens=False).tokens


# -- the tokenizer


@given(text=st.text(max_size=60))
@examples(150)
def test_every_text_comes_back_from_its_tokens(text):
    ids = TOKENIZER.encode(text, add_special_tokens=False).ids
    assert TOKENIZER.decode(ids, skip_special_tokens=False) == text


@pytest.mark.parametrize(
    "text", ["  two  spaces ", "tab\tand\nline\r\n", "naïve café 猫 🐈‍⬛ \u202e\u0000", "١٢٣ ½ Ⅳ", "ﬀ\u0301"]
)
def test_odd_texts_come_back_from_their_tokens(text):
    assert TOKENIZER.decode(TOKENIZER.encode(text).ids, skip_special_tokens=False) == text


def test_every_digit_is_a_token_of_its_own():
    assert not [token for token in TOKENIZER.get_vocab() if len(token) > 1 and any(digit in token for digit in "0123456789")]
    assert [token for token in tokens("47 and 1990") if token.isdigit()] == ["4", "7", "1", "9", "9", "0"]
    assert "Ġnumbers" in TOKENIZER.get_vocab()  # words do merge


@pytest.mark.parametrize("size", [257, 258, 300, 350])
def test_the_vocabulary_is_as_large_as_asked_and_starts_with_the_end_token(size):
    vocabulary = train_tokenizer(CORPUS, size).get_vocab()
    assert sorted(vocabulary.values()) == list(range(size))
    assert vocabulary[END] == 0


def test_a_small_corpus_leaves_the_vocabulary_small():
    assert train_tokenizer([], 1000).get_vocab_size() == 257
    assert train_tokenizer(["ab ab"], 1000).get_vocab_size() <= 260


def test_a_vocabulary_without_room_for_all_bytes_is_refused():
    with pytest.raises(ValueError, match=r"at least 257 tokens .*, not 256"):
        train_tokenizer(CORPUS, 256)


def test_training_on_the_same_corpus_gives_the_same_tokenizer():
    assert train_tokenizer(iter(CORPUS), 400).to_str() == TOKENIZER.to_str()


# -- prompt, caption, end


@given(prompt=st.text(max_size=12), caption=st.text(max_size=40))
@examples(100)
def test_the_prompt_is_read_and_the_caption_and_its_end_are_learned(prompt, caption):
    ids, supervised = Captions(TOKENIZER, CaptionConfig(prompt=prompt)).encode(caption)
    parts = [TOKENIZER.encode(part, add_special_tokens=False).ids for part in (prompt, caption.strip(), f"{END}\n")]
    assert ids.tolist() == parts[0] + parts[1] + parts[2]
    assert supervised.tolist() == [False] * len(parts[0]) + [True] * len(parts[1] + parts[2])
    assert (ids.dtype, supervised.dtype) == (np.int64, bool)


def test_a_caption_is_stripped_and_a_prompt_is_not():
    captions = Captions(TOKENIZER, CaptionConfig(prompt=" Say: ", end=END))
    ids, _ = captions.encode(" \n\tthe numbers\u3000\n")
    assert TOKENIZER.decode(ids.tolist(), skip_special_tokens=False) == f" Say: the numbers{END}"


def test_the_end_starts_with_one_end_token():
    captions = Captions(TOKENIZER)
    assert captions.end_ids[0] == TOKENIZER.token_to_id(END)
    assert TOKENIZER.decode(captions.end_ids[1:]) == "\n"


@pytest.mark.parametrize("end", [".", "\n", "<|im_start|>"])
def test_an_end_that_is_no_special_token_is_refused(end):
    with pytest.raises(ValueError, match=r"does not begin with a special token .* choose one of '<\|im_end\|>'"):
        Captions(TOKENIZER, CaptionConfig(end=end))


def test_a_caption_that_spells_the_end_token_does_not_end_itself():
    ids, _ = Captions(TOKENIZER).encode(f"a {END} b")
    assert ids.tolist().count(TOKENIZER.token_to_id(END)) == 1
    assert TOKENIZER.decode(ids[:-2].tolist()) == f"a {END} b"


def test_padding_and_truncation_of_a_tokenizer_file_are_switched_off():
    tokenizer = train_tokenizer(["some words and more"], 300)
    expected = Captions(tokenizer, CaptionConfig(prompt="some")).encode("words and more")[0].tolist()
    tokenizer.enable_padding(length=40)
    tokenizer.enable_truncation(max_length=2)
    assert Captions(tokenizer, CaptionConfig(prompt="some")).encode("words and more")[0].tolist() == expected


@pytest.mark.parametrize("prompt", ["", "Say: "])
def test_a_caption_at_the_limit_has_its_end_and_a_longer_one_is_cut_without(prompt):
    caption = "1234567"  # seven tokens
    digits = [TOKENIZER.token_to_id(digit) for digit in caption]
    for limit, learned, ends in ((8, digits, True), (7, digits, True), (6, digits[:6], False), (1, digits[:1], False)):
        captions = Captions(TOKENIZER, CaptionConfig(prompt=prompt, max_tokens=limit))
        ids, supervised = captions.encode(f" {caption} ")
        assert ids[supervised].tolist() == learned + (captions.end_ids if ends else [])
        assert ids[~supervised].tolist() == captions.prompt_ids


TURNS = st.lists(st.builds(Turn, st.text("the numbers47\n é", max_size=12), st.booleans()), min_size=1, max_size=5)


def laid_out(turns: Conversation, captions: Captions) -> list[tuple[int, bool]]:
    """Token ids and marks of a conversation, token by token."""
    rows = [(token, False) for token in captions.prompt_ids]
    if turns[0].text.strip() and not turns[0].learned:
        rows = []
    left = captions.config.max_tokens
    for turn in turns:
        for token in captions.ids(turn.text.strip()):
            if left == 0:
                return rows
            rows.append((token, turn.learned))
            left -= 1
        if turn.learned:
            rows += [(token, True) for token in captions.end_ids]
    return rows


def rows(captions: Captions, caption: str | Conversation) -> list[tuple[int, bool]]:
    ids, learned = captions.encode(caption)
    assert (ids.dtype, learned.dtype, ids.shape) == (np.int64, bool, learned.shape)
    return list(zip(ids.tolist(), learned.tolist(), strict=True))


@given(turns=TURNS, prompt=st.sampled_from(["", "Say: "]), limit=st.integers(1, 30))
@examples(300)
def test_a_conversation_is_its_turns_up_to_the_limit(turns, prompt, limit):
    captions = Captions(TOKENIZER, CaptionConfig(prompt=prompt, max_tokens=limit))
    assert rows(captions, tuple(turns)) == laid_out(tuple(turns), captions)


def test_what_is_asked_is_read_and_every_answer_is_learned_with_an_end():
    captions = Captions(TOKENIZER, CaptionConfig(prompt="Say: "))
    ask, answer, more, last = (captions.ids(text) for text in ("47?", "the numbers", "and?", "1990"))
    expected = [ask, answer + captions.end_ids, more, last + captions.end_ids]
    conversation = (Turn(" 47?\n", False), Turn("the numbers ", True), Turn("and?", False), Turn("1990", True))
    assert rows(captions, conversation) == [(token, place % 2 == 1) for place in range(4) for token in expected[place]]


@pytest.mark.parametrize(
    "conversation",
    [
        (Turn("the numbers", True),),
        (Turn("", False), Turn("the numbers", True)),
        (Turn(" \n", False), Turn("the numbers", True)),
    ],
    ids=["missing", "empty", "blank"],
)
def test_the_prompt_stands_in_for_a_first_question_without_words(conversation):
    captions = Captions(TOKENIZER, CaptionConfig(prompt="Say: "))
    assert rows(captions, conversation) == rows(captions, "the numbers")


def test_a_conversation_is_cut_without_end_and_nothing_follows():
    conversation = (Turn("12", False), Turn("345", True), Turn("6", False), Turn("78", True))
    captions = Captions(TOKENIZER, CaptionConfig(prompt="Say: "))
    digit, end = {i: TOKENIZER.token_to_id(str(i)) for i in range(10)}, captions.end_ids
    learned = {
        1: [],
        2: [],
        4: [digit[3], digit[4]],
        5: [digit[3], digit[4], digit[5], *end],
        6: [digit[3], digit[4], digit[5], *end],
        7: [digit[3], digit[4], digit[5], *end, digit[7]],
        8: [digit[3], digit[4], digit[5], *end, digit[7], digit[8], *end],
    }
    for limit, expected in learned.items():
        ids, marks = Captions(TOKENIZER, CaptionConfig(prompt="Say: ", max_tokens=limit)).encode(conversation)
        assert ids[marks].tolist() == expected
        assert len(ids) == limit + len(end) * expected.count(end[0])


def test_a_turn_that_spells_the_end_token_does_not_end_itself():
    captions = Captions(TOKENIZER)
    conversation = (Turn(f"a {END}?", False), Turn(f"{END} b", True))
    ids, _ = captions.encode(conversation)
    assert ids.tolist().count(TOKENIZER.token_to_id(END)) == 1
    assert TOKENIZER.decode(ids[:-2].tolist(), skip_special_tokens=False) == f"a {END}?{END} b"
    assert captions.ids(END) == [TOKENIZER.token_to_id(END)]  # as a prompt and an end are read, before and after


@given(several=st.lists(st.text(max_size=20) | TURNS.map(tuple), max_size=8))
@examples(100)
def test_encoding_all_is_encoding_one_by_one(several):
    captions = Captions(TOKENIZER, CaptionConfig(prompt="Say: ", max_tokens=9))
    together, alone = captions.encode_all(several), [captions.encode(caption) for caption in several]
    assert len(together) == len(several)
    for one, other in zip(together, alone, strict=True):
        assert [part.tolist() for part in one] == [part.tolist() for part in other]
        assert [part.dtype for part in one] == [np.int64, bool]


def test_an_empty_caption_is_its_end():
    captions = Captions(TOKENIZER)
    assert captions.encode("  ")[0].tolist() == captions.end_ids


@given(caption=st.text(max_size=40))
@examples(100)
def test_decoding_gives_the_caption_without_special_tokens(caption):
    captions = Captions(TOKENIZER)
    ids, _ = captions.encode(caption)
    assert captions.decode(ids) == captions.decode(iter(ids.tolist())) == caption.strip()


def test_pieces_show_spaces_special_tokens_and_split_characters():
    captions = Captions(TOKENIZER)
    assert "".join(map(captions.piece, captions.ids("the numbers 47"))) == "the numbers 47"
    assert captions.piece(TOKENIZER.token_to_id("Ġnumbers")) == " numbers"
    assert captions.piece(TOKENIZER.token_to_id(END)) == END
    assert [captions.piece(i) for i in captions.ids("é")] == ["\ufffd", "\ufffd"]


def test_ids_beyond_the_models_vocabulary_are_refused():
    last = TOKENIZER.id_to_token(399)
    Captions(TOKENIZER, vocab_size=400)
    with pytest.raises(ValueError, match="has id 399, but the model's vocabulary ends at 398") as error:
        Captions(TOKENIZER, vocab_size=399)
    assert str(error.value).startswith(f"token {last!r} has id 399")
    assert "raise model.vocab_size to at least 400" in str(error.value)


def test_added_tokens_count_as_vocabulary():
    tokenizer = small_tokenizer()
    size = tokenizer.get_vocab_size()
    tokenizer.add_tokens(["<extra>"])
    with pytest.raises(ValueError, match=f"token '<extra>' has id {size}, but the model's vocabulary ends at {size - 1}"):
        Captions(tokenizer, vocab_size=size)


@pytest.mark.parametrize(
    ("changes", "found"),
    [({"max_tokens": 0}, "captions.max_tokens is 0: .* at least 1"), ({"end": ""}, "captions.end is empty")],
)
def test_impossible_settings_are_refused(changes, found):
    with pytest.raises(ValueError, match=found):
        CaptionConfig(**changes)


# -- loading


@pytest.fixture
def saved(tmp_path):
    TOKENIZER.save(str(tmp_path / "tokenizer.json"))
    return tmp_path / "tokenizer.json"


@pytest.fixture
def hub(monkeypatch):
    """Answer downloads with a file or an error, and write down what was asked for."""
    asked = []

    def answer_with(answer):
        def download(name, file):
            asked.append((name, file))
            if isinstance(answer, Exception):
                raise answer
            return str(answer)

        monkeypatch.setattr(huggingface_hub, "hf_hub_download", download)
        return asked

    return answer_with


def test_a_tokenizer_is_loaded_from_its_file_or_folder(saved, hub):
    asked = hub(RuntimeError("not to be asked"))
    for place in (saved, str(saved), saved.parent, str(saved.parent)):
        assert load_tokenizer(place).to_str() == TOKENIZER.to_str()
    assert not asked


def test_a_file_of_any_name_is_loaded(saved):
    assert load_tokenizer(saved.rename(saved.with_name("mine"))).to_str() == TOKENIZER.to_str()


def test_a_tokenizer_is_loaded_from_the_hub(saved, hub):
    asked = hub(saved)
    assert load_tokenizer("owner/name").to_str() == TOKENIZER.to_str()
    assert asked == [("owner/name", "tokenizer.json")]


def test_a_folder_goes_before_a_hub_id(saved, hub, monkeypatch):
    asked = hub(RuntimeError("not to be asked"))
    (saved.parent / "owner/name").mkdir(parents=True)
    saved.rename(saved.parent / "owner/name/tokenizer.json")
    monkeypatch.chdir(saved.parent)
    assert load_tokenizer("owner/name").to_str() == TOKENIZER.to_str()
    assert not asked


@pytest.mark.parametrize(
    "place", ["nowhere", "./no/where", "/no/where", "~/where", "a/b/c", "runs/tokenizer.json", "tokenizer.json"]
)
def test_a_missing_path_is_not_sought_on_the_hub(place, hub, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    asked = hub(RuntimeError("not to be asked"))
    with pytest.raises(FileNotFoundError) as error:
        load_tokenizer(place)
    expected = "no such tokenizer; need a tokenizer.json, a folder with one, or a Hub id owner/name"
    assert str(error.value) == f"{place.removeprefix('./')}: {expected}"
    assert not asked


def test_a_folder_without_a_tokenizer_is_refused_by_name(tmp_path, hub):
    asked = hub(RuntimeError("not to be asked"))
    with pytest.raises(FileNotFoundError, match=f"{tmp_path / 'tokenizer.json'}: no such tokenizer"):
        load_tokenizer(tmp_path)
    assert not asked


@pytest.mark.parametrize("content", ["{", "{}", "[]", "", '{"model": 3}'])
def test_a_broken_file_is_refused_by_name_wherever_it_comes_from(content, saved, hub):
    saved.write_text(content)
    hub(saved)
    for place in (saved, saved.parent, "owner/name"):
        with pytest.raises(ValueError, match=f"{saved}: not a tokenizer.json: ."):
            load_tokenizer(place)


@pytest.mark.parametrize(
    ("failure", "reason"),
    [
        (LocalEntryNotFoundError("Cannot reach the Hub\nand the file is not cached"), "Cannot reach the Hub"),
        (HFValidationError("Repo id must be"), "Repo id must be"),
        (ConnectionResetError(), "ConnectionResetError"),
    ],
)
def test_a_hub_that_does_not_answer_is_named_with_its_reason(failure, reason, hub):
    hub(failure)
    with pytest.raises(FileNotFoundError) as error:
        load_tokenizer("owner/name")
    assert str(error.value) == f"owner/name: the Hugging Face Hub did not give its tokenizer.json: {reason}"


def test_what_the_hub_refuses_is_told_as_it_is_for_models(tmp_path, monkeypatch):
    with running_hub(tmp_path / "hub") as running:
        hub_at(running.url, tmp_path / "home", monkeypatch)
        running.branch("owner/model").mkdir(parents=True)
        with pytest.raises(FileNotFoundError, match=r"^owner/absent: .* tokenizer\.json: it has no model of this name"):
            load_tokenizer("owner/absent")
        with pytest.raises(FileNotFoundError, match=r"^owner/model: .* tokenizer\.json: .*not found.*404"):
            load_tokenizer("owner/model")


@pytest.mark.parametrize("text", ["numbers ", "1", "é", "abc " * 50 + "x"])
def test_of_a_very_long_caption_only_what_can_be_learned_is_tokenized(text, monkeypatch):
    captions = Captions(TOKENIZER, CaptionConfig(max_tokens=20))
    expected = TOKENIZER.encode((text * 400).strip(), add_special_tokens=False).ids[:20]
    seen = []
    plain = captions._plain_ids
    monkeypatch.setattr(captions, "_plain_ids", lambda texts: seen.extend(map(len, texts)) or plain(texts))
    ids, learned = captions.encode(text * 100_000)
    assert (ids.tolist(), learned.all()) == (expected, True)
    assert max(seen) < 10_000


# -- tokenizers of others


def tokenizer_file(folder, **parts):
    """A byte-free BPE of one letter, with other parts."""
    stored = {"version": "1.0", "added_tokens": [], "model": {"type": "BPE", "vocab": {"a": 0}, "merges": []}}
    file = folder / "tokenizer.json"
    file.write_text(json.dumps(stored | parts), encoding="utf8")
    return file


@pytest.mark.parametrize(
    "parts",
    [
        {"normalizer": {"type": "Precompiled", "precompiled_charsmap": "AAAA"}},
        {"pre_tokenizer": {"type": "FixedLength", "length": 0}},
        {
            "model": {
                "type": "BPE",
                "vocab": {"a": 0, "b": 1},
                "merges": ["a b"],
                "continuing_subword_prefix": "xx",
            }
        },
    ],
)
def test_a_tokenizer_that_panics_is_one_line(parts, tmp_path, capfd):
    file = tokenizer_file(tmp_path, **parts)
    with pytest.raises(ValueError, match=rf"^{file}: not a tokenizer\.json: ") as error:
        load_tokenizer(file)
    assert "\n" not in str(error.value)
    assert capfd.readouterr().err == ""


def test_letters_for_bytes_again_and_again_are_refused(tmp_path):
    twice = {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True, "use_regex": True}
    file = tokenizer_file(tmp_path, pre_tokenizer={"type": "Sequence", "pretokenizers": [twice] * 40})
    with pytest.raises(ValueError, match=rf"^{file}: refused: its pre_tokenizer makes a text up to 1,099,511,627,776 times"):
        load_tokenizer(file)


@pytest.mark.parametrize("vocabulary", [5, [5], [[]], "text"])
def test_a_vocabulary_that_is_none_is_one_line(vocabulary, tmp_path):
    file = tokenizer_file(tmp_path, model={"type": "WordLevel", "vocab": vocabulary, "unk_token": "a"})
    with pytest.raises(ValueError, match=rf"^{file}: not a tokenizer\.json: "):
        load_tokenizer(file)


def test_a_tokenizer_that_explodes_is_refused(tmp_path):
    tenfold = {"type": "Replace", "pattern": {"String": "a"}, "content": "a" * 10}
    file = tokenizer_file(tmp_path, normalizer={"type": "Sequence", "normalizers": [tenfold] * 12})
    with pytest.raises(
        ValueError, match=rf"^{file}: refused: its normalizer makes a text up to 1,000,000,000,000 times as long"
    ):
        load_tokenizer(file)
    file = tokenizer_file(tmp_path, model={"type": "BPE", "vocab": {"a" * 5000: 0}, "merges": []})
    with pytest.raises(ValueError, match="refused: it has a token of 5,000 characters; the limit is 4,096"):
        load_tokenizer(file)


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("version https://git-lfs.github.com/spec/v1\noid sha256:4d7a\nsize 1\n", LFS_POINTER),
        ("[" * 100_000, "not a tokenizer.json: lists and objects are nested deeper than 100"),
        ("[]", "not a tokenizer.json: "),
        ("{}", "not a tokenizer.json: "),
    ],
)
def test_what_is_no_tokenizer_is_one_line(text, told, tmp_path):
    (tmp_path / "tokenizer.json").write_text(text)
    with pytest.raises(ValueError, match=re.escape(f"{tmp_path / 'tokenizer.json'}: {told}")):
        load_tokenizer(tmp_path)


def test_a_tokenizer_that_fails_on_a_text_is_one_line(tmp_path):
    model = {"type": "WordLevel", "vocab": {"a": 0, END: 1}, "unk_token": "lost"}
    special = {"id": 1, "content": END, "special": True} | dict.fromkeys(
        ("single_word", "lstrip", "rstrip", "normalized"), False
    )
    captions = Captions(
        load_tokenizer(tokenizer_file(tmp_path, model=model, added_tokens=[special])), CaptionConfig(end=END)
    )
    with pytest.raises(ValueError, match=r"^the tokenizer fails on a caption: WordLevel error: Missing"):
        captions.encode("b")


# -- lines, ends and endless texts


def test_other_lines_than_known_are_refused():
    with pytest.raises(ValueError, match=r"captions\.lines is 'some': it must be 'all' or 'first' or 'any'"):
        CaptionConfig(lines="some")


def test_a_caption_of_millions_of_letters_is_cut_and_never_ends():
    tokenizer = train_tokenizer(["x" * 3_000_000, "a small red circle"], 300)
    captions = Captions(tokenizer, CaptionConfig(max_tokens=10**9))
    ids, learned = captions.encode("x" * 3_000_000)
    assert learned.all()
    assert ids[-1] != captions.end_ids[-1]
    assert captions.encode("x")[0][-1] == captions.end_ids[-1]


def test_the_usual_end_is_one_that_a_tokenizer_has():
    for specials, expected in ((["<s>", "</s>"], "</s>"), (["</s>", "<|im_end|>"], "<|im_end|>\n"), ([], "<|im_end|>\n")):
        tokenizer = Tokenizer(models.BPE())
        tokenizer.add_special_tokens(specials)
        assert usual_end(tokenizer) == expected


@pytest.mark.parametrize(("text", "shown"), [("half \ud800", r"half \\ud800"), ("caf\udce9", r"caf\\xe9")])
def test_a_text_that_utf8_cannot_write_is_one_line(text, shown):
    message = re.escape(f"'{shown}': half a character, or bytes that are no UTF-8")
    captions = Captions(small_tokenizer())
    for use in (captions.ids, captions.encode, lambda prompt: Captions(small_tokenizer(), CaptionConfig(prompt=prompt))):
        with pytest.raises(ValueError, match=message):
            use(text)


def test_a_tokenizer_that_pads_to_a_billion_tokens_is_read_without_padding(tmp_path):
    stored = json.loads(small_tokenizer().to_str())
    stored["padding"] = {
        "strategy": {"Fixed": 10**12}, "direction": "Right", "pad_to_multiple_of": None, "pad_id": 0, "pad_type_id": 0,
        "pad_token": "x",
    }  # fmt: skip
    (tmp_path / "tokenizer.json").write_text(json.dumps(stored))
    assert Captions(load_tokenizer(tmp_path)).ids("a cat") == Captions(small_tokenizer()).ids("a cat")
