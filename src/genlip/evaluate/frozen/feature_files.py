"""Feature files: rows of features on disk, written block by block, and valid after a killed process or a disk error.

In: blocks of images with their rows. Out: the blocks that are whole, and all their rows, memory-mapped.

    <path>.npy     Float16[total D], the rows of all images, end to end
    <path>.jsonl   a journal: a line per block, with the checksum of the line and of its rows
    <path>.lock    for the process that reads or extends the two; callers hold it

A block counts once its line is complete, so nothing needs to be renamed. Both files are cut after the last block whose
checksum is right, and continued from there.

Axes: p patches of a block, D trunk width; total patches of all blocks.
"""

from __future__ import annotations

import io
import json
import logging
import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, NamedTuple, TypedDict

import numpy as np

from genlip.model.fields import checked
from genlip.model.reading import parse_json
from genlip.model.writing import naming

__all__ = ["ROW", "Block", "FeatureFiles"]

log = logging.getLogger(__name__)

ROW = np.dtype("<f2")  # of each number of a row


class Block(NamedTuple):
    """Images that were encoded together.

    Attributes:
        places: of the order of images that the block covers; some may hold images that cannot be used.
        indices: of the images that can, in their set.
        keys: their names.
        grids: rows and columns of their patches.
    """

    places: int
    indices: list[int]
    keys: list[str]
    grids: list[tuple[int, int]]

    @property
    def patches(self) -> int:
        """p."""
        return sum(rows * columns for rows, columns in self.grids)


class _Stored(TypedDict):
    places: int
    indices: list[int]
    keys: list[str]
    grids: list[tuple[int, int]]


@dataclass(frozen=True)
class FeatureFiles:
    """The files of one extraction. `path` has no suffix; `width` is D."""

    path: Path
    width: int

    @property
    def rows_file(self) -> Path:
        """The file of the rows."""
        return self.path.with_suffix(".npy")

    @property
    def journal(self) -> Path:
        """The file of the blocks."""
        return self.path.with_suffix(".jsonl")

    def sound_blocks(self) -> list[Block]:
        """The blocks before the first whose line or rows are damaged or missing; the files are cut behind them.

        This reads all rows once, which costs less than one epoch of a probe.
        """
        self.journal.touch()
        if not self.rows_file.is_file():
            self.rows_file.write_bytes(_header(0, self.width))
        blocks: list[Block] = []
        sound, end = 0, len(_header(0, self.width))
        with self.journal.open("rb") as journal, self.rows_file.open("rb") as rows:
            rows.seek(end)
            for line in journal:
                block = self._checked(line, rows)
                if block is None:
                    log.warning(
                        "%s: damaged or cut after %d blocks; computing again from there", self.rows_file, len(blocks)
                    )
                    break
                blocks.append(block)
                sound, end = sound + len(line), rows.tell()
        _cut(self.journal, sound)
        _cut(self.rows_file, end)
        return blocks

    def append(self, block: Block, rows: np.ndarray) -> None:
        """Add a block and its Float16[p D]. Rows are written first: without a line of the journal they are overwritten."""
        data, text = rows.astype(ROW, copy=False).tobytes(), json.dumps(block._asdict()).encode()
        for path, added in ((self.rows_file, data), (self.journal, b"%08x %s\n" % (_checksum(text, data), text))):
            with naming(path), path.open("ab") as file:
                file.write(added)

    def rows(self, blocks: Sequence[Block]) -> np.ndarray:
        """Float16[total D], memory-mapped; the header now has the total, so that `numpy.load` reads the file too."""
        total = sum(block.patches for block in blocks)
        header = _header(total, self.width)
        with self.rows_file.open("r+b") as file:
            file.write(header)
        return np.memmap(self.rows_file, ROW, "r", len(header), (total, self.width))

    def remove(self) -> None:
        """Delete both files."""
        self.journal.unlink(missing_ok=True)
        self.rows_file.unlink(missing_ok=True)

    def _checked(self, line: bytes, rows: BinaryIO) -> Block | None:
        """The block of a line of the journal, or None if the line or the rows read next are damaged."""
        checksum, _, text = line.rstrip(b"\n").partition(b" ")
        try:
            block = Block(**checked(parse_json(text.decode("utf8"), self.journal.name), _Stored, "a block"))
            data = rows.read(ROW.itemsize * self.width * block.patches)
            sound = line.endswith(b"\n") and int(checksum, 16) == _checksum(text, data)
        except (ValueError, TypeError):
            return None
        return block if sound else None


def _header(total: int, width: int) -> bytes:
    """The start of a .npy file; NumPy leaves room in it, so that its length does not depend on the total."""
    file = io.BytesIO()
    np.lib.format.write_array_header_1_0(file, {"descr": ROW.str, "fortran_order": False, "shape": (total, width)})
    return file.getvalue()


def _checksum(text: bytes, rows: bytes) -> int:
    return zlib.crc32(rows, zlib.crc32(text))


def _cut(file: Path, size: int) -> None:
    """Shorten a file, or fill up one whose very header was cut; one of the right size is left alone."""
    if file.stat().st_size != size:
        with file.open("r+b") as opened:
            opened.truncate(size)
