"""`genlip.evaluate.frozen.feature_files`: blocks that were written whole come back; whatever follows damage is cut off."""

from pathlib import Path

import numpy as np
import pytest

from genlip.evaluate.frozen.feature_files import Block, FeatureFiles

BLOCKS = [
    Block(2, [0, 1], ["a", "b"], [(1, 2), (2, 2)]),
    Block(3, [2, 4], ["c", "ü"], [(3, 1), (1, 1)]),
    Block(1, [], [], []),
]


def rows_of(block: Block, seed: int) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=(block.patches, 5)).astype(np.float16)


@pytest.fixture
def files(tmp_path: Path) -> FeatureFiles:
    made = FeatureFiles(tmp_path / "features", 5)
    assert made.sound_blocks() == []
    for seed, block in enumerate(BLOCKS):
        made.append(block, rows_of(block, seed))
    return made


def test_a_block_counts_its_patches() -> None:
    assert [block.patches for block in BLOCKS] == [6, 4, 0]


def test_blocks_and_rows_come_back(files: FeatureFiles) -> None:
    found = FeatureFiles(files.path, 5)
    assert found.sound_blocks() == BLOCKS
    expected = np.concatenate([rows_of(block, seed) for seed, block in enumerate(BLOCKS)])
    np.testing.assert_array_equal(found.rows(BLOCKS), expected)
    np.testing.assert_array_equal(np.load(found.rows_file), expected)


def test_what_follows_a_damaged_block_is_cut_and_written_again(files: FeatureFiles) -> None:
    lines = files.journal.read_bytes().splitlines(keepends=True)
    files.journal.write_bytes(lines[0] + lines[1].replace(b'"c"', b'"d"') + lines[2])
    assert files.sound_blocks() == BLOCKS[:1]
    assert files.journal.read_bytes() == lines[0]
    for seed, block in list(enumerate(BLOCKS))[1:]:
        files.append(block, rows_of(block, seed))
    assert files.sound_blocks() == BLOCKS
    np.testing.assert_array_equal(files.rows(BLOCKS)[6:10], rows_of(BLOCKS[1], 1))


def test_rows_without_a_line_of_the_journal_do_not_count(files: FeatureFiles) -> None:
    size = files.rows_file.stat().st_size
    with files.rows_file.open("ab") as file:
        file.write(b"rows of a block that was not finished")
    assert files.sound_blocks() == BLOCKS
    assert files.rows_file.stat().st_size == size


def test_both_files_are_removed(files: FeatureFiles) -> None:
    files.remove()
    assert not files.rows_file.exists()
    assert not files.journal.exists()
