"""`genlip.evaluate.readout.word_tokens`: what counts for a word, by a vocabulary that is small enough to write down."""

import pytest
from tokenizers import Tokenizer, decoders, models, pre_tokenizers

from genlip.data.captions import END, CaptionConfig, Captions
from genlip.evaluate.readout.word_tokens import WordTokens

from ...data.helpers import small_tokenizer

# Letters, a space "Ġ", and what merges of them give.
LETTERS = [*"Ġabcdeghilnrtz47R", "ä", *"Ã¤"]
MERGES = [("r", "e"), ("Ġ", "re"), ("Ġre", "d"), ("R", "e"), ("Re", "d"), ("l", "i"), ("Ġ", "z"), ("Ġ", "li")]


def captions() -> Captions:
    pieces = [END, *dict.fromkeys([*LETTERS, *("".join(pair) for pair in MERGES)])]
    tokenizer = Tokenizer(models.BPE({piece: i for i, piece in enumerate(pieces)}, MERGES))
    digits, byte_level = pre_tokenizers.Digits(individual_digits=True), pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence([digits, byte_level])
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.add_special_tokens([END])
    return Captions(tokenizer, CaptionConfig(end=END))


WORDS = WordTokens(captions())


def test_the_vocabulary_splits_words_as_these_tests_need_it():
    pieces = {
        text: [captions().piece(i) for i in captions().ids(text)] for text in ("red", " red", " zebra", " 47", "light")
    }
    assert pieces == {
        "red": ["re", "d"],
        " red": [" red"],
        " zebra": [" z", "e", "b", "r", "a"],
        " 47": [" ", "4", "7"],
        "light": ["li", "g", "h", "t"],
    }


def test_a_word_that_is_one_token_counts_whole_whatever_its_case_and_never_by_its_beginning():
    assert sorted(WORDS.pieces("red")) == [" red", "Red"]
    assert sorted(WORDS.pieces(" RED ")) == [" red", "Red"]
    assert not WORDS.split("red")


def test_a_split_word_counts_by_its_first_token_with_and_without_a_space():
    assert sorted(WORDS.pieces("zebra")) == [" z", "z"]
    assert sorted(WORDS.pieces("light")) == [" li", "li"]
    assert WORDS.split("zebra")


def test_a_space_of_its_own_is_no_beginning():
    assert WORDS.pieces("47") == ["4"]
    assert WORDS.pieces("74") == ["7"]


def test_a_longer_token_does_not_count_for_a_word_that_begins_it():
    assert WORDS.pieces("re") == ["re", " re", "Re"]
    assert " red" not in WORDS.pieces("re")


def test_ids_are_those_of_the_pieces_in_order():
    vocabulary = captions().tokenizer.get_vocab()
    assert WORDS.ids("zebra").tolist() == sorted([vocabulary["z"], vocabulary["Ġz"]])


def test_a_word_without_a_visible_character_is_refused():
    with pytest.raises(ValueError, match="the word ' ' has no visible character: give each object at least one word"):
        WORDS.ids(" ")


def test_part_of_a_character_counts_only_for_characters_that_begin_with_it():
    found = WORDS.ids("äe").tolist()  # "ä" is two bytes, each a token
    assert found == [captions().tokenizer.get_vocab()["Ã"]]
    assert not set(found) & set(WORDS.ids("a").tolist())


def test_a_number_is_begun_by_its_first_digit_in_a_trained_vocabulary():
    assert WordTokens(Captions(small_tokenizer())).pieces("47") == ["4"]
