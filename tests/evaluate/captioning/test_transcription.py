"""Transcription: error rates counted by hand."""

import pytest

from genlip.evaluate.captioning.transcription import character_error_rate, word_error_rate


def test_characters_are_inserted_left_out_and_replaced():
    scores = character_error_rate(["kitten", "42", "abcd"], [["sitting"], ["42"], ["ab"]])
    assert scores.per_image == [3 / 7, 0, 1]
    assert scores.score == (3 + 0 + 2) / (7 + 2 + 2)


def test_words_are_inserted_left_out_and_replaced():
    scores = word_error_rate(["the cat sat", "a dog", "one two three"], [["the fat cat sat"], ["a frog"], ["one"]])
    assert scores.per_image == [1 / 4, 1 / 2, 2]
    assert scores.score == (1 + 1 + 2) / (4 + 2 + 1)


def test_case_and_punctuation_count_and_white_space_is_one_space():
    assert character_error_rate([" Total:\n 5 "], [["total: 5"]]).score == 1 / 8
    assert word_error_rate(["Total: 5\tEUR"], [["total 5  EUR"]]).score == 1 / 3


def test_the_true_text_with_the_lowest_rate_counts():
    scores = character_error_rate(["ab"], [["a", "abcde", "xy"]])  # 1 edit for 1 letter, 3 for 5, 2 for 2
    assert scores.per_image == [3 / 5]


def test_reading_nothing_is_all_wrong_and_nothing_read_right_is_all_right():
    assert word_error_rate(["", ""], [["two words"], [""]]).per_image == [1, 0]


def test_words_where_there_are_none_count_as_edits():
    scores = word_error_rate(["two words", "a b"], [[" "], ["a b"]])
    assert scores.per_image == [2, 0]
    assert scores.score == 2 / 2


@pytest.mark.parametrize("metric", [character_error_rate, word_error_rate])
def test_texts_without_references_are_refused(metric):
    with pytest.raises(ValueError, match="0 captions"):
        metric([], [])
    with pytest.raises(ValueError, match="2 captions, references of 1 images"):
        metric(["a", "b"], [["a"]])
    with pytest.raises(ValueError, match="image 1 has no references"):
        metric(["a", "b"], [["a"], []])
