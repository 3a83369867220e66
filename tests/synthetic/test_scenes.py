"""`genlip.synthetic.scenes`: captions read back, images measured, and how varied they are."""

import re
from collections import Counter

import numpy as np
import pytest

from genlip.synthetic.scenes import COLOURS, REGIONS, SIDE, Scene, describe, draw, label_map, objects, questions, scene

CONTENTS = [scene(0, index) for index in range(500)]
SHAPE = re.compile(
    r"a (small|large) (red|green|blue|yellow|orange|purple|black) (circle|square|triangle) on the (left|right)"
)
# What the words of a caption mean, for an eye that measures in pixels.
NAMED = {
    "red": (220, 40, 40),
    "green": (40, 150, 60),
    "blue": (50, 80, 220),
    "yellow": (235, 205, 30),
    "orange": (240, 135, 30),
    "purple": (145, 60, 170),
    "black": (35, 35, 35),
}
FILLED = {"circle": np.pi / 4, "square": 1.0, "triangle": 0.5}  # share of the bounding box


def pixels(content: Scene) -> np.ndarray:
    return np.asarray(draw(content)).astype(int)


def marked(content: Scene) -> np.ndarray:
    """Bool[64, 64], where anything is drawn."""
    return (pixels(content) != content.background).any(axis=2)


def without_number(content: Scene) -> Scene:
    return content._replace(ink=content.background)


def box(mask: np.ndarray) -> tuple[int, int, int, int]:
    """Top, left, bottom and right of what is marked, the last two past it."""
    rows, columns = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
    return int(rows[0]), int(columns[0]), int(rows[-1]) + 1, int(columns[-1]) + 1


def read(caption: str) -> tuple[list[tuple[str, ...]], int]:
    """The shapes and the number that a caption states; nothing else may be in it."""
    shapes, _, number = caption.rpartition(" and the number ")
    stated = [SHAPE.fullmatch(part) for part in shapes.split(", ")]
    assert all(stated), caption
    return [match.groups() for match in stated], int(number)


# -- what a scene is


def test_a_scene_depends_on_its_seed_and_index_alone():
    backwards = [scene(0, index) for index in reversed(range(100))]
    assert backwards[::-1] == CONTENTS[:100]
    assert all((pixels(content) == pixels(content)).all() for content in CONTENTS[:20])


def test_two_seeds_share_no_image():
    first, second = ({draw(scene(seed, index)).tobytes() for index in range(500)} for seed in (0, 1))
    assert (len(first), len(second)) == (500, 500)
    assert not first & second


def test_a_caption_states_what_the_scene_holds():
    for content in CONTENTS:
        shapes, number = read(describe(content))
        assert shapes == [(s.size, s.colour, s.kind, s.side) for s in content.shapes]
        assert number == content.number


def test_a_scene_has_one_shape_on_either_side_or_one_on_both():
    sides = Counter(tuple(shape.side for shape in content.shapes) for content in CONTENTS)
    assert sides.keys() == {("left",), ("right",), ("left", "right")}
    assert min(sides.values()) > 80  # of 500; a quarter, a quarter, a half


def test_a_description_by_hand():
    red, blue = (CONTENTS[0].shapes[0]._replace(colour=c, kind=k, side=s, size=z) for c, k, s, z in
                 (("red", "circle", "left", "small"), ("blue", "square", "right", "large")))  # fmt: skip
    one, two = CONTENTS[0]._replace(shapes=(red,), number=10), CONTENTS[0]._replace(shapes=(red, blue), number=47)
    assert describe(one) == "a small red circle on the left and the number 10"
    assert describe(two) == "a small red circle on the left, a large blue square on the right and the number 47"


# -- what the image shows


def test_images_are_64_by_64_in_colour():
    for content in CONTENTS[:50]:
        image = draw(content)
        assert (image.mode, image.size) == ("RGB", (64, 64))


def test_named_colours_are_those_of_the_captions():
    assert COLOURS == NAMED


