"""PartialResults measurements: what is read back, what is begun anew, and files that were cut off."""

import os

import pytest
import torch

from genlip.encoder import weights_fingerprint
from genlip.evaluate.captioning.resumable import CaptionEntry
from genlip.evaluate.partial_results import PartialResults
from tests.model.helpers import small_model

PURPOSE = {"model": "m", "settings": {"seed": 0}}
ENTRY = {"said": ["a key", ["ä caption\u2028"], "said\nso"]}


def test_entries_are_found_again(tmp_path):
    path = tmp_path / "new folder" / "so_far.jsonl"
    first = PartialResults(path, PURPOSE)
    first.add([(3, ENTRY), (1, {"skipped": "damaged"})])
    first.add([(2, ENTRY)])
    assert PartialResults(path, PURPOSE).entries == first.entries == {3: ENTRY, 1: {"skipped": "damaged"}, 2: ENTRY}


def test_another_purpose_begins_anew(tmp_path):
    path = tmp_path / "so_far.jsonl"
    PartialResults(path, PURPOSE).add([(3, ENTRY)])
    assert PartialResults(path, PURPOSE | {"settings": {"seed": 1}}).entries == {}
    assert PartialResults(path, PURPOSE).entries == {}, "the file holds one measurement"


def test_a_torn_line_is_forgotten_and_does_not_spoil_the_next(tmp_path):
    path = tmp_path / "so_far.jsonl"
    PartialResults(path, PURPOSE).add([(3, ENTRY), (4, ENTRY)])
    path.write_bytes(path.read_bytes()[:-9])
    again = PartialResults(path, PURPOSE)
    assert again.entries == {3: ENTRY}
    again.add([(5, ENTRY)])
    assert PartialResults(path, PURPOSE).entries == {3: ENTRY, 5: ENTRY}


def test_what_follows_a_damaged_line_is_measured_again(tmp_path):
    path = tmp_path / "so_far.jsonl"
    PartialResults(path, PURPOSE).add([(3, ENTRY), (4, ENTRY), (5, ENTRY)])
    lines = path.read_text(encoding="utf8").split("\n")
    path.write_text("\n".join([*lines[:2], lines[2][:5], *lines[3:]]), encoding="utf8")
    assert PartialResults(path, PURPOSE).entries == {3: ENTRY}


def test_nothing_is_left_at_the_end(tmp_path):
    unfinished = PartialResults(tmp_path / "so_far.jsonl", PURPOSE)
    unfinished.add([(3, ENTRY)])
    unfinished.finish()
    assert list(tmp_path.iterdir()) == []


def test_without_a_file_entries_are_kept_in_memory():
    unfinished = PartialResults(None, PURPOSE)
    unfinished.add([(3, ENTRY)])
    unfinished.finish()
    assert unfinished.entries == {3: ENTRY}


def test_weights_have_the_same_fingerprint_until_one_bit_differs():
    one, same = small_model(), small_model()
    assert weights_fingerprint(one) == weights_fingerprint(same)
    with torch.no_grad():
        same.ln_post.bias[0] = torch.nextafter(same.ln_post.bias[0], torch.tensor(9.0, dtype=torch.float64))
    assert weights_fingerprint(one) != weights_fingerprint(same)
    assert len(weights_fingerprint(one.bfloat16())) == 64


@pytest.mark.parametrize(
    "line",
    ["5", "[1]", '["1", {"skipped": "x"}]', "[4, 5]", '[4, {"said": "x"}]', '[4, {"said": [1, [], "x"]}]', "[" * 10**5],
)
def test_a_line_of_another_form_is_measured_again(line, tmp_path):
    path = tmp_path / "so_far.jsonl"
    PartialResults(path, PURPOSE).add([(3, ENTRY)])
    with path.open("a", encoding="utf8") as file:
        file.write(f"{line}\n")
    assert PartialResults(path, PURPOSE, CaptionEntry).entries == {3: ENTRY}


def test_names_that_are_no_utf8_are_kept(tmp_path):
    name = os.fsdecode(b"caf\xe9-1.png")
    path, purpose, entry = tmp_path / "so_far.jsonl", {"data": name}, {"said": [name, [name], "x"]}
    PartialResults(path, purpose).add([(0, entry)])
    assert PartialResults(path, purpose).entries == {0: entry}
