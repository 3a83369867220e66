"""`genlip.data.files`: what stands at a path, before it is opened."""

import os
import socket

import pytest

from genlip.data.files import LFS_POINTER, check_regular, expanded, holds_lfs_pointer, printable, read_text

POINTER = "version https://git-lfs.github.com/spec/v1\noid sha256:abab\nsize 48213\n"


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("a.png", "a.png"),
        ("déjà 猫", "déjà 猫"),
        (os.fsdecode(b"caf\xe9-1.png"), "caf\\xe9-1.png"),
        ("half \ud800", "half \\ud800"),
        ("", ""),
    ],
)
def test_every_name_can_be_written(text, expected):
    assert printable(text) == expected
    assert printable(text).encode().decode() == expected


def test_a_tilde_is_the_home_of_a_user_that_exists(monkeypatch, tmp_path):
    monkeypatch.setenv("HOME", str(tmp_path))
    assert expanded("~/a") == tmp_path / "a"
    assert str(expanded("~nobody-of-this-name/a")) == "~nobody-of-this-name/a"


def test_what_is_no_file_is_refused_without_being_opened(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    with socket.socket(socket.AF_UNIX) as bound:
        bound.bind(str(tmp_path / "s"))
        found = {"pipe": "a named pipe", "s": "a socket", "": "a folder", "/dev/zero": "a device"}
        for name, kind in found.items():
            for read in (check_regular, read_text):
                with pytest.raises(ValueError, match=f": is {kind}; need a file$"):
                    read(tmp_path / name)
    with pytest.raises(FileNotFoundError):
        check_regular(tmp_path / "absent")


def test_a_text_is_bounded_whole_and_no_pointer(tmp_path):
    path = tmp_path / "a.txt"
    path.write_bytes("\ufeffone\r\ntwo".encode())
    assert read_text(path) == "one\ntwo"
    assert read_text(path, limit=11) == "one\ntwo"
    with pytest.raises(ValueError, match=r"a\.txt: holds more than 10 bytes of text, which is the limit"):
        read_text(path, limit=10)
    path.write_text(POINTER)
    assert holds_lfs_pointer(path)
    with pytest.raises(ValueError, match=f"a.txt: {LFS_POINTER}"):
        read_text(path)
    path.write_bytes(b"\xff\xfe")
    with pytest.raises(ValueError, match=r"a\.txt: not UTF-8 text"):
        read_text(path)


def test_a_text_of_gigabytes_is_refused_at_once(tmp_path):
    with (tmp_path / "a.csv").open("wb") as file:
        file.truncate(2**40)
    with pytest.raises(ValueError, match=r"a\.csv: holds more than 2,147,483,648 bytes"):
        read_text(tmp_path / "a.csv")
