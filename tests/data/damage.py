"""Files that a crawl of the web holds besides images: cut, flipped, lying, exotic and hostile ones, the same for a seed.

`damaged_files` goes around the kinds below in order. A kind is a function of the dice that returns the bytes of one file.
Some files of most kinds are still images; which, the decoder decides.
"""

from __future__ import annotations

import random
import struct
import zlib
from collections.abc import Callable, Iterator
from functools import cache, partial

import numpy as np
import simplejpeg
from PIL import Image, features

from .helpers import encoded, noise

Kind = Callable[[random.Random], bytes]

WRONG_CONTENT = (
    b"<!DOCTYPE html><html><body>404 Not Found</body></html>",
    b'<svg xmlns="http://www.w3.org/2000/svg" width="9" height="9"/>',
    b'{"error": "forbidden"}',
    b"%PDF-1.7\n%\xe2\xe3\xcf\xd3\n",
    b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n",
    b"PK\x03\x04" + bytes(26),
    b"\x1f\x8b\x08\x00" + bytes(16),
    b"\x00\x00\x00\x18ftypisom" + bytes(12),
    b"\x7fELF" + bytes(60),
    "Кошка на диване\n".encode("utf-16"),
)
PNG = b"\x89PNG\r\n\x1a\n"
MAGIC = (b"\xff\xd8\xff\xe0", PNG, b"GIF89a", b"RIFF\x20\0\0\0WEBPVP8 ", b"II*\0", b"MM\0*", b"BM", b"P6 ", b"P3 ")


def damaged_files(number: int, seed: int) -> Iterator[tuple[str, bytes]]:
    """So many files, each with its kind."""
    kinds, dice = list(all_kinds().items()), random.Random(seed)
    for index in range(number):
        name, kind = kinds[index % len(kinds)]
        yield name, kind(dice)


@cache
def all_kinds() -> dict[str, Kind]:
    """Every kind by its name."""
    kinds: dict[str, Kind] = {}
    for name, data in whole_files().items():
        kinds[f"truncated {name}"] = partial(truncated, data)
        kinds[f"header bits {name}"] = partial(flipped, data, 64)
        kinds[f"body bits {name}"] = partial(flipped, data, len(data))
        kinds[f"zeroed {name}"] = partial(zeroed, data)
    for name, data in exotic_files().items():
        kinds[f"exotic {name}"] = partial(perhaps_flipped, data)
    kinds["empty"] = lambda dice: b""
    kinds["zero bytes"] = lambda dice: bytes(dice.randrange(1, 3000))
    kinds["random bytes"] = lambda dice: dice.randbytes(dice.randrange(1, 3000))
    kinds["random after magic"] = lambda dice: dice.choice(MAGIC) + dice.randbytes(dice.randrange(3000))
    kinds["wrong content"] = lambda dice: dice.choice(WRONG_CONTENT) + dice.randbytes(dice.randrange(100))
    for kind in (
        png_bomb, gif_bomb, webp_bomb, bmp_bomb, ppm_bomb, tiff_bomb, tiff_of_absurd_tags,
        exif_in_jpeg, exif_in_png, exif_in_webp,
        compressed_text, plain_text, wrong_crc, chunks_in_disorder,
        jpeg_of_other_size, jpeg_without_height, jpeg_of_another_process, jpeg_twice_framed, jpeg_without_a_part,
        zero_sized,
    ):  # fmt: skip
        kinds[kind.__name__.replace("_", " ")] = kind
    return kinds


# -- files to damage


