"""File kinds: what a file is, if it is not of the expected kind.

In: the first bytes of a file, or its path. Out: a few words for a message, such as "an HTML page", or "" if unknown.
Nothing is decoded. Git LFS pointers are checked first: they can have the name of any file.
"""

from __future__ import annotations

import codecs
import os
from pathlib import Path

__all__ = ["HEAD", "LFS_POINTER", "but_is", "head_of", "holds_lfs_pointer", "is_lfs_pointer", "what_is"]

HEAD = 1024  # bytes that are enough
LFS_POINTER = "a Git LFS pointer, not the file itself (fetch it with: git lfs pull)"

_LFS = b"version https://git-lfs.github.com/spec/"
# (words, place, bytes at that place); the first that fits.
_MAGIC = (
    ("a JPEG image", 0, b"\xff\xd8\xff"),
    ("a PNG image", 0, b"\x89PNG\r\n\x1a\n"),
    ("a GIF image", 0, b"GIF8"),
    ("a WebP image", 8, b"WEBP"),
    ("a TIFF image", 0, b"II*\0"),
    ("a TIFF image", 0, b"MM\0*"),
    ("a JPEG XL image", 0, b"\xff\x0a"),
    ("a JPEG XL image", 4, b"JXL \r\n\x87\n"),
    ("a JPEG 2000 image", 4, b"jP  \r\n\x87\n"),
    ("a JPEG 2000 image", 0, b"\xff\x4f\xff\x51"),
    ("an OpenEXR image", 0, b"v/1\x01"),
    ("a Photoshop document", 0, b"8BPS"),
    ("a QOI image", 0, b"qoif"),
    ("a DDS image", 0, b"DDS "),
    ("a FITS image", 0, b"SIMPLE  ="),
    ("a DICOM image", 128, b"DICM"),
    ("an HDF5 file", 0, b"\x89HDF\r\n\x1a\n"),
    ("a Windows icon", 0, b"\0\0\1\0"),
    ("a PDF document", 0, b"%PDF-"),
    ("a PostScript document", 0, b"%!PS"),
    ("an AVI video", 8, b"AVI "),
    ("a WAV sound", 8, b"WAVE"),
    ("a Matroska or WebM video", 0, b"\x1a\x45\xdf\xa3"),
    ("an Ogg file", 0, b"OggS"),
    ("an MP3 sound", 0, b"ID3"),
    ("a PyTorch file or another ZIP archive", 0, b"PK\x03\x04"),
    ("an empty ZIP archive", 0, b"PK\x05\x06"),
    ("a gzip archive", 0, b"\x1f\x8b"),
    ("a Zstandard archive", 0, b"\x28\xb5\x2f\xfd"),
    ("an xz archive", 0, b"\xfd7zXZ\0"),
    ("a bzip2 archive", 0, b"BZh"),
    ("a 7z archive", 0, b"7z\xbc\xaf\x27\x1c"),
    ("a RAR archive", 0, b"Rar!\x1a\x07"),
    ("a tar archive", 257, b"ustar"),
    ("a Parquet file", 0, b"PAR1"),
    ("an Arrow file", 0, b"ARROW1"),
    ("a NumPy array", 0, b"\x93NUMPY"),
    ("a GGUF model", 0, b"GGUF"),
    ("a SQLite database", 0, b"SQLite format 3\0"),
    ("a program", 0, b"\x7fELF"),
    ("a program", 0, b"MZ"),
    ("a Python pickle", 0, b"\x80\x02"),
    ("a Python pickle", 0, b"\x80\x04"),
    ("UTF-16 text", 0, b"\xff\xfe"),
    ("UTF-16 text", 0, b"\xfe\xff"),
)
_HEIF = "a HEIF image"  # general; another brand may be more specific
# Brands of ISO base media files, which name their kind at byte 8.
_BRANDS = {
    b"avif": "an AVIF image", b"avis": "an AVIF image",
    b"heic": "a HEIC image", b"heix": "a HEIC image", b"heim": "a HEIC image", b"heis": "a HEIC image",
    b"hevc": "a HEIC image", b"hevx": "a HEIC image", b"mif1": _HEIF, b"msf1": _HEIF,
    b"crx ": "a Canon raw image", b"qt  ": "a QuickTime video",
}  # fmt: skip
_MARKUP = (("an SVG drawing", b"<svg"), ("an HTML page", b"<!doctype html"), ("an HTML page", b"<html"))


def what_is(data: bytes) -> str:
    """What a file is by its first bytes, with an article; "" if unknown. `HEAD` bytes are enough."""
    head = data[:HEAD]
    if not head:
        return "an empty file"
    if is_lfs_pointer(head):
        return LFS_POINTER
    if not head.strip(b"\0"):
        return "zero bytes only"
    if head[4:8] == b"ftyp":
        return _of_brands(head)
    if found := next((words for words, place, magic in _MAGIC if head.startswith(magic, place)), ""):
        return found
    return "safetensors" if head[8:10] == b'{"' and head[4:8] == bytes(4) else _text(head)


def but_is(head: bytes, wanted: str) -> str:
    """The end of a message that a file is not what is `wanted`: "; it is an HTML page"; "" if unknown."""
    found = what_is(head)
    return f"; it is {found}" if found and found != wanted else ""


def head_of(path: str | os.PathLike[str]) -> bytes:
    """The first bytes of a file."""
    with Path(path).open("rb") as file:
        return file.read(HEAD)


def is_lfs_pointer(head: bytes) -> bool:
    """Whether these are the first bytes of a Git LFS pointer, which stands for a large file that was not fetched."""
    return head.startswith(_LFS)


def holds_lfs_pointer(path: str | os.PathLike[str]) -> bool:
    """Whether a file is a Git LFS pointer."""
    return is_lfs_pointer(head_of(path))


def _of_brands(head: bytes) -> str:
    """An ISO base media file: its own brand, then those it is compatible with."""
    length = min(int.from_bytes(head[:4], "big"), len(head))
    brands = [head[place : place + 4] for place in (8, *range(16, length, 4))]
    known = [_BRANDS[brand] for brand in brands if brand in _BRANDS]
    return next((kind for kind in known if kind != _HEIF), known[0] if known else "an MP4 video")


def _text(head: bytes) -> str:
    """The kind of a text; "" for anything else. A character that is cut off at the end is accepted."""
    try:
        text = codecs.getincrementaldecoder("utf-8-sig")().decode(head, final=len(head) < HEAD)
    except UnicodeDecodeError:
        return ""
    if any(ord(letter) < 32 and letter not in "\t\n\r\f" for letter in text):
        return ""
    start = text.lstrip().lower()
    if start.startswith("<"):
        return next((words for words, tag in _MARKUP if tag.decode() in start), "XML text")
    return "JSON text" if start.startswith(("{", "[")) else "plain text"
