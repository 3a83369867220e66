"""Formatting: numbers, counts, shares, times and sizes as text."""

import pytest

from genlip.report import formatting


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (0, "0"),
        (0.25, "0.25"),
        (1.5, "1.5"),
        (640, "640"),
        (9999, "9999"),
        (12_000, "12k"),
        (1_500_000, "1.5M"),
        (3e9, "3G"),
    ],
)
def test_numbers_on_axes_are_short(value: float, text: str) -> None:
    assert formatting.short_number(value) == text


@pytest.mark.parametrize(
    ("hours", "text"), [(4451.2, "4,451"), (12.34, "12"), (3.456, "3.5"), (0.123, "0.12"), (1e-5, "under 0.01")]
)
def test_hours_are_rounded_to_two_digits(hours: float, text: str) -> None:
    assert formatting.two_digits(hours) == text


@pytest.mark.parametrize(("value", "text"), [(3.0, "3"), (99.94, "99.9"), (1234.5, "1,234"), (0.12345, "0.123")])
def test_measured_values_have_three_digits(value: float, text: str) -> None:
    assert formatting.figure(value) == text


def test_counts_name_what_they_count() -> None:
    assert [formatting.counted(n, "pack") for n in (0, 1, 1234)] == ["0 packs", "1 pack", "1,234 packs"]
    assert [formatting.counted(n, "process") for n in (1, 2)] == ["1 process", "2 processes"]


@pytest.mark.parametrize(
    ("value", "compact", "estimate", "large_count"),
    [
        (12, "12", "12", "12"),
        (1234, "1,234", "1,230", "1.23 k"),
        (9_876_543, "9,876,543", "9,880,000", "9.88 M"),
        (37_000_000, "37 M", "37 M", "37 M"),
        (8_000_000_000, "8 B", "8 B", "8 B"),
    ],
)
def test_large_counts(value: float, compact: str, estimate: str, large_count: str) -> None:
    found = (formatting.compact(value), formatting.estimate(value), formatting.large_count(value))
    assert found == (compact, estimate, large_count)


def test_units_have_prefixes() -> None:
    assert f"{formatting.with_prefix(989.4e12)}FLOP/s" == "989 TFLOP/s"
    assert f"{formatting.with_prefix(12)}B/s" == "12 B/s"


def test_shares_are_percentages() -> None:
    assert [formatting.percent(value) for value in (0.1234, -0.05, -0.0001, float("nan"), None)] == [
        "12.3%", "−5.0%", "0.0%", "–", "–",
    ]  # fmt: skip
    assert formatting.percent(float("nan"), "not measured") == "not measured"
    assert [formatting.share(value) for value in (0, 0.0004, 0.25)] == ["none", "<0.1%", "25.0%"]


@pytest.mark.parametrize(
    ("seconds", "duration", "long_duration", "clock"),
    [
        (0.25, "0 s", "0.25 seconds", "0:00:00"),
        (90, "90 s", "1.5 minutes", "0:01:30"),
        (7200, "2.0 h", "2 hours", "2:00:00"),
        (3 * 86_400 + 4 * 3600, "3.2 days", "3.17 days", "3 days, 4:00:00"),
    ],
)
def test_times(seconds: float, duration: str, long_duration: str, clock: str) -> None:
    found = (formatting.duration(seconds), formatting.long_duration(seconds), formatting.clock(seconds))
    assert found == (duration, long_duration, clock)


@pytest.mark.parametrize("seconds", [None, float("nan"), float("inf")])
def test_an_unknown_time_is_a_dash(seconds: float | None) -> None:
    assert formatting.clock(seconds) == "–"


def test_sizes_name_their_unit() -> None:
    assert formatting.size(3 * 2**30, "GiB") == "3.0 GiB"
    assert formatting.size(1_234_560_000, "MB") == "1,234.6 MB"


def test_long_texts_are_cut_to_one_line() -> None:
    assert formatting.one_line("two\n words ") == "two words"
    assert formatting.one_line("word " * 20, 9) == "word word…"