def test_a_shape_has_the_colour_of_its_name_at_its_centre():
    names, values = list(NAMED), np.array(list(NAMED.values()))
    for content in CONTENTS:
        image = pixels(content)
        for shape in content.shapes:
            x, y = (round(place) for place in shape.centre)
            distance = np.abs(image[y, x] - values)
            assert names[(distance**2).sum(axis=1).argmin()] == shape.colour
            assert distance[names.index(shape.colour)].max() <= 15


def test_a_shape_has_the_kind_size_and_side_of_its_words():
    for content in CONTENTS:
        for shape in content.shapes:
            mask = marked(without_number(content._replace(shapes=(shape,))))
            top, left, bottom, right = box(mask)
            filled = mask[top:bottom, left:right].mean()
            assert min(FILLED, key=lambda kind: abs(FILLED[kind] - filled)) == shape.kind
            assert (right - left < 18) == (shape.size == "small")
            assert ((left + right) / 2 < SIDE / 2) == (shape.side == "left")


def test_two_shapes_stay_apart_but_for_their_edges():
    for content in CONTENTS:
        if len(content.shapes) == 2:
            one, other = (marked(without_number(content._replace(shapes=(shape,)))) for shape in content.shapes)
            assert (one & other).sum() <= 0.05 * min(one.sum(), other.sum())


def test_the_number_is_inside_the_image_and_below_the_shapes():
    for content in CONTENTS:
        shapes = marked(without_number(content))
        number = (pixels(content) != pixels(without_number(content))).any(axis=2)
        assert not number[[0, -1]].any()  # a number that sticks out would reach the edge
        assert not number[:, [0, -1]].any()
        assert box(number)[0] >= box(shapes)[2]


def test_the_number_is_dark_on_light():
    for content in CONTENTS:
        assert max(content.ink) + 90 <= min(content.background)
        contrast = np.subtract(content.background, content.ink)
        coverage = ((pixels(without_number(content)) - pixels(content)) / contrast).mean(axis=2)
        assert (coverage > 0.5).sum() >= 15  # strokes, not a shadow


@pytest.mark.parametrize("index", range(3))
def test_no_two_numbers_look_the_same(index):
    assert len({draw(CONTENTS[index]._replace(number=number)).tobytes() for number in range(10, 100)}) == 90


# -- where everything is


def test_a_label_map_says_what_is_painted_at_each_pixel():
    for content in CONTENTS[:200]:
        image, labels = pixels(without_number(content)), label_map(content)
        assert (labels.dtype, labels.shape) == (np.int16, (64, 64))
        expected = np.full((64, 64), "background", dtype="<U10")
        for shape in content.shapes:  # nothing is antialiased: a shape is where its very paint is
            expected[(image == shape.paint).all(axis=2)] = shape.kind
        top, left, bottom, right = box((pixels(content) != image).any(axis=2))
        assert (labels[top:bottom, left:right] == REGIONS.index("number")).all()
        around = labels == REGIONS.index("number")
        assert box(around) == pytest.approx((top, left, bottom, right), abs=1)  # ink too faint to change a pixel counts
        assert (np.array(REGIONS)[labels] == expected)[~around].all()


def test_regions_are_background_the_kinds_and_the_number():
    assert REGIONS == ("background", "circle", "square", "triangle", "number")
    assert {*np.unique([label_map(content) for content in CONTENTS])} == {0, 1, 2, 3, 4}


def test_objects_are_named_by_the_words_of_the_caption():
    for content in CONTENTS:
        shapes, number = read(describe(content))
        assert [one.words for one in objects(content)] == [*((s[1], s[2]) for s in shapes), (str(number),)]


def test_objects_divide_what_is_no_background():
    for content in CONTENTS:
        labels, masks = label_map(content), np.array([one.mask for one in objects(content)])
        assert masks.dtype == bool
        assert masks.any(axis=(1, 2)).all()
        assert ((labels > 0) == masks.sum(axis=0)).all()  # at most one object at a pixel
        for mask, kind in zip(masks, [*(shape.kind for shape in content.shapes), "number"], strict=True):
            assert (labels[mask] == REGIONS.index(kind)).all()


