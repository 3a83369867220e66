"""What the ONNX exports are made of, each alone: the traced functions, the choice of tokens, pixels without PyTorch."""

import numpy as np
import pytest
import torch
from PIL import Image

from genlip.data.images import ImageConfig, decode_pixels, prepare_image
from genlip.export.onnx.graphs import EncoderGraph, PrefillGraph, StepGraph
from genlip.export.onnx.pixels import checked_pixels, equal_sizes, read_pixels
from genlip.export.onnx.sampling import choose_tokens
from genlip.model.config import GenLIPConfig
from genlip.model.decoding import Decoding
from genlip.model.pack import Pack, Sample

from ..model.helpers import VARIANTS, small_config, small_model
from .helpers import pictures, stray

BATCH, GRID = 2, (3, 5)
TEXTS = [[3, 1, 4, 1], [9, 2, 6, 5]]


def pixels_and_pack(config: GenLIPConfig) -> tuple[torch.Tensor, Pack]:
    """Float32 images, and the same cut into patches by a loop, with `TEXTS`."""
    size, (rows, columns) = config.patch_size, GRID
    random = torch.Generator().manual_seed(0)
    pixels = torch.rand(BATCH, config.num_channels, rows * size, columns * size, generator=random) * 2 - 1
    samples = []
    for image, text in zip(pixels, TEXTS, strict=True):
        patches = [
            image[:, size * row : size * (row + 1), size * column : size * (column + 1)].flatten()
            for row in range(rows)
            for column in range(columns)
        ]
        samples.append(Sample(torch.stack(patches), GRID, text, [True] * len(text)))
    return pixels, Pack.of(samples)


@pytest.mark.parametrize("variant", VARIANTS)
@torch.no_grad()
def test_the_traced_functions_compute_what_the_model_does(variant):
    model = small_model(**VARIANTS[variant]).float()
    pixels, pack = pixels_and_pack(model.config)
    features = model.encode(pack).unflatten(0, (BATCH, -1))
    assert stray(EncoderGraph(model)(pixels), features) < 1e-5

    logits = model.logits(pack).unflatten(0, (BATCH, -1))  # before every token
    first, cache = PrefillGraph(model)(pixels)
    assert stray(first, logits[:, 0]) < 1e-5
    start, text = torch.full((BATCH,), max(GRID)), torch.tensor(TEXTS)
    for length in (1, 2, 3):
        found, _ = StepGraph(model)(text[:, :length], start, cache)
        assert stray(found, logits[:, length]) < 1e-5


@torch.no_grad()
def test_the_cache_grows_by_the_tokens_and_keeps_the_past():
    model = small_model().float()
    pixels, _ = pixels_and_pack(model.config)
    _, cache = PrefillGraph(model)(pixels)
    assert list(cache.shape) == [2, 2, BATCH, 2, 15, 12]  # layers, keys and values, images, heads, rows, head dimension
    _, grown = StepGraph(model)(torch.tensor(TEXTS), torch.full((BATCH,), 5), cache)
    assert list(grown.shape) == [2, 2, BATCH, 2, 15 + 4, 12]
    assert torch.equal(grown[:, :, :, :, :15], cache)


LOGITS = np.log(np.array([[0.05, 0.5, 0.3, 0.15]]))


def drawn(number: int, **decoding: float) -> np.ndarray:
    settings = Decoding(**{"temperature": 1.0, **decoding})
    return choose_tokens(LOGITS.repeat(number, axis=0), settings, np.random.default_rng(0))


def test_temperature_zero_takes_the_likeliest_token():
    assert drawn(3, temperature=0.0).tolist() == [1, 1, 1]


@pytest.mark.parametrize("temperature", [0.7, 1.0, 2.0])
def test_sampled_tokens_follow_the_softmax_at_the_temperature(temperature):
    share = np.bincount(drawn(40_000, temperature=temperature), minlength=4) / 40_000
    powers = np.exp(LOGITS[0]) ** (1 / temperature)
    np.testing.assert_allclose(share, powers / powers.sum(), atol=0.01)


