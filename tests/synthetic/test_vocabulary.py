"""`genlip.synthetic`: `random_choices`, `vocabulary` and `fonts`, on which documents and charts are built."""

import re
import subprocess
import sys
from collections import Counter

import numpy as np
import pytest
from PIL import ImageFont

from genlip.synthetic import fonts
from genlip.synthetic import vocabulary as words
from genlip.synthetic.random_choices import RandomChoices, page_size

LISTS = (
    words.GIVEN, words.FAMILY, words.TOWNS, words.TREES, words.TRADES, words.MAKES, words.THINGS, words.GROCERIES,
    words.NOUNS, words.LIKE, words.DONE, words.HOW, words.WHERE, words.WHO, words.WHEN, words.MATTERS,
)  # fmt: skip
MADE = (
    words.sentence, words.letter_sentence, words.title, words.heading, words.bullet, words.notice, words.business,
    words.street, words.product, words.grocery, words.date, words.time, words.town, words.subject,
)  # fmt: skip


# -- random choices


def test_lots_are_the_doubles_of_numpy_in_any_amount():
    rng, numpy_rng = RandomChoices(3, 14), np.random.default_rng((3, 14))
    drawn = [rng.share() for _ in range(600)]
    expected = np.concatenate([numpy_rng.random(256)[::-1] for _ in range(3)])[:600]
    assert drawn == expected.tolist()


def test_choices_are_even_and_within_their_bounds():
    rng = RandomChoices(0, 0)
    dice = Counter(rng.whole(1, 6) for _ in range(6000))
    assert dice.keys() == set(range(1, 7))
    assert min(dice.values()) > 850
    assert Counter(rng.one("abc") for _ in range(3000)).most_common()[-1][1] > 850
    assert 550 < sum(rng.chance(0.2) for _ in range(3000)) < 650
    assert all(2.5 <= rng.between(2.5, 3.0) <= 3.0 for _ in range(100))


def test_some_are_different_ones_in_any_order():
    rng = RandomChoices(0, 1)
    drawn = [tuple(rng.some(range(4), 3)) for _ in range(2000)]
    assert all(len(set(three)) == 3 for three in drawn)
    assert len(set(drawn)) == 24
    assert sorted(rng.some("ab", 5)) == ["a", "b"]


def test_sizes_have_the_shape_and_side_asked_for():
    sides = []
    for index in range(300):
        wide, high = page_size(RandomChoices(1, index), (256, 1024), (0.5,), shortest=160)
        assert wide == 160 or wide / high == pytest.approx(0.5, abs=0.03)
        sides.append(high)
    assert min(sides) >= 256
    assert max(sides) <= 1024
    assert 120 < sum(side < 512 for side in sides) < 180  # half of them: even in the logarithm


# -- words


def test_there_are_hundreds_of_words_none_of_them_twice():
    assert sum(map(len, LISTS)) > 700
    for one in LISTS:
        assert len(set(one)) == len(one)


@pytest.mark.parametrize("make", MADE, ids=lambda make: make.__name__)
def test_text_is_of_characters_that_every_font_draws_alike(make):
    rng = RandomChoices(0, 2)
    texts = [make(rng) for _ in range(400)]
    assert all(re.fullmatch(r"[A-Za-z0-9 .,:;?!'-]+", text) for text in texts), set(texts)
    assert all(text == text.strip() and "  " not in text for text in texts)
    assert all(text[0].isupper() or text[0].isdigit() for text in texts)


def test_sentences_end_and_hardly_ever_repeat():
    rng = RandomChoices(0, 3)
    sentences = [make(rng) for make in (words.sentence, words.letter_sentence) for _ in range(1000)]
    assert all(sentence.endswith((".", "?")) for sentence in sentences)
    assert len(set(sentences[:1000])) > 990
    assert len({word for sentence in sentences for word in sentence.split()}) > 1000


def test_articles_agree_with_the_sound_that_follows():
    rng = RandomChoices(0, 4)
    text = " ".join(words.sentence(rng) for _ in range(3000))
    assert not re.search(r"\b[Aa] (?!use|usu)[aeiou]", text)
    assert not re.search(r"\b[Aa]n [^aeiou]", text)
    assert re.search(r"\b[Aa] (useful|usual)\b", text)


def test_money_is_written_in_cents():
    assert words.money(5) == "0.05"
    assert words.money(120450, "$") == "$1,204.50"


def test_dates_come_in_four_manners():
    rng = RandomChoices(0, 5)
    manners = {re.sub("[A-Za-z]+", "m", re.sub(r"\d+", "9", words.date(rng))) for _ in range(100)}
    assert manners == {"9 m 9", "m 9, 9", "9.9.9", "9-9-9"}


# -- fonts


def test_installed_fonts_are_used_only_when_asked_for():
    assert fonts.families() == fonts.SHIPPED
    assert fonts.families(system_fonts=True)[: len(fonts.SHIPPED)] == fonts.SHIPPED
    assert set(fonts.families(system_fonts=True)) <= set(fonts.SHIPPED + fonts.SYSTEM)


@pytest.mark.parametrize("family", fonts.families(system_fonts=True), ids=lambda family: family.name)
def test_every_family_has_its_three_styles(family):
    assert len({fonts.font(stem, 12).getname() for stem in (family.regular, family.bold, family.italic)}) == 3


def test_a_width_holds_the_text():
    for family in fonts.SHIPPED:
        for text in ("A visitor can mend the piano quickly.", "1,204.50", "AVAVA Wo. To", "word"):
            exact = fonts.font(family.regular, 13, ImageFont.Layout.BASIC).getlength(text)
            assert exact - 1 <= fonts.width(text, family.regular, 13) <= exact + len(text.split())


def test_lines_hold_the_letters_of_english():
    for family in fonts.SHIPPED:
        for size in (10, 14, 23):
            above, below = fonts.reach(family.regular, size)
            opened = fonts.font(family.regular, size, ImageFont.Layout.BASIC)
            for letter in "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789.,:;?!'-$%()":
                _, top, _, bottom = opened.getbbox(letter, anchor="ls")
                assert -above <= top <= bottom <= below, (family.name, size, letter)


def test_a_font_that_is_nowhere_is_named():
    with pytest.raises(FileNotFoundError, match=r"no font Papyrus\.ttf: matplotlib does not ship it"):
        fonts.font("Papyrus", 12)


def test_matplotlib_is_searched_but_not_imported():
    program = (
        "import sys; from genlip.synthetic.documents import document, draw; draw(document(0, 0));"
        "print('matplotlib' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", program], check=True, capture_output=True, text=True).stdout == "False\n"