def small_image(mode: str = "RGB", seed: int = 0) -> Image.Image:
    """27 x 21 pixels with edges and some noise."""
    blocks = noise(3, 4, seed=seed).repeat(7, axis=0).repeat(7, axis=1)[:, :27]
    return Image.fromarray((blocks // 2 + noise(21, 27, seed=seed + 1) // 4).astype(np.uint8)).convert(mode)


def whole_files() -> dict[str, bytes]:
    """A sound file in each format."""
    image, exif = small_image(), Image.Exif()
    exif[0x0112] = 6
    files = {
        "jpeg": encoded(image, "JPEG", exif=exif),
        "progressive jpeg": encoded(image, "JPEG", progressive=True, restart_marker_blocks=1),
        "png": encoded(image, "PNG", exif=exif),
        "webp": encoded(image, "WEBP", exif=exif),
        "gif": encoded(image, "GIF"),
        "tiff": encoded(image, "TIFF", exif=exif),
        "deflated tiff": encoded(image, "TIFF", compression="tiff_adobe_deflate"),
        "bmp": encoded(image, "BMP"),
        "ppm": encoded(image, "PPM"),
    }
    return files | ({"avif": encoded(image, "AVIF", exif=exif)} if features.check("avif") else {})


def exotic_files() -> dict[str, bytes]:
    """Sound files that few cameras write."""
    image, frames = small_image(), [small_image(seed=seed) for seed in (2, 4)]
    palette, numbers = image.quantize(16), np.asarray(small_image("L"))
    cmyk = encoded(image.convert("CMYK"), "JPEG")
    return {
        "cmyk jpeg": cmyk,
        "ycck jpeg": with_adobe_transform(cmyk, 2),
        "rgb jpeg": encoded(image, "JPEG", keep_rgb=True),
        "grey jpeg": encoded(image.convert("L"), "JPEG", quality=5),
        "4:4:0 jpeg": simplejpeg.encode_jpeg(np.asarray(image), colorsubsampling="440"),
        "mpo": encoded(image, "MPO", save_all=True, append_images=frames),
        "lab tiff": encoded(image.convert("LAB"), "TIFF"),
        "cmyk tiff": encoded(image.convert("CMYK"), "TIFF"),
        "ycbcr tiff": encoded(image.convert("YCbCr"), "TIFF"),
        "grey and alpha tiff": encoded(image.convert("LA"), "TIFF"),
        "premultiplied grey tiff": with_multiplied_alpha(encoded(image.convert("LA"), "TIFF")),
        "premultiplied tiff": with_multiplied_alpha(encoded(image.convert("RGBA"), "TIFF")),
        "16-bit tiff": encoded(Image.fromarray(numbers.astype(np.uint16) * 257), "TIFF"),
        "32-bit tiff": encoded(Image.fromarray(numbers.astype(np.int32) * 70_000), "TIFF"),
        "float tiff": encoded(Image.fromarray(numbers.astype(np.float32) - 9), "TIFF"),
        "jpeg tiff": encoded(image, "TIFF", compression="jpeg"),
        "lzw tiff": encoded(image, "TIFF", compression="tiff_lzw"),
        "fax tiff": encoded(image.convert("1"), "TIFF", compression="group4"),
        "16-bit png": encoded(Image.fromarray(numbers.astype(np.uint16) * 257), "PNG"),
        "one bit png": encoded(image.convert("1"), "PNG"),
        "grey and alpha png": encoded(image.convert("LA"), "PNG"),
        "alpha png": encoded(image.convert("RGBA"), "PNG"),
        "palette png": encoded(palette, "PNG", transparency=bytes(range(0, 160, 10))),
        "key colour png": encoded(image, "PNG", transparency=image.getpixel((3, 3))),
        "animated png": encoded(image, "PNG", save_all=True, append_images=frames),
        "animated webp": encoded(image, "WEBP", save_all=True, append_images=frames),
        "animated gif": encoded(palette, "GIF", save_all=True, append_images=frames, transparency=2, disposal=2),
        "palette bmp": encoded(palette, "BMP"),
        "text ppm": b"P3 4 3 255\n" + b" 1 22 133" * 12,
    }


def with_adobe_transform(data: bytes, transform: int) -> bytes:
    """A JPEG whose Adobe marker tells another transform: 0 none, 1 YCbCr, 2 YCCK."""
    place = data.index(b"Adobe") + 11
    return data[:place] + bytes([transform]) + data[place + 1 :]


def with_multiplied_alpha(data: bytes) -> bytes:
    """A TIFF that tells that its colours were multiplied by its alpha."""
    extra_samples = 338
    plain, multiplied = (struct.pack("<HHLH", extra_samples, 3, 1, value) for value in (2, 1))
    assert data.count(plain) == 1
    return data.replace(plain, multiplied)


# -- damage to any file


def truncated(data: bytes, dice: random.Random) -> bytes:
    """The start of a file."""
    return data[: dice.randrange(1, len(data))]


def flipped(data: bytes, within: int, dice: random.Random) -> bytes:
    """A file with one to sixteen bits flipped among its first bytes."""
    out = bytearray(data)
    for _ in range(dice.choice((1, 1, 2, 4, 16))):
        out[dice.randrange(min(within, len(out)))] ^= 1 << dice.randrange(8)
    return bytes(out)


def zeroed(data: bytes, dice: random.Random) -> bytes:
    """A file with a run of zero bytes, as a broken download leaves."""
    start = dice.randrange(len(data))
    length = min(dice.randrange(1, len(data)), len(data) - start)
    return data[:start] + bytes(length) + data[start + length :]


def perhaps_flipped(data: bytes, dice: random.Random) -> bytes:
    """A file as it is, or with bits flipped."""
    return flipped(data, len(data), dice) if dice.randrange(2) else data


# -- PNG, chunk by chunk


def chunk(kind: bytes, data: bytes, crc: int | None = None) -> bytes:
    """A chunk, with its own CRC or another."""
    crc = zlib.crc32(kind + data) if crc is None else crc
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", crc)


def header_chunk(width: int, height: int, depth: int = 8, colour_type: int = 2) -> bytes:
    return chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, depth, colour_type, 0, 0, 0))