def test_the_shape_that_is_drawn_later_lies_on_top():
    one = CONTENTS[0].shapes[0]._replace(radius=8.0)
    red, blue = one._replace(kind="square", centre=(20.0, 20.0)), one._replace(kind="circle", centre=(26.0, 20.0))
    content = CONTENTS[0]._replace(shapes=(red, blue))
    under, over, _ = objects(content)
    alone = objects(content._replace(shapes=(blue,)))[0].mask
    assert (over.mask == alone).all()
    assert under.mask.sum() < objects(content._replace(shapes=(red,)))[0].mask.sum()
    assert not (under.mask & over.mask).any()


# -- how varied scenes are


def test_every_word_and_font_occurs():
    shapes = [shape for content in CONTENTS for shape in content.shapes]
    assert {shape.kind for shape in shapes} == {"circle", "square", "triangle"}
    assert {shape.colour for shape in shapes} >= NAMED.keys()
    assert {shape.size for shape in shapes} == {"small", "large"}
    assert {shape.side for shape in shapes} == {"left", "right"}
    assert len({content.font for content in CONTENTS}) >= 4
    assert len({content.font_size for content in CONTENTS}) >= 3
    assert {content.number for content in CONTENTS} == set(range(10, 100))


def test_fonts_and_sizes_change_the_image():
    fonts, sizes = ({getattr(content, name) for content in CONTENTS} for name in ("font", "font_size"))
    drawn = {draw(CONTENTS[0]._replace(font=font, font_size=size)).tobytes() for font in fonts for size in sizes}
    assert len(drawn) == len(fonts) * len(sizes)


@pytest.mark.parametrize("word", ["kind", "colour", "size"])
def test_no_word_is_rare(word):
    counts = Counter(getattr(shape, word) for content in CONTENTS for shape in content.shapes)
    fair = counts.total() / len(counts)
    assert all(0.6 * fair < number < 1.4 * fair for number in counts.values())


def test_words_of_the_two_shapes_are_independent():
    pairs = Counter(tuple(shape.kind for shape in content.shapes) for content in CONTENTS if len(content.shapes) == 2)
    assert len(pairs) == 9  # equal kinds side by side as well


def test_places_tints_and_paints_are_jittered():
    centres = np.array([shape.centre for content in CONTENTS for shape in content.shapes if shape.side == "left"])
    assert (centres.std(axis=0) > 1.5).all()
    assert len({content.background for content in CONTENTS}) > 490
    assert len({shape.paint for content in CONTENTS for shape in content.shapes if shape.colour == "red"}) > 50


# -- questions


def said(question: str, caption: str) -> str:
    """The answer to a question, from the caption alone."""
    shapes, number = read(caption)
    places = {side: (size, colour, kind) for size, colour, kind, side in shapes}
    words = question.rstrip("?").replace(" an ", " a ").split()

    def the(colour, kind):
        (found,) = ((size, side) for size, *name, side in shapes if name == [colour, kind])
        return found

    match words:
        case ["What", "is", "the", "number"]:
            return str(number)
        case ["What", "is", "the", "first" | "last" as which, "digit", *_]:
            return str(number)[0 if which == "first" else -1]
        case ["Is", "the", "number", "even", "or", "odd"]:
            return ("even", "odd")[number & 1]
        case ["Is", "the", "number", "less", "than", limit]:
            return "yes" if number < int(limit) else "no"
        case ["How", "many", "shapes", "are", "there"]:
            return str(len(shapes))
        case ["How", "many", "shapes", "are", colour]:
            return str(caption.count(f" {colour} "))
        case ["Is", "there", "a", colour, kind]:
            return "yes" if f" {colour} {kind} " in caption else "no"
        case ["Which", "shape", "is", "on", "the", side]:
            return places[side][2] if side in places else "none"
        case ["What", "colour", "is", "the", "shape", "on", "the", side]:
            return places[side][1]
        case ["What", "colour", "is", "the", kind]:
            (colour,) = (colour for _, colour, other, _ in shapes if other == kind)
            return colour
        case ["Is", "the", colour, kind, "small", "or", "large"]:
            return the(colour, kind)[0]
        case ["Is", "the", colour, kind, "on", "the", "left", "or", "on", "the", "right"]:
            return the(colour, kind)[1]
        case ["What", "is", "left" | "right" as side, "of", "the", colour, kind]:
            return "nothing" if the(colour, kind)[1] == side else " ".join(places[side][1:])
        case ["Which", "shape", "is", "larger,", "the", "left", "or", "the", "right", "one"]:
            assert places["left"][0] != places["right"][0]
            return "left" if places["left"][0] == "large" else "right"
    raise AssertionError(question)


