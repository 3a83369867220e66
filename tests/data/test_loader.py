"""`genlip.data.loader`: the same batches whatever prepares them, and wherever one starts."""

import dataclasses
from collections import Counter

import pytest
import torch

from genlip.data.captions import Captions
from genlip.data.images import ImageConfig
from genlip.data.loader import load_batches
from genlip.data.packing import Batch, Packer
from genlip.data.sources import Files, Scenes

from .helpers import small_config, small_tokenizer

LENGTH, SIZE, BATCHES = 14, 4, 9  # two epochs and a half; epochs end within batches


def packer(source=None) -> Packer:
    source = source or Scenes(seed=1, length=LENGTH)
    return Packer(source, ImageConfig(size=32), Captions(small_tokenizer()), small_config())


def assert_same_batches(actual: list[Batch], expected: list[Batch]) -> None:
    assert [(batch.keys, batch.skipped) for batch in actual] == [(batch.keys, batch.skipped) for batch in expected]
    for a, b in zip(actual, expected, strict=True):
        for field in dataclasses.fields(b.pack):
            x, y = getattr(a.pack, field.name), getattr(b.pack, field.name)
            assert torch.equal(x, y) if isinstance(y, torch.Tensor) else x == y, field.name


@pytest.fixture(scope="module")
def all_batches() -> list[Batch]:
    return list(load_batches(packer(), SIZE, seed=3, first=0, last=BATCHES))


def test_every_epoch_holds_every_sample_once(all_batches):
    assert [len(batch.keys) for batch in all_batches] == [SIZE] * BATCHES
    assert Counter(key for batch in all_batches[:7] for key in batch.keys) == {f"scene 1:{i}": 2 for i in range(LENGTH)}
    batches = list(load_batches(packer(Scenes(seed=1, length=12)), SIZE, seed=3, first=0, last=9))
    for first in (0, 3, 6):  # three batches of four are an epoch of twelve
        keys = [key for batch in batches[first : first + 3] for key in batch.keys]
        assert sorted(keys) == sorted(f"scene 1:{i}" for i in range(12))


@pytest.mark.parametrize("workers", [1, 2])
def test_workers_do_not_change_the_batches(workers, all_batches):
    assert_same_batches(list(load_batches(packer(), SIZE, 3, 0, BATCHES, workers=workers)), all_batches)


@pytest.mark.parametrize("first", range(1, BATCHES + 1))
def test_resuming_equals_never_stopping(first, all_batches):
    assert_same_batches(list(load_batches(packer(), SIZE, 3, first, BATCHES)), all_batches[first:])


def test_resuming_with_workers_equals_never_stopping(all_batches):
    assert_same_batches(list(load_batches(packer(), SIZE, 3, 4, 8, workers=2)), all_batches[4:8])


def test_seeds_have_orders_of_their_own(all_batches):
    other = list(load_batches(packer(), SIZE, 4, 0, BATCHES))
    assert [set(batch.keys) for batch in other] != [set(batch.keys) for batch in all_batches]


def test_a_batch_may_be_longer_than_the_source():
    (batch,) = load_batches(packer(Scenes(seed=1, length=3)), 9, 0, 0, 1)
    assert Counter(batch.keys) == {f"scene 1:{i}": 3 for i in range(3)}


@pytest.mark.parametrize("workers", [0, 1])
def test_skipped_images_reach_the_reader_with_their_reason(workers, tmp_path):
    gone, text = tmp_path / "gone.png", tmp_path / "text.png"
    text.write_text("not an image")
    (batch,) = load_batches(packer(Files([gone, text], ["a", "b"])), 2, 0, 0, 1, workers=workers)
    assert (batch.pack, batch.keys) == (None, ())
    assert sorted(skip[:2] for skip in batch.skipped) == [(str(gone), "missing"), (str(text), "not an image")]


@pytest.mark.parametrize("workers", [0, 1])
def test_mistakes_in_a_source_stop_the_reader(workers, tmp_path):
    without_captions = Files([tmp_path / "a.png"], [])
    with pytest.raises(IndexError):
        list(load_batches(packer(without_captions), 2, 0, 0, 1, workers=workers))