def small_png(*extra: bytes, after: bytes = b"") -> bytes:
    """A 9 x 9 image with other chunks before and after its pixels."""
    pixels = zlib.compress(b"".join(b"\0" + row.tobytes() for row in noise(9, 9)))
    parts = (header_chunk(9, 9), *extra, chunk(b"IDAT", pixels), after, chunk(b"IEND", b""))
    return PNG + b"".join(parts)


@cache
def deflated_zeros(mebibytes: int) -> bytes:
    """Zeros, a thousandth of their size."""
    packer = zlib.compressobj(9)
    return b"".join(packer.compress(bytes(2**20)) for _ in range(mebibytes)) + packer.flush()


def png_bomb(dice: random.Random) -> bytes:
    """Black pixels without end in a few kilobytes."""
    side, depth = dice.choice(((30_000, 1), (30_000, 8), (65_535, 16), (2**31 - 1, 8)))
    parts = (header_chunk(side, side, depth, 0), chunk(b"IDAT", deflated_zeros(8)), chunk(b"IEND", b""))
    return PNG + b"".join(parts)


def compressed_text(dice: random.Random) -> bytes:
    """Text, a profile or EXIF that unpacks to 0 to 64 MiB."""
    zeros = deflated_zeros(dice.choice((0, 1, 2, 64)))
    bomb = dice.choice(
        (
            chunk(b"zTXt", b"Comment\0\0" + zeros),
            chunk(b"iTXt", b"XML:com.adobe.xmp\0\1\0\0\0" + zeros),
            chunk(b"iCCP", b"profile\0\0" + zeros),
            chunk(b"zTXt", b"Raw profile type exif\0\0" + zeros),
        )
    )
    return small_png(bomb) if dice.randrange(2) else small_png(after=bomb)


def plain_text(dice: random.Random) -> bytes:
    """Much text, broken text, or many texts."""
    texts = dice.choice(
        (
            [chunk(b"tEXt", b"Comment\0" + bytes(2**21))],
            [chunk(b"tEXt", b"Comment\0word ")] * 500,
            [chunk(b"tEXt", b"no end of the keyword")],
            [chunk(b"iTXt", b"XML:com.adobe.xmp\0\0\0\0\0" + b'tiff:Orientation="6" \xff\xfe')],
            [chunk(b"iTXt", b"keyword\0\1")],
            [chunk(b"tEXt", b"Raw profile type exif\0\nexif\n 99\n4d4dzz")],
            [chunk(b"tRNS", bytes(dice.randrange(9)))],
            [chunk(b"pHYs", b"\0"), chunk(b"gAMA", b""), chunk(b"cHRM", b"\1")],
            [chunk(b"acTL", struct.pack(">II", dice.choice((0, 2**31)), 0))],
        )
    )
    return small_png(*texts)


