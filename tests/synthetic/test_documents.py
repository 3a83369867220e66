"""`genlip.synthetic.documents`: what is transcribed is in the image, what is asked is in the transcription."""

import hashlib
import math
import re
import subprocess
import sys
from collections import Counter
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image, ImageDraw, ImageFont

from genlip.synthetic.documents import KINDS, LONGEST, describe, document, draw, questions
from genlip.synthetic.fonts import font
from genlip.synthetic.page import Box, Page, Stroke, Text
from genlip.synthetic.text_layout import wrapped

CONTENTS = [document(0, index) for index in range(180)]
PER_KIND = [document(3, index, (256, 420), kind=kind) for kind in KINDS for index in range(4)]
MANY = settings(max_examples=300, deadline=None, derandomize=True)
SEPARATORS = re.compile(r" \| |\[x\] |\[ \] |(?m:^- )|:")


def ink_box(text: Text) -> tuple[int, int, int, int]:
    """Left, top, right and bottom of what FreeType draws."""
    opened = font(text.style.font, text.style.size, ImageFont.Layout.BASIC)
    left, top, right, bottom = opened.getbbox(text.text, anchor="ls")
    x, y = text.at
    if text.turned:  # a quarter turn against the clock: right becomes up
        return x + int(top), y - math.ceil(right), x + math.ceil(bottom), y - int(left)
    return x + int(left), y + int(top), x + math.ceil(right), y + math.ceil(bottom)


def overlap(one: tuple[int, ...], other: tuple[int, ...]) -> bool:
    return one[0] < other[2] and other[0] < one[2] and one[1] < other[3] and other[1] < one[3]


def assert_texts_are_inside_and_apart(page: Page) -> None:
    boxes = [ink_box(text) for text in page.texts]
    assert boxes, page
    for text, (left, top, right, bottom) in zip(page.texts, boxes, strict=True):
        assert left >= 0, text
        assert top >= 0, text
        assert right <= page.size[0], text
        assert bottom <= page.size[1], text
    for number, box in enumerate(boxes):
        for later, other in enumerate(boxes[:number]):
            assert not overlap(box, other), (page.texts[number], page.texts[later])


def assert_texts_are_visible(page: Page, image: Image.Image) -> None:
    """Each text drawn alone, on nothing: where it covers pixels whole, the image has its ink, and not around it."""
    pixels = np.asarray(image).astype(int)
    for text in page.texts:
        if text.turned:
            continue
        alone = Image.new("L", image.size)
        opened = font(text.style.font, text.style.size, ImageFont.Layout.BASIC)
        ImageDraw.Draw(alone).text(text.at, text.text, 255, opened, anchor="ls")
        covered = np.asarray(alone)
        assert (covered > 100).sum() >= 4 * len(text.text.replace(" ", "")) - 4, text  # strokes, not a shadow
        assert (pixels[covered == 255] == text.style.ink).all(), text
        left, top, right, bottom = ink_box(text)
        around = pixels[top:bottom, left:right][covered[top:bottom, left:right] == 0]
        assert np.median(np.abs(around - text.style.ink).sum(axis=1)) > 130, text  # legible


def digest(make: object, paint: object) -> str:
    """Of the pixels of a few images."""
    images = [paint(make(7, index, (256, 320))) for index in range(18)]
    return hashlib.sha256(b"".join(image.tobytes() for image in images)).hexdigest()


def digest_elsewhere(module: str, make: str) -> str:
    """The same in a process that has drawn nothing before."""
    program = (
        f"import hashlib; from genlip.synthetic.{module} import {make} as make, draw\n"
        "images = [draw(make(7, index, (256, 320))) for index in range(18)]\n"
        "print(hashlib.sha256(b''.join(image.tobytes() for image in images)).hexdigest())"
    )
    return subprocess.run([sys.executable, "-c", program], check=True, capture_output=True, text=True).stdout.strip()


# -- the same on every machine


def test_a_document_depends_on_its_seed_and_index_alone():
    backwards = [document(0, index) for index in reversed(range(60))]
    assert backwards[::-1] == CONTENTS[:60]
    assert digest(document, draw) == digest_elsewhere("documents", "document")


def test_two_seeds_share_no_page():
    first, second = ({describe(document(seed, index)) for index in range(100)} for seed in (0, 1))
    assert (len(first), len(second)) == (100, 100)
    assert not first & second


# -- what is transcribed is there to read


@MANY
@given(
    index=st.integers(0, 2**40),
    longest=st.sampled_from(((256, 1024), (256, 256), (352, 352), (1024, 1024))),
    system_fonts=st.booleans(),
)
def test_texts_are_inside_the_page_and_apart(index, longest, system_fonts):
    assert_texts_are_inside_and_apart(document(5, index, longest, system_fonts=system_fonts).page)


@pytest.mark.parametrize("content", PER_KIND, ids=lambda content: content.kind)
def test_every_text_is_visible(content):
    image = draw(content)
    assert (image.mode, image.size) == ("RGB", content.page.size)
    assert_texts_are_visible(content.page, image)


def test_the_transcription_is_what_is_drawn_in_order():
    for content in CONTENTS:
        drawn = " ".join(text.text for text in content.page.texts)
        assert SEPARATORS.sub(" ", describe(content)).split() == SEPARATORS.sub(" ", drawn).split()


def test_reading_goes_down_a_column_and_along_a_row():
    for content in CONTENTS:
        texts = content.page.texts
        for before, after in pairwise(texts):
            down, along = after.at[1] - before.at[1], after.at[0] - before.at[0]
            next_column = down < 0 and along > content.page.size[0] / 4
            assert down > 0 or (down == 0 and along > 0) or next_column, (before, after)


