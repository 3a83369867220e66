"""`genlip.data.sources.tar`: the samples of shards, against what was written into them."""

import gc
import io
import json
import multiprocessing
import os
import pickle
import subprocess
import sys
import tarfile
import textwrap
import threading
from pathlib import Path

import fsspec
import numpy as np
import pytest

from genlip.data.examples import Choice, Example, Turn, Unusable
from genlip.data.sources import open_files, tar
from genlip.data.sources.cache import ShardCache
from genlip.data.sources.fields import CaptionFields
from genlip.data.sources.tar import TarShards

from .far import register

FIRST_KNOWN = CaptionFields({})
FORK = multiprocessing.get_context("fork")


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("GENLIP_CACHE", str(tmp_path / "cache"))


def write(path, members, kind=tarfile.USTAR_FORMAT):
    """A tar of (name, data); a dict is written as JSON, a text as UTF-8."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with tarfile.open(path, "w", format=kind) as file:
        for name, data in members:
            data = json.dumps(data) if isinstance(data, dict) else data
            data = data.encode() if isinstance(data, str) else data
            member = tarfile.TarInfo(name)
            member.size = len(data)
            file.addfile(member, io.BytesIO(data))
    return str(path)


def example(number, shard):
    """Members of a sample, and what is to be read of it."""
    image = np.random.default_rng(number).bytes(number * 37 % 1500)
    text = f"a caption — 猫 {number}"
    members = [
        (f"{number:09}.jpg", image),
        (f"{number:09}.json", {"caption": f"{text} too"}),
        (f"{number:09}.txt", f"{text}\n"),
    ]
    return members, Example(f"{shard}:{number:09}", image, text)


@pytest.fixture
def shards(tmp_path):
    """Paths of four shards of 7, 0, 1 and 12 samples, and their examples."""
    paths, examples, number = [], [], 0
    for shard, count in enumerate((7, 0, 1, 12)):
        members = []
        for _ in range(count):
            added, read = example(number, f"{shard}.tar")
            members, number = [*members, *added], number + 1
            examples.append(read)
        paths.append(write(tmp_path / f"{shard}.tar", members))
    return paths, examples


def opened(paths, fields=FIRST_KNOWN):
    return TarShards.open([paths] if isinstance(paths, str) else paths, fields, "test set")


def refused(source, index=0):
    with pytest.raises(Unusable) as error:
        source[index]
    return error.value.reason, str(error.value)


# -- what is read


def test_every_sample_is_read_in_order(shards):
    paths, examples = shards
    source = opened(paths)
    assert len(source) == len(examples) == 20
    assert list(source) == examples
    assert [source.caption(i) for i in range(20)] == [read.caption for read in examples]
    assert source[np.int64(19)] == examples[19]
    assert source.name == "test set"


@pytest.mark.parametrize("index", [-1, 20, 10**12])
def test_there_is_nothing_outside(index, shards):
    for read in (opened(shards[0]).__getitem__, opened(shards[0]).caption):
        with pytest.raises(IndexError, match=f"sample {index} of 20"):
            read(index)


@pytest.mark.parametrize("kind", [tarfile.GNU_FORMAT, tarfile.PAX_FORMAT])
def test_keys_are_whole_however_long(kind, tmp_path):
    names = ["short", "deep/" * 30 + "n" * 150, "ein/schöner/Tag"]
    path = write(tmp_path / "a.tar", [(f"{name}.{end}", name) for name in names for end in ("txt", "jpg")], kind)
    assert [(read.key, read.image, read.caption) for read in opened(path)] == [
        (f"a.tar:{name}", name.encode(), name) for name in names
    ]


RECORD = {"caption": "alt", "re": "new", "org_caption": None, "captions": ["one", "two"]}
TALK = {"conversations": [{"from": "human", "value": "<image>\nWhat?"}, {"from": "gpt", "value": "A cat."}]}


@pytest.mark.parametrize(
    ("fields", "text", "entries", "expected"),
    [
        ({}, "text", RECORD, "text"),
        ({}, None, RECORD, "alt"),
        ({}, None, TALK, (Turn("What?", False), Turn("A cat.", True))),
        ({"txt": 1}, "text", RECORD, "text"),
        ({"re": 1}, "text", RECORD, "new"),
        ({"re": 3, "txt": 1}, "text", RECORD, Choice(("new", "text"), (0.75, 0.25), ("re", "txt"))),
        ({"re": 3, "txt": 1}, "text", None, Choice(("text",), (1.0,), ("txt",))),
        ({"captions": 1}, None, RECORD, Choice(("one", "two"), (0.5, 0.5), ("captions",) * 2)),
        ({"org_caption": 1}, "text", RECORD, ""),
        ({"txt": 1}, None, {"txt": "entry"}, "entry"),
        (
            {"txt": 1, "re": 1},
            "text",
            {"txt": "entry"},
            Choice(("text",), (1.0,), ("txt",)),
        ),  # the member goes before the entry
        ({}, "\ufeff marked \n", None, "marked"),
    ],
)
def test_fields_name_the_text_or_entries_of_the_json(fields, text, entries, expected, tmp_path):
    members = [("a.jpg", b"i"), ("a.txt", text), ("a.json", entries)]
    source = opened(write(tmp_path / "a.tar", [(n, d) for n, d in members if d is not None]), CaptionFields(fields))
    assert source[0].caption == source.caption(0) == expected


def test_one_field_is_decided_for_the_whole_collection(tmp_path):
    first = write(tmp_path / "1.tar", [("a.jpg", b""), ("b.jpg", b""), ("b.txt", "text")])
    second = write(tmp_path / "2.tar", [("c.jpg", b""), ("c.json", {"caption": "entry"})])
    assert [read.caption for read in opened([first, second])] == ["", "text", ""]


def test_what_fields_are_there_is_told(tmp_path):
    path = write(tmp_path / "a.tar", [("a.jpg", b""), ("a.json", {"url": 1, "sha": 2})])
    with pytest.raises(ValueError, match="test set: no captions among url, sha; need one of caption, text, txt"):
        opened(path)
    with pytest.raises(ValueError, match="no captions among url, sha; need one of re"):
        opened(path, CaptionFields({"re": 1}))
    with pytest.raises(ValueError, match="no captions, and no field that could hold any"):
        opened(write(tmp_path / "b.tar", [("a.jpg", b"")]))


def test_shards_without_images_are_refused(tmp_path):
    paths = [write(tmp_path / "a.tar", []), write(tmp_path / "b.tar", [("a.txt", "text")])]
    with pytest.raises(ValueError, match="test set: no samples with an image in 2 shards"):
        opened(paths)


def test_only_what_is_needed_is_read(tmp_path, monkeypatch):
    path = write(tmp_path / "a.tar", [("a.jpg", bytes(10**6)), ("a.json", {"re": "x" * 5000}), ("a.txt", "text")])
    text, entries = opened(path), opened(path, CaptionFields({"re": 1}))
    sizes, plain = [], os.pread
    monkeypatch.setattr(os, "pread", lambda *how: sizes.append(how[1]) or plain(*how))
    assert (text.caption(0), sizes) == ("text", [4])
    sizes.clear()
    text[0]
    assert sizes == [10**6 + 512, 4]
    sizes.clear()
    entries.caption(0)
    assert sizes == [len(json.dumps({"re": "x" * 5000}))]


# -- what cannot be used


@pytest.mark.parametrize(
    ("text", "entries", "message"),
    [
        (b"\xff\xfe", None, "not UTF-8 text"),
        (None, b'{"caption": ', "not JSON"),
        (None, b"", "not JSON"),
        (None, b'{"caption": "\xff"}', "not UTF-8 text"),
        (None, b"[" * 100_000, "lists and objects are nested deeper than 100"),
        (None, b'{"caption": "a", "caption": "b"}', "the key 'caption' stands twice"),
        (None, b'["caption"]', "its JSON is list, need an object"),
        (None, b"null", "its JSON is NoneType, need an object"),
    ],
)
def test_a_broken_caption_is_named(text, entries, message, tmp_path):
    bad = [
        ("bad.jpg", b"i"),
        *([("bad.txt", text)] if text else []),
        *([("bad.json", entries)] if entries is not None else []),
    ]
    good = [("good.jpg", b"i"), ("good.txt" if text else "good.json", "t" if text else {"caption": "t"})]
    source = opened(write(tmp_path / "a.tar", [*bad, *good]))
    reason, told = refused(source)
    assert reason == "damaged"
    assert told.startswith(f"a.tar:bad: {message}")
    with pytest.raises(Unusable, match=r"a\.tar:bad: "):
        source.caption(0)
    assert source[1].caption == "t"


def test_a_conversation_about_several_images_is_named(tmp_path):
    talk = {"conversations": [{"from": "human", "value": "<image><image>"}, {"from": "gpt", "value": "Two."}]}
    source = opened(write(tmp_path / "a.tar", [("x.jpg", b""), ("x.json", talk)]))
    assert refused(source) == ("several images", "a.tar:x: a conversation about 2 images; a sample holds one")


def test_members_beyond_the_limits_are_refused(tmp_path):
    path = tmp_path / "a.tar"
    with path.open("wb") as file:  # sparse: the zeros take no room
        for name, size in (("a.jpg", 2**29 + 1), ("b.jpg", 3), ("b.txt", 2**24 + 1), ("c.jpg", 1), ("c.txt", 1)):
            member = tarfile.TarInfo(name)
            member.size = size
            file.write(member.tobuf(tarfile.USTAR_FORMAT))
            file.seek(-(-size // 512) * 512, os.SEEK_CUR)
        file.truncate(file.tell() + 1024)
    source = opened(str(path))
    assert refused(source, 0) == ("too large", f"a.tar:a: {2**29 + 1} bytes; the limit is {2**29}")
    assert refused(source, 1) == ("damaged", f"a.tar:b: {2**24 + 1} bytes of text; the limit is {2**24}")
    assert source[2] == Example("a.tar:c", b"\0", "\0")


def test_a_shard_cut_off_after_it_was_indexed_is_told(tmp_path):
    path = write(tmp_path / "a.tar", [m for number in range(4) for m in example(number, "")[0]])
    source = opened(path)
    os.truncate(path, 512 + 100)
    assert refused(source, 3) == ("damaged", "a.tar: sample 3: the shard was cut off after it was indexed")
    assert refused(source, 0) == ("damaged", "a.tar:000000000: the shard was cut off after it was indexed")


def test_a_shard_that_is_gone_stops_the_run(shards):
    source = pickle.loads(pickle.dumps(opened(shards[0])))  # with nothing open
    Path(shards[0][0]).unlink()
    with pytest.raises(FileNotFoundError, match=r"0\.tar"):
        source[0]
    assert source[8] == shards[1][8]


# -- processes


def test_a_pickled_source_opens_its_own_files(shards):
    source = opened(shards[0])
    list(source)
    copy = pickle.loads(pickle.dumps(source))
    assert not [owner for owner, _ in open_files.LOCAL.opened if owner == id(copy)]
    assert list(copy) == list(source) == shards[1]


def reads(source, expected, seed):
    order = np.random.default_rng(seed).permutation(len(expected))
    for index in np.tile(order, 20):
        assert source[index] == expected[index]


@pytest.mark.parametrize("method", ["fork", "spawn"])
def test_processes_read_at_once(method, shards):
    source = opened(shards[0])
    list(source)  # so that a fork inherits what is open
    context = multiprocessing.get_context(method)
    processes = [context.Process(target=reads, args=(source, shards[1], seed)) for seed in range(2)]
    for process in processes:
        process.start()
    reads(source, shards[1], 9)
    for process in processes:
        process.join(30)
        assert process.exitcode == 0


def number_open():
    return len(list(Path("/proc/self/fd").iterdir()))


def test_few_files_are_open_and_threads_do_not_close_each_others(shards, monkeypatch):
    monkeypatch.setattr(open_files.LOCAL, "capacity", 1)
    source, failures = opened(shards[0]), []

    def read(source, seed):
        try:
            reads(source, shards[1], seed)
        except BaseException as error:
            failures.append(error)

    before = number_open()
    threads = [threading.Thread(target=read, args=(source, seed)) for seed in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failures == []
    assert number_open() <= before + 1
    del source
    gc.collect()
    assert number_open() <= before


# -- remote shards


def test_remote_shards_are_read_through_the_cache(shards, tmp_path, monkeypatch):
    downloads = register(monkeypatch, tmp_path)
    paths, examples = shards
    remote = [f"far://{path}" for path in paths]
    assert list(TarShards.open(remote, FIRST_KNOWN, "far", ShardCache(tmp_path / "cache", 2**30))) == examples
    assert len(downloads.read_text().splitlines()) == 4


def test_an_index_outlives_its_remote_shard(shards, tmp_path, monkeypatch):
    downloads = register(monkeypatch, tmp_path)
    monkeypatch.setattr(tar, "_PROBED", 7)  # samples of the first shard
    paths, examples = shards
    cache = ShardCache(tmp_path / "cache", 1)  # room for one shard
    source = TarShards.open([f"far://{path}" for path in paths], FIRST_KNOWN, "far", cache)
    assert len(list((tmp_path / "cache/shards").iterdir())) == 1
    downloads.write_text("")
    again = TarShards.open([f"far://{path}" for path in paths], FIRST_KNOWN, "far", cache)
    assert len(again) == len(source) == 20
    assert downloads.read_text() == ""
    assert list(pickle.loads(pickle.dumps(again))) == examples


def test_a_memory_file_system_serves_too(shards):
    system = fsspec.filesystem("memory")
    for path in shards[0]:
        system.pipe(path, Path(path).read_bytes())
    assert list(opened([f"memory://{path}" for path in shards[0]])) == shards[1]
    system.store.clear()


def test_any_number_of_shards_is_read_with_few_open_files(tmp_path):
    program = f"""
        import resource
        resource.setrlimit(resource.RLIMIT_NOFILE, (64, 64))
        from genlip.data.sources import Mixture, open_source
        source = Mixture([open_source({str(tmp_path / "*.tar")!r}) for _ in range(4)])
        assert [source[i].caption for i in range(len(source))] == 4 * [f"caption {{i}}" for i in range(100)]
    """
    for number in range(100):
        write(tmp_path / f"{number:03}.tar", [("a.jpg", b"image"), ("a.txt", f"caption {number}".encode())])
    subprocess.run([sys.executable, "-c", textwrap.dedent(program)], check=True)


def test_what_is_left_out_is_told_at_every_opening(tmp_path, caplog):
    path = write(tmp_path / "a.tar", [("0.jpg", b"image"), ("0.txt", b"text"), ("v1.svg", b""), ("v1.txt", b"text")])
    for _ in range(2):
        source = opened(path)
        assert source.notes == ["1 samples without an image, first a.tar: v1 with svg"]
        assert [record.getMessage() for record in caplog.records] == [f"test set: {source.notes[0]}"]
        caplog.clear()


def test_captions_in_another_folder_are_told_where_none_is_left(tmp_path):
    path = write(tmp_path / "a.tar", [("images/0.jpg", b"image"), ("captions/0.txt", b"text")])
    with pytest.raises(
        ValueError, match="1 captions in another folder than the images of their names; put them side by side"
    ):
        opened(path)


def test_a_pointer_is_told(tmp_path):
    (tmp_path / "a.tar").write_text("version https://git-lfs.github.com/spec/v1\noid sha256:ab\nsize 3\n")
    with pytest.raises(ValueError, match=r"a\.tar: a Git LFS pointer, not the file itself \(fetch it with: git lfs pull\)"):
        opened(str(tmp_path / "a.tar"))
