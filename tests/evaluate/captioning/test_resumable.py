"""`genlip.evaluate.captioning.resumable`: stored captions are not generated again, and digests follow the true captions."""

import logging

import pytest
from PIL import Image

from genlip.data.examples import Choice, Example
from genlip.evaluate.captioning.generated import GeneratedCaption
from genlip.evaluate.captioning.resumable import captions_digest, resumable_captions
from genlip.evaluate.partial_results import PartialResults
from genlip.model.decoding import Decoding
from tests.data.helpers import InMemory

from .test_generated import Echo

SOURCE = InMemory(
    [
        Example("one", Image.new("RGB", (1, 4)), "1 wide"),
        Example("two", Image.new("RGB", (2, 4)), Choice(("two", "2 wide"), (0.5, 0.5))),
        Example("three", b"no image", "3 wide"),
        Example("four", Image.new("RGB", (4, 4)), "5 wide"),
    ]
)


def caption(partial: PartialResults, echo: Echo, done: list[int]) -> list[GeneratedCaption]:
    return resumable_captions(echo, SOURCE, [3, 0, 1, 2], Decoding(max_tokens=5), partial, 2, done.append)


def test_captions_come_with_their_references_and_without_images():
    found = caption(PartialResults(None, {}), Echo(), done := [])
    assert [(one.number, one.key, one.image, one.caption, one.references, one.exact) for one in found] == [
        (3, "four", None, "5 wide", ["5 wide"], False),
        (0, "one", None, "1 wide", ["1 wide"], True),
        (1, "two", None, "two", ["two", "2 wide"], True),
    ]
    assert done == [2, 2]


def test_what_is_stored_is_read_and_only_the_rest_is_generated(tmp_path):
    whole = caption(PartialResults(None, {}), Echo(), [])
    first = PartialResults(tmp_path / "some.jsonl", {"of": 1})
    resumable_captions(Echo(), SOURCE, [3, 0], Decoding(max_tokens=5), first, 2)
    echo = Echo()
    assert caption(PartialResults(tmp_path / "some.jsonl", {"of": 1}), echo, done := []) == [
        one._replace(references=list(one.references)) for one in whole
    ]
    assert sum(number for number, _ in echo.asked) == 1, "one was stored with its neighbour, one cannot be used"
    assert done == [2, 2]


def test_nothing_that_can_be_used_is_an_error_with_the_reasons(caplog):
    with (
        caplog.at_level(logging.WARNING),
        pytest.raises(ValueError, match=r"memory: none of 1 examples can be used \(1 not an"),
    ):
        resumable_captions(Echo(), SOURCE, [2], Decoding(), PartialResults(None, {}))
    silent = InMemory([Example("one", Image.new("RGB", (1, 4)), " ")])
    with pytest.raises(ValueError, match="captions without references: none of 1 examples has a true caption"):
        resumable_captions(Echo(), silent, [0], Decoding(), PartialResults(None, {}))


def test_the_digest_follows_the_true_captions_and_their_order():
    assert captions_digest(SOURCE, [0, 1]) == captions_digest(SOURCE, [0, 1])
    assert len({captions_digest(SOURCE, some) for some in ([0, 1], [1, 0], [0], [3])}) == 4
