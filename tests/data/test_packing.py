"""`genlip.data.packing`: what a batch holds, sample by sample, and what it leaves out."""

import numpy as np
import pytest
import torch
from PIL import Image

from genlip.data.captions import CaptionConfig, Captions
from genlip.data.images import ImageConfig, ImageError, image_patches
from genlip.data.packing import Packer, by_shape, pack_images
from genlip.data.sources import Example
from genlip.model.pack import Sample

from .helpers import InMemory, encoded, noise, small_config, small_tokenizer

IMAGES = ImageConfig(resize="native", min_patches=1, max_patches=12)
CAPTIONS = Captions(small_tokenizer(), CaptionConfig(prompt="the "))
MODEL = small_config()
# Height and width of each image, in patches of 8 x 8.
GRIDS = [(3, 4), (1, 1), (2, 3), (4, 3), (1, 1), (3, 2), (1, 6)]
WORDS = ["red circle", "a", "blue square 47", "x", "a large circle", "9", "blue square 90"]


def example(number: int) -> Example:
    (rows, columns), caption = GRIDS[number], WORDS[number]
    return Example(f"image {number}", Image.fromarray(noise(8 * rows, 8 * columns, seed=number)), caption)


def packer(source: list[Example], images: ImageConfig = IMAGES) -> Packer:
    return Packer(InMemory(source), images, CAPTIONS, MODEL)


def contents(pack) -> list[tuple]:
    """Patches, grid, token ids and marks of every sample of a pack, cut by running sums."""
    out, patch, token = [], 0, 0
    for grid, length in zip(pack.grids, pack.text_lengths, strict=True):
        patches = pack.patches[patch : (patch := patch + grid[0] * grid[1])]
        text = slice(token, (token := token + length))
        out.append((patches.tolist(), grid, pack.token_ids[text].tolist(), pack.supervised[text].tolist()))
    return out


def expected(number: int) -> tuple:
    ids, supervised = CAPTIONS.encode(WORDS[number])
    patches, grid = image_patches(example(number).image, IMAGES, MODEL)
    assert grid == GRIDS[number]
    return patches.tolist(), grid, ids.tolist(), supervised.tolist()


def missing(tmp_path, name: str = "gone.png") -> Example:
    return Example(name, tmp_path / name, "a red circle")


def test_every_key_names_its_own_sample():
    batch = packer([example(number) for number in range(7)]).batch(range(7))
    assert sorted(batch.keys) == [f"image {number}" for number in range(7)]
    assert contents(batch.pack) == [expected(int(key[-1])) for key in batch.keys]
    assert batch.skipped == ()


def test_samples_of_one_shape_are_neighbours():
    batch = packer([example(number) for number in range(7)]).batch(np.array([6, 1, 3, 5, 0, 2, 4, 1]))
    shapes = list(zip(batch.pack.patch_counts, batch.pack.text_lengths, strict=True))
    assert shapes == sorted(shapes)
    assert len(batch.pack.runs) == len(set(shapes)) < len(shapes)


def test_shapes_are_sorted_by_patches_then_text_and_else_left_in_order():
    shapes = [(2, 3), (1, 9), (2, 1), (1, 9), (2, 1)]
    samples = [
        Sample(np.zeros((patches, 192), np.uint8), (1, patches), [0] * text, [True] * text) for patches, text in shapes
    ]
    assert by_shape(samples) == [1, 3, 2, 4, 0]


def test_a_batch_holds_the_examples_of_its_indices():
    source = packer([example(number) for number in range(7)])
    assert sorted(source.batch([2, 5, 2]).keys) == ["image 2", "image 2", "image 5"]


def test_images_that_cannot_be_used_are_skipped_with_their_reason(tmp_path):
    half = encoded(Image.fromarray(noise(64, 64)), "PNG")[:2000]
    source = [missing(tmp_path), example(0), Example("half", half, "b"), Example("text", b"not an image", "c"), example(1)]
    batch = packer(source).batch(range(5))
    assert batch.keys == ("image 1", "image 0")
    assert contents(batch.pack) == [expected(1), expected(0)]
    assert [(key, reason) for key, reason, _ in batch.skipped] == [
        ("gone.png", "missing"),
        ("half", "damaged"),
        ("text", "not an image"),
    ]
    assert batch.skipped[0][2] == f"{tmp_path / 'gone.png'}: no such file"


def test_images_above_the_limit_of_pixels_are_skipped():
    batch = packer([example(0), example(1)], ImageConfig(size=16, max_pixels=100)).batch([0, 1])
    assert (batch.keys, [skip[:2] for skip in batch.skipped]) == (("image 1",), [("image 0", "too large")])


def test_a_batch_without_a_usable_image_has_no_pack(tmp_path):
    batch = packer([missing(tmp_path, "a.png"), missing(tmp_path, "b.png")]).batch([1, 0])
    assert (batch.pack, batch.keys, [key for key, _, _ in batch.skipped]) == (None, (), ["b.png", "a.png"])


def test_mistakes_that_are_no_images_are_not_skipped():
    with pytest.raises(ValueError, match="no multiple of the model's patch_size"):
        packer([example(0)], ImageConfig(size=9)).batch([0])
    with pytest.raises(AttributeError):
        packer([Example("key", example(0).image, None)]).batch([0])


def test_samples_come_in_the_order_asked_for_without_the_broken_ones(tmp_path):
    source = packer([example(0), missing(tmp_path), example(2)])
    skipped = []
    samples = list(source.samples([2, 1, 0, 2], skipped))
    assert [reason for _, reason, _ in skipped] == ["missing"]
    found = [(s.patches.tolist(), s.grid, s.token_ids.tolist(), s.supervised.tolist()) for s in samples]
    assert found == [expected(2), expected(0), expected(2)]


def test_samples_are_read_one_by_one():
    read = []

    class Watched(InMemory):
        def __getitem__(self, index):
            read.append(index)
            return super().__getitem__(index)

    samples = Packer(Watched([example(number) for number in range(7)]), IMAGES, CAPTIONS, MODEL).samples(range(7), [])
    next(samples)
    next(samples)
    assert read == [0, 1]


def test_packed_images_keep_their_order_and_read_the_prompt_without_learning_it():
    images = [example(number).image for number in range(7)]
    pack = pack_images(images, IMAGES, MODEL, CAPTIONS.prompt_ids)
    prompt = CAPTIONS.prompt_ids
    assert contents(pack) == [(*expected(number)[:2], prompt, [False] * len(prompt)) for number in range(7)]
    assert not pack.supervised.any()


def test_packed_images_have_no_text_without_a_prompt():
    pack = pack_images([example(0).image, encoded(example(1).image, "PNG")], IMAGES, MODEL)
    assert contents(pack) == [(*expected(number)[:2], [], []) for number in range(2)]
    assert (pack.token_ids.dtype, pack.supervised.dtype, pack.patches.dtype) == (torch.int64, torch.bool, torch.uint8)


def test_packing_images_says_which_one_cannot_be_used(tmp_path):
    with pytest.raises(ImageError, match=r"gone\.png: no such file"):
        pack_images([example(0).image, tmp_path / "gone.png"], IMAGES, MODEL)
