"""`genlip.data.images` against the definitions of EXIF and PNG, formulas pixel by pixel, and slow loops."""

import io
import json
import math
import os
import pickle
import random
import struct
import subprocess
import sys
import warnings
from contextlib import redirect_stdout
from itertools import count, product
from pathlib import Path

import numpy as np
import pytest
import simplejpeg
from hypothesis import given
from hypothesis import strategies as st
from PIL import ExifTags, Image, features

from genlip.data import images
from genlip.data.images import (
    ImageConfig,
    ImageError,
    decode,
    decode_pixels,
    image_patches,
    is_ribbon,
    native_size,
    patchify,
    resize,
)

from .damage import (
    PNG,
    chunk,
    deflated_zeros,
    header_chunk,
    jpeg_parts,
    reframed,
    small_png,
    sound_tags,
    tiff,
    with_adobe_transform,
    with_multiplied_alpha,
)
from .helpers import READ, encoded, examples, noise, png, small_config

# What the row 0 and the column 0 of the stored image are to the eye (EXIF 2.3, tag 0x0112).
ORIENTATIONS = {
    1: ("top", "left"),
    2: ("top", "right"),
    3: ("bottom", "right"),
    4: ("bottom", "left"),
    5: ("left", "top"),
    6: ("right", "top"),
    7: ("right", "bottom"),
    8: ("left", "bottom"),
}
CORNERS = np.array([[(250, 10, 10), (10, 200, 10)], [(10, 10, 250), (240, 240, 60)]], np.uint8)
UPRIGHT = CORNERS.repeat(8, axis=0).repeat(16, axis=1)  # 16 x 32, one colour in each corner
LOSSLESS = {"PNG": {}, "TIFF": {}, "WEBP": {"lossless": True}}


def pixels(image, mode="RGB", max_pixels=100_000_000) -> np.ndarray:
    return np.asarray(decode(image, max_pixels, mode)).astype(int)


def refusal(image, **options) -> ImageError:
    with pytest.raises(ImageError) as error:
        decode(image, **options)
    return error.value


def stored(upright: np.ndarray, orientation: int) -> np.ndarray:
    """The pixels that a camera writes for what the eye should see, one at a time."""
    height, width = upright.shape[:2]
    row_0, column_0 = ORIENTATIONS[orientation]
    rows, columns = (height, width) if row_0 in ("top", "bottom") else (width, height)
    out = np.empty((rows, columns, 3), np.uint8)
    for r in range(rows):
        for c in range(columns):
            place = {"top": r, "bottom": height - 1 - r, "left": r, "right": width - 1 - r}[row_0]
            other = {"top": c, "bottom": height - 1 - c, "left": c, "right": width - 1 - c}[column_0]
            y, x = (place, other) if row_0 in ("top", "bottom") else (other, place)
            out[r, c] = upright[y, x]
    return out


def exif_orientation(value: int) -> Image.Exif:
    exif = Image.Exif()
    exif[0x0112] = value
    return exif


def exif_bytes(*tags: tuple[int, int, int, bytes]) -> bytes:
    """EXIF by hand: (tag, type, count, four bytes of value) each."""
    entries = b"".join(struct.pack("<HHL", tag, kind, number) + value for tag, kind, number, value in sorted(tags))
    return b"Exif\0\0II*\0" + struct.pack("<LH", 8, len(tags)) + entries + bytes(4)


# -- decoding


@pytest.mark.parametrize("orientation", ORIENTATIONS)
@pytest.mark.parametrize("file_format", ["PNG", "TIFF", "WEBP", "JPEG"])
def test_every_exif_orientation_is_turned_upright(file_format, orientation):
    image, exif = Image.fromarray(stored(UPRIGHT, orientation)), exif_orientation(orientation)
    data = encoded(image, file_format, exif=exif, **LOSSLESS.get(file_format, {"quality": 95, "subsampling": 0}))
    shown = pixels(data)
    assert shown.shape == (16, 32, 3)
    assert np.abs(shown - UPRIGHT).max() <= (0 if file_format in LOSSLESS else 6)


@pytest.mark.parametrize("orientation", ORIENTATIONS)
def test_a_pillow_image_is_turned_upright_and_left_as_it_was(orientation, tmp_path):
    Image.fromarray(stored(UPRIGHT, orientation)).save(tmp_path / "a.png", exif=exif_orientation(orientation))
    with Image.open(tmp_path / "a.png") as image:
        assert (pixels(image) == UPRIGHT).all()
        assert (np.asarray(image) == stored(UPRIGHT, orientation)).all()
        assert (pixels(image) == UPRIGHT).all()


def test_a_native_grid_is_that_of_the_upright_image():
    data = encoded(Image.fromarray(stored(UPRIGHT, 6)), "PNG", exif=exif_orientation(6))
    patches, grid = image_patches(data, ImageConfig(resize="native", min_patches=1), small_config())
    assert grid == (2, 4)
    assert (patches[0] == CORNERS[0, 0].repeat(64)).all()


@pytest.mark.parametrize(
    "orientation", [(3, b"\0\0\0\0"), (3, b"\t\0\0\0"), (3, b"\0\6\0\0"), (2, b"6\0\0\0"), (11, b"\0\0\xc0\x7f")]
)
def test_an_impossible_orientation_is_ignored(orientation):
    kind, value = orientation  # 0, 9, 1536; the text "6"; not a number
    data = encoded(Image.fromarray(UPRIGHT), "PNG", exif=exif_bytes((0x0112, kind, 1, value)))
    assert (pixels(data) == UPRIGHT).all()


@pytest.mark.filterwarnings("ignore::UserWarning")
@pytest.mark.parametrize(
    "exif", [b"Exif\0\0", b"Exif\0\0rubbish", b"Exif\0\0II*\0" + b"\xff" * 20, exif_bytes()[:-6], b"\0" * 9]
)
def test_broken_exif_is_ignored(exif):
    assert (pixels(encoded(Image.fromarray(UPRIGHT), "PNG", exif=exif)) == UPRIGHT).all()


@pytest.mark.filterwarnings("ignore::UserWarning")
@pytest.mark.parametrize(
    "tag",
    [
        (0x0100, 1, 1, b"\1\2\3\4"),  # a width in a type that widths do not have
        (0x0131, 4, 1, b"\1\2\3\4"),  # software that is a number
        (0x8298, 11, 1, b"\1\2\3\4"),  # copyright that is a fraction
        (0x8769, 3, 2, b"\1\2\3\4"),  # a pointer that is two numbers
        (0x9286, 2, 1000, b"\1\2\3\4"),  # a comment longer than the file
    ],
)
def test_orientation_is_applied_whatever_else_is_broken_in_exif(tag):
    exif = exif_bytes((0x0112, 3, 1, struct.pack("<HH", 6, 0)), tag)
    assert (pixels(encoded(Image.fromarray(stored(UPRIGHT, 6)), "PNG", exif=exif)) == UPRIGHT).all()


def over_white(colour: np.ndarray, alpha: np.ndarray) -> np.ndarray:
    """Float[H, W, 3], each value mixed with white by its alpha, 0 to 255."""
    return (colour * alpha[..., None] + 255.0 * (255 - alpha[..., None])) / 255