def wrong_crc(dice: random.Random) -> bytes:
    """One byte of a checksum is another; whether that matters depends on the chunk."""
    out = bytearray(small_png(chunk(b"tEXt", b"Comment\0a cat")))
    kind = dice.choice((b"IHDR", b"tEXt", b"IDAT", b"IEND"))
    place = out.index(kind)
    end = place + 4 + struct.unpack(">I", out[place - 4 : place])[0]
    out[end + dice.randrange(4)] ^= 1 << dice.randrange(8)
    return bytes(out)


def chunks_in_disorder(dice: random.Random) -> bytes:
    """The chunks of an image shuffled, doubled or lost."""
    pixels = zlib.compress(b"".join(b"\0" + row.tobytes() for row in noise(9, 9)))
    chunks = [header_chunk(9, 9), chunk(b"IDAT", pixels[:50]), chunk(b"IDAT", pixels[50:]), chunk(b"IEND", b"")]
    return PNG + b"".join(dice.choices(chunks, k=dice.randrange(1, 7)))


# -- other formats with headers that lie


def gif_bomb(dice: random.Random) -> bytes:
    """A screen of 65,535 x 65,535 pixels, or a frame of that size on a small one."""
    data = bytearray(encoded(small_image(), "GIF"))
    place = 6 if dice.randrange(2) else data.index(b"\x2c\0\0\0\0") + 5
    data[place : place + 4] = b"\xff" * 4
    return bytes(data)


def webp_bomb(dice: random.Random) -> bytes:
    """A canvas of 16,384 x 16,384 pixels or more around a small frame, still or moving."""
    still = encoded(small_image(), "WEBP", lossless=True)[12:]
    side, moving = dice.choice((2**14, 2**15, 2**24)), dice.randrange(2)
    canvas = (side - 1).to_bytes(3, "little") * 2
    body = b"VP8X" + struct.pack("<LL", 10, 2 * moving) + canvas
    if moving:
        frame = bytes(6) + (26).to_bytes(3, "little") + (20).to_bytes(3, "little") + bytes(4) + still
        body += b"ANIM" + struct.pack("<LLH", 6, 0, 0) + b"ANMF" + struct.pack("<L", len(frame)) + frame
    else:
        body += still
    return b"RIFF" + struct.pack("<L", 4 + len(body)) + b"WEBP" + body


def bmp_bomb(dice: random.Random) -> bytes:
    """Sides up to 2^31, negative ones too, depths that do not exist."""
    data = bytearray(encoded(small_image(), "BMP"))
    data[18:26] = struct.pack("<ll", *(dice.choice((2**31 - 1, -(2**31), 40_000, -40_000)) for _ in range(2)))
    data[28:30] = struct.pack("<H", dice.choice((1, 8, 24, 32, 999)))
    return bytes(data)


def ppm_bomb(dice: random.Random) -> bytes:
    """Sides of many digits."""
    side = dice.choice((b"30000", b"99999999", b"9" * 50, b"9" * 5000))
    return dice.choice((b"P1 ", b"P3 ", b"P5 ", b"P6 ")) + side + b" " + side + b" 255\n" + bytes(100)


TIFF_NUMBERS = (0, 1, 2, 7, 255, 65_535, 2**31 - 1, 2**31, 2**32 - 1)


def tiff(tags: dict[int, int | tuple[int, ...]], pixels: bytes) -> bytes:
    """A little-endian TIFF by hand: all tags are 32-bit numbers."""
    entries, overflow, end = b"", b"", 8 + 2 + 12 * len(tags) + 4
    for tag, value in sorted(tags.items()):
        values = value if isinstance(value, tuple) else (value,)
        packed = struct.pack(f"<{len(values)}L", *values)
        if len(values) > 1:
            packed, overflow = struct.pack("<L", end + len(overflow)), overflow + packed
        entries += struct.pack("<HHL", tag, 4, len(values)) + packed
    start = end + len(overflow)
    entries = entries.replace(struct.pack("<L", 0xDEADBEEF), struct.pack("<L", start))
    return b"II*\0" + struct.pack("<LH", 8, len(tags)) + entries + bytes(4) + overflow + pixels


