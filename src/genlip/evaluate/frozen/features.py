"""Frozen features: the encoder's features of many images, computed once and kept on disk for later probes.

In: an encoder and images with keys. Out: `FrozenFeatures`, a row for every patch, of the last layer after its LayerNorm.
They are stored in float16: after a LayerNorm, numbers are of order 1, of which float16 keeps 11 bits where bfloat16 keeps 8,
in half the space of float32. A feature that is too large for float16 is an error.

Axes: i images, p patches of an image, b images of a batch, D trunk width; total patches of all images.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
import logging
import shutil
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Protocol

import numpy as np
import torch
from filelock import FileLock, Timeout
from torch import Tensor

from genlip.data.examples import ImageLike, Unusable
from genlip.encoder import Encoder, Prepared
from genlip.evaluate.frozen.feature_files import ROW, Block, FeatureFiles
from genlip.report.formatting import size

__all__ = ["FrozenFeatures", "ImageSet", "KeyedImage", "features_key", "frozen_features"]

log = logging.getLogger(__name__)

_FORMAT = 2  # of what is kept; part of the key
_SAMPLED = 8  # images whose pixels are part of the key
_PATIENCE = 1.0  # seconds of waiting before the log says so


class KeyedImage(Protocol):
    """An image with a name, and whatever else a set knows about it."""

    @property
    def key(self) -> str:
        """Names it in messages and results."""
        ...

    @property
    def image(self) -> ImageLike:
        """A path, encoded bytes or a Pillow image."""
        ...


class ImageSet(Protocol):
    """Images with keys, a length and random access: sources, and every set of `genlip.data.datasets`."""

    @property
    def name(self) -> str:
        """As the user named it."""
        ...

    def __len__(self) -> int: ...

    def __getitem__(self, index: int, /) -> KeyedImage: ...


@dataclass(frozen=True, eq=False)
class FrozenFeatures:
    """Features of images in order.

    Attributes:
        rows: Float16[total D], the patches of one image after those of another, each row-major; memory-mapped, not writable.
        grids: Int32[i 2], rows and columns of patches of each image.
        keys: i names, as the set gives them.
        indices: Int64[i], places of the images in the set; those that cannot be used are missing.
    """

    rows: np.ndarray
    grids: np.ndarray
    keys: tuple[str, ...]
    indices: np.ndarray

    def __repr__(self) -> str:
        return f"FrozenFeatures({len(self)} images, {len(self.rows)} patches of width {self.width})"

    @property
    def width(self) -> int:
        """D."""
        return int(self.rows.shape[1])

    @cached_property
    def starts(self) -> np.ndarray:
        """Int64[i + 1], where the rows of each image start, and the total."""
        return np.concatenate([[0], self.grids.astype(np.int64).prod(axis=1).cumsum()])

    def __len__(self) -> int:
        return len(self.keys)

    def __getitem__(self, i: int) -> Tensor:
        """Float32[p D], the features of one image."""
        if not 0 <= i < len(self):
            raise IndexError(f"features of image {i} of {len(self)}")
        return torch.from_numpy(self.rows[self.starts[i] : self.starts[i + 1]].astype(np.float32))

    def batch(self, some: Sequence[int] | np.ndarray) -> tuple[Tensor, Tensor]:
        """Float32[b p D], features padded with 0 to the most patches among these images, and Bool[b p], what is real."""
        chosen = np.asarray(some, dtype=np.int64)
        starts, counts = self.starts[chosen], self.starts[chosen + 1] - self.starts[chosen]
        padded = np.zeros((len(chosen), int(counts.max(initial=0)), self.width), dtype=np.float16)
        for place, (start, count) in enumerate(zip(starts.tolist(), counts.tolist(), strict=True)):
            padded[place, :count] = self.rows[start : start + count]
        real = np.arange(padded.shape[1]) < counts[:, None]
        return torch.from_numpy(padded).float(), torch.from_numpy(real)


def frozen_features(
    encoder: Encoder,
    data: ImageSet,
    *,
    indices: Sequence[int] | np.ndarray | None = None,
    folder: Path | None = None,
    batch_size: int = 64,
    advance: Callable[[int], None] = lambda done: None,
) -> FrozenFeatures:
    """The features of the images at these indices, in that order; read from `folder` if they are there, else computed.

    indices  None takes all images of the set; those that cannot be used are skipped and named in the log
    folder   keeps the features for the next time; None holds them in memory
    batch_size images encoded together
    advance  is called with the number of newly finished images, kept and skipped ones included

    The name of the file depends on all that changes features: weights, sizes, image settings, set, indices, and the pixels
    of a few images, which distinguish sets of the same name. If only other images change, empty the folder. Raises
    ValueError where there is nothing to encode, the disk is too small, or features are too large for float16.
    """
    chosen = _checked(data, indices, batch_size)
    if folder is None:
        with TemporaryDirectory() as scratch:
            where = Path(scratch)
            found = frozen_features(encoder, data, indices=chosen, folder=where, batch_size=batch_size, advance=advance)
            return dataclasses.replace(found, rows=np.array(found.rows))
    folder.mkdir(parents=True, exist_ok=True)
    files = FeatureFiles(folder / features_key(encoder, data, chosen), encoder.width)
    with _alone(files.path.with_suffix(".lock")):
        blocks = files.sound_blocks()
        done = sum(block.places for block in blocks)
        advance(done)
        for start in range(done, len(chosen), batch_size):
            _require_space(files, blocks, encoder, len(chosen) - start)
            block, rows = _encoded(encoder, data, chosen[start : start + batch_size].tolist())
            files.append(block, rows)
            blocks.append(block)
            advance(block.places)
        return _collected(files, blocks, data.name)


@contextmanager
def _alone(file: Path) -> Iterator[None]:
    """Hold a lock; a process that has to wait for it says so in the log."""
    lock = FileLock(file)
    try:
        lock.acquire(timeout=_PATIENCE)
    except Timeout:
        log.warning("waiting for another process that encodes the same images; its lock is %s", file)
        lock.acquire()
    try:
        yield
    finally:
        lock.release()


def features_key(encoder: Encoder, data: ImageSet, indices: np.ndarray) -> str:
    """32 hexadecimal digits that change with everything that the features depend on, and with nothing else.

    A relative path may name other images tomorrow or in another folder, so some are read, evenly from first to last.
    """
    digest, fingerprint = hashlib.sha256(), encoder.fingerprint()
    about = [_FORMAT, *fingerprint.settings, data.name, len(data)]
    digest.update(json.dumps(about, sort_keys=True).encode())
    digest.update(np.asarray(indices, dtype="<i8").tobytes())
    for index in np.unique(indices[np.linspace(0, len(indices) - 1, _SAMPLED).astype(int)]).tolist():
        with suppress(Unusable):  # the log names it when it is encoded
            digest.update(encoder.prepare(data[index].image).patches.tobytes())
    digest.update(fingerprint.weights.encode())
    return digest.hexdigest()[:32]


def _checked(data: ImageSet, indices: Sequence[int] | np.ndarray | None, batch_size: int) -> np.ndarray:
    """Int64[i], the indices to encode."""
    chosen = np.arange(len(data)) if indices is None else np.asarray(indices, dtype=np.int64)
    if not len(chosen):
        raise ValueError(f"{data.name}: 0 images to encode: need at least 1")
    if not 0 <= chosen.min() <= chosen.max() < len(data):
        raise ValueError(f"{data.name}: indices from {chosen.min()} to {chosen.max()}, but it has {len(data)} images")
    if batch_size < 1:
        raise ValueError(f"batch_size is {batch_size}: it must be at least 1")
    return chosen


def _require_space(files: FeatureFiles, blocks: Sequence[Block], encoder: Encoder, missing: int) -> None:
    """Raise ValueError unless the disk has room for the missing images, each as large as those so far on average."""
    images = encoder.image_settings()
    least = (images["size"] // encoder.patch_size) ** 2 if "size" in images else images["patches"][0]
    done = sum(len(block.keys) for block in blocks)
    each = sum(block.patches for block in blocks) / done if done else least
    needed, free = round(ROW.itemsize * files.width * each * missing), shutil.disk_usage(files.path.parent).free
    if needed > free:
        raise ValueError(
            f"{files.path.parent}: features of {missing:,} images need {size(needed, 'GB')}, {size(free, 'GB')} are free: "
            "make room, choose another folder, or measure fewer images"
        )


def _encoded(encoder: Encoder, data: ImageSet, indices: Sequence[int]) -> tuple[Block, np.ndarray]:
    """The block of some images, and Float16[p D], the features of those that can be used."""
    block, images = Block(len(indices), [], [], []), list[Prepared]()
    for index in indices:
        try:
            one = data[index]
            prepared = encoder.prepare(one.image)
        except Unusable as error:
            log.warning("skipped %s", error)
            continue
        images.append(prepared)
        block.indices.append(index)
        block.keys.append(one.key)
        block.grids.append(prepared.grid)
    if not images:
        return block, np.zeros((0, encoder.width), dtype=ROW)
    rows = torch.cat([one.patches for one in encoder.encode(images, len(images))]).half().cpu().numpy()
    if not np.isfinite(rows).all():
        raise ValueError(
            f"{data.name}: features of the images {block.keys[0]!r} to {block.keys[-1]!r} are beyond what float16 holds, "
            f"{np.finfo(ROW).max:g}: the model has diverged, or its last layers have very large weights"
        )
    return block, rows


def _collected(files: FeatureFiles, blocks: Sequence[Block], name: str) -> FrozenFeatures:
    """The content of the files. They are removed for a set without a usable image: its disk may have been missing."""
    places, usable = sum(block.places for block in blocks), sum(len(block.keys) for block in blocks)
    if not usable:
        files.remove()
        raise ValueError(f"{name}: none of {places} images can be used; the log names them")
    if usable < places:
        log.warning("%s: %d of %d images could not be used", name, places - usable, places)
    return FrozenFeatures(
        rows=files.rows(blocks),
        grids=np.array([grid for block in blocks for grid in block.grids], dtype=np.int32),
        keys=tuple(key for block in blocks for key in block.keys),
        indices=np.array([index for block in blocks for index in block.indices], dtype=np.int64),
    )
