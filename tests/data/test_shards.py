"""`genlip.data.shards`: what is written is what was there, whole or absent, and a stopped packing goes on."""

import io
import json
import os
import signal
import subprocess
import sys
import tarfile
import time
from pathlib import Path

import numpy as np
import pytest
from filelock import FileLock
from PIL import Image

from genlip.data.examples import Choice, Example, Turn
from genlip.data.shards import ShardConfig, write_shards
from genlip.data.sources import Files, Procedural, open_source
from genlip.data.sources.fields import CaptionFields
from genlip.data.workers import WorkerDied

from .helpers import InMemory, encoded, noise

ROOT = Path(__file__).parents[2]
BOTH = {"caption": 0.7, "conversations": 0.3}


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("GENLIP_CACHE", str(tmp_path / "cache"))


def image(number: int) -> Image.Image:
    return Image.fromarray(noise(9 + number, 20, seed=number))


def files() -> InMemory:
    """Encoded images of several formats; two of seven examples cannot be used."""
    formats = ("PNG", "JPEG", "WEBP", "GIF", "BMP", "TIFF")
    usable = [Example(f"e{i}", encoded(image(i), formats[i]), f"caption {i}") for i in range(6)]
    return InMemory([*usable, Example("empty", encoded(image(7), "PNG"), ""), Example("text", b"no image", "words")])


def members(shard: Path) -> dict[str, bytes]:
    with tarfile.open(shard) as tar:
        return {entry.name: tar.extractfile(entry).read() for entry in tar}


def test_files_are_kept_byte_for_byte_under_their_formats_suffix(tmp_path):
    written = write_shards(files(), tmp_path / "out", ShardConfig(samples=4))
    assert (written.shards, written.samples, dict(written.skipped)) == (2, 6, {"no caption": 1, "not an image": 1})
    assert written.bytes == sum(path.stat().st_size for path in (tmp_path / "out").glob("*.tar"))
    first, second = (members(tmp_path / "out" / f"0000{n}.tar") for n in (0, 1))
    suffixes = ("png", "jpg", "webp", "gif", "bmp", "tif")
    expected = [
        (f"{i:09d}.{kind}", content)
        for i, suffix in enumerate(suffixes)
        for kind, content in ((suffix, files()[i].image), ("txt", f"caption {i}".encode()))
    ]
    assert [*first.items(), *second.items()] == expected


@pytest.mark.parametrize("workers", [0, 2])
def test_a_packed_collection_is_read_as_the_one_it_came_from(workers, tmp_path):
    source = Procedural("charts", 5, 23, CaptionFields(BOTH))
    written = write_shards(source, tmp_path / "out", ShardConfig(samples=10), workers)
    assert (written.shards, written.samples, set(written.fields)) == (3, 23, set(BOTH))
    packed = open_source(str(tmp_path / "out" / "*.tar"), "caption=0.7,conversations=0.3")
    assert [packed[i].caption for i in range(23)] == [source[i].caption for i in range(23)]
    for i in (0, 9, 10, 22):
        with Image.open(io.BytesIO(packed[i].image)) as there:
            assert np.array_equal(np.asarray(there), np.asarray(source[i].image))


def test_lists_and_conversations_keep_their_shape(tmp_path):
    talk = (Turn("", False), Turn("yes", True), Turn("and now?", False), Turn("no", True))
    captions = [Choice(("a", "b"), (0.5, 0.5), ("captions", "captions")), talk, Choice(("c",), (1.0,)), (Turn("hm", True),)]
    source = InMemory([Example(str(i), image(i), caption) for i, caption in enumerate(captions)])
    write_shards(source, tmp_path / "out")
    found = {name: json.loads(content) for name, content in members(tmp_path / "out/00000.tar").items() if "json" in name}
    assert list(found.values()) == [
        {"captions": ["a", "b"]},
        {"conversations": [
            {"from": "human", "value": "<image>\n"}, {"from": "gpt", "value": "yes"},
            {"from": "human", "value": "and now?"}, {"from": "gpt", "value": "no"},
        ]},
        {"captions": "c"},
        {"conversations": [{"from": "gpt", "value": "hm"}]},
    ]  # fmt: skip


def test_verifying_leaves_out_what_cannot_be_decoded(tmp_path):
    cut = encoded(image(1), "JPEG")[:-150]
    source = InMemory([Example("whole", encoded(image(0), "JPEG"), "a"), Example("cut", cut, "b")])
    assert write_shards(source, tmp_path / "plain").samples == 2
    written = write_shards(source, tmp_path / "checked", ShardConfig(verify=True))
    assert (written.samples, dict(written.skipped)) == (1, {"damaged": 1})


def test_missing_files_are_counted(tmp_path):
    image(0).save(tmp_path / "a.png")
    source = Files([tmp_path / "a.png", tmp_path / "gone.png"], ["a", "b"])
    assert dict(write_shards(source, tmp_path / "out").skipped) == {"missing": 1}


@pytest.mark.parametrize(("drawn_as", "opened"), [("png", "PNG"), ("jpg", "JPEG"), ("webp", "WEBP")])
def test_drawn_images_get_the_format_that_was_asked_for(drawn_as, opened, tmp_path):
    write_shards(Procedural("scenes", 0, 2), tmp_path / "out", ShardConfig(drawn_as=drawn_as))
    content = members(tmp_path / "out/00000.tar")[f"000000001.{drawn_as}"]
    assert Image.open(io.BytesIO(content)).format == opened


