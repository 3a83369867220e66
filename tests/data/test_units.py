"""`genlip.data.units`: numbers as people write them."""

import pytest

from genlip.data.packing import PackingConfig
from genlip.data.units import batch_size, count


@pytest.mark.parametrize(
    ("text", "number"),
    [
        ("8B", 8_000_000_000), ("32k", 32_000), ("1.5k", 1500), ("2K", 2000), ("1_000", 1000), ("1,000", 1000), (" 7 ", 7),
        ("3T", 3 * 10**12),
    ],
)  # fmt: skip
def test_counts(text, number):
    assert count(text) == number


@pytest.mark.parametrize("text", ["", "k", "8 billion", "1.5", "-3", "0.5", "1e9x", "8b", "9" * 400, "9" * 20])
def test_what_is_no_count_is_refused(text):
    with pytest.raises(ValueError, match="is not a whole number"):
        count(text)


@pytest.mark.parametrize(
    ("text", "packs", "per_sample"),
    [
        ("4 packs", 4, 0), ("1 pack", 1, 0), ("8M tokens", 480, 0), ("16384 tokens", 1, 0),
        ("32k samples of 270 tokens", 512, 270), ("3.6k samples of 1200 tokens", 256, 1200),
        ("300k tokens", 18, 0), ("1k packs", 1000, 0),
    ],
)  # fmt: skip
def test_batches_become_packs(text, packs, per_sample):
    """By hand: 32,000 x 270 / 16,384 = 527.3, within 17 of it is 512; 3,600 x 1,200 / 16,384 = 263.7, within 8 of it is 256;
    8,000,000 / 16,384 = 488.3, within 16 of it is 480 = 15 x 32; 300,000 / 16,384 = 18.3.
    """
    assert batch_size(text, 16_384) == (packs, per_sample)
    assert (PackingConfig(batch=text).packs, PackingConfig(batch=text).tokens_per_sample) == (packs, per_sample)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("32k", "write it as 4 packs, 8M tokens, or 32k samples of 270 tokens"),
        ("32k samples", "say how long a sample is on average, patches and text, as in 32k samples of 270 tokens"),
        ("1.5 packs", "at least one pack, of 16384 tokens, and whole packs"),
        ("100 tokens", "at least one pack"),
    ],
)
def test_what_is_no_batch_says_how_to_write_one(text, message):
    with pytest.raises(ValueError, match=message):
        batch_size(text, 16_384)


@pytest.mark.parametrize("text", [f"{'9' * 400} packs", f"{'9' * 400} tokens", f"{'9' * 400} samples of 9 tokens"])
def test_more_packs_than_can_be_counted_are_refused(text):
    with pytest.raises(ValueError, match=r"packing\.batch is '9+\.\.\..*: it must be less than 2\*\*63 packs"):
        batch_size(text, 512)


def test_rows_beyond_all_numbers_are_refused():
    with pytest.raises(ValueError, match=r"packing\.max_tokens is 1.*: a whole number must be less than 2\*\*63"):
        PackingConfig(max_tokens=10**400)