MANY = [scene(1, index) for index in range(10_000)]
ASKED = [questions(content) for content in MANY]


def test_every_answer_follows_from_the_caption():
    for content, asked in zip(MANY, ASKED, strict=True):
        assert asked
        for question, answer in asked:
            assert answer == said(question, describe(content)), (question, describe(content))


def test_a_scene_has_two_or_three_questions_and_one_about_its_number():
    for asked in ASKED:
        assert len(asked) in (2, 3)
        assert len({question for question, _ in asked}) == len(asked)
        assert sum("number" in question for question, _ in asked) == 1


def test_questions_depend_on_seed_and_index_alone_and_differ_between_seeds():
    assert [questions(scene(1, index)) for index in reversed(range(50))][::-1] == ASKED[:50]
    assert [questions(scene(2, index)) for index in range(50)] != ASKED[:50]


def kind_of(question: str) -> str:
    """A question without the words that differ between scenes."""
    words = question.replace(" an ", " a ").replace("?", "").split()
    between = "left or" in question
    sides = () if between else ("left", "right")
    return " ".join("…" if word in (*COLOURS, *REGIONS[1:4], *sides) else word for word in words)


# How often the most frequent answer of each kind of question may be right; a half is what two answers allow.
GUESSED = {
    "What is the number": 0.03,
    "What is the first digit of the number": 0.15,
    "What is the last digit of the number": 0.15,
    "Is the number even or odd": 0.55,
    "Is the number less than 55": 0.55,
    "How many shapes are there": 0.62,
    "How many shapes are …": 0.56,
    "Is there a … …": 0.56,
    "Which shape is on the …": 0.33,
    "What colour is the shape on the …": 0.2,
    "What colour is the …": 0.2,
    "Is the … … small or large": 0.55,
    "Is the … … on the left or on the right": 0.55,
    "What is … of the … …": 0.3,
    "Which shape is larger, the left or the right one": 0.58,
}


def test_answers_cannot_be_guessed_from_the_questions():
    answers = {kind: Counter() for kind in GUESSED}
    for asked in ASKED:
        for question, answer in asked:
            answers[kind_of(question)][answer] += 1
    for kind, found in answers.items():
        assert found.total() > 500, kind
        assert found.most_common(1)[0][1] / found.total() < GUESSED[kind], (kind, found.most_common(3))


def test_answers_cannot_be_guessed_from_earlier_ones():
    """After any kind of question and its answer, no answer to the next is much more frequent than the others."""
    after = {}
    for asked in ASKED:
        for place, (question, answer) in enumerate(asked):
            for before, known in asked[:place]:
                after.setdefault((kind_of(before), known, kind_of(question)), Counter())[answer] += 1
    frequent = [(found, key) for key, found in after.items() if found.total() >= 150]
    assert len(frequent) > 40
    for found, key in frequent:
        assert found.most_common(1)[0][1] / found.total() < 0.72, (key, found.most_common(3))
