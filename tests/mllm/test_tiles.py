"""Tiles: sizes, order, numbers and pixels are those of LLaVA-NeXT in Transformers."""

from types import SimpleNamespace

import numpy as np
import pytest
import torch
from PIL import Image
from tokenizers import Tokenizer, models, pre_tokenizers
from transformers import LlavaNextConfig, LlavaNextProcessor, PreTrainedTokenizerFast
from transformers.image_processing_utils import select_best_resolution
from transformers.models.llava_next.modeling_llava_next import LlavaNextModel

from genlip.mllm.tiles import choose_tiling, tile_layout, tiles_of

try:
    from transformers.models.llava_next.image_processing_pil_llava_next import LlavaNextImageProcessorPil
except ImportError:
    LlavaNextImageProcessorPil = None
from transformers import LlavaNextImageProcessor

PAPER = ((1, 2), (2, 1), (2, 2), (3, 1), (1, 3))
UP_TO_SIX = tuple((rows, columns) for rows in range(1, 7) for columns in range(1, 7))
SETS = [
    (384, 16, PAPER),
    (384, 16, ((1, 2),)),
    (336, 14, PAPER),
    (224, 32, UP_TO_SIX),
    (28, 14, ((2, 3), (1, 1), (3, 2))),
    (16, 16, ((1, 1),)),
]
AT_THE_EDGE = [(47, 752), (88, 55), (88, 99)]  # the size without padding is a whole number but for the error of floats


def random_sizes(number, seed=0):
    """(height, width) from 1 to 4000, even in the logarithm, and some at which sides are equal or one is a pixel."""
    drawn = np.exp(np.random.default_rng(seed).uniform(0, np.log(4000), (number, 2))).astype(int)
    return [
        *map(tuple, drawn.tolist()),
        (384, 384),
        (768, 384),
        (1, 4000),
        (4000, 1),
        (1, 1),
        (2, 3000),
        (337, 336),
        *AT_THE_EDGE,
    ]


def pinpoints_in_pixels(tile, pinpoints):
    return [[rows * tile, columns * tile] for rows, columns in pinpoints]


def features_in_order(model, height, width, tile, patch, pinpoints):
    """What LlavaNextModel makes of features that are their own row numbers, with a newline vector of -1."""
    rows, columns = choose_tiling(height, width, tile, pinpoints)
    side = tile // patch
    features = torch.arange((1 + rows * columns) * side * side, dtype=torch.float64).reshape(1 + rows * columns, -1, 1)
    newline = torch.tensor([-1.0], dtype=torch.float64)
    (packed,), (length,) = LlavaNextModel.pack_image_features(
        model, [features], torch.tensor([[height, width]]), "full", image_newline=newline
    )
    assert len(packed) == length
    return packed[:, 0].long().numpy()


@pytest.mark.parametrize(("tile", "patch", "pinpoints"), SETS)
def test_the_layout_is_that_of_llava_next(tile, patch, pinpoints):
    config = LlavaNextConfig(image_grid_pinpoints=pinpoints_in_pixels(tile, pinpoints))
    config.vision_config.image_size, config.vision_config.patch_size = tile, patch
    model = SimpleNamespace(config=config)  # pack_image_features reads nothing else
    processor = object.__new__(LlavaNextProcessor)
    processor.image_processor = SimpleNamespace(image_grid_pinpoints=config.image_grid_pinpoints)
    processor.patch_size, processor.num_additional_image_tokens = patch, 0
    for height, width in random_sizes(1000):
        rows, columns = choose_tiling(height, width, tile, pinpoints)
        assert (rows * tile, columns * tile) == select_best_resolution((height, width), config.image_grid_pinpoints)
        layout = tile_layout(height, width, tile, patch, pinpoints)
        assert len(layout) == processor._get_number_of_features(height, width, tile, tile)
        assert layout.tolist() == features_in_order(model, height, width, tile, patch, pinpoints).tolist()
        assert layout.dtype == np.int64


def test_the_processor_writes_as_many_placeholders_as_the_layout_has_tokens():
    backend = Tokenizer(models.WordLevel({"<image>": 0, "?": 1}, unk_token="?"))
    backend.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=backend, unk_token="?", additional_special_tokens=["<image>"])
    images = LlavaNextImageProcessor(
        size={"shortest_edge": 48},
        crop_size={"height": 48, "width": 48},
        image_grid_pinpoints=pinpoints_in_pixels(48, PAPER),
    )
    processor = LlavaNextProcessor(images, tokenizer, patch_size=8, vision_feature_select_strategy="full")
    for height, width in [(48, 48), (90, 31), (20, 200), (300, 300), (61, 97)]:
        ids = processor(images=Image.new("RGB", (width, height)), text="<image> ?")["input_ids"][0]
        assert list(ids).count(0) == len(tile_layout(height, width, 48, 8, PAPER))


