"""`genlip.data.sources.procedural`: every kind of drawn images, by seed and index."""

import itertools
import pickle

import numpy as np
import pytest
from PIL import Image

from genlip.data.examples import Choice, Example, Turn, plain_text
from genlip.data.sources import Procedural, open_source
from genlip.data.sources.procedural import KINDS
from genlip.synthetic import scenes

from ..helpers import refusal

every_kind = pytest.mark.parametrize("kind", KINDS)
asking = pytest.mark.parametrize("kind", [name for name, kind in KINDS.items() if kind.questions])
FEW = range(8)


def same(one: Example, other: Example) -> bool:
    return (one.key, one.caption) == (other.key, other.caption) and pixels(one).tobytes() == pixels(other).tobytes()


def pixels(example: Example) -> np.ndarray:
    assert isinstance(example.image, Image.Image)
    return np.asarray(example.image)


@every_kind
def test_a_kind_is_opened_by_its_name_and_seed(kind):
    assert open_source(kind) == open_source(f"{kind}:") == open_source(f"{kind}:0") == Procedural(kind, 0)
    assert open_source(f"{kind}:17") == open_source(f"{kind}:017") == Procedural(kind, seed=17)
    assert open_source(f"{kind}:17").name == f"{kind}:17"
    assert len(open_source(kind)) == 1_000_000


@every_kind
@pytest.mark.parametrize("seed", ["abc", "-1", "1.5", " ", "1:2"])
def test_a_seed_that_is_no_whole_number_is_refused(seed, kind):
    assert refusal(f"{kind}:{seed}") == (
        f"{kind}:{seed}: the seed of {kind} is {seed!r}; need a whole number from 0, as in '{kind}:7'"
    )


@every_kind
def test_examples_follow_from_kind_seed_and_index_alone(kind):
    source, again = Procedural(kind, 3), pickle.loads(pickle.dumps(Procedural(kind, 3, length=50)))
    forwards = [source[i] for i in FEW]
    backwards = [again[i] for i in reversed(FEW)][::-1]
    assert all(map(same, forwards, backwards))
    assert [example.key for example in forwards] == [f"{kind}:3:{i}" for i in FEW]


@every_kind
def test_examples_differ_by_index_and_by_seed(kind):
    examples = [Procedural(kind, seed)[i] for seed in (0, 1) for i in FEW]
    for one, other in itertools.combinations(examples, 2):
        assert pixels(one).tobytes() != pixels(other).tobytes()
    captions = {plain_text(example.caption) for example in examples}
    assert len(captions) >= (0.75 if kind == "closeups" else 1) * len(examples)  # windows may show nothing


@every_kind
def test_an_example_is_the_drawing_and_the_description_of_its_content(kind):
    content, draw, describe, _ = KINDS[kind]
    example = Procedural(kind, seed=3)[5]
    expected = Example(f"{kind}:3:5", draw(content(3, 5)), describe(content(3, 5)))
    assert same(example, expected)
    assert plain_text(example.caption).strip()


@asking
def test_a_conversation_is_the_questions_of_its_content_and_their_answers(kind):
    content, draw, _, questions = KINDS[kind]
    source = open_source(f"{kind}:3", "conversations")
    for index in FEW:
        asked = questions(content(3, index))
        turns = tuple(turn for question, answer in asked for turn in (Turn(question, False), Turn(answer, True)))
        assert same(source[index], Example(f"{kind}:3:{index}", draw(content(3, index)), turns or ""))
    assert any(questions(content(3, index)) for index in FEW)


@asking
def test_captions_and_conversations_are_read_by_their_chances(kind):
    source = open_source(f"{kind}:3", "caption=0.75,conversations=0.25")
    for index in FEW:
        said, asked = (open_source(f"{kind}:3", field).caption(index) for field in ("caption", "conversations"))
        both = Choice((said, asked), (0.75, 0.25), ("caption", "conversations"))
        assert source[index].caption == (both if asked else Choice((said,), (1.0,), ("caption",)))


@every_kind
def test_other_fields_are_refused(kind):
    needed = "caption or conversations" if KINDS[kind].questions else "caption"
    assert refusal(f"{kind}:2", "text,caption,re_caption") == f"{kind}:2: no field re_caption, text; need {needed}"
    if not KINDS[kind].questions:
        assert refusal(kind, "conversations") == f"{kind}:0: no field conversations; need caption"


@every_kind
def test_captions_are_known_without_drawing(kind, monkeypatch):
    source = Procedural(kind, 4)
    captions = [source[i].caption for i in FEW]

    def fail(content):
        raise AssertionError("drawn")

    monkeypatch.setitem(KINDS, kind, KINDS[kind]._replace(draw=fail))
    assert [source.caption(i) for i in FEW] == captions
    with pytest.raises(AssertionError, match="drawn"):
        source[0]


@every_kind
def test_a_loop_over_them_ends_with_the_source(kind):
    source = Procedural(kind, 4, length=3)
    assert [example.key for example in source] == [f"{kind}:4:{i}" for i in range(3)]
    for outside in (-1, 3, 1_000_000):
        for read in (source.__getitem__, source.caption):
            with pytest.raises(IndexError, match=f"^{kind}:4: image {outside} of 3$"):
                read(outside)


def test_scenes_are_the_synthetic_ones():
    content = scenes.scene(3, 5)
    expected = Example("scenes:3:5", scenes.draw(content), scenes.describe(content))
    assert same(open_source("scenes:3")[5], expected)
