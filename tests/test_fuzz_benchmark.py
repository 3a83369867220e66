"""`benchmarks/fuzz.py` and `benchmarks/kills.py`: every outcome by stand-ins, and a few real files and kills."""

import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from random import Random

import fuzz
import kills
import pytest
from fuzz import Limits
from fuzz_damage import MUTATIONS, damaged
from fuzz_kinds import KINDS, Kind, SeedFile, Told, _tar_lost, _tar_seeds

SEED = SeedFile("a.txt", b"path: 1\n", ("bytes",), {"beside/b.txt": b"b"})


def stand_in(read, lost=lambda *_: iter(())):
    return Kind(lambda: [SEED], read, lost)


def outcome(read, tmp_path, lost=lambda *_: iter(())):
    return fuzz.judged(stand_in(read, lost), "k", SEED, b"damaged: 1", tmp_path, lambda: "")


def fail(error):
    raise error


def test_what_is_read_and_what_is_lost(tmp_path):
    assert outcome(lambda file: file.read_bytes(), tmp_path)[2:4] == ("read", "")
    assert (tmp_path / "beside/b.txt").read_bytes() == b"b"
    gone = outcome(lambda file: 1, tmp_path, lambda *_: iter(["row 3 was neither read nor named"]))
    assert gone[2:5] == ("loss", "row 3 was neither read nor named", "row N was neither read nor named")


def test_a_refusal_is_one_line_that_names_the_file(tmp_path):
    assert outcome(lambda file: fail(ValueError(f"{file}: no good")), tmp_path).outcome == "refused"
    assert outcome(lambda file: fail(OSError(f"{file}: the parts:\n  one\n  two")), tmp_path).outcome == "refused"
    assert outcome(lambda file: fail(FileNotFoundError("dir/damaged: no such file")), tmp_path).outcome == "refused"
    assert "does not name the file: 'no good'" in outcome(lambda file: fail(ValueError("no good")), tmp_path).what
    assert "a message of 2 lines" in outcome(lambda file: fail(ValueError(f"{file}: a\nb")), tmp_path).what
    assert "a message of" in outcome(lambda file: fail(ValueError(f"{file}: {'a' * 3000}")), tmp_path).what


@pytest.mark.parametrize("error", [KeyError("x"), TypeError("x"), RecursionError("x"), MemoryError(), ZeroDivisionError()])
def test_other_errors_are_faults(error, tmp_path):
    found = outcome(lambda file: fail(error), tmp_path)
    assert found.outcome == "fault"
    assert type(error).__name__ in found.what


def test_memory_and_decoding_told_as_damage_are_faults(tmp_path):
    def read(file):
        try:
            raise MemoryError
        except MemoryError as error:
            raise ValueError(f"{file}: damaged image") from error

    assert "out of memory" in outcome(read, tmp_path).what
    assert "UnicodeDecodeError as it is" in outcome(lambda file: b"\xff".decode(), tmp_path).what
    assert outcome(lambda file: Told(1, "", {}, ["a.txt: two\nlines"], 1), tmp_path).outcome == "fault"


def test_what_is_printed_may_hold_no_traceback(tmp_path):
    printed = "Traceback (most recent call last):\n  File …"
    found = fuzz.judged(stand_in(lambda file: 1), "k", SEED, b"", tmp_path, lambda: printed)
    assert (found.outcome, found.place) == ("fault", "standard error")


def test_a_case_that_breaks_a_limit_is_named_and_the_next_ones_run(tmp_path, monkeypatch):
    def read(file):
        match int(file.parent.name):
            case 1:
                while True:
                    pass
            case 3:
                time.sleep(60)
            case 5:
                os.abort()
            case 6:
                bytearray(2**33)  # more than may lie free in the heap of the process that forked
            case 7:
                os.write(2, b"thread panicked at x.rs")

    monkeypatch.setitem(KINDS, "k", stand_in(read))
    found = {case.seed: case for case in fuzz.fuzz({"k": range(9)}, 2, Limits(2**30, 2.0, 6.0), tmp_path)}
    assert sorted(found) == list(range(9))
    assert {number for number, case in found.items() if case.outcome == "read"} == {0, 2, 4, 8}
    assert [found[number].place for number in (1, 3, 5)] == ["hang: too much work", "hang: waits", "killed by SIGABRT"]
    assert "MemoryError" in found[6].what
    assert "panicked" in found[7].what
    assert all(case.mutation.startswith("a.txt, bytes: ") for case in found.values())


def test_damage_is_the_same_for_a_seed():
    seeds = KINDS["tables"].seeds()
    first, second = ([fuzz.damage_of("tables", seeds, number)[1:] for number in range(200)] for _ in range(2))
    assert first == second
    assert len({data for _, data in first}) > 150
    names = {name.split(", ")[0] for name, _ in first}
    assert names == {f"{form}: {name}" for form in ("bytes", "text", "json", "keys") for name in MUTATIONS[form]}
    assert damaged(Random(1), b"abc", [b"d"], ("bytes",)) == damaged(Random(1), b"abc", [b"d"], ("bytes",))


