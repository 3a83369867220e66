"""`genlip.data.images` against the definitions of EXIF and PNG, formulas pixel by pixel, and slow loops."""

import math
import pickle
import random
import struct
import warnings
from itertools import count
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import ExifTags, Image, features

from genlip.data.images import ImageConfig, ImageError, decode, image_patches, native_size, patchify

from .helpers import encoded, examples, noise, png, small_config

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


def test_wide_numbers_are_cut_to_eight_bits():
    floats = np.array([[-5.0, 0.0, 99.9], [255.0, 1e9, np.nan]], np.float32)
    assert pixels(encoded(Image.fromarray(floats), "TIFF"), mode="L").tolist() == [[0, 0, 99], [255, 255, 0]]
    integers = np.array([[-70_000, 0, 2**31 - 1]], np.int32)
    assert pixels(Image.fromarray(integers), mode="L").tolist() == [[0, 0, 255]]
    eight_bits = np.array([[0, 7, 255]], np.int32)
    assert pixels(Image.fromarray(eight_bits), mode="L").tolist() == [[0, 7, 255]]


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


@pytest.mark.parametrize("content", [b"", b"a red square\n", b"<svg></svg>", b"\x89PNG\r\n\x1a\n", bytes(1000)])
def test_what_is_no_image_is_not_an_image(content, tmp_path):
    path = tmp_path / "a.jpg"
    path.write_bytes(content)
    assert refusal(path).reason == refusal(content).reason == "not an image"
    assert str(refusal(path)) == f"{path}: not an image in a known format"
    assert str(refusal(content)) == f"{len(content)} bytes: not an image in a known format"


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


def files_to_break() -> dict[str, bytes]:
    image = Image.fromarray(noise(24, 20))
    exif, second = exif_orientation(6), [image.rotate(180)]
    files = {
        "jpeg": encoded(image, "JPEG", exif=exif),
        "progressive jpeg": encoded(image, "JPEG", progressive=True),
        "cmyk jpeg": encoded(image.convert("CMYK"), "JPEG"),
        "png": encoded(image, "PNG", exif=exif),
        "16-bit png": encoded(image.convert("I;16"), "PNG"),
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
    assert outcomes <= {"RGB", "not an image", "damaged", "too large"}
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
    for resize in ("fixed", "native"):
        patches, _ = image_patches(
            Image.new("RGB", (77, 31), (200, 100, 50)), ImageConfig(resize=resize, size=64), small_config()
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
