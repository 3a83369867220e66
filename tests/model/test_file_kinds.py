"""`genlip.model.file_kinds`: files of every kind, written by their own libraries or by hand."""

import gzip
import io
import json
import pickle
import struct
import tarfile
import zipfile

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from PIL import Image, features
from safetensors.torch import save as safetensors

from genlip.model.file_kinds import HEAD, holds_lfs_pointer, what_is


def written(write) -> bytes:
    buffer = io.BytesIO()
    write(buffer)
    return buffer.getvalue()


def picture(kind: str) -> bytes:
    return written(lambda file: Image.new("RGB", (40, 30), "red").save(file, kind))


def tar(file) -> None:
    with tarfile.open(fileobj=file, mode="w") as made:
        made.addfile(tarfile.TarInfo("a.txt"))


def zipped(file) -> None:
    with zipfile.ZipFile(file, "w") as made:
        made.writestr("a.txt", "a")


def iso(major: bytes, *others: bytes) -> bytes:
    """The first box of an ISO base media file (ISO/IEC 14496-12): length, ftyp, brand, version, further brands."""
    body = b"ftyp" + major + bytes(4) + b"".join(others)
    return struct.pack(">L", 4 + len(body)) + body + bytes(300)


POINTER = b"version https://git-lfs.github.com/spec/v1\noid sha256:4d7a\nsize 132\n"
KINDS = {
    "an empty file": [b""],
    "zero bytes only": [bytes(1), bytes(5000)],
    "a Git LFS pointer, not the file itself (fetch it with: git lfs pull)": [POINTER],
    "a JPEG image": [picture("JPEG"), picture("MPO")],
    "a PNG image": [picture("PNG")],
    "a GIF image": [picture("GIF")],
    "a WebP image": [picture("WEBP")],
    "a TIFF image": [picture("TIFF")],
    "a Windows icon": [picture("ICO")],
    "a HEIC image": [iso(b"heic", b"mif1"), iso(b"mif1", b"mif1", b"heic"), iso(b"heix")],
    "a HEIF image": [iso(b"mif1")],
    "an AVIF image": [iso(b"avif", b"mif1"), iso(b"mif1", b"avif")],
    "an MP4 video": [iso(b"isom", b"iso2", b"mp41"), iso(b"mp42"), b"\0\0\0\x18ftyp"],
    "a QuickTime video": [iso(b"qt  ")],
    "a JPEG XL image": [b"\xff\x0a\x88", b"\0\0\0\x0cJXL \r\n\x87\n"],
    "a JPEG 2000 image": [b"\0\0\0\x0cjP  \r\n\x87\n"],
    "a PDF document": [picture("PDF")],
    "a PostScript document": [picture("EPS")],
    "an SVG drawing": [b"<svg/>", b'<?xml version="1.0"?>\n<!-- a -->\n<svg xmlns="http://www.w3.org/2000/svg"/>'],
    "an HTML page": [b"<!DOCTYPE html>\n<html>", b"\xef\xbb\xbf  <HTML><body>404", b"<!doctype HTML><p>" + b"a" * 3000],
    "XML text": [b'<?xml version="1.0"?><Error><Code>AccessDenied</Code></Error>'],
    "JSON text": [json.dumps({"error": "no"}).encode(), b"[1, 2]"],
    "plain text": [b"404 Not Found", "Кошка на диване".encode(), ("ж" * 3000).encode(), b"a" + ("ж" * 3000).encode()],
    "UTF-16 text": ["Кошка".encode("utf-16")],
    "a gzip archive": [gzip.compress(b"a")],
    "a tar archive": [written(tar)],
    "a PyTorch file or another ZIP archive": [written(zipped), written(lambda f: torch.save(torch.ones(2), f))],
    "a Parquet file": [written(lambda f: pq.write_table(pa.table({"a": [1]}), f))],
    "a NumPy array": [written(lambda f: np.save(f, np.ones(3)))],
    "a Python pickle": [pickle.dumps([1]), pickle.dumps([1], protocol=2)],
    "safetensors": [safetensors({"a": torch.ones(3)})],
    "": [b"\x07\x08\x99" * 500, b"caf\xe9", "ж".encode()[:1], b"\x05"],
}  # fmt: skip


@pytest.mark.parametrize("kind", KINDS)
def test_a_file_is_told_by_its_first_bytes(kind):
    for data in KINDS[kind]:
        assert what_is(data) == kind, data[:40]
        assert what_is(data[:HEAD]) == kind


def test_a_pointer_is_told_from_other_files(tmp_path):
    for data, pointer in ((POINTER, True), (POINTER[1:], False), (POINTER[:20], False), (b"", False)):
        (tmp_path / "a").write_bytes(data)
        assert holds_lfs_pointer(tmp_path / "a") == pointer


@pytest.mark.skipif(not features.check("avif"), reason="this Pillow writes no AVIF")
def test_pillows_avif_is_told():
    assert what_is(picture("AVIF")) == "an AVIF image"


@pytest.mark.parametrize("length", range(1, 40))
def test_a_start_of_any_length_is_no_error(length):
    for files in KINDS.values():
        for data in files:
            assert isinstance(what_is(data[:length]), str)