def sound_tags(height: int, width: int) -> dict[int, int | tuple[int, ...]]:
    """Tags of an uncompressed RGB image in one strip, its place to be filled in."""
    size = 3 * height * width
    return {256: width, 257: height, 258: (8, 8, 8), 259: 1, 262: 2, 273: 0xDEADBEEF, 277: 3, 278: height, 279: size}


def tiff_bomb(dice: random.Random) -> bytes:
    """Sides of 30,000 pixels and more, in strips or tiles, packed or not."""
    side = dice.choice((30_000, 65_535, 2**31 - 1))
    tags = sound_tags(9, 9) | {256: side, 257: side, 259: dice.choice((1, 5, 8, 32_773)), 278: side}
    return tiff(tags, deflated_zeros(1))


def tiff_of_absurd_tags(dice: random.Random) -> bytes:
    """A small image of which one to three tags hold numbers that make no sense, or that has tiles larger than itself."""
    tags = sound_tags(9, 9)
    if dice.randrange(3) == 0:
        side = dice.choice((16, 4096, 65_520, 2**31 - 16))
        tags |= {259: dice.choice((1, 5, 8)), 322: side, 323: side, 324: 0xDEADBEEF, 325: dice.choice(TIFF_NUMBERS)}
    for _ in range(dice.randrange(1, 4)):
        tags[dice.choice((258, 259, 262, 273, 277, 278, 279, 284, 317, 320, 338, 339, 274))] = dice.choice(TIFF_NUMBERS)
    return tiff(tags, noise(9, 9).tobytes())


# -- EXIF


def broken_exif(dice: random.Random) -> bytes:
    """EXIF that is cut, points at itself, or counts what is not there; its header is sound."""
    head = b"II*\0" + struct.pack("<L", 8)
    orientation = struct.pack("<HHLHH", 0x0112, 3, 1, 6, 0)
    number, offset = dice.choice((2, 1000, 2**31, 2**32 - 1)), dice.choice((8, 0, 10, 2**31, 2**32 - 1))
    kind = dice.randrange(14)
    return dice.choice(
        (
            head + struct.pack("<H", 40) + orientation,  # 39 entries are missing
            head + struct.pack("<H", 1) + orientation + struct.pack("<L", 8),  # the next directory is this one
            head + struct.pack("<H", 1) + orientation + struct.pack("<L", offset),
            head + struct.pack("<HHHLL", 1, 0x8769, 4, 1, 8) + bytes(4),  # its own subdirectory
            head + struct.pack("<HHHLL", 1, 0x8769, 4, 1, offset) + bytes(4),
            head + struct.pack("<HHHLL", 1, 0x0112, kind, 1, 6) + bytes(4),
            head + struct.pack("<HHHLL", 1, 0x0112, kind, number, offset) + bytes(4),
            head + struct.pack("<HHHLL", 1, 0x010E, kind, number, offset) + bytes(4),
            b"II*\0" + struct.pack("<L", offset) + orientation,
            b"MM\0*" + dice.randbytes(dice.randrange(40)),
            dice.randbytes(dice.randrange(40)),
            head + dice.randbytes(60),
        )
    )


def exif_in_jpeg(dice: random.Random) -> bytes:
    return encoded(small_image(), "JPEG", exif=b"Exif\0\0" + broken_exif(dice))


def exif_in_png(dice: random.Random) -> bytes:
    exif = chunk(b"eXIf", broken_exif(dice))
    return small_png(exif) if dice.randrange(2) else small_png(after=exif)


def exif_in_webp(dice: random.Random) -> bytes:
    return encoded(small_image(), "WEBP", exif=b"Exif\0\0" + broken_exif(dice))