@pytest.mark.parametrize("file_format", ["PNG", "WEBP", "TIFF"])
def test_rgba_lies_over_white(file_format):
    rgba = noise(9, 7, channels=4)
    data = encoded(
        Image.fromarray(rgba, "RGBA"), file_format, **({"lossless": True, "exact": True} if file_format == "WEBP" else {})
    )
    assert np.abs(pixels(data) - over_white(rgba[..., :3].astype(float), rgba[..., 3].astype(float))).max() <= 1


def test_grey_with_alpha_lies_over_white():
    la = noise(9, 7, channels=2)
    data = encoded(Image.fromarray(la, "LA"), "PNG")
    expected = over_white(la[..., :1].repeat(3, axis=2).astype(float), la[..., 1].astype(float))
    assert np.abs(pixels(data) - expected).max() <= 1
    assert np.abs(pixels(data, mode="L") - expected[..., 0]).max() <= 1


def test_grey_that_alpha_multiplied_lies_over_white():
    la = noise(9, 7, channels=2)
    la[..., 0] = np.minimum(la[..., 0], la[..., 1])
    data = with_multiplied_alpha(encoded(Image.fromarray(la, "LA"), "TIFF"))
    assert np.abs(pixels(data) - (255 + la[..., :1].astype(int) - la[..., 1:])).max() <= 2  # divided, then multiplied again


def palette_image(indices: np.ndarray, palette: np.ndarray) -> Image.Image:
    image = Image.fromarray(indices, "P")
    image.putpalette(palette.tobytes())
    return image


@pytest.mark.parametrize("alpha", [None, (255, 0, 255, 255), (0, 255, 40, 200)])
def test_a_palette_with_transparency_lies_over_white(alpha):
    indices, palette = noise(9, 7, channels=1) % 4, noise(1, 4)[0]
    data = encoded(palette_image(indices, palette), "PNG", **({} if alpha is None else {"transparency": bytes(alpha)}))
    expected = over_white(palette[indices].astype(float), np.array(alpha or (255,) * 4, float)[indices])
    assert np.abs(pixels(data) - expected).max() <= 1


def test_the_transparent_colour_of_a_gif_is_white():
    indices, palette = noise(9, 7, channels=1) % 4, noise(1, 4)[0]
    data = encoded(palette_image(indices, palette), "GIF", transparency=2)
    assert (pixels(data) == np.where(indices[..., None] == 2, 255, palette[indices])).all()


@pytest.mark.parametrize("mode", ["RGB", "L"])
def test_a_transparent_key_colour_is_white(mode):
    values = noise(9, 7, channels=len(mode) if mode == "RGB" else 1)
    key = tuple(values[4, 4].tolist()) if mode == "RGB" else int(values[4, 4])
    rgb = values if mode == "RGB" else values[..., None].repeat(3, axis=2)
    expected = np.where((rgb == rgb[4, 4]).all(axis=2, keepdims=True), 255, rgb)
    assert (pixels(encoded(Image.fromarray(values), "PNG", transparency=key)) == expected).all()


SIXTEEN = np.array([[0, 255, 256, 511], [4097, 32_767, 65_280, 65_535]])