@pytest.mark.parametrize("kind", KINDS)
def test_valid_files_are_read_whole(kind, tmp_path, monkeypatch):
    monkeypatch.setenv("GENLIP_CACHE", str(tmp_path / "cache"))
    for number, file in enumerate(KINDS[kind].seeds()):
        found = fuzz.judged(KINDS[kind], kind, file, file.data, tmp_path / str(number), lambda: "")
        assert (found.outcome, found.what) == ("read", ""), file.path


def test_a_sample_that_a_tar_still_holds_must_be_told():
    plain = _tar_seeds()[0]
    whole = Told(6, "\n".join(f"plain.tar:{n:03}" for n in range(6)), {}, [], 1)
    assert not list(_tar_lost(plain, plain.data, whole, ""))
    without = whole._replace(names=whole.names.replace("plain.tar:003", ""))
    assert list(_tar_lost(plain, plain.data, without, "")) == ["sample 003 was neither read nor named"]
    zeroed = plain.data[:4096] + bytes(512) + plain.data[4608:]
    assert "were passed over without a word" in " ".join(_tar_lost(plain, zeroed, without, ""))
    assert not list(_tar_lost(plain, zeroed, without, "plain.tar: ends after 2 samples"))


def test_rows_that_stand_as_they_were_must_be_told():
    table = KINDS["tables"].seeds()[0]
    told = Told(5, "\n".join(table.held), {name: [text] for name, text in table.held.items()}, [], 1)
    damaged_row = table.data.replace(b"img02.png", b"img99.png")
    lost = KINDS["tables"].lost
    assert not list(lost(table, damaged_row, told._replace(names=told.names.replace("img02.png", "")), ""))
    assert list(lost(table, damaged_row, told._replace(names=told.names.replace("img03.png", "")), "")) == [
        "img03.png was neither read nor named"
    ]
    changed = told._replace(captions=told.captions | {"img01.png": ["something else"]})
    assert "img01.png has another caption: 'something else'" in next(lost(table, damaged_row, changed, ""))


def test_the_script_ends_with_json_and_replays_a_case(tmp_path):
    command = [
        sys.executable,
        fuzz.__file__,
        "--kind",
        "images",
        "--files",
        "12",
        "--jobs",
        "1",
        "--out",
        str(tmp_path / "faults.jsonl"),
    ]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    (told,) = json.loads(done.stdout.splitlines()[-1]).values()
    assert told["files"] == 12 == told["read"] + told["refused"] + told["faults"] + told["losses"]
    assert len((tmp_path / "faults.jsonl").read_text().splitlines()) == told["faults"] + told["losses"]
    environment = os.environ | {"TMPDIR": str(tmp_path)}
    done = subprocess.run([*command[:4], "--seed", "3"], capture_output=True, text=True, check=False, env=environment)
    assert done.stdout.startswith(f"images 3: {tmp_path}/fuzz-images-3.")
    assert len(list(tmp_path.glob("fuzz-images-3.*/*"))) == 1


# -- kills


def counted(arguments):
    """A stand-in for genlip: counts to twenty in a file, goes on where it stopped, and may lose what it did."""
    file, loses = Path(arguments[0]), arguments[1] == "loses"
    file.parent.mkdir(exist_ok=True)
    done = int(file.read_text()) if file.exists() and file.read_text() else 0
    if loses and done:
        done += 1
    for number in range(done, 20):
        new = file.with_suffix(".new")
        new.write_text(str(number + 1))
        new.replace(file)
        time.sleep(0.02)
    return 0


def killed(how, monkeypatch, **options):
    monkeypatch.setattr(kills, "genlip_main", counted)
    work = kills.Work(
        lambda inputs, out: [str(out / "number"), how], lambda out: {"number": (out / "number").read_text()}, **options
    )
    with tempfile.TemporaryDirectory() as folder:
        return list(kills.trials("stand-in", work, Path(folder), Path(folder), 4, 0))


def test_a_run_that_goes_on_gives_the_same(monkeypatch):
    found = killed("keeps", monkeypatch)
    assert sum(len(trial.kills) for trial in found) == 4
    assert not any(trial.unequal for trial in found)
    assert kills.figures(found)["stand-in"] == {"runs": len(found), "kills": 4, "equal": 4, "unequal": 0}


def test_what_differs_and_what_a_kill_left_are_told(monkeypatch):
    assert kills.difference({"a": 1, "b": 2}, {"a": 1, "b": 3, "c": 4}) == "unequal: b, c"
    found = killed("keeps", monkeypatch, left=lambda out, whole: "half a file")
    assert {trial.unequal for trial in found} == {"half a file"}
    assert kills.figures(found)["stand-in"]["unequal"] == 4


def test_a_run_that_fails_after_a_kill_is_told(monkeypatch, tmp_path):
    monkeypatch.setattr(kills, "genlip_main", lambda arguments: fail(KeyError("lost")))
    assert "ended with status 1" in kills.undisturbed([], tmp_path / "log", 20)
    assert "KeyError: 'lost'" in (tmp_path / "log").read_text()
    monkeypatch.setattr(kills, "genlip_main", lambda arguments: time.sleep(60))
    assert kills.undisturbed([], tmp_path / "log", 0.3) == "did not end within 0 s"


def test_packing_survives_a_kill(tmp_path):
    command = [sys.executable, kills.__file__, "--kind", "pack", "--kills", "1"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert json.loads(done.stdout.splitlines()[-1])["pack"]["kills"] == 1, done.stderr
    assert done.returncode == 0, done.stdout
