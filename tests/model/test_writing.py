"""Writing: whole or not at all, errors with the file's name, and names that are no UTF-8."""

import errno
import json
import os
import re
from pathlib import Path

import pytest
from safetensors import SafetensorError

from genlip.model.writing import escaped, naming, to_json, write_json, write_text, write_whole

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
    with pytest.raises(OSError, match=rf"^{tmp_path / 'page.html'}: cannot be written: No space left on device$"):
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


@pytest.mark.parametrize("error", [KeyboardInterrupt(), ValueError("a mistake"), OSError(28, "No space left on device")])
def test_what_fails_leaves_the_old_file_and_nothing_beside_it(error, tmp_path):
    file = tmp_path / "a.txt"
    file.write_text("old")

    def fail():
        with write_whole(file) as partial:
            partial.write_text("half")
            raise error

    with pytest.raises(type(error)):
        fail()
    assert (file.read_text(), list(tmp_path.iterdir())) == ("old", [file])


@pytest.mark.parametrize(
    ("error", "told"),
    [
        (OSError(28, "No space left on device"), "out/f: cannot be written: No space left on device"),
        (PermissionError(13, "Permission denied", "out/f"), "out/f: cannot be written: Permission denied"),
        (SafetensorError("I/O error: No space left"), "out/f: cannot be written: I/O error: No space left"),
        (OSError("other: a reason of its own"), "other: a reason of its own"),
        (FileNotFoundError(2, "No such file or directory", "other"), "[Errno 2] No such file or directory: 'other'"),
    ],
)
def test_an_error_names_the_file_in_one_line(error, told):
    with pytest.raises(OSError, match=re.escape(told)) as found, naming("out/f"):
        raise error
    assert str(found.value) == told
    assert type(found.value) is (type(error) if told == str(error) else OSError)  # what passes stays what it was


def test_other_errors_and_a_reader_that_went_away_pass():
    for error in (BrokenPipeError(32, "Broken pipe"), ValueError("a mistake")):
        with pytest.raises(type(error)) as found, naming("f"):
            raise error
        assert found.value is error


def test_a_link_stays_a_link_and_a_device_a_device(tmp_path):
    (tmp_path / "link").symlink_to(tmp_path / "real")
    with write_whole(tmp_path / "link") as partial:
        partial.write_text("new")
    assert (tmp_path / "link").is_symlink()
    assert (tmp_path / "real").read_text() == "new"
    with write_whole(os.devnull) as device:
        assert str(device) == os.path.realpath(os.devnull)