def test_lines_of_a_paragraph_are_joined_and_rows_are_not():
    paragraphs = [describe(document(2, index, kind="article")) for index in range(30)]
    assert any(len(line) > 100 for text in paragraphs for line in text.splitlines())
    for index in range(30):
        rows = [line for line in describe(document(2, index, kind="table")).splitlines() if " | " in line]
        assert len(rows) >= 2
        assert len({row.count(" | ") for row in rows}) == 1


def test_ticked_boxes_are_the_ones_with_a_mark():
    checked = Counter()
    for index in range(30):
        content = document(1, index, (300, 600), kind="form")
        pixels = np.asarray(draw(content)).astype(int)
        marks = content.page.marks
        for place, mark in enumerate(marks):
            if isinstance(mark, Text) and mark.before in ("\n[x] ", "\n[ ] "):
                box = next(m for m in reversed(marks[:place]) if isinstance(m, Box))
                left, top, right, bottom = box.corners
                inside = pixels[top + 2 : bottom - 2, left + 2 : right - 2]
                marked = (np.abs(inside - content.page.paper).sum(axis=2) > 60).mean()
                assert (marked > 0.1) == (mark.before == "\n[x] ")
                checked[mark.before] += 1
    assert min(checked.values()) > 20


# -- questions


def test_answers_are_in_the_transcription():
    for content in CONTENTS:
        text = describe(content)
        flat = text.replace("\n", " ")
        for question, answer in questions(content):
            assert question.endswith("?")
            assert answer in ("yes", "no") if "ticked?" in question else answer in flat, (question, answer)
    assert sum(len(questions(content)) for content in CONTENTS) > 3 * len(CONTENTS)


@pytest.mark.parametrize("kind", ["invoice", "receipt"])
def test_sums_add_up(kind):
    def cents(text: str) -> int:
        return round(float(re.search(r"[\d,]+\.\d\d$", text)[0].replace(",", "")) * 100)

    for index in range(40):
        content = document(4, index, kind=kind)
        lines, asked = describe(content).splitlines(), dict(questions(content))
        total = cents(next(value for question, value in asked.items() if "total" in question))
        tax = cents(asked.get("How much is the tax?", "0.00"))
        end = next(number for number, line in enumerate(lines) if line.startswith(("Subtotal", "Total")))
        bought = [cents(line) for line in lines[:end] if re.search(r" [\d,]+\.\d\d$", line)]
        assert bought
        assert sum(bought) + tax == total


def test_sections_and_ticks_are_asked_for():
    heading = "What is the heading of section 2?"
    articles = [document(6, index, kind="article") for index in range(20)]
    assert sum(heading in dict(questions(content)) for content in articles) >= 10
    for content in (document(6, index, (400, 800), kind="form") for index in range(20)):
        text = describe(content)
        for question, answer in questions(content):
            if match := re.fullmatch(r"Is the box (.+) ticked\?", question):
                assert (f"[x] {match[1]}" in text) == (answer == "yes")
            elif match := re.fullmatch(r"What is filled in under (.+)\?", question):
                assert f"{match[1]}: {answer}" in text


# -- how varied they are


def test_kinds_fonts_sizes_and_shapes_vary():
    kinds = Counter(content.kind for content in CONTENTS)
    assert kinds.keys() == KINDS.keys()
    assert min(kinds.values()) >= 8
    sizes = np.array([content.page.size for content in CONTENTS])
    assert sizes.min() >= 160
    assert sizes.max() <= LONGEST[1]
    shapes = sizes[:, 0] / sizes[:, 1]
    assert shapes.min() < 0.6
    assert shapes.max() > 2
    assert len({tuple(size) for size in sizes}) > 170
    assert len({text.style.font for content in CONTENTS for text in content.page.texts}) >= 12
    assert len({text.style.size for content in CONTENTS for text in content.page.texts}) >= 15
    assert min(text.style.size for content in CONTENTS for text in content.page.texts) >= 10
    assert len({content.page.paper for content in CONTENTS}) >= 6


def test_pages_hold_many_words():
    words = Counter(word for content in CONTENTS for word in re.findall(r"[a-z]+", describe(content).lower()))
    assert len(words) > 600
    assert all(len(describe(content)) < 4000 for content in CONTENTS)


def test_the_longer_side_is_as_asked():
    for index in range(40):
        content = document(0, index, (352, 352), kind="slide")
        assert max(content.page.size) in range(350, 355)


def test_options_that_do_not_exist_are_refused():
    with pytest.raises(ValueError, match="kind is 'poster', must be one of article, letter"):
        document(0, 0, kind="poster")
    with pytest.raises(ValueError, match=r"longest is \(160, 400\), must be two sizes in order, from 256 pixels"):
        document(0, 0, longest=(160, 400))


# -- the parts


def test_lines_are_broken_where_a_word_no_longer_fits():
    style = CONTENTS[0].page.texts[0].style
    text = "one two three four five six seven eight nine ten eleven twelve"
    lines = wrapped(text, style, 12 * style.size)
    assert " ".join(lines) == text
    for line, following in pairwise(lines):
        assert style.width(line) <= 12 * style.size < style.width(f"{line} {following.split()[0]}")
    assert wrapped("two", style, 10_000, ["zero one"]) == ["zero one two"]


def test_ticks_are_strokes_of_their_page():
    forms = [document(1, index, kind="form") for index in range(20)]
    assert any(isinstance(mark, Stroke) for content in forms for mark in content.page.marks)
