"""`genlip.data.packing`: packs nearly full, every sample in one of them, and a state of a few numbers."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from genlip.data.images import ImageConfig, ImageError, image_patches
from genlip.data.packing import PackingConfig, Stream, StreamState, by_shape, choose, pack_images
from genlip.data.samples import SampleReader
from genlip.model.pack import Sample

from . import slow_order
from .helpers import InMemory, encoded, examples, small_config
from .small_run import CAPTIONS, IMAGES, LENGTH, PACKING, broken, example, reader, size

SIZES = {index: size(index) for index in range(LENGTH) if not broken(index)}


def contents(pack) -> list[tuple]:
    """Patches, grid, token ids and marks of every sample of a pack, cut by running sums."""
    out, patch, token = [], 0, 0
    for grid, length in zip(pack.grids, pack.text_lengths, strict=True):
        patches = pack.patches[patch : (patch := patch + grid[0] * grid[1])]
        text = slice(token, (token := token + length))
        out.append((patches.tolist(), grid, pack.token_ids[text].tolist(), pack.supervised[text].tolist()))
    assert (patch, token) == (pack.num_patches, len(pack.token_ids))
    return out


def expected(index: int) -> tuple:
    patches, grid = image_patches(example(index).image, IMAGES, small_config())
    ids, learned = CAPTIONS.encode(example(index).caption)
    return patches.tolist(), grid, ids.tolist(), learned.tolist()


def batches(stream: Stream) -> list:
    """All batches of a stream that ends."""
    found = []
    while not found or not found[-1].ended:
        found.append(stream.next_batch())
    return found


# -- the knapsack


@given(sizes=st.lists(st.integers(1, 40), max_size=9), room=st.integers(0, 120))
@examples(300)
def test_the_choice_fills_the_room_best_and_keeps_the_longest_waiting(sizes, room):
    chosen = choose(sizes, room)
    total = slow_order.best_subset(sizes, room)
    assert sum(sizes[i] for i in chosen) == total
    assert tuple(chosen) == (slow_order.earliest_subset(sizes, total) if sizes else ())


# -- streams


@pytest.mark.parametrize("number", range(PACKING.all_streams))
def test_the_packs_of_a_stream_are_those_of_the_slow_model(number):
    epochs = 5
    drawn = slow_order.stream(LENGTH, 3, PACKING.all_streams, PACKING.block, PACKING.shuffle_window, number, epochs)
    slow = slow_order.packs(drawn, SIZES, PACKING.max_tokens, PACKING.packing_buffer)
    found = batches(Stream(reader(), PACKING, number, epochs=epochs))
    assert [sorted(batch.keys) for batch in found] == [sorted(str(index) for _, index in pack) for pack, _ in slow]
    assert [[int(s.key) for s in batch.skipped] for batch in found] == [lost for _, lost in slow]
    for batch, (pack, _) in zip(found, slow, strict=True):
        assert batch.pack.num_rows == sum(SIZES[index] for _, index in pack) <= PACKING.max_tokens


def test_a_pack_holds_its_samples_in_order_of_shape():
    for batch in batches(Stream(reader(), PACKING, 2, epochs=1)):
        assert contents(batch.pack) == [expected(int(key)) for key in batch.keys]
        shapes = [(len(patches), len(ids)) for patches, _, ids, _ in contents(batch.pack)]
        assert shapes == sorted(shapes)


@pytest.mark.parametrize("stop", range(12))
def test_a_stream_goes_on_from_the_state_of_any_batch(stop):
    whole = batches(Stream(reader(), PACKING, 1, epochs=6))
    assert len(whole) == 13
    state = whole[stop].state
    assert all(isinstance(number, int) for number in (state.next, *state.waiting))
    rest = batches(Stream(reader(), PACKING, 1, StreamState(state.next, state.waiting), epochs=6))
    assert [(b.keys, b.skipped, b.state) for b in rest] == [(b.keys, b.skipped, b.state) for b in whole[stop + 1 :]]


def test_a_stream_without_a_usable_image_reports_instead_of_seeking_on():
    nothing = SampleReader(InMemory([example(5)] * 40), IMAGES, CAPTIONS, small_config(), 0, 70)
    stream = Stream(nothing, PACKING, 0)
    for _ in range(3):
        batch = stream.next_batch()
        assert (batch.pack, batch.keys, batch.ended) == (None, (), False)
        assert 256 <= len(batch.skipped) < 300
        assert {skip.reason for skip in batch.skipped} == {"not an image"}


def test_a_schedule_of_patches_follows_the_samples_of_the_run():
    large = InMemory([example(0)._replace(image=encoded(example(11).image.resize((400, 400)), "PNG"))] * 5)
    packing = PackingConfig(max_tokens=400, streams=2, packing_buffer=1, patch_schedule=((0, 9), (32, 25), (64, 100)))
    images = ImageConfig(resize="native", min_patches=1, max_patches=999)
    stream = Stream(SampleReader(large, images, CAPTIONS, small_config(), 0, 400), packing, 1)
    grids = [grid for _ in range(4) for grid in stream.next_batch().pack.grids]
    assert sorted(grids[:48])[:16] == [(3, 3)] * 16
    assert (grids.count((3, 3)), grids.count((5, 5))) == (16, 16)
    assert set(grids) <= {(3, 3), (5, 5), (10, 10)}


@pytest.mark.parametrize(
    "wrong",
    [
        {"max_tokens": 0}, {"batch": "0 packs"}, {"packing_buffer": 0}, {"streams": 0}, {"block": -1}, {"shuffle_window": 0},
        {"patch_schedule": ((5, 9),)}, {"patch_schedule": ((0, 9), (0, 12))}, {"patch_schedule": ((0, 0),)},
    ],
)  # fmt: skip
def test_impossible_settings_are_refused(wrong):
    with pytest.raises(ValueError, match=f"packing.{next(iter(wrong))} is"):
        PackingConfig(**wrong)


def test_streams_are_rounded_up_to_a_multiple_of_the_packs():
    assert [PackingConfig(batch=f"{packs} packs", streams=16).all_streams for packs in (1, 3, 16, 20)] == [16, 18, 16, 20]


# -- images for generation


def test_samples_of_one_shape_become_neighbours():
    def sample(patches, text):
        return Sample(np.zeros((patches, 192), np.uint8), (1, patches), [0] * text, [True] * text)

    samples = [sample(2, 3), sample(1, 9), sample(2, 1), sample(1, 9), sample(2, 3)]
    assert by_shape(samples) == [1, 3, 2, 0, 4]


def test_packed_images_keep_their_order_and_read_the_prompt_without_learning_it():
    usable = [index for index in range(12) if not broken(index)]
    pack = pack_images([example(index).image for index in usable], IMAGES, small_config(), CAPTIONS.prompt_ids)
    prompt = CAPTIONS.prompt_ids
    assert contents(pack) == [(*expected(index)[:2], prompt, [False] * len(prompt)) for index in usable]
    assert not pack.supervised.any()


def test_packed_images_have_no_text_without_a_prompt():
    pack = pack_images([example(0).image, encoded(example(1).image, "PNG")], IMAGES, small_config())
    assert contents(pack) == [(*expected(index)[:2], [], []) for index in range(2)]
    assert (pack.token_ids.dtype, pack.supervised.dtype, pack.patches.dtype) == (torch.int64, torch.bool, torch.uint8)


def test_packing_images_says_which_one_cannot_be_used(tmp_path):
    with pytest.raises(ImageError, match=r"gone\.png: no such file"):
        pack_images([example(0).image, tmp_path / "gone.png"], IMAGES, small_config())
