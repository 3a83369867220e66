"""Frozen features: the encoder's features of many images, computed once and kept on disk for every probe to come.

In: a speaker and images with keys. Out: `FrozenFeatures`, rows of `ln_post` at the patches after the last layer.
They are kept in float16: `ln_post` leaves numbers of order 1, of which float16 keeps 11 bits where bfloat16 keeps 8, in half
the space of float32. What float16 cannot hold is an error, never an infinity.

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
from genlip.data.images import image_patches
from genlip.evaluate.fingerprint import weights_fingerprint
from genlip.evaluate.frozen.feature_files import ROW, Block, FeatureFiles
from genlip.model.genlip import GenLIP
from genlip.model.pack import Pack, Sample
from genlip.report.formatting import size
from genlip.speaker import Speaker

__all__ = ["FrozenFeatures", "ImageSet", "KeyedImage", "features_key", "frozen_features"]

log = logging.getLogger(__name__)

_FORMAT = 2  # of what is kept; part of the key
_SAMPLED = 8  # images whose pixels are part of the key
_PATIENCE = 1.0  # seconds of waiting without a word
_ENCODER = ("vision_embeddings.", "visual.", "ln_post.")  # what features depend on; the weights of the text may change


class KeyedImage(Protocol):
    """An image with a name, and whatever else a set tells of it."""

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
    speaker: Speaker,
    data: ImageSet,
    *,
    indices: Sequence[int] | np.ndarray | None = None,
    folder: Path | None = None,
    batch_size: int = 64,
    advance: Callable[[int], None] = lambda done: None,
) -> FrozenFeatures:
    """The features of the images at these indices, in that order; read where they are kept, else computed.

    indices  None takes all images of the set; those that cannot be used are skipped and named in the log
    folder   keeps the features for the next time; None holds them in memory alone
    batch_size images encoded together
    advance  hears of finished images, kept and skipped ones included

    Whatever changes the features takes another file: weights, sizes, image settings, set, indices, and the pixels of a few
    images, by which sets of one name are told apart. If only others change under that name, empty the folder. Raises
    ValueError where there is nothing to encode, the disk is too small, or features are beyond float16.
    """
    chosen = _checked(data, indices, batch_size)
    if folder is None:
        with TemporaryDirectory() as scratch:
            where = Path(scratch)
            found = frozen_features(speaker, data, indices=chosen, folder=where, batch_size=batch_size, advance=advance)
            return dataclasses.replace(found, rows=np.array(found.rows))
    folder.mkdir(parents=True, exist_ok=True)
    files = FeatureFiles(folder / features_key(speaker, data, chosen), speaker.model.config.hidden_size)
    with _alone(files.path.with_suffix(".lock")):
        blocks = files.sound_blocks()
        done = sum(block.places for block in blocks)
        advance(done)
        for start in range(done, len(chosen), batch_size):
            _require_space(files, blocks, speaker, len(chosen) - start)
            block, rows = _encoded(speaker, data, chosen[start : start + batch_size].tolist())
            files.append(block, rows)
            blocks.append(block)
            advance(block.places)
        return _collected(files, blocks, data.name)


@contextmanager
def _alone(file: Path) -> Iterator[None]:
    """Hold a lock; what has to wait for it says so."""
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


def features_key(speaker: Speaker, data: ImageSet, indices: np.ndarray) -> str:
    """32 hexadecimal digits that change with what the features depend on, and not with the text's part of the model.

    A relative path may name other images tomorrow or in another folder, so some are read, evenly from first to last.
    """
    digest = hashlib.sha256()
    about = [_FORMAT, speaker.model.config.to_dict(), dataclasses.asdict(speaker.images), data.name, len(data)]
    digest.update(json.dumps(about, sort_keys=True).encode())
    digest.update(np.asarray(indices, dtype="<i8").tobytes())
    for index in np.unique(indices[np.linspace(0, len(indices) - 1, _SAMPLED).astype(int)]).tolist():
        with suppress(Unusable):  # it is named when its turn comes
            digest.update(image_patches(data[index].image, speaker.images, speaker.model.config)[0].tobytes())
    digest.update(weights_fingerprint(speaker.model, _ENCODER).encode())
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


def _require_space(files: FeatureFiles, blocks: Sequence[Block], speaker: Speaker, missing: int) -> None:
    """Raise ValueError unless the disk has room for the missing images, each as large as those so far on average."""
    images, side = speaker.images, speaker.model.config.patch_size
    least = (images.size // side) ** 2 if images.resize == "fixed" else images.min_patches
    done = sum(len(block.keys) for block in blocks)
    each = sum(block.patches for block in blocks) / done if done else least
    needed, free = round(ROW.itemsize * files.width * each * missing), shutil.disk_usage(files.path.parent).free
    if needed > free:
        raise ValueError(
            f"{files.path.parent}: features of {missing:,} images need {size(needed, 'GB')}, {size(free, 'GB')} are free: "
            "make room, choose another folder, or measure fewer images"
        )


def _encoded(speaker: Speaker, data: ImageSet, indices: Sequence[int]) -> tuple[Block, np.ndarray]:
    """The block of some images, and Float16[p D], the features of those that can be used."""
    block, samples = Block(len(indices), [], [], []), []
    for index in indices:
        try:
            one = data[index]
            sample = Sample(*image_patches(one.image, speaker.images, speaker.model.config))
        except Unusable as error:
            log.warning("skipped %s", error)
            continue
        samples.append(sample)
        block.indices.append(index)
        block.keys.append(one.key)
        block.grids.append(sample.grid)
    rows = _rows(speaker.model, samples) if samples else np.zeros((0, speaker.model.config.hidden_size), dtype=ROW)
    if not np.isfinite(rows).all():
        raise ValueError(
            f"{data.name}: features of the images {block.keys[0]!r} to {block.keys[-1]!r} are beyond what float16 holds, "
            f"{np.finfo(ROW).max:g}: the model has diverged, or its ln_post is scaled far beyond use"
        )
    return block, rows


@torch.inference_mode()
def _rows(model: GenLIP, samples: Sequence[Sample]) -> np.ndarray:
    """Float16[p D], what is too large made infinite."""
    was_training = model.training
    model.eval()  # no DropPath
    features = model.encode(Pack.of(samples).to(model.device))
    model.train(was_training)
    return features.half().cpu().numpy()


def _collected(files: FeatureFiles, blocks: Sequence[Block], name: str) -> FrozenFeatures:
    """What the files hold. Nothing is kept of a set without any usable image: its disk may have been away."""
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
