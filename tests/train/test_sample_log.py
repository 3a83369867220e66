"""`genlip.train.sample_log`: what is written is read, also after kills and by several ranks."""

import pytest

from genlip.data.packing import Batch
from genlip.train.sample_log import SampleLog, read_samples


def write(out, rank, *lines):
    with SampleLog(out, rank, wanted=True) as log:
        for update, row, keys in lines:
            log.add(update, row, Batch(None, keys=keys))


def test_ranks_and_repeats_come_together(tmp_path):
    write(tmp_path, 0, (1, 0, ("a", "b")), (2, 0, ("c",)))
    write(tmp_path, 1, (1, 1, ("d",)))
    write(tmp_path, 0, (2, 0, ("c",)), (2, 1, ("ü",)))
    assert read_samples(tmp_path) == {(1, 0): ("a", "b"), (1, 1): ("d",), (2, 0): ("c",), (2, 1): ("ü",)}


def test_a_line_that_a_kill_cut_short_is_passed_over(tmp_path):
    write(tmp_path, 0, (1, 0, ("a",)), (2, 0, ("b",)))
    file = tmp_path / "samples-0.jsonl"
    file.write_bytes(file.read_bytes()[:-9])
    write(tmp_path, 0, (2, 0, ("b",)))
    assert read_samples(tmp_path) == {(1, 0): ("a",), (2, 0): ("b",)}


def test_an_update_done_again_with_other_samples_is_refused(tmp_path):
    write(tmp_path, 0, (1, 0, ("a",)))
    write(tmp_path, 1, (1, 0, ("b",)))
    with pytest.raises(ValueError, match=r"samples-1\.jsonl: row 0 of update 1 was done twice with different samples"):
        read_samples(tmp_path)


def test_keys_may_hold_what_ends_a_line_elsewhere(tmp_path):
    keys = ("a\u2028b", "c\x85d", "e\x0cf\x1cg")
    write(tmp_path, 0, (1, 0, keys))
    assert read_samples(tmp_path) == {(1, 0): keys}


def test_a_line_that_is_no_utf8_is_passed_over(tmp_path):
    write(tmp_path, 0, (1, 0, ["a"]))
    with (tmp_path / "samples-0.jsonl").open("ab") as file:
        file.write(b'{"update": 2, "row": 0, "keys": ["\xff"]}\n')
    assert read_samples(tmp_path) == {(1, 0): ("a",)}