# -- JPEG, marker by marker


@cache
def jpeg_parts(**options: object) -> tuple[bytes, ...]:
    """The marker segments of a JPEG, the last with the pixels."""
    data, parts, place = encoded(small_image(), "JPEG", **options), [b"\xff\xd8"], 2
    while data[place + 1] != 0xDA:
        end = place + 2 + struct.unpack(">H", data[place + 2 : place + 4])[0]
        parts.append(data[place:end])
        place = end
    return (*parts, data[place:])


def reframed(parts: tuple[bytes, ...], height: int, width: int, marker: int = 0xC0, depth: int = 8) -> bytes:
    """A JPEG whose frame header tells another size, process or depth."""
    changed = bytes([0xFF, marker, 0, 17, depth]) + struct.pack(">HH", height, width)
    return b"".join(changed + part[9:] if part[1] == 0xC0 else part for part in parts)


def jpeg_of_other_size(dice: random.Random) -> bytes:
    sides = [dice.choice((1, 5, 21, 27, 40, 1000, 40_000, 65_535)) for _ in range(2)]
    return reframed(jpeg_parts(subsampling=dice.choice((0, 2))), *sides)


def jpeg_without_height(dice: random.Random) -> bytes:
    """A frame of height 0, which a DNL marker after the scan may tell; or of width 0."""
    height, width = dice.choice(((0, 27), (21, 0), (0, 0)))
    data = reframed(jpeg_parts(), height, width)
    return data if dice.randrange(2) else data[:-2] + b"\xff\xdc\0\4\0\x15" + data[-2:]


def jpeg_of_another_process(dice: random.Random) -> bytes:
    """Extended, progressive, lossless and arithmetic frames over a baseline scan; other depths."""
    marker, depth = dice.choice((0xC1, 0xC2, 0xC3, 0xC5, 0xC9, 0xCA, 0xCB, 0xCD, 0xCF, 0xF7)), dice.choice((8, 8, 2, 12, 16))
    return reframed(jpeg_parts(), 21, 27, marker, depth)


def jpeg_twice_framed(dice: random.Random) -> bytes:
    """Two frame headers that tell different sizes, or a second image inside a segment."""
    parts = jpeg_parts()
    frame = next(part for part in parts if part[1] == 0xC0)
    other = frame[:5] + struct.pack(">HH", *dice.choice(((1, 1), (60_000, 60_000), (21, 28)))) + frame[9:]
    place = dice.randrange(1, len(parts))
    return b"".join((*parts[:place], dice.choice((other, b"\xff\xd8", b"\xff\xd9", b"\0\0", b"\xff" * 9)), *parts[place:]))


def jpeg_without_a_part(dice: random.Random) -> bytes:
    """Tables, header or end are missing, doubled or out of order."""
    parts = list(jpeg_parts(progressive=bool(dice.randrange(2))))
    place = dice.randrange(1, len(parts))
    match dice.randrange(4):
        case 0:
            del parts[place]
        case 1:
            parts.insert(place, parts[place])
        case 2:
            parts[-1] = parts[-1][:-2]
        case _:
            parts[1:-1] = dice.sample(parts[1:-1], len(parts) - 2)
    return b"".join(parts)


# -- no pixels


def zero_sized(dice: random.Random) -> bytes:
    """Sides of no length, in each format that can write them."""
    height, width = dice.choice(((0, 0), (0, 9), (9, 0)))
    gif, bmp = (bytearray(encoded(small_image(), name)) for name in ("GIF", "BMP"))
    gif[6:10], bmp[18:26] = struct.pack("<HH", width, height), struct.pack("<ll", width, height)
    still = PNG + header_chunk(width, height) + chunk(b"IDAT", zlib.compress(b"")) + chunk(b"IEND", b"")
    return dice.choice(
        (
            still,
            bytes(gif),
            bytes(bmp),
            tiff(sound_tags(9, 9) | {256: width, 257: height}, bytes(243)),
            b"P6 %d %d 255\n" % (width, height) + bytes(9),
            reframed(jpeg_parts(), height, width),
        )
    )
