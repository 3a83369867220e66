"""`genlip.evaluate.readout.localization`: cases by hand, a slow loop over patches, and models that must not look good."""

from itertools import pairwise

import numpy as np
import pytest

from genlip.evaluate.readout.localization import ANY, KINDS, PatchTokens, Place, Slot, evidence, localization_scores, slots
from genlip.evaluate.scores import Scores

VOCABULARY = ("a", "red", "blue", "circle", "square", "47", "90")


class Whole:
    """Each word is one token, its place in the vocabulary."""

    def ids(self, word: str) -> np.ndarray:
        return np.array([VOCABULARY.index(word)])


WORDS = Whole()


def place(words: tuple[str, ...], own: str, touched: str = "") -> Place:
    """Patches as text, such as "##..."."""
    own_patches = np.array([mark == "#" for mark in own])
    return Place(words, own_patches, own_patches | np.array([mark == "#" for mark in touched or own]))


def asked(said: list[tuple[str, ...]], *places: Place) -> PatchTokens:
    return PatchTokens(np.array([[VOCABULARY.index(word) for word in words] for words in said]), places)


FIRST = asked(
    [("red", "a"), ("a", "circle"), ("red", "47"), ("a", "blue"), ("47", "square")],
    place(("red", "circle"), "##...", "###.."),
    place(("blue", "square"), "...#."),
    place(("47",), "....#"),
)
OTHER = asked([("a", "red")] * 5, place(("blue", "circle"), "#...."), place(("90",), "....#"))


def test_evidence_of_a_case_by_hand():
    # Any word. In place: both patches of the circle, the square's, the number's. Elsewhere: at patches 3, 4 nobody says red
    # or circle; of patches 0, 1, 2, 4 one says square; of 0 to 3 one says 47. Other image: blue or circle at the circle's
    # patches (1 of 2), at the square's (1 of 1), 90 at the number's (0 of 1).
    assert evidence(FIRST, OTHER, ANY, WORDS).tolist() == [4, 4, 2, 10, 2, 4]
    # The first of two words. In place: red at patch 0 of 2, blue at patch 3. Elsewhere: no red at 3, 4, no blue at others.
    assert evidence(FIRST, OTHER, Slot(0, 2), WORDS).tolist() == [2, 3, 0, 6, 1, 3]
    assert evidence(FIRST, OTHER, Slot(1, 2), WORDS).tolist() == [1, 3, 1, 6, 1, 3]
    assert evidence(FIRST, OTHER, Slot(0, 1), WORDS).tolist() == [1, 1, 1, 4, 0, 1]


def test_patches_of_another_object_with_the_same_word_are_not_elsewhere():
    image = asked([("red",), ("red",), ("a",)], place(("red", "circle"), "#.."), place(("red", "square"), ".#."))
    assert evidence(image, image, Slot(0, 2), WORDS)[2:4].tolist() == [0, 2]  # for each object the last patch
    assert evidence(image, image, Slot(1, 2), WORDS)[2:4].tolist() == [0, 4]  # for circle the square's too


def by_loop(image: PatchTokens, other: PatchTokens) -> list[int]:
    """Any word, patch by patch, in words."""
    said = [{VOCABULARY[i] for i in row} for row in image.ids.tolist()]
    counts = [0] * 6
    for one in image.places:
        alike = [any_one for any_one in image.places if set(any_one.words) & set(one.words)]
        for patch, words in enumerate(said):
            if one.own[patch]:
                counts[0] += bool(words & set(one.words))
                counts[1] += 1
            if not any(some.touched[patch] for some in alike):
                counts[2] += bool(words & set(one.words))
                counts[3] += 1
            for stranger in other.places:
                if one.own[patch] and len(stranger.words) == len(one.words):
                    counts[4] += bool(words & set(stranger.words))
                    counts[5] += 1
    return counts


def random_image(random: np.random.Generator) -> PatchTokens:
    places = []
    for _ in range(random.integers(1, 4)):
        words = (str(random.choice(["red", "blue"])), str(random.choice(["circle", "square"])))[: random.integers(1, 3)]
        own = random.random(9) < 0.3
        places.append(Place(words, own, own | (random.random(9) < 0.2)))
    return PatchTokens(random.integers(0, len(VOCABULARY), (9, 2)), tuple(places))


def test_evidence_of_random_images_by_a_slow_loop():
    random = np.random.default_rng(0)
    images = [random_image(random) for _ in range(30)]
    for image, other in pairwise(images):
        assert evidence(image, other, ANY, WORDS).tolist() == by_loop(image, other)


def test_slots_are_each_position_where_some_object_has_several_words():
    assert [slot.name for slot in slots([FIRST])] == ["any word", "word 1 of 1", "word 1 of 2", "word 2 of 2"]
    assert slots([asked([("a",)], place(("red",), "#"))]) == [ANY]
    assert slots([asked([("a",)])]) == [ANY]


def test_scores_are_shares_over_all_images_and_differences_of_them():
    scores = localization_scores([FIRST, OTHER], WORDS)
    assert set(scores) == {
        f"{slot}{kind}" for slot in ("", "word 1 of 1, ", "word 1 of 2, ", "word 2 of 2, ") for kind in KINDS
    }
    rows = np.array([by_loop(FIRST, OTHER), by_loop(OTHER, FIRST)]).sum(axis=0)
    shares = rows[::2] / rows[1::2]
    assert [scores[kind].score for kind in KINDS] == pytest.approx([*shares, shares[0] - shares[1], shares[0] - shares[2]])


@pytest.mark.parametrize("said", [("a", "a"), ("red", "circle"), VOCABULARY])
def test_a_model_that_says_the_same_everywhere_gains_nothing(said):
    images = [
        asked([said] * 4, place(("red", "circle"), "##.."), place(("47",), "...#")),
        asked([said] * 4, place(("red", "circle"), ".#.."), place(("47",), "..##")),
    ]
    scores = localization_scores(images, WORDS)
    for slot in ("word 1 of 1, ", "word 1 of 2, ", "word 2 of 2, "):
        assert scores[f"{slot}in place - elsewhere"].score == pytest.approx(0)
        assert scores[f"{slot}in place - other image"].score == pytest.approx(0)


def test_a_model_that_names_every_object_in_its_place_gains_all():
    images = [
        asked([("red",), ("a",), ("47",)], place(("red", "circle"), "#.."), place(("47",), "..#")),
        asked([("a",), ("blue",), ("90",)], place(("blue", "square"), ".#."), place(("90",), "..#")),
    ]
    scores = localization_scores(images, WORDS)
    assert [scores[kind].score for kind in KINDS] == [1, 0, 0, 1, 1]


def test_each_image_is_the_other_of_one_and_never_its_own():
    images = [asked([(word,)], place((word,), "#")) for word in VOCABULARY]
    assert localization_scores(images, WORDS)["other image"].score == 0  # its own words would be heard
    assert localization_scores(images, WORDS)["in place"].score == 1


def test_images_without_objects_add_nothing():
    scores = localization_scores([FIRST, asked([("a",)] * 5)], WORDS)
    assert scores["in place"].evidence.tolist() == [[4, 4], [0, 0]]
    assert isinstance(scores["in place"], Scores)
    assert np.isnan(scores["other image"].score)  # the only other image has no words


def test_one_image_is_refused():
    with pytest.raises(ValueError, match=r"1 images with known objects that can be used: .* another image needs 2"):
        localization_scores([FIRST], WORDS)
