"""Writing: whole or not at all, errors with the file's name, and names that are no UTF-8."""

import errno
import json
import os
from pathlib import Path

import pytest

from genlip.model.writing import escaped, to_json, write_json, write_text, write_whole

NAME = os.fsdecode(b"caf\xe9-1.png")


def full(*_: object, **__: object) -> None:
    raise OSError(errno.ENOSPC, "No space left on device")


def test_a_file_is_replaced_in_one_step(tmp_path):
    file = tmp_path / "x"
    write_text(file, "old")
    with pytest.raises(IndexError), write_whole(file) as part:
        part.write_text(["ne"][part.write_text("n")])
    assert file.read_text() == "old"
    assert list(tmp_path.iterdir()) == [file]


def test_a_full_disk_is_told_with_the_files_name(tmp_path, monkeypatch):
    monkeypatch.setattr(Path, "write_text", full)
    with pytest.raises(OSError, match=rf"No space left on device: '{tmp_path / 'page.html'}'"):
        write_text(tmp_path / "page.html", "text")
    assert list(tmp_path.iterdir()) == []


def test_names_that_are_no_utf8_come_back_from_json(tmp_path):
    write_json(tmp_path / "x.json", {"keys": [NAME, "ä"]})
    text = (tmp_path / "x.json").read_text(encoding="utf8")
    assert r"caf\udce9-1.png" in text
    assert "ä" in text
    assert json.loads(text) == {"keys": [NAME, "ä"]}
    assert json.loads(to_json(NAME)) == NAME
    assert escaped("plain ä 😀") == "plain ä 😀"


def test_what_is_no_regular_file_is_written_as_it_is():
    write_text(Path(os.devnull), "text")
    assert not Path(os.devnull).is_file()
