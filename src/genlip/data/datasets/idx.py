"""idx files: the MNIST family (MNIST, Fashion-MNIST, EMNIST), a file of images and a file of labels.

In: the path of …-images-idx3-ubyte, plain or gzipped; its labels are beside it as …-labels-idx1-ubyte. Out: a labelled set.
Images are returned as stored; EMNIST stores them transposed (rotated and mirrored).
The header of a file contains its size, and no more bytes than that are ever unpacked.

    byte 0, 1   0
    byte 2      8: unsigned bytes, the one type read here
    byte 3      number of axes: 3 for images, 1 for labels
    then        the length of each axis, 4 bytes, big end first, and the values

Axes: n images, H, W pixels.
"""

from __future__ import annotations

import gzip
import math
import re
import struct
import zlib
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

import numpy as np
from PIL import Image

from genlip.data.datasets.base import Labelled
from genlip.data.datasets.class_names import check_label, class_list, need_classes
from genlip.data.examples import short_repr
from genlip.model.file_kinds import LFS_POINTER, holds_lfs_pointer
from genlip.model.files import check_regular, expanded, printable

__all__ = ["IdxImages", "open_idx", "read_idx"]

_MAX_BYTES = 2**31
_CHUNK = 2**20  # read at once: a header may announce more bytes than there are
_NAME = re.compile(r"images([-.])idx3")


@dataclass(frozen=True, eq=False, repr=False)
class IdxImages:
    """Grey images of known classes, in memory.

    Attributes:
        name: of the set.
        file: name of the image file without its folder; keys begin with it.
        images: UInt8[n H W].
        labels: UInt8[n].
        classes: in words.
    """

    name: str
    file: str
    images: np.ndarray
    labels: np.ndarray
    classes: tuple[str, ...]

    __repr__ = short_repr

    def __len__(self) -> int:
        return len(self.labels)

    def __getitem__(self, index: int) -> Labelled:
        if not 0 <= index < len(self):  # this also ends a `for` loop over them
            raise IndexError(f"{self.name}: image {index} of {len(self)}")
        return Labelled(f"{printable(self.file)}:{index}", Image.fromarray(self.images[index]), int(self.labels[index]))


def open_idx(spec: str, classes: str = "") -> IdxImages:
    """The set of a file of images and the labels beside it.

    classes  see `class_list`: idx holds no names

    Raises FileNotFoundError for a missing file. Raises ValueError if one is not an idx file, their lengths differ, a label
    is not a class, or no classes are given.
    """
    path = expanded(spec)
    beside, renamed = _NAME.subn(r"labels\1idx1", path.name)
    if not renamed:
        raise ValueError(f"{spec}: need the file of images, named …images-idx3-ubyte or …images-idx3-ubyte.gz")
    if not classes:
        raise need_classes(spec)
    names, images, labels = class_list(classes), read_idx(path, 3), read_idx(path.with_name(beside), 1)
    if len(images) != len(labels):
        raise ValueError(f"{path}: {len(images)} images, but {beside} holds {len(labels)} labels; need one for each")
    if images.size == 0:
        raise ValueError(f"{path}: holds no images; its header says {images.shape}")
    highest = int(labels.argmax())
    check_label(int(labels[highest]), names, f"{path.with_name(beside)}, image {highest}")
    return IdxImages(spec, path.name, images, labels, names)


def read_idx(path: Path, axes: int) -> np.ndarray:
    """UInt8 values of an idx file with `axes` axes. Raises FileNotFoundError, or ValueError for a damaged or other file."""
    try:
        check_regular(path)
        if holds_lfs_pointer(path):
            raise ValueError(f"{path}: {LFS_POINTER}")
        with path.open("rb") as file:
            packed = file.read(2) == b"\x1f\x8b"
            file.seek(0)
            if not packed:
                return _values(file, path, axes)
            with gzip.open(file) as unpacked:
                return _values(unpacked, path, axes)  # type: ignore[arg-type]
    except FileNotFoundError:
        raise FileNotFoundError(f"{path}: no such file; images-idx3 and labels-idx1 lie side by side") from None
    except (gzip.BadGzipFile, EOFError, zlib.error) as error:
        raise ValueError(f"{path}: damaged gzip file: {error}") from None


def _values(file: BinaryIO, path: Path, axes: int) -> np.ndarray:
    header = file.read(4 + 4 * axes)
    if len(header) < 4 + 4 * axes or header[:4] != bytes([0, 0, 8, axes]):
        raise ValueError(
            f"{path}: begins with {header[:4].hex()}; need {bytes([0, 0, 8, axes]).hex()}, bytes in {axes} axes"
        )
    shape = struct.unpack(f">{axes}I", header[4:])
    size = math.prod(shape)
    if size > _MAX_BYTES:
        raise ValueError(f"{path}: announces {size} bytes ({shape}); the limit is {_MAX_BYTES}")
    data = bytearray()
    while len(data) <= size and (chunk := file.read(min(_CHUNK, size + 1 - len(data)))):
        data += chunk
    if len(data) != size:
        raise ValueError(f"{path}: holds {'more' if len(data) > size else len(data)} bytes; its header announces {size}")
    return np.frombuffer(bytes(data), np.uint8).reshape(shape)
