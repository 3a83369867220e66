"""What is told to a person: nothing that a terminal obeys, on one line, on any kind of stream."""

import io
import logging
import subprocess
import sys

import pytest

from genlip.terminal import HarmlessFormatter, complain, harmless, open_streams, program, say


def test_terminals_are_told_nothing_to_obey():
    assert harmless("a\x1b[2Jb\x07\x9b\x7f\r") == "a\ufffd[2Jb\ufffd\ufffd\ufffd\ufffd"
    assert harmless("tab\tline\nä漢 € 😀") == "tab\tline\nä漢 € 😀"


@pytest.mark.parametrize("sign", [*"\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069"])
def test_what_turns_the_direction_of_text_is_replaced(sign):
    assert harmless(f"photo{sign}gpj.exe") == "photo\ufffdgpj.exe"


def test_right_to_left_letters_and_joined_emoji_stay():
    text = "שלום عربي 👩\u200d🔬"
    assert harmless(text) == text


def test_a_name_that_is_no_utf8_shows_its_bytes():
    name = b"caf\xe9.png".decode("utf8", "surrogateescape")
    assert harmless(name) == "caf\\xe9.png"
    assert harmless("half \ud83d") == "half \\ud83d"


def test_output_and_complaints_are_harmless_and_complaints_are_one_line(capsys):
    say("a\x1b[31m\nb")
    complain("a name\nwith a line\r\nand \x1b[31m")
    assert capsys.readouterr() == ("a\ufffd[31m\nb\n", "genlip: a name with a line and \ufffd[31m\n")


def test_logged_records_are_one_harmless_line_and_tracebacks_stay_readable():
    stream = io.StringIO()
    handler = logging.StreamHandler(stream)
    handler.setFormatter(HarmlessFormatter("%(message)s"))
    log = logging.Logger("aside")
    log.addHandler(handler)
    log.warning("skipped %s", "a\ngenlip: all is well\x1b[2J")
    try:
        raise ValueError("\x1b[31m")
    except ValueError:
        log.exception("failed")
    first, second, *trace = stream.getvalue().splitlines()
    assert (first, second) == ("skipped a genlip: all is well\ufffd[2J", "failed")
    assert trace[0].startswith("Traceback")
    assert trace[-1] == "ValueError: \ufffd[31m"


def test_an_ascii_stream_escapes_what_it_cannot_show(monkeypatch):
    raw = io.BytesIO()
    monkeypatch.setattr(sys, "stdout", io.TextIOWrapper(raw, encoding="ascii"))
    open_streams()
    say("“€ 😀”")
    assert raw.getvalue() == rb"\u201c\u20ac \U0001f600\u201d" + b"\n"


def test_closed_streams_take_what_is_told_and_no_file_gets_their_number(tmp_path):
    file = tmp_path / "kept"
    script = (
        "from genlip.terminal import complain, open_streams, say; open_streams(); "
        f"kept = open({str(file)!r}, 'w'); say('told'); complain('told'); "
        "import os; os.write(1, b'raw'); os.write(2, b'raw')"
    )
    done = subprocess.run(["sh", "-c", '"$@" >&- 2>&-', "sh", sys.executable, "-c", script], check=False)
    assert (done.returncode, file.read_text()) == (0, "")


@pytest.mark.parametrize("argument", ["somebody.py", "-c", "", "genlip"])
def test_hints_of_a_program_of_somebody_else_name_the_command(argument, monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "argv", [argument])
    assert program() == "genlip"


def test_hints_name_the_script_that_was_started(monkeypatch, tmp_path):
    script = tmp_path / "a venv/bin/genlip"
    script.parent.mkdir(parents=True)
    script.touch(mode=0o755)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "argv", ["a venv/bin/genlip", "train"])
    monkeypatch.setenv("PATH", str(tmp_path))
    assert program() == "'a venv/bin/genlip'"
    monkeypatch.setenv("PATH", str(script.parent))
    assert program() == "genlip"  # it is the one that a shell finds


def test_hints_name_the_module_that_was_started():
    done = subprocess.run([sys.executable, "-m", "genlip", "caption"], capture_output=True, text=True, check=False)
    assert done.stderr == f"genlip: missing: MODEL, IMAGE; see {sys.executable} -m genlip caption --help\n"
