"""Reading JSON and YAML of others: what is kept, and what is refused in one line with the file's name."""

import json
import os
import re
import socket

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from genlip.model.file_kinds import LFS_POINTER
from genlip.model.reading import each_of_json_list, parse_json, parse_yaml, read_json, read_text, read_yaml

POINTER = "version https://git-lfs.github.com/spec/v1\noid sha256:4d7a\nsize 12345\n"


def test_json_is_read_as_python_does(tmp_path):
    value = {"a": [1, 2.5, None, True, "ä\u2028"], "b": {"c": {}}}
    (tmp_path / "x.json").write_text(json.dumps(value, ensure_ascii=False), encoding="utf-8-sig")
    assert read_json(tmp_path / "x.json") == value


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("{", "x: not JSON: Expecting property name"),
        ("[" * 100_000, "x: lists and objects are nested deeper than 100"),
        ('{"a":' * 100_000, "x: lists and objects are nested deeper than 100"),
        ("[" * 101 + "]" * 101, "x: lists and objects are nested deeper than 100"),
        ('{"a": 1, "b": {"c": 2, "d": 3, "c": 4}}', "x: the key 'c' stands twice in an object"),
        ("9" * 5000, "x: not JSON: Exceeds the limit"),
    ],
)
def test_json_that_is_refused(text, told):
    with pytest.raises(ValueError, match=f"^{re.escape(told)}") as error:
        parse_json(text, "x")
    assert "\n" not in str(error.value)
    assert len(str(error.value)) < 200


def test_a_hundred_levels_are_read():
    value = parse_json("[" * 100 + "]" * 100, "x")
    for _ in range(99):
        (value,) = value
    assert value == []
    assert parse_yaml("[" * 100 + "]" * 100, "x") == parse_json("[" * 100 + "]" * 100, "x")


def test_yaml_is_read(tmp_path):
    (tmp_path / "x.yaml").write_text("base: a\nmodel: {width: 3, b: [x, 1.5, null]}\n", encoding="utf8")
    assert read_yaml(tmp_path / "x.yaml") == {"base": "a", "model": {"width": 3, "b": ["x", 1.5, None]}}


BOMB = "a: &a [x, x]\n" + "".join(f"{b}: &{b} [*{a}, *{a}]\n" for a, b in zip("abcdefgh", "bcdefghi", strict=True))


@pytest.mark.parametrize(
    ("text", "told"),
    [
        (BOMB, "x, line 2: *a is an alias: write out what it stands for"),
        ("a: &a\n  b: 1\nc:\n  <<: *a\n", "x, line 4: *a is an alias"),
        ("a: &a [*a]\n", "x, line 1: *a is an alias"),
        ("steps: 1\nout: x\nsteps: 2\n", "x: the key 'steps' stands twice, in line 1 and in line 3"),
        ("data:\n  source: a\n  workers: 1\n  source: b\n", "x: the key 'source' stands twice, in line 2 and in line 4"),
        ("- {a: 1, a: 2}\n", "x: the key 'a' stands twice, in line 1 and in line 1"),
        ("a: " + "[" * 5000, "x, line 1: lists and objects are nested deeper than 100"),
        ("a: !!python/object/apply:os.system [ls]\n", "x: not YAML: could not determine a constructor"),
        ("a: [1\n", "x: not YAML: while parsing a flow sequence"),
        ("a: !!int x\n", "x: not YAML: "),
        ("a: !!int ''\n", "x: not YAML: "),
        ("a: !!bool x\n", "x: not YAML: "),
        ("a: !!timestamp x\n", "x: not YAML: "),
        ("a: 2024-13-45\n", "x: not YAML: "),
        ("a: 1\n---\nb: 2\n", "x: not YAML: expected a single document"),
        ("a: \x01\n", "x: not YAML: unacceptable character"),
        ("{[1]: 2}: 3\n", "x: not YAML: "),
    ],
)
def test_yaml_that_is_refused(text, told):
    with pytest.raises(ValueError, match=f"^{re.escape(told)}") as error:
        parse_yaml(text, "x")
    assert "\n" not in str(error.value)