def test_a_layout_by_hand():
    """An image of 4 x 2 pixels in two tiles of 2 x 2 patches: no padding; each row of the tiles ends with a newline."""
    assert tile_layout(4, 2, 2, 1, [(1, 1), (2, 1)]).tolist() == [
        *[0, 1, 2, 3],
        *[4, 5, -1],
        *[6, 7, -1],
        *[8, 9, -1],
        *[10, 11, -1],
    ]  # fmt: skip


def test_a_single_tile_is_read_beside_the_squeezed_image():
    assert tile_layout(2, 1, 4, 1, [(1, 1)]).tolist() == [
        *range(16),
        *[17, 18, -1, 21, 22, -1, 25, 26, -1, 29, 30, -1],
    ]  # fmt: skip


def picture(height, width, seed=0):
    """Smooth colours with sharp edges."""
    rng = np.random.default_rng(seed)
    small = Image.fromarray(rng.integers(0, 256, (9, 9, 3), np.uint8))
    pixels = np.array(small.resize((width, height), Image.Resampling.BICUBIC))
    pixels[height // 4 : height // 2, width // 4 : width // 2] = (
        255 - pixels[height // 4 : height // 2, width // 4 : width // 2]
    )
    return pixels


SIZES = [(48, 48), (100, 90), (37, 100), (20, 300), (211, 199), (7, 5), (96, 144), (300, 300)]
TALL = [(100, 37), (300, 21), (257, 76)]  # Pillow reduces their height first; torchvision, and `tiles_of`, never do


@pytest.mark.parametrize("kind", [LlavaNextImageProcessor, LlavaNextImageProcessorPil])
def test_tiles_have_the_pixels_of_the_image_processor(kind):
    """The very pixels of torchvision's; from Pillow's at most two of 255 levels apart, tall images left out."""
    if kind is None:
        pytest.skip("this version of Transformers has no such image processor")
    processor = kind(
        size={"height": 48, "width": 48},
        crop_size={"height": 48, "width": 48},
        image_grid_pinpoints=pinpoints_in_pixels(48, PAPER),
        do_normalize=False,
        rescale_factor=1.0,
    )
    for height, width in SIZES + TALL:
        pixels = picture(height, width)
        theirs = np.asarray(processor(Image.fromarray(pixels))["pixel_values"][0]).transpose(0, 2, 3, 1)
        ours = np.stack(tiles_of(pixels, 48, PAPER))
        assert ours.dtype == np.uint8
        assert ours.shape == theirs.shape
        apart = np.abs(ours.astype(int) - theirs)
        assert apart.mean() < 0.15
        if kind is LlavaNextImageProcessor:
            assert not apart.any(), (height, width)
        elif (height, width) not in TALL:
            assert apart.max() <= 2, (height, width)
        padding = np.flatnonzero((ours == 0).all(axis=-1))
        assert padding.tolist() == np.flatnonzero((theirs == 0).all(axis=-1)).tolist()


def test_tiles_by_hand():
    """Without resizing: the squeezed image, then the tiles of the image on a black canvas, row by row."""
    pixels = np.arange(1, 25, dtype=np.uint8).reshape(4, 6, 1)
    base, *tiles = tiles_of(pixels, 4, [(1, 2)])  # 6 x 4 fits into 8 x 4 with two columns of padding
    assert base.shape == (4, 4, 1)
    canvas = np.pad(pixels, ((0, 0), (1, 1), (0, 0)))
    assert [one.tolist() for one in tiles] == [canvas[:, :4].tolist(), canvas[:, 4:].tolist()]


def test_odd_padding_is_larger_at_the_end():
    (_, tile) = tiles_of(np.full((4, 3, 1), 9, np.uint8), 4, [(1, 1)])
    assert tile[0, :, 0].tolist() == [9, 9, 9, 0]


def test_what_cannot_be_tiled_is_refused():
    with pytest.raises(ValueError, match=r"no pinpoints.*model\.tiles"):
        choose_tiling(3, 4, 16, [])
    with pytest.raises(ValueError, match=r"tiles of 384 pixels are no whole number of patches of 14 pixels"):
        tile_layout(3, 4, 384, 14, PAPER)
