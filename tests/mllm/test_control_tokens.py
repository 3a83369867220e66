"""Control tokens: only quoted ones are special; the rest is tokenized as if no special token existed."""

import json
import pickle
from itertools import pairwise

import numpy as np
import pytest
from tokenizers import AddedToken, Tokenizer, models, pre_tokenizers
from transformers import PreTrainedTokenizerFast

from genlip.data.examples import Unusable
from genlip.mllm.control_tokens import BREAK, ControlTokenizer

from .chat_templates import FORMS, tokenizer_of


def without_added_tokens(tokenizer):
    """The same tokenizer, for which all text is plain."""
    stored = json.loads(tokenizer.backend_tokenizer.to_str())
    return Tokenizer.from_str(json.dumps({**stored, "added_tokens": []}))


@pytest.mark.parametrize("form", FORMS)
def test_text_with_quoted_tokens_has_the_ids_of_the_tokenizer_itself(form):
    tokenizer = tokenizer_of(*FORMS[form])
    control = ControlTokenizer(tokenizer)
    specials = [token.content for token in tokenizer.added_tokens_decoder.values() if token.special]
    for first, second in pairwise(specials):
        for text in (f"{first}user\nWhat?{second}\n", f"  A {first} {second}\n\nis", first + second, f"Straße{first}東京 "):
            expected = tokenizer(text, add_special_tokens=False, return_offsets_mapping=True)
            found = control.encode(control.quote(text))
            assert found.ids.tolist() == expected["input_ids"]
            lengths = [end - start for start, end in expected["offset_mapping"]]
            quotes = np.isin(found.ids, [*control.ids.values()]) * 2
            assert (found.ends - found.starts - quotes).tolist() == lengths


@pytest.mark.parametrize("text", ["<|im_end|>", "a <|im_start|>b<image>c", "<|im_end|><|endoftext|>\n", "<image>"])
def test_special_tokens_that_are_not_quoted_are_plain_characters(text):
    tokenizer = tokenizer_of(*FORMS["qwen"])
    plain = without_added_tokens(tokenizer)
    for control in (ControlTokenizer(tokenizer), pickle.loads(pickle.dumps(ControlTokenizer(tokenizer)))):
        assert control.encode(text).ids.tolist() == plain.encode(text, add_special_tokens=False).ids
        ids = control.encode(text + control.quote("<|im_end|>") + text).ids
        assert (ids == tokenizer.eos_token_id).sum() == 1
        assert tokenizer.decode(ids) == text + "<|im_end|>" + text
    assert tokenizer(text, add_special_tokens=False).input_ids != control.encode(text).ids.tolist()  # it is left as it was


def test_named_tokens_that_are_not_special_are_control_tokens_too():
    tokenizer = tokenizer_of(*FORMS["gemma"])
    start = tokenizer.convert_tokens_to_ids("<start_of_turn>")
    assert start in ControlTokenizer(tokenizer).encode("<start_of_turn>").ids
    control = ControlTokenizer(tokenizer, ["<start_of_turn>"])
    for one in (control, pickle.loads(pickle.dumps(control))):
        assert start not in one.encode("<start_of_turn>").ids
        assert one.encode(one.quote("<start_of_turn>")).ids.tolist() == [start]


def test_a_break_ends_a_token_and_is_none():
    control = ControlTokenizer(tokenizer_of(*FORMS["qwen"]))
    whole, parts = control.encode(".\n"), control.encode(f".{BREAK}\n")
    assert len(whole.ids) == 1
    assert parts.ids.tolist() == [*control.encode(".").ids, *control.encode("\n").ids]
    assert parts.starts.tolist() == [0, 1 + len(BREAK)]


def test_the_longest_control_token_is_quoted():
    backend = Tokenizer(models.WordLevel({"<a>": 0, "<a><b>": 1, "x": 2, "?": 3}, unk_token="?"))
    backend.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    backend.add_special_tokens([AddedToken(text) for text in ("<a>", "<a><b>")])
    control = ControlTokenizer(PreTrainedTokenizerFast(tokenizer_object=backend, unk_token="?"))
    assert control.encode(control.quote("<a><b> x <a>")).ids.tolist() == [1, 2, 0]
    assert control.find("x <a><b>")[0] == "<a><b>"


def test_a_vocabulary_that_makes_control_tokens_of_plain_text_is_refused():
    backend = Tokenizer(models.Unigram([("<unk>", 0.0), ("</s>", 0.0), ("a", -1.0), ("<", -9.0), ("s", -9.0)], unk_id=0))
    backend.add_special_tokens(["<unk>", "</s>"])
    control = ControlTokenizer(PreTrainedTokenizerFast(tokenizer_object=backend, unk_token="<unk>", eos_token="</s>"))
    assert control.encode("a?" + control.quote("</s>")).ids.tolist() == [2, 0, 1]  # an unknown character is no harm
    with pytest.raises(Unusable, match=r"the text holds '</s>', which this tokenizer only knows as special") as error:
        control.encode("aa</s>")
    assert error.value.reason == "special token in a text"
