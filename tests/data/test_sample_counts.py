"""`genlip.data.sample_counts`: counts, their words, and when they stop a run."""

import json

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from genlip.data.packing import Batch
from genlip.data.sample_counts import SampleCounts, SkippedTooMany
from genlip.data.samples import Skipped

from .helpers import examples

NAMES = st.sampled_from(["web.tar", "scenes:0", "a/b.csv", "", "é"])
REASONS = st.sampled_from(["missing", "damaged", "no caption", "too large for a pack"])
BATCHES = st.lists(st.tuples(st.lists(NAMES), st.lists(st.tuples(NAMES, REASONS)), st.integers(0, 5)), max_size=6)


def batch(sources=(), skipped=(), squeezed=0):
    entries = tuple(Skipped("key", reason, "key: why", source) for source, reason in skipped)
    return Batch(None, sources=tuple(sources), skipped=entries, squeezed=squeezed)


def tally(used=0, lost=0):
    counted = SampleCounts()
    counted.add([batch(["web.tar"] * used, [("web.tar", "missing")] * lost)])
    return counted


@given(batches=BATCHES)
@examples(100)
def test_samples_are_counted_by_source_and_reason(batches):
    counted = SampleCounts()
    for entry in batches:
        counted.add([batch(*entry)])
    used = [source for sources, _, _ in batches for source in sources]
    lost = [pair for _, skipped, _ in batches for pair in skipped]
    assert counted.used == {source: used.count(source) for source in used}
    assert counted.skipped == {pair: lost.count(pair) for pair in lost}
    assert counted.squeezed == sum(squeezed for _, _, squeezed in batches)
    assert counted.seen == len(used) + len(lost)
    together = SampleCounts()
    together.add(batch(*entry) for entry in batches)
    assert together == counted


@given(batches=BATCHES)
@examples(100)
def test_counts_come_back_from_json(batches):
    counted = SampleCounts()
    counted.add(batch(*entry) for entry in batches)
    again = SampleCounts.from_json(json.loads(json.dumps(counted.to_json())))
    assert again == counted
    again.add([batch(["web.tar"], [("web.tar", "missing")])])  # and go on
    counted.add([batch(["web.tar"], [("web.tar", "missing")])])
    assert again == counted


def test_json_holds_reasons_under_their_source():
    counted = SampleCounts()
    counted.add([batch(["a", "b", "a"], [("a", "missing"), ("b", "damaged"), ("a", "damaged"), ("a", "missing")], 2)])
    assert counted.to_json() == {
        "used": {"a": 2, "b": 1},
        "skipped": {"a": {"missing": 2, "damaged": 1}, "b": {"damaged": 1}},
        "squeezed": 2,
    }
    assert SampleCounts().to_json() == {"used": {}, "skipped": {}, "squeezed": 0}


# -- words


@pytest.mark.parametrize(
    ("used", "skipped", "expected"),
    [
        ([], [], ""),
        (["a"], [], ""),
        (["a"], [("a", "missing")], "1 missing"),
        ([], [("a", "damaged"), ("a", "missing"), ("a", "missing")], "2 missing, 1 damaged"),
        (["b"], [("a", "missing"), ("a", "missing"), ("a", "damaged")], "2 missing in a, 1 damaged in a"),
        (["a"], [("a", "missing"), *[("b", "missing")] * 3, ("b", "damaged")],
         "3 missing in b, 1 missing in a, 1 damaged in b"),
    ],
)  # fmt: skip
def test_words_name_reasons_by_frequency_and_sources_where_there_are_several(used, skipped, expected):
    counted = SampleCounts()
    counted.add([batch(used, skipped)])
    assert counted.words() == expected


# -- when it is too much


@pytest.mark.parametrize(
    ("limit", "used", "most"),
    [
        (0.1, 0, 10), (0.1, 50, 10), (0.1, 90, 10), (0.1, 900, 100), (0.25, 7, 25), (0.25, 300, 100), (0.005, 0, 1),
        (0.005, 398, 2), (0.0, 0, 0), (0.0, 1000, 0),
    ],
)  # fmt: skip
def test_a_share_of_those_seen_may_be_lost_at_first_of_100(limit, used, most):
    tally(used, most).check(limit, 10**6)
    with pytest.raises(SkippedTooMany):
        tally(used, most + 1).check(limit, 10**6)


def test_all_may_be_lost_where_the_limit_is_all():
    tally(0, 10_000).check(1.0, 10_001)


@given(used=st.integers(0, 2000), lost=st.integers(0, 2000), percent=st.integers(1, 99))
@examples(200)
def test_the_limit_against_whole_numbers(used, lost, percent):
    allowed = max(percent * max(used + lost, 100), 100)  # in hundredths of a sample
    assume(100 * lost != allowed)  # there, floats may round either way
    try:
        tally(used, lost).check(percent / 100, 10**6)
        assert 100 * lost < allowed
    except SkippedTooMany:
        assert 100 * lost > allowed


def test_samples_that_wait_to_be_packed_count_as_good():
    tally(100, 15).check(0.1, 10**6, waiting=40)
    with pytest.raises(SkippedTooMany, match="15 of 115 samples"):
        tally(100, 15).check(0.1, 10**6)


def test_a_source_of_which_nothing_can_be_used_stops_whatever_the_limit():
    tally(0, 39).check(1.0, 40)
    with pytest.raises(SkippedTooMany):
        tally(0, 40).check(1.0, 40)


def test_the_error_counts_names_and_says_what_to_do():
    counted = tally(70, 30)
    counted.add([batch(["scenes:0"], [("web.tar", "damaged")])])
    with pytest.raises(SkippedTooMany) as error:
        counted.check(0.1, 10**6)
    assert str(error.value) == (
        "31 of 102 samples could not be used (30 missing in web.tar, 1 damaged in web.tar); "
        "see log.jsonl, or raise --max_skipped"
    )
    assert isinstance(error.value, ValueError)
