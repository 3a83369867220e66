"""`genlip.model.files`: what stands at a path, before it is opened."""

import os
import socket

import pytest

from genlip.model.files import check_regular, expanded, one_line, printable


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
            with pytest.raises(ValueError, match=f": is {kind}; need a file$"):
                check_regular(tmp_path / name)
    with pytest.raises(FileNotFoundError):
        check_regular(tmp_path / "absent")


def test_what_a_message_tells_is_one_short_line():
    assert one_line("one\ntwo\u2028three") == "one two three"
    long = one_line("begin" + "x" * 100_000 + "end")
    assert len(long) < 1010
    assert (long[:5], long[-3:]) == ("begin", "end")