def test_a_text_is_bounded_whole_and_no_pointer(tmp_path):
    path = tmp_path / "a.txt"
    path.write_bytes("\ufeffone\r\ntwo".encode())
    assert read_text(path) == "one\ntwo"
    assert read_text(path, most=11) == "one\ntwo"
    with pytest.raises(ValueError, match=rf"^{path}: holds more than 10 bytes, the limit for such a file$"):
        read_text(path, most=10)
    path.write_text(POINTER)
    with pytest.raises(ValueError, match=f"^{path}: {re.escape(LFS_POINTER)}$"):
        read_text(path)
    with pytest.raises(ValueError, match=f"^{path}: {re.escape(LFS_POINTER)}$"):
        read_json(path)
    path.write_bytes("Katze".encode("utf-16"))
    with pytest.raises(ValueError, match=rf"^{path}: not UTF-8 text: .*; it is UTF-16 text$"):
        read_text(path)


def test_a_text_of_gigabytes_is_refused_at_once(tmp_path):
    with (tmp_path / "a.csv").open("wb") as file:
        file.truncate(2**40)
    with pytest.raises(ValueError, match=r"a\.csv: holds more than 2,147,483,648 bytes"):
        read_text(tmp_path / "a.csv")


def test_json_and_yaml_are_files(tmp_path):
    for read in (read_json, read_yaml):
        with pytest.raises(FileNotFoundError):
            read(tmp_path / "absent")
        with pytest.raises(ValueError, match=rf"^{tmp_path}: is a folder; need a file$"):
            read(tmp_path)


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="no pipes in the file system")
def test_what_is_no_file_is_refused_at_once(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    with socket.socket(socket.AF_UNIX) as bound:
        bound.bind(str(tmp_path / "s"))
        found = {"pipe": "a named pipe", "s": "a socket", "": "a folder", "/dev/zero": "a device"}
        for name, kind in found.items():
            with pytest.raises(ValueError, match=rf"^{tmp_path / name}: is {kind}; need a file$"):
                read_text(tmp_path / name)


# -- lists, entry by entry


@pytest.mark.parametrize(
    "text",
    [
        "[]",
        " [ ] ",
        "[1]",
        "\n[1 ,\t2,\r\n3]\n",
        '[{"a": [1, {"b": 2}]}, "]", "[", null, true, [], "\\u732b"]',
        "[1e400, NaN, -0.5]",
    ],
)
def test_the_entries_of_a_list_are_those_of_the_whole(text):
    assert repr(list(each_of_json_list(text, "x"))) == repr(json.loads(text))


@pytest.mark.parametrize(
    "text",
    [
        "", " ", "[", "[1", "[1,", "[1,\n", "[1 2]", "[1]x", "[1]]", "[]x", "[,1]", "[1,]", '[{"a":1},]', "[1}", "[1] [2]",
        "[nul]", '["a', "{", "nul", '[{"a": 1, "a": 2}]', "[" * 100_000, '[{"a":' * 50_000, "[" * 101 + "]" * 101,
        "[1," + "[" * 100 + "]" * 101,
    ],
)  # fmt: skip
def test_damage_is_told_as_of_the_whole(text):
    with pytest.raises(ValueError) as whole:  # noqa: PT011, the message is compared
        parse_json(text, "x")
    with pytest.raises(ValueError) as each:  # noqa: PT011, the message is compared
        list(each_of_json_list(text, "x"))
    assert str(each.value) == str(whole.value)


@pytest.mark.parametrize("text", ["{}", " 3", '"[1]"', "null"])
def test_other_values_are_no_list(text):
    with pytest.raises(ValueError, match=r"^x: need a list of cats$"):
        list(each_of_json_list(text, "x", "a list of cats"))


def test_a_list_may_be_as_deep_as_any_value():
    text = "[1," + "[" * 99 + "]" * 100
    assert list(each_of_json_list(text, "x")) == parse_json(text, "x")


@given(st.text('[]{},:1 "a\n', max_size=12))
@settings(max_examples=500, deadline=None)
def test_any_text_is_read_or_refused_as_the_whole(text):
    def outcome(read):
        try:
            return read()
        except ValueError as error:
            return str(error)

    whole = outcome(lambda: parse_json(text, "x"))
    each = outcome(lambda: list(each_of_json_list(text, "x")))
    assert each == whole or "need a list" in each