@pytest.mark.parametrize("channels", [1, 3])
def test_sixteen_bits_keep_their_high_byte(channels):
    values = SIXTEEN[..., None].repeat(channels, axis=2)
    rows = b"".join(b"\0" + row.astype(">u2").tobytes() for row in values)
    data = png(4, 2, depth=16, colour_type=0 if channels == 1 else 2, scanlines=rows)
    assert (pixels(data) == SIXTEEN[..., None] // 256).all()


def test_sixteen_bit_grey_is_the_same_in_every_format():
    tiff = encoded(Image.fromarray(SIXTEEN.astype(np.uint16)), "TIFF")
    pgm = b"P5 4 2 65535\n" + SIXTEEN.astype(">u2").tobytes()
    big_endian = Image.frombytes("I;16B", (4, 2), SIXTEEN.astype(">u2").tobytes())
    for image in (tiff, pgm, big_endian, Image.fromarray(SIXTEEN.astype(np.int32))):
        assert (pixels(image, mode="L") == SIXTEEN // 256).all()


FLOATS = np.float32
# Values and their levels, by hand: fractions are 255ths; 12 bits lose four, 16 bits eight.
DEPTHS = {
    "0 to 1": ([[0.0, 0.25, 0.5, 1.0]], FLOATS, [[0, 64, 128, 255]]),
    "0 to 1, none of them 1": ([[0.0, 0.1, 0.2]], FLOATS, [[0, 26, 51]]),
    "0 to 1 in 64 bits": ([[0.0, 1.0]], np.float64, [[0, 255]]),
    "fractions of bytes": ([[k / 255 for k in range(256)]], FLOATS, [list(range(256))]),
    "floats to 255": ([[0.0, 99.9, 255.0]], FLOATS, [[0, 99, 255]]),
    "whole floats": ([[0.0, 3.0, 9.0]], FLOATS, [[0, 3, 9]]),
    "floats of 12 bits": ([[0.0, 256.0, 4095.0]], FLOATS, [[0, 16, 255]]),
    "floats of 16 bits": ([[0.0, 255.9, 65_535.0]], FLOATS, [[0, 0, 255]]),
    "16 bits": ([[0, 255, 256, 65_535]], np.uint16, [[0, 0, 1, 255]]),
    "16 bits, rather dark": ([[0, 255, 256, 4096]], np.uint16, [[0, 0, 1, 16]]),
    "bytes in 32 bits": ([[0, 7, 255]], np.int32, [[0, 7, 255]]),
    "12 bits in 32": ([[0, 16, 4095]], np.int32, [[0, 1, 255]]),
    "16 bits in 32": ([[0, 256, 65_535]], np.int32, [[0, 1, 255]]),
}
UNKNOWN = {
    "negative": ([[-5.0, 0.0, 1.0]], FLOATS, "values from -5 to 1"),
    "huge": ([[0.0, 1e9]], FLOATS, "values from 0 to 1e+09"),
    "a little above 1": ([[0.0, 0.5, 1.25]], FLOATS, "values from 0 to 1.25"),
    "NaN": ([[0.0, np.nan, 1.0]], FLOATS, "NaN or infinite at 1 of 3 pixels"),
    "infinite": ([[np.inf, -np.inf, 1.0]], FLOATS, "NaN or infinite at 2 of 3 pixels"),
    "negative integers": ([[-1000, 0, 3000]], np.int32, "values from -1000 to 3000"),
    "32 bits": ([[0, 2**31 - 1]], np.int32, "values from 0 to 2.14748e+09"),
}


def deep_images(values, dtype) -> list[bytes | Image.Image]:
    """Grey of more than 8 bits, in memory and in the files that hold it."""
    image = Image.fromarray(np.array(values, dtype))
    found = [image, encoded(image, "TIFF"), encoded(image, "TIFF", compression="tiff_adobe_deflate")]
    return [*found, encoded(image, "PNG")] if dtype == np.uint16 else found


@pytest.mark.parametrize("kind", DEPTHS)
def test_wide_numbers_are_levels_of_the_depth_that_holds_them(kind):
    values, dtype, levels = DEPTHS[kind]
    for image in deep_images(values, dtype):
        assert pixels(image, mode="L").tolist() == levels
        assert pixels(image)[..., 1].tolist() == levels


@pytest.mark.parametrize("kind", UNKNOWN)
def test_numbers_of_no_known_range_are_refused_and_never_black(kind):
    values, dtype, message = UNKNOWN[kind]
    for image in deep_images(values, dtype):
        error = refusal(image)
        assert error.reason == "unknown range"
        assert message in str(error)


def test_grey_is_read_by_the_depth_that_its_file_declares():
    # 0, 256, 1024 and 4095 of 12 bits, two in three bytes
    twelve = tiff(sound_tags(1, 4) | {258: 12, 262: 1, 277: 1, 279: 6}, bytes.fromhex("000100400fff"))
    assert pixels(twelve, mode="L").tolist() == [[0, 16, 64, 255]]
    values = np.array([[0, 256, 1024, 4095]], ">u2").tobytes()
    assert pixels(b"P5 4 1 4095\n" + values, mode="L").tolist() == [[0, 16, 64, 255]]
    assert "16 bits a channel" in str(refusal(b"P5 4 1 65535\n" + values))
    dark = tiff(sound_tags(1, 2) | {258: 12, 262: 1, 277: 1, 279: 3}, bytes.fromhex("0010ff"))
    assert "12 bits a channel" in str(refusal(dark))


@pytest.mark.parametrize("suffix", ["PNG", "TIFF"])
@pytest.mark.parametrize("largest", [0, 255, 4095])
def test_grey_of_sixteen_bits_that_is_nearly_black_is_refused_and_never_brightened(suffix, largest):
    image = Image.fromarray(np.array([[0, largest]], np.uint16))
    data = encoded(image, suffix)
    for form in (data, Image.open(io.BytesIO(data))):
        error = refusal(form)
        assert error.reason == "unknown range"
        assert "16 bits a channel, of which the highest 4 are never used; save it in 8 bits" in str(error)
    # an image of no file declares no depth
    assert pixels(image, mode="L").tolist() == [[0, {0: 0, 255: 255, 4095: 255}[largest]]]


@pytest.mark.parametrize("channels", [2, 3, 4])
def test_colours_of_twelve_bits_in_sixteen_are_refused(channels):
    def sixteen_bits(largest: int) -> bytes:
        row = np.full((2, channels), largest, ">u2")
        row[:, -1] = 65_535 if channels in (2, 4) else largest  # opaque
        return png(2, 1, depth=16, colour_type={2: 4, 3: 2, 4: 6}[channels], scanlines=b"\0" + row.tobytes())

    assert refusal(sixteen_bits(4095)).reason == "unknown range"
    assert "16 bits a channel, of which the highest 4 are never used" in str(refusal(sixteen_bits(255)))
    assert pixels(sixteen_bits(4096)).tolist() == [[[16, 16, 16]] * 2]


def test_tiff_colours_of_twelve_bits_in_sixteen_are_refused():
    for largest, expected in ((4095, None), (40_960, 160)):
        tags = sound_tags(3, 3) | {258: (16, 16, 16), 279: 54}
        data = tiff(tags, np.full((3, 3, 3), largest, "<u2").tobytes())
        if expected is None:
            assert refusal(data).reason == "unknown range"
        else:
            assert (pixels(data) == expected).all()


def test_cmyk_becomes_rgb():
    cmyk = np.array(
        [(0, 0, 0, 0), (255, 0, 0, 0), (0, 200, 0, 60), (0, 0, 255, 0), (90, 90, 90, 255), (10, 20, 30, 128)], np.uint8
    )
    image = Image.fromarray(cmyk[None].repeat(16, axis=1).repeat(16, axis=0), "CMYK")
    expected = np.array([[(255 - ink) * (255 - k) / 255 for ink in (c, m, y)] for c, m, y, k in cmyk.astype(float)])
    expected = expected[None].repeat(16, axis=1).repeat(16, axis=0)
    assert np.abs(pixels(encoded(image, "TIFF")) - expected).max() <= 1
    assert np.abs(pixels(encoded(image, "JPEG", quality=95, subsampling=0)) - expected).max() <= 6


def test_one_bit_is_black_and_white():
    bits = noise(9, 7, channels=1) % 2 == 1
    assert (pixels(encoded(Image.fromarray(bits), "PNG")) == 255 * bits[..., None]).all()


def test_grey_has_three_equal_channels():
    grey = noise(9, 7, channels=1)
    assert (pixels(encoded(Image.fromarray(grey), "PNG")) == grey[..., None]).all()


def test_mode_l_is_the_luma_of_television():
    rgb = noise(9, 7)
    luma = rgb @ np.array([0.299, 0.587, 0.114])  # ITU-R 601
    grey = decode(encoded(Image.fromarray(rgb), "PNG"), mode="L")
    assert grey.mode == "L"
    assert np.abs(np.asarray(grey) - luma).max() <= 1


@pytest.mark.parametrize("file_format", ["GIF", "PNG", "WEBP", "TIFF"])
def test_an_animation_gives_its_first_frame(file_format):
    frames = [Image.new("RGB", (8, 6), colour) for colour in ("red", "lime", "blue")]
    options = {"lossless": True} if file_format == "WEBP" else {}
    data = encoded(frames[0], file_format, save_all=True, append_images=frames[1:], **options)
    assert (pixels(data) == (255, 0, 0)).all()


def test_a_image_may_be_bytes_a_path_or_pillows(tmp_path):
    values = noise(9, 7)
    data = encoded(Image.fromarray(values), "PNG")
    (tmp_path / "a.png").write_bytes(data)
    for image in (data, tmp_path / "a.png", str(tmp_path / "a.png"), Image.fromarray(values)):
        assert (pixels(image) == values).all()


# -- JPEG by simplejpeg and by Pillow


def by_pillow(data: bytes, mode: str = "RGB") -> np.ndarray:
    """The pixels without simplejpeg; EXIF is not applied."""
    return np.asarray(Image.open(io.BytesIO(data)).convert(mode))


def by_simplejpeg(data: bytes, mode: str = "RGB") -> np.ndarray | None:
    return images._jpeg_pixels(data, Image.open(io.BytesIO(data)), mode)


def edges(height: int, width: int) -> Image.Image:
    """Blocks of colour and noise, so that every coefficient is used."""
    blocks = noise(height // 5 + 1, width // 7 + 1, seed=height).repeat(5, axis=0).repeat(7, axis=1)[:height, :width]
    return Image.fromarray(((blocks.astype(int) + noise(height, width, seed=width)) // 2).astype(np.uint8))


@pytest.mark.parametrize("options", [{}, {"progressive": True}, {"restart_marker_blocks": 2}, {"optimize": True}])
@pytest.mark.parametrize("quality", [5, 40, 75, 90, 100])
def test_simplejpeg_gives_pillows_very_pixels(options, quality):
    for (height, width), subsampling in product([(1, 1), (1, 9), (17, 2), (8, 16), (33, 47)], ["4:4:4", "4:2:2", "4:2:0"]):
        data = encoded(edges(height, width), "JPEG", quality=quality, subsampling=subsampling, **options)
        assert np.array_equal(by_simplejpeg(data), by_pillow(data))


@pytest.mark.parametrize("subsampling", ["440", "411"])
def test_subsampling_that_pillow_never_writes_gives_its_pixels_too(subsampling):
    for size in [(1, 1), (3, 40), (40, 3), (33, 47)]:
        data = simplejpeg.encode_jpeg(np.asarray(edges(*size)), colorsubsampling=subsampling)
        assert np.array_equal(by_simplejpeg(data), by_pillow(data))


@pytest.mark.parametrize("size", [(1, 1), (7, 30), (33, 47)])
def test_grey_jpegs_give_pillows_pixels_in_both_modes(size):
    data = encoded(edges(*size).convert("L"), "JPEG")
    for mode in ("RGB", "L"):
        assert np.array_equal(by_simplejpeg(data, mode), by_pillow(data, mode))


@pytest.mark.parametrize("extra", [{"icc_profile": noise(30, 30).tobytes()}, {"comment": b"a cat"}, {"keep_rgb": True}])
def test_what_else_a_jpeg_holds_changes_no_pixel(extra):
    data = encoded(edges(33, 47), "JPEG", **extra)
    assert np.array_equal(by_simplejpeg(data), by_pillow(data))


def test_the_first_image_of_several_is_read():
    first, second = edges(33, 47), edges(20, 30)
    data = encoded(first, "MPO", save_all=True, append_images=[second])
    assert np.array_equal(by_simplejpeg(data), by_pillow(data))
    assert decode(data).size == (47, 33)


@pytest.mark.parametrize("transform", [0, 2])
def test_inks_are_left_to_pillow(transform):
    data = with_adobe_transform(encoded(edges(33, 47).convert("CMYK"), "JPEG"), transform)
    assert by_simplejpeg(data) is None
    assert np.array_equal(decode_pixels(data), by_pillow(data))


def test_grey_of_a_colour_jpeg_is_pillows_not_the_luma_of_the_file():
    data = encoded(edges(33, 47), "JPEG")
    assert by_simplejpeg(data, "L") is None
    assert np.array_equal(decode_pixels(data, mode="L"), by_pillow(data, "L"))


@pytest.mark.parametrize("orientation", ORIENTATIONS)
@pytest.mark.parametrize("size", [(1, 1), (1, 9), (9, 1), (33, 47)])
def test_both_decoders_are_turned_alike(orientation, size, monkeypatch):
    data = encoded(edges(*size), "JPEG", exif=exif_orientation(orientation))
    configs = [ImageConfig(size=16), ImageConfig(resize="native", min_patches=4, max_patches=16)]
    fast = [image_patches(data, config, small_config()) for config in configs]
    monkeypatch.setattr(images, "_jpeg_pixels", lambda *_: None)
    slow = [image_patches(data, config, small_config()) for config in configs]
    for (patches, grid), (expected, expected_grid) in zip(fast, slow, strict=True):
        assert grid == expected_grid
        assert np.array_equal(patches, expected)


@pytest.mark.parametrize("options", [{}, {"progressive": True}, {"restart_marker_blocks": 1}])
def test_a_jpeg_cut_anywhere_ends_as_with_pillow(options, monkeypatch):
    data = encoded(edges(21, 27), "JPEG", **options)
    ours = [refusal(data[:end]).args for end in range(1, len(data))]
    monkeypatch.setattr(images, "_jpeg_pixels", lambda *_: None)
    assert ours == [refusal(data[:end]).args for end in range(1, len(data))]


def test_only_the_size_that_was_checked_is_decoded():
    data = encoded(edges(33, 47), "JPEG")
    for width, height in [(46, 33), (47, 32), (1, 1), (48, 33), (100, 100)]:
        assert images._jpeg_pixels(data, Image.new("RGB", (width, height)), "RGB") is None


def test_a_jpeg_that_tells_another_size_is_bounded_by_it():
    data = reframed(jpeg_parts(), 60_000, 60_000)
    assert refusal(data).reason == "too large"


# -- refusals


def test_a_huge_image_is_refused_by_its_header():
    error = refusal(png(100_000, 100_000, depth=8, colour_type=2, scanlines=b""))
    assert error.reason == "too large"


def test_the_limit_of_pixels_is_checked_before_decoding():
    header = png(4000, 3000, depth=8, colour_type=2, scanlines=b"")  # decoding it would find no pixels
    error = refusal(header, max_pixels=11_999_999)
    assert error.reason == "too large"
    assert str(error) == f"{len(header)} bytes: 4000x3000 pixels; the limit is 11999999 in all (images.max_pixels)"
    assert refusal(header, max_pixels=12_000_000).reason == "damaged"


@pytest.mark.parametrize("as_bytes", [True, False])
def test_max_pixels_of_the_config_is_the_last_size_taken(as_bytes):
    image = Image.fromarray(noise(20, 30))
    image = encoded(image, "PNG") if as_bytes else image
    assert image_patches(image, ImageConfig(size=16, max_pixels=600), small_config())[1] == (2, 2)
    with pytest.raises(ImageError, match=r"30x20 pixels; the limit is 599 in all \(images.max_pixels\)") as error:
        image_patches(image, ImageConfig(size=16, max_pixels=599), small_config())
    assert error.value.reason == "too large"


@pytest.mark.parametrize("file_format", ["JPEG", "PNG", "WEBP", "GIF", "BMP", "TIFF"])
def test_half_a_file_is_damaged_and_named(file_format, tmp_path):
    data = encoded(Image.fromarray(noise(64, 64)), file_format)
    path = tmp_path / "half.image"
    path.write_bytes(data[: len(data) // 2])
    error = refusal(path)
    assert error.reason in (
        ("not an image", "damaged") if file_format == "TIFF" else ("damaged",)
    )  # a TIFF's header is last
    assert str(path) in str(error)


POINTER = b"version https://git-lfs.github.com/spec/v1\noid sha256:" + b"0" * 64 + b"\nsize 12345\n"


@pytest.mark.parametrize(
    ("content", "found"),
    [
        (b"", "an empty file"),
        (b"a red square\n", "plain text"),
        (b"<svg></svg>", "an SVG drawing"),
        (b"<!DOCTYPE html><html><body>404 Not Found</body></html>", "an HTML page"),
        (b"\0\0\0\x18ftypheic\0\0\0\0mif1heic" + bytes(200), "a HEIC image"),
        (b"\xff\x0a" + bytes(20), "a JPEG XL image"),
        (b"%PDF-1.7\n", "a PDF document"),
        (POINTER, "a Git LFS pointer, not the file itself (fetch it with: git lfs pull)"),
        (b"\x89PNG\r\n\x1a\n", "a PNG image of a kind that is not read, or with a damaged header"),
        (bytes(1000), "zero bytes only"),
        (b"\x07\x08\x99" * 9, "of unknown content"),
    ],
)
def test_what_is_no_image_is_told_by_its_kind(content, found, tmp_path):
    path = tmp_path / "a.jpg"
    path.write_bytes(content)
    assert refusal(path).reason == refusal(content).reason == "not an image"
    assert str(refusal(path)) == f"{path}: not an image in a known format: {found} {READ}"
    assert str(refusal(content)) == f"{len(content)} bytes: not an image in a known format: {found} {READ}"


@pytest.mark.parametrize("url", ["https://example.org/a.jpg", "http://localhost/a.png", "s3://bucket/a.png"])
def test_urls_are_not_fetched(url):
    assert str(refusal(url)) == f"{url}: a URL, which is not fetched: download it"


def test_a_data_url_is_named_by_its_ends():
    message = str(refusal("data:image/png;base64," + "A" * 10**6))
    assert message.endswith("a data: URL: decode it and give its bytes")
    assert len(message) < 400


def test_an_endless_name_is_cut_in_messages():
    assert len(str(refusal("a" * 10**6))) < 400


def test_lack_of_memory_is_no_damage(monkeypatch):
    for error in (MemoryError("none left"), OSError("out of memory error when reading image file")):
        monkeypatch.setattr(images, "_pillow_pixels", lambda *_, error=error: (_ for _ in ()).throw(error))
        with pytest.raises(MemoryError):
            decode(small_png())


def with_scans(scans: int) -> bytes:
    """A progressive JPEG whose last scan comes so many times in all."""
    data = encoded(edges(33, 47).convert("L"), "JPEG", progressive=True)
    last = data.rindex(b"\xff\xda")
    return data[:-2] + data[last:-2] * (scans - data.count(b"\xff\xda")) + b"\xff\xd9"


def test_a_jpeg_of_thousands_of_scans_is_refused_before_it_is_decoded():
    assert decode(with_scans(50)).size == (47, 33)
    error = refusal(with_scans(5000))
    assert error.reason == "too large"
    assert "a JPEG of more than 100 scans" in str(error)


def test_scans_of_what_follows_an_image_or_lies_in_its_header_are_not_counted():
    data = encoded(edges(33, 47), "JPEG", comment=b"\xff\xda" * 500) + b"\xff\xda" * 500
    assert np.array_equal(decode_pixels(data), by_pillow(data))


def test_a_jpeg_with_more_metadata_than_any_camera_writes_is_refused():
    data = encoded(edges(33, 47), "JPEG")
    exif = b"\xff\xe1\xff\xff" + (b"Exif\0\0II*\0" + struct.pack("<L", 8)).ljust(65_533, b"\0")
    error = refusal(data[:2] + exif * 600 + data[2:])
    assert (error.reason, "bytes of metadata before its pixels" in str(error)) == ("too large", True)
    assert decode(data[:2] + exif * 3 + data[2:]).size == (47, 33)


@pytest.mark.parametrize(
    ("size", "small"), [((400, 200), (100, 50)), ((1, 4000), (1, 100)), ((4000, 1), (100, 1)), ((9, 7), (9, 7))]
)
def test_a_reduced_image_keeps_its_shape_and_a_ribbon_its_one_pixel(size, small):
    assert images.reduced(Image.new("RGB", size), 100).size == small


@pytest.mark.parametrize("file_format", ["EPS", "PDF", "ICO", "TGA"])
def test_formats_beyond_the_list_are_not_images(file_format):
    data = encoded(Image.fromarray(noise(16, 16)), file_format)
    assert refusal(data).reason == "not an image"


def test_a_missing_file_is_missing(tmp_path):
    error = refusal(tmp_path / "nowhere.png")
    assert error.reason == "missing"
    assert str(error) == f"{tmp_path / 'nowhere.png'}: no such file"


def test_a_folder_is_no_image(tmp_path):
    assert str(tmp_path) in str(refusal(tmp_path))


def test_an_image_error_survives_pickling():
    error = pickle.loads(pickle.dumps(ImageError("damaged", "a.png: damaged image: end of file")))
    assert (type(error), error.reason, str(error)) == (ImageError, "damaged", "a.png: damaged image: end of file")


BOMBS = {
    "pixels": PNG + header_chunk(30_000, 30_000, 8, 0) + chunk(b"IDAT", deflated_zeros(256)),
    "text": small_png(chunk(b"zTXt", b"Comment\0\0" + deflated_zeros(256))),
    "international text": small_png(chunk(b"iTXt", b"XML:com.adobe.xmp\0\1\0\0\0" + deflated_zeros(256))),
    "text after the pixels": small_png(after=chunk(b"zTXt", b"Comment\0\0" + deflated_zeros(256))),
    "profile": small_png(chunk(b"iCCP", b"profile\0\0" + deflated_zeros(256))),
    "jpeg": reframed(jpeg_parts(), 60_000, 60_000),
}
GROWTH = """
import json, resource, sys
from pathlib import Path
from genlip.data.images import ImageConfig, ImageError, image_patches
from tests.data.helpers import png, small_config

def peak():
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / (2**20 if sys.platform == "darwin" else 2**10)

def read(data):
    try:
        return str(image_patches(data, ImageConfig(), small_config())[1])
    except ImageError as error:
        return error.reason

read(png(9, 8, 8, 2, bytes(28 * 8)))
found = {}
for path in sys.argv[1:]:
    data, before = Path(path).read_bytes(), peak()
    found[Path(path).stem] = (read(data), peak() - before)
print(json.dumps(found))
"""


def growth_of_memory(files: dict[str, bytes], folder: Path) -> dict[str, tuple[str, float]]:
    """Outcome of each file, read in a process of its own, and how many MiB its most memory rose."""
    for name, data in files.items():
        (folder / name).write_bytes(data)
    command = [sys.executable, "-c", GROWTH, *(str(folder / name) for name in files)]
    root = Path(__file__).parents[2]
    run = subprocess.run(command, cwd=root, check=True, capture_output=True, text=True, timeout=120)
    return json.loads(run.stdout)


def test_bombs_are_refused_before_they_unpack(tmp_path):
    found = growth_of_memory(BOMBS, tmp_path)
    assert {name: outcome for name, (outcome, _) in found.items()} == {
        "pixels": "too large", "jpeg": "too large", "text": "damaged", "international text": "damaged",
        "text after the pixels": "damaged", "profile": "damaged",
    }  # fmt: skip
    assert sum(growth for _, growth in found.values()) < 64  # each of them unpacks to 256 MiB and more


def test_a_ribbon_is_not_widened_at_its_whole_height(tmp_path):
    tall = png(1, 5_000_000, 8, 0, bytes(2 * 5_000_000))  # 3 GB at 224 columns
    (outcome, growth), *_ = growth_of_memory({"tall": tall}, tmp_path).values()
    assert outcome == "(28, 28)"
    assert growth < 256


def test_many_short_texts_and_a_long_plain_one_are_no_bombs():
    for texts in ([chunk(b"tEXt", b"Comment\0a cat")] * 2000, [chunk(b"tEXt", b"Comment\0" + bytes(2**20))]):
        assert np.array_equal(decode_pixels(small_png(*texts)), noise(9, 9))


def files_to_break() -> dict[str, bytes]:
    image = Image.fromarray(noise(24, 20))
    exif, second = exif_orientation(6), [image.rotate(180)]
    files = {
        "jpeg": encoded(image, "JPEG", exif=exif),
        "progressive jpeg": encoded(image, "JPEG", progressive=True),
        "cmyk jpeg": encoded(image.convert("CMYK"), "JPEG"),
        "png": encoded(image, "PNG", exif=exif),
        "16-bit png": encoded(Image.fromarray(np.asarray(image.convert("L")).astype(np.uint16) * 257), "PNG"),
        "palette png": encoded(image.quantize(16), "PNG", transparency=bytes(range(16))),
        "animated png": encoded(image, "PNG", save_all=True, append_images=second),
        "webp": encoded(image, "WEBP", exif=exif),
        "animated webp": encoded(image, "WEBP", save_all=True, append_images=second),
        "gif": encoded(image, "GIF", save_all=True, append_images=second),
        "tiff": encoded(image, "TIFF", exif=exif),
        "lzw tiff": encoded(image, "TIFF", compression="tiff_lzw"),
        "jpeg tiff": encoded(image, "TIFF", compression="jpeg"),
        "fax tiff": encoded(image.convert("1"), "TIFF", compression="group4"),
        "float tiff": encoded(image.convert("F"), "TIFF"),
        "bmp": encoded(image, "BMP"),
        "palette bmp": encoded(image.quantize(16), "BMP"),
        "ppm": encoded(image, "PPM"),
        "text ppm": b"P3 2 2 255\n" + b" 1 22 133" * 4,
    }
    return files | ({"avif": encoded(image, "AVIF", exif=exif)} if features.check("avif") else {})


def broken(data: bytes, dice: random.Random) -> bytes:
    """The file with one to sixteen bits flipped, bytes cut out or put in, or its end cut off."""
    data = bytearray(data)
    for _ in range(dice.choice([1, 1, 2, 4, 16])):
        place = int(len(data) * dice.random() ** dice.choice([1, 2]))  # headers more often than pixels
        match dice.randrange(8):
            case 0:
                del data[max(1, place) :]
            case 1:
                del data[place : place + dice.randrange(8)]
            case 2:
                data[place:place] = dice.randbytes(dice.randrange(8))
            case _ if place < len(data):
                data[place] ^= 1 << dice.randrange(8)
    return bytes(data)


@pytest.mark.parametrize("name", files_to_break())
def test_a_broken_file_gives_a_image_or_an_image_error(name):
    data, dice = files_to_break()[name], random.Random(name)
    assert decode(data).mode == "RGB"
    outcomes = set()
    for _ in range(250):
        try:
            with warnings.catch_warnings(action="ignore"):
                image = decode(broken(data, dice), max_pixels=1_000_000)
        except ImageError as error:
            outcomes.add(error.reason)
        else:
            outcomes.add(image.mode)
            assert image.width * image.height <= 1_000_000
    assert outcomes <= {"RGB", "not an image", "damaged", "too large", "unknown range"}
    assert len(outcomes) > 1  # the dice did break something


# -- sizes and patches


def native_by_search(height: int, width: int, patch: int, fewest: int, most: int) -> tuple[int, int]:
    """The published rule in whole numbers, side by side, for images that are no ribbons."""
    rows, columns = (max(1, round(side / patch)) for side in (height, width))
    if rows * columns > most:  # the largest r with r / height <= sqrt(most / (height * width))
        rows = next(r for r in count() if (r + 1) ** 2 * width > most * height)
        columns = next(c for c in count() if (c + 1) ** 2 * height > most * width)
    elif rows * columns < fewest:  # the smallest r with r / height >= sqrt(fewest / (height * width))
        rows = next(r for r in count() if r**2 * width >= fewest * height)
        columns = next(c for c in count() if c**2 * height >= fewest * width)
    return rows * patch, columns * patch


def published_native_size(height: int, width: int, factor: int, min_pixels: int, max_pixels: int) -> tuple[int, int]:
    """The published rule as published, in pixels and floats."""
    h, w = round(height / factor) * factor, round(width / factor) * factor
    if h * w > max_pixels:
        beta = math.sqrt((height * width) / max_pixels)
        h, w = (max(factor, math.floor(side / beta / factor) * factor) for side in (height, width))
    elif h * w < min_pixels:
        beta = math.sqrt(min_pixels / (height * width))
        h, w = (math.ceil(side * beta / factor) * factor for side in (height, width))
    return h, w


sides = st.one_of(st.integers(1, 100), st.integers(1, 2000), st.integers(1, 20_000))
ordinary_sides = st.integers(40, 4000)
patch_sides = st.sampled_from([8, 14, 16, 32])
# (fewest, most) patches; the most at least four times the fewest, or no whole numbers of patches may lie between.
ranges = st.integers(1, 300).flatmap(lambda fewest: st.tuples(st.just(fewest), st.integers(4 * fewest, 4096)))


@pytest.mark.parametrize(
    ("height", "width", "expected"),
    [
        (224, 224, (224, 224)),
        (512, 512, (512, 512)),
        (520, 520, (512, 512)),
        (2048, 2048, (512, 512)),
        (1232, 308, (1024, 256)),
        (480, 640, (432, 576)),  # 30 x 40 patches; sqrt(1024 * 3/4) = 27.7, sqrt(1024 * 4/3) = 36.95
        (100, 100, (96, 96)),
        (24, 300, (32, 304)),  # 1.5 rounds to 2, and 18.75 to 19
        (40, 300, (32, 304)),  # 2.5 rounds to 2: halves go to the even number
        (30, 50, (64, 96)),  # 2 x 3 patches; sqrt(16 * 3/5) = 3.1, sqrt(16 * 5/3) = 5.2
        (1, 1, (64, 64)),
        (1, 20_000, (16, 16_384)),
        (20_000, 17, (16_384, 16)),
        (1, 100, (16, 640)),  # sqrt(16 / 100) = 0.4, sqrt(16 * 100) = 40
    ],
)
def test_native_sizes_by_hand(height, width, expected):
    assert native_size(height, width, 16, 16, 1024) == expected


@given(height=ordinary_sides, width=ordinary_sides, patch=patch_sides, limits=ranges)
@examples(150)
def test_native_size_is_the_published_rule_in_whole_numbers(height, width, patch, limits):
    rows, columns = native_by_search(height, width, patch, *limits)
    if limits[0] * patch**2 <= rows * columns <= limits[1] * patch**2:
        assert native_size(height, width, patch, *limits) == (rows, columns)


@given(height=st.integers(16, 4000), width=st.integers(16, 4000), square=st.booleans())
@examples(200)
def test_native_size_is_what_the_published_code_gives(height, width, square):
    width = height if square else width
    published = published_native_size(height, width, 16, 4096, 262_144)
    ours = native_size(height, width, 16, 16, 1024)
    # The published code rounds: where a side is a whole number of patches but for 1e-9, both numbers are right.
    beta = math.sqrt(height * width / 262_144)
    if all(abs(side / beta / 16 - round(side / beta / 16)) > 1e-9 for side in (height, width)) or square:
        assert ours == published


@given(height=sides, width=sides, patch=patch_sides, limits=ranges)
@examples(400)
def test_native_size_is_whole_patches_within_the_range_for_every_image(height, width, patch, limits):
    new_height, new_width = native_size(height, width, patch, *limits)
    assert new_height % patch == new_width % patch == 0
    assert limits[0] <= (new_height // patch) * (new_width // patch) <= limits[1]


@pytest.mark.parametrize("patch", [14, 16])
@pytest.mark.parametrize("thin", [1, 7, 8, 23, 24, 100])
def test_ribbons_of_every_length_stay_within_the_range(patch, thin):
    for length in range(1, 20_001, 7):
        height, width = native_size(thin, length, patch, 16, 1024)
        assert height % patch == width % patch == 0
        assert 16 <= (height // patch) * (width // patch) <= 1024


@given(height=sides, width=sides, patch=patch_sides, limits=ranges)
@examples(150)
def test_native_size_of_a_image_on_its_side_is_on_its_side(height, width, patch, limits):
    assert native_size(height, width, patch, *limits) == native_size(width, height, patch, *limits)[::-1]


@given(height=ordinary_sides, width=ordinary_sides, patch=st.sampled_from([14, 16]))
@examples(200)
def test_native_size_keeps_the_aspect_ratio_to_within_a_patch(height, width, patch):
    if max(height, width) > 8 * min(height, width):
        return
    rows, columns = (side / patch for side in native_size(height, width, patch, 16, 1024))
    # There is one scale for which both sides are less than a patch away.
    assert max((rows - 1) / height, (columns - 1) / width) < min((rows + 1) / height, (columns + 1) / width)


@given(rows=st.integers(1, 64), columns=st.integers(1, 64), patch=patch_sides)
@examples(150)
def test_a_legal_size_stays_as_it_is(rows, columns, patch):
    fewest, most = min(16, rows * columns), max(1024, rows * columns)
    assert native_size(rows * patch, columns * patch, patch, fewest, most) == (rows * patch, columns * patch)


@pytest.mark.parametrize(
    ("height", "width", "ribbon"),
    [(1, 16, False), (1, 17, True), (17, 1, True), (16, 1, False), (50, 50, False), (10, 160, False), (10, 161, True)],
)
def test_a_ribbon_is_longer_than_the_most_patches_in_a_row(height, width, ribbon):
    assert is_ribbon(height, width, 16) == ribbon


@given(height=sides, width=sides, most=st.integers(1, 4096))
@examples(200)
def test_a_ribbon_is_squeezed_and_nothing_else_is(height, width, most):
    new_height, new_width = native_size(height, width, 8, 1, most)
    if is_ribbon(height, width, most):
        assert 8 in (new_height, new_width)
        assert max(new_height, new_width) * min(height, width) < max(height, width) * min(new_height, new_width)


# -- resizing


def by_pillow_in_passes(values: np.ndarray, height: int, width: int) -> np.ndarray:
    """Pillow 13's bicubic resize by any Pillow: one side at a time, the height first where much more of it goes."""
    rows, columns = values.shape[:2]
    height_first = rows > height and rows - height > 2 * (columns - width)
    image = Image.fromarray(values)
    for size in [(columns, height) if height_first else (width, rows), (width, height)]:
        image = image.resize(size, Image.Resampling.BICUBIC)
    return np.asarray(image).astype(int)


def contents(height: int, width: int, channels: int, seed: int) -> list[np.ndarray]:
    """Noise, black and white noise (the hardest: every pass overshoots), a slope."""
    values = noise(height, width, channels, seed)
    slope = np.add.outer(np.linspace(0, 127, height), np.linspace(0, 127, width)).astype(np.uint8)
    slope = slope if channels == 1 else slope[..., None].repeat(channels, axis=2)
    return [values, np.where(values > 127, 255, 0).astype(np.uint8), slope]


old_sides = st.one_of(st.integers(1, 9), st.integers(1, 300))
new_sides = st.one_of(st.integers(2, 9), st.integers(2, 300))


@given(sizes=st.tuples(old_sides, old_sides, new_sides, new_sides), channels=st.sampled_from([1, 3]))
@examples(150)
def test_resizing_is_pillows_to_two_levels(sizes, channels):
    rows, columns, height, width = sizes
    for values in contents(rows, columns, channels, seed=rows):
        found = resize(values, height, width)
        assert (found.shape[:2], found.dtype) == ((height, width), np.uint8)
        assert np.abs(found - by_pillow_in_passes(values, height, width)).max() <= 2


@given(sizes=st.tuples(old_sides, old_sides), new=new_sides, along=st.booleans(), channels=st.sampled_from([1, 3]))
@examples(100)
def test_resizing_one_side_is_pillows_to_one_level(sizes, new, along, channels):
    rows, columns = max(sizes[0], 2), max(sizes[1], 2)
    size = (new, columns) if along else (rows, new)
    for values in contents(rows, columns, channels, seed=new):
        pillows = np.asarray(Image.fromarray(values).resize(size[::-1], Image.Resampling.BICUBIC)).astype(int)
        assert np.abs(resize(values, *size) - pillows).max() <= 1


@pytest.mark.skipif(int(features.version("pil").split(".")[0]) < 13, reason="Pillow took the sides in another order")
@pytest.mark.parametrize("size", [(480, 640), (640, 480), (333, 500), (1200, 300), (100, 75), (31, 900)])
def test_resizing_ordinary_images_is_what_pillow_13_does(size):
    for new in [(224, 224), native_size(*size, 16, 16, 1024)]:
        for values in contents(*size, channels=3, seed=1):
            pillows = np.asarray(Image.fromarray(values).resize(new[::-1], Image.Resampling.BICUBIC)).astype(int)
            assert np.abs(resize(values, *new) - pillows).max() <= 2


@pytest.mark.parametrize("size", [(1, 20_000), (20_000, 1), (2, 9999), (3000, 7)])
def test_thin_images_are_resized_as_pillow_does(size):
    for values in contents(*size, channels=3, seed=2):
        for new in [(16, 16), (16, 800), (800, 16)]:
            assert np.abs(resize(values, *new) - by_pillow_in_passes(values, *new)).max() <= 2


VIEWS = {
    "turned": lambda values: np.rot90(values),
    "mirrored": lambda values: values[:, ::-1],
    "upside down": lambda values: values[::-1],
    "mirrored twice": lambda values: values[::-1, ::-1],
    "transposed": lambda values: values.swapaxes(0, 1),
    "cropped": lambda values: values[values.shape[0] // 2 :, values.shape[1] // 3 :],
    "every other": lambda values: values[::2, ::2],
}


@pytest.mark.parametrize("view", VIEWS)
@pytest.mark.parametrize("channels", [1, 3])
def test_resizing_takes_arrays_however_they_lie_in_memory(view, channels):
    for rows, columns in product([1, 2, 3, 16], repeat=2):
        values = VIEWS[view](noise(rows, columns, channels))
        plain = np.array(values.tolist(), np.uint8)
        for size in product([2, 8, 16], repeat=2):
            assert np.array_equal(resize(values, *size), resize(plain, *size))


def test_read_only_pixels_are_resized_without_a_warning():
    values = noise(9, 7)
    values.flags.writeable = False
    with warnings.catch_warnings(action="error"):
        found = resize(values, 8, 8)
        image_patches(Image.fromarray(values), ImageConfig(size=16), small_config())
    assert np.array_equal(found, resize(noise(9, 7), 8, 8))


@pytest.mark.parametrize("capability", ["default", "avx2"])
def test_resizing_is_the_same_on_machines_with_fewer_instructions(capability):
    program = """
import numpy as np
from genlip.data.images import resize
from tests.data.helpers import noise
sizes = [(1, 50, 8, 8), (50, 1, 8, 8), (2, 3, 16, 16), (40, 90, 16, 32), (90, 40, 32, 16), (7, 99, 9, 32), (99, 7, 9, 32)]
print([int(resize(noise(r, c, k), h, w).astype(int).sum()) for r, c, h, w in sizes for k in (1, 3)])
"""
    with redirect_stdout(io.StringIO()) as here:
        exec(program, {})
    root, environment = Path(__file__).parents[2], os.environ | {"ATEN_CPU_CAPABILITY": capability}
    command = [sys.executable, "-c", program]
    there = subprocess.run(command, cwd=root, env=environment, check=True, capture_output=True, text=True).stdout
    assert here.getvalue() == there


def patches_by_loop(values: np.ndarray, patch: int) -> list[list[int]]:
    """Patch by patch in reading order; in each, channel by channel, row by row."""
    height, width, channels = values.shape
    return [
        [int(values[top + y, left + x, channel]) for channel in range(channels) for y in range(patch) for x in range(patch)]
        for top in range(0, height, patch)
        for left in range(0, width, patch)
    ]


@given(rows=st.integers(1, 4), columns=st.integers(1, 4), patch=st.integers(1, 5), channels=st.sampled_from([1, 3]))
@examples(60)
def test_patches_are_cut_in_reading_order_with_their_channels_first(rows, columns, patch, channels):
    values = noise(rows * patch, columns * patch, channels)
    values.flags.writeable = False  # as Pillow hands pixels over
    patches = patchify(values, patch)
    assert patches.tolist() == patches_by_loop(values.reshape(rows * patch, columns * patch, channels), patch)
    assert patches.flags.c_contiguous
    assert patches.flags.writeable  # torch warns of arrays that are not


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("resize", ["fixed", "native"])
def test_a_image_of_the_right_size_is_cut_without_resampling(resize, channels):
    values, config = noise(32, 32, channels), ImageConfig(resize=resize, size=32, max_patches=16)
    patches, grid = image_patches(encoded(Image.fromarray(values), "PNG"), config, small_config(num_channels=channels))
    assert grid == (4, 4)
    assert patches.tolist() == patches_by_loop(values.reshape(32, 32, channels), 8)
    assert (patches.dtype, patches.flags.c_contiguous) == (np.uint8, True)


@pytest.mark.parametrize("size", [(3, 500), (500, 3), (64, 64), (63, 65), (1, 1)])
def test_a_fixed_image_is_a_square_of_patches(size):
    patches, grid = image_patches(Image.new("RGB", size), ImageConfig(size=48), small_config())
    assert (patches.shape, grid) == ((36, 192), (6, 6))


@pytest.mark.parametrize(
    ("width", "height", "grid"), [(32, 24, (3, 4)), (100, 50, (2, 4)), (8, 8, (2, 2)), (10, 200, (12, 1)), (90, 90, (3, 3))]
)
def test_a_native_image_keeps_its_aspect_ratio(width, height, grid):
    config = ImageConfig(resize="native", min_patches=4, max_patches=12)
    patches, found = image_patches(Image.new("RGB", (width, height)), config, small_config())
    assert found == grid
    assert patches.shape == (grid[0] * grid[1], 192)


@pytest.mark.parametrize("config", [ImageConfig(size=32), ImageConfig(resize="native", min_patches=4, max_patches=16)])
def test_resizing_squeezes_the_whole_image_and_crops_nothing(config):
    colours = CORNERS.repeat(100, axis=0).repeat(300, axis=1)  # 200 x 600
    patches, (rows, columns) = image_patches(Image.fromarray(colours), config, small_config())
    corners = [patches[i].reshape(3, 8, 8) for i in (0, columns - 1, (rows - 1) * columns, rows * columns - 1)]
    places = [(0, 0), (0, -1), (-1, 0), (-1, -1)]  # of the image's own corners in its corner patches
    found = np.array([patch[:, y, x] for patch, (y, x) in zip(corners, places, strict=True)]).astype(int)
    assert np.abs(found - CORNERS.reshape(4, 3)).max() <= 2


def test_resizing_keeps_an_even_colour():
    for rule in ("fixed", "native"):
        patches, _ = image_patches(
            Image.new("RGB", (77, 31), (200, 100, 50)), ImageConfig(resize=rule, size=64), small_config()
        )
        assert (patches.reshape(-1, 3, 64) == np.array([200, 100, 50])[:, None]).all()


def test_a_size_that_is_no_multiple_of_the_patch_is_refused():
    with pytest.raises(ValueError, match=r"images\.size 60 is no multiple of the model's patch_size 8") as error:
        image_patches(Image.new("RGB", (8, 8)), ImageConfig(size=60), small_config())
    assert not isinstance(error.value, ImageError)  # a wrong setting, not a bad image to skip


@pytest.mark.parametrize(
    ("changes", "found"),
    [
        ({"resize": "crop"}, "resize is 'crop': need 'fixed' or 'native'"),
        ({"size": 0}, "size 0"),
        ({"max_pixels": 0}, "max_pixels 0"),
        ({"min_patches": 0}, r"\[0, 1024\]"),
        ({"min_patches": 9, "max_patches": 8}, r"\[9, 8\]"),
    ],
)
def test_impossible_settings_are_refused(changes, found):
    with pytest.raises(ValueError, match=found):
        ImageConfig(**changes)


@pytest.mark.parametrize("orientation", range(1, 9))
def test_decoding_what_was_decoded_changes_nothing(orientation):
    exif = Image.Exif()
    exif[ExifTags.Base.Orientation] = orientation
    image = Image.fromarray(UPRIGHT[:, :20])
    once = decode(encoded(image, "JPEG", exif=exif))
    assert np.array_equal(decode(once), once)
    assert decode(once).size == once.size


def test_what_is_no_regular_file_is_not_read(tmp_path):
    with pytest.raises(ImageError, match="not a file"):
        decode(tmp_path)
    with pytest.raises(ImageError, match="not a file"):
        decode("/dev/zero" if Path("/dev/zero").exists() else tmp_path)


@pytest.mark.parametrize("mistake", [np.zeros((4, 4, 3), np.uint8), None, 3])
def test_what_is_no_image_at_all_is_a_mistake_of_the_program(mistake):
    with pytest.raises(TypeError, match=rf"not {type(mistake).__name__}$"):
        decode(mistake)