def test_the_same_source_gives_the_same_bytes(tmp_path):
    for name in ("one", "two"):
        write_shards(Procedural("scenes", 1, 30), tmp_path / name, ShardConfig(samples=10))
    assert all((tmp_path / "two" / p.name).read_bytes() == p.read_bytes() for p in (tmp_path / "one").iterdir())


def test_a_killed_packing_goes_on_with_the_shards_that_are_missing(tmp_path):
    script = (
        "import sys; from genlip.data.shards import *; from genlip.data.sources import Procedural\n"
        "write_shards(Procedural('scenes', 1, 4000), sys.argv[1], ShardConfig(samples=200), workers=2)"
    )
    out, whole = tmp_path / "out", tmp_path / "whole"
    process = subprocess.Popen([sys.executable, "-c", script, str(out)], cwd=ROOT, start_new_session=True)
    while len(list(out.glob("*_stats.json"))) < 3:
        assert process.poll() is None
        time.sleep(0.005)
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    kept = {
        path: path.stat().st_mtime_ns for path in out.glob("*.tar") if path.with_name(f"{path.stem}_stats.json").exists()
    }
    assert 3 <= len(kept) < 20
    done = []
    for folder in (out, whole):
        write_shards(Procedural("scenes", 1, 4000), folder, ShardConfig(samples=200), advance=done.append)
    assert done == [200] * 40
    assert all(path.stat().st_mtime_ns == then for path, then in kept.items())
    assert {p.name: p.read_bytes() for p in out.iterdir()} == {p.name: p.read_bytes() for p in whole.iterdir()}


def test_another_packing_in_the_folder_is_not_mixed_in(tmp_path):
    write_shards(Procedural("scenes", 1, 5), tmp_path / "out")
    with pytest.raises(ValueError, match=r"holds another packing \(source: scenes:1 there, scenes:2 now\)"):
        write_shards(Procedural("scenes", 2, 5), tmp_path / "out")
    (tmp_path / "tars").mkdir()
    (tmp_path / "tars/mine.tar").touch()
    with pytest.raises(ValueError, match=r"holds tar files, but no packing\.json .*: choose an empty folder"):
        write_shards(Procedural("scenes", 2, 5), tmp_path / "tars")
    assert [p.name for p in (tmp_path / "tars").iterdir()] == ["mine.tar"]


def test_other_captions_of_the_same_source_are_another_packing(tmp_path):
    write_shards(Procedural("charts", 1, 5), tmp_path / "out")
    with pytest.raises(ValueError, match=r"holds another packing \(fields: "):
        write_shards(Procedural("charts", 1, 5, CaptionFields(BOTH)), tmp_path / "out")


def test_paths_that_no_system_takes_are_counted_and_not_the_end(tmp_path):
    image(0).save(tmp_path / "a.png")
    names = ["a.png", "x" * 5000, "a\0b.png", "a.png/b.png", "."]
    source = Files([f"{tmp_path}/{name}" for name in names], ["c"] * 5)
    written = write_shards(source, tmp_path / "out")
    assert (written.samples, dict(written.skipped)) == (1, {"damaged": 2, "missing": 1, "not an image": 1})


def test_two_packings_of_one_folder_do_not_get_in_each_others_way(tmp_path):
    (tmp_path / "out").mkdir()
    with FileLock(tmp_path / "out/.lock"), pytest.raises(ValueError, match="another packing is writing there"):
        write_shards(Procedural("scenes", 1, 5), tmp_path / "out")


@pytest.mark.parametrize("wrong", [{"samples": 0}, {"drawn_as": "bmp"}])
def test_impossible_settings_are_refused(wrong):
    with pytest.raises(ValueError, match=next(iter(wrong))):
        ShardConfig(**wrong)


LIMITED = """
import resource, sys
from genlip.cli.main import main

resource.setrlimit(resource.RLIMIT_FSIZE, (20 * 1024, resource.RLIM_INFINITY))  # as `ulimit -f 20`: stands in for the disk
words = ["--samples", "2000", "--samples-per-shard", "100", "--workers", sys.argv[2]]
sys.exit(main(["data", "synth", "scenes", sys.argv[1], *words]))
"""


@pytest.mark.parametrize("workers", ["0", "1", "2"])
def test_a_full_disk_is_one_line_and_an_end(workers, tmp_path):
    command = [sys.executable, "-c", LIMITED, str(tmp_path / "out"), workers]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=120)
    assert done.returncode == 1
    *_, line = done.stderr.splitlines()
    shard = tmp_path / "out/00000.tar"
    assert line == f"genlip: {shard}: cannot be written: File too large; make room, and the same command goes on with it"
    assert not list((tmp_path / "out").glob("*.part"))


def test_a_worker_that_is_killed_ends_the_packing(tmp_path):
    class Deadly(InMemory):
        def __getitem__(self, index):
            if index == 3:
                os.kill(os.getpid(), signal.SIGKILL)
            return super().__getitem__(index)

    source = Deadly([Example(str(i), encoded(image(i), "PNG"), "words") for i in range(6)])
    with pytest.raises(WorkerDied, match=r"worker process \d+ was ended by SIGKILL"):
        write_shards(source, tmp_path / "out", ShardConfig(samples=1), workers=2)
    written = write_shards(InMemory(source.examples), tmp_path / "out", ShardConfig(samples=1))
    assert written.samples == 6


def test_a_source_that_fails_is_not_called_a_disk_that_does(tmp_path):
    class Gone(InMemory):
        def __getitem__(self, index):
            raise OSError("the server does not answer")

    with pytest.raises(OSError, match=r"^the server does not answer$"):
        write_shards(Gone([Example("0", b"", "words")]), tmp_path / "out", workers=1)