def test_top_k_and_top_p_exclude_exactly_the_unlikely_tokens():
    def seen(**limits: float) -> set[int]:
        return set(drawn(2000, **limits).tolist())

    assert seen() == {0, 1, 2, 3}
    assert seen(top_k=1) == {1}
    assert seen(top_k=2) == {1, 2}
    assert seen(top_k=9) == {0, 1, 2, 3}
    assert seen(top_p=0.4) == {1}
    assert seen(top_p=0.6) == {1, 2}
    assert seen(top_p=0.9) == {1, 2, 3}
    assert seen(top_k=3, top_p=0.6) == {1, 2}


def planes(patches: np.ndarray, grid: tuple[int, int], config: GenLIPConfig) -> np.ndarray:
    """[N, C*P*P] patches -> [C, H, W], by a loop."""
    size = config.patch_size
    image = np.zeros((config.num_channels, grid[0] * size, grid[1] * size), patches.dtype)
    for place, patch in enumerate(patches):
        row, column = size * (place // grid[1]), size * (place % grid[1])
        image[:, row : row + size, column : column + size] = patch.reshape(-1, size, size)
    return image


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("resize", ["fixed", "native"])
def test_pixels_differ_from_the_models_own_by_two_levels_at_most(channels, resize):
    model = small_config(num_channels=channels)
    config = ImageConfig(resize=resize, size=24, min_patches=4, max_patches=60)
    for picture in pictures():
        patches, grid, _ = prepare_image(picture, config, model)
        levels = (read_pixels(picture, config, model) + 1) * 127.5
        assert np.abs(levels - planes(patches, grid, model).astype(float)).max() < 2.01


def test_an_image_of_the_right_size_is_the_same_to_the_last_bit():
    model, config = small_config(), ImageConfig(size=24)
    picture = pictures()[0]
    levels = torch.from_numpy(decode_pixels(picture)).float()
    expected = levels.div_(127.5).sub_(1).permute(2, 0, 1).numpy()  # as GenLIP.embed_patches does
    assert np.array_equal(read_pixels(picture, config, model), expected)


def test_images_of_equal_size_share_an_array_and_keep_their_places():
    images = [Image.new("RGB", size, colour) for size, colour in [((8, 8), "red"), ((8, 4), "white"), ((8, 8), "blue")]]
    config = ImageConfig(resize="native", min_patches=1)
    together = list(equal_sizes(images, config, small_config(), batch=3))
    assert [(places, pixels.shape) for places, pixels in together] == [([0, 2], (2, 3, 8, 8)), ([1], (1, 3, 4, 8))]
    assert together[0][1][:, :, 0, 0].tolist() == [[1, -1, -1], [-1, -1, 1]]
    assert [places for places, _ in equal_sizes(images, config, small_config(), batch=2)] == [[0], [1], [2]]


def test_a_single_image_or_an_empty_batch_is_refused():
    with pytest.raises(TypeError, match=r"images is a single str: give a list, such as \[image\]"):
        list(equal_sizes("photo.jpg", ImageConfig(), small_config(), 1))
    with pytest.raises(ValueError, match="batch is 0: it must be at least 1"):
        list(equal_sizes([], ImageConfig(), small_config(), 0))


def test_a_size_that_is_no_multiple_of_the_patch_is_refused():
    with pytest.raises(ValueError, match=r"images\.size 30 is not a multiple of the model's patch_size 4"):
        read_pixels(pictures()[0], ImageConfig(size=30), small_config())


@pytest.mark.parametrize(
    ("shape", "dtype", "message"),
    [
        ((1, 3, 8, 8), np.uint8, r"pixel_values are uint8: need floats in \[-1, 1\], which are bytes / 127.5 - 1"),
        ((3, 8, 8), np.float32, r"shape \[3, 8, 8\]: need \[images, 3, height, width\]"),
        ((1, 1, 8, 8), np.float32, r"shape \[1, 1, 8, 8\]: need \[images, 3"),
        ((1, 3, 8, 10), np.float32, "height and width multiples of 4"),
        ((0, 3, 8, 8), np.float32, r"shape \[0, 3, 8, 8\]"),
    ],
)
def test_pixels_that_no_model_of_this_config_reads_are_refused(shape, dtype, message):
    with pytest.raises(ValueError, match=message):
        checked_pixels(np.zeros(shape, dtype), small_config())
