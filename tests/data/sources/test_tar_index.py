"""`genlip.data.sources.tar_index`: what is found in tars of every kind, against the standard library's reader."""

import io
import itertools
import multiprocessing
import os
import random
import re
import tarfile
import types
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from rich.console import Console

from genlip.data.sources import tar_index
from genlip.data.sources.cache import ShardCache
from genlip.data.sources.tar_index import BLOCK, ROW, index_path, index_row, index_shards, member_name, stored_count
from genlip.data.sources.tar_samples import Problems

FORMATS = {"ustar": tarfile.USTAR_FORMAT, "gnu": tarfile.GNU_FORMAT, "pax": tarfile.PAX_FORMAT}
IMAGES = ("jpg", "jpeg", "jfif", "png", "webp")
TOLD = ("samples without an image", "captions", "members of", "further members", "samples with the name", "images of which")


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("GENLIP_CACHE", str(tmp_path / "cache"))
    return ShardCache.default()


def tar_of(members, kind="ustar", **told):
    """The bytes of a tar of (name, data) pairs; data None makes a folder."""
    file = io.BytesIO()
    with tarfile.open(fileobj=file, mode="w", format=FORMATS[kind]) as tar:
        for name, data in members:
            member = tarfile.TarInfo(name)
            for attribute, value in told.items():
                setattr(member, attribute, value)
            if data is None:
                member.type = tarfile.DIRTYPE
            else:
                member.size = len(data)
            tar.addfile(member, io.BytesIO(data or b""))
    return file.getvalue()


def indexed(folder, content, name="a.tar"):
    """Row[samples] of a tar with some content, and the messages about it."""
    (folder / name).write_bytes(content)
    descriptor = os.open(folder / name, os.O_RDONLY)
    try:
        (rows, _), problems = tar_index._rows_of(descriptor, str(folder / name))
        return rows, problems.messages()
    finally:
        os.close(descriptor)


def read_plainly(content):
    """Whether the fast way took a tar."""
    descriptor = os.memfd_create("tar")
    os.write(descriptor, content)
    try:
        list(tar_index._plain_members(descriptor, len(content), Problems()))
    except tar_index._NotPlain:
        return False
    finally:
        os.close(descriptor)
    return True


def samples(content, rows):
    """(image, text, json) of each row, as bytes or None."""

    def cut(block, size):
        return content[block * BLOCK : block * BLOCK + size] if block else None

    return [tuple(cut(row[kind], row[f"{kind}_bytes"]) for kind in ("image", "text", "json")) for row in rows]


def reference(content):
    """The same by tarfile, with expressions for names, and a question at a time over all members."""
    with tarfile.open(fileobj=io.BytesIO(content)) as tar:
        named = [(member.name, tar.extractfile(member).read()) for member in tar if member.isreg()]
    shown = [one for one in enumerate(named) if not re.search(r"(^|/)(\.[^/]*[^./][^/]*|__MACOSX)(/|$)", one[1][0])]
    split = [(place, re.match(r"^((?:.*/|)[^./]+)[.]([^/]*)$", name, re.DOTALL), data) for place, (name, data) in shown]
    split = [(place, match[1], match[2], data) for place, match, data in split if match]
    found = []  # (name, {kind: (place, data)})
    runs = [(base, list(run)) for base, run in itertools.groupby(split, key=lambda one: one[1])]
    for base, run in runs:
        groups = {}
        for place, _, rest, data in run:
            *inner, suffix = rest.lower().split(".")
            kind = "image" if suffix in IMAGES else "txt" if suffix in ("text", "caption") else suffix
            if kind in ("image", "txt", "json"):
                exact = rest[: len(rest) - len(suffix) - 1] if inner else ""
                groups.setdefault(f"{base}.{exact}" if inner else base, {}).setdefault(kind, (place, data))
        full = {name: kinds for name, kinds in groups.items() if "image" in kinds and len(kinds) > 1}
        if any("." in rest for *_, rest, _ in run) and base in full:
            found += full.items()
            continue
        images = {name: kinds for name, kinds in groups.items() if {*kinds} == {"image"}}
        texts = {name: kinds for name, kinds in groups.items() if "image" not in kinds}
        main = {name: kinds for name, kinds in images.items() if name in (base, f"{base}.image", f"{base}.img")}
        images = main or images
        if len(images) == len(texts) == 1:
            ((name, image),), (text,) = images.items(), texts.values()
            found += [*full.items(), (name, image | text)]
        elif len(images) > 1 and base in texts:
            found += full.items()
        else:
            found += [*full.items(), *images.items(), *texts.items()]
    for name, text in found:
        same = [kinds for other, kinds in found if other == name]
        pictures = [kinds for kinds in same if "image" in kinds]
        if "image" not in text and len(same) == 2 and pictures and not pictures[0].keys() & text.keys():
            pictures[0].update(text)
    whole = sorted((kinds for _, kinds in found if "image" in kinds), key=lambda kinds: kinds["image"][0])
    return [tuple(kinds.get(kind, (0, None))[1] for kind in ("image", "txt", "json")) for kinds in whole]


# -- every kind of tar

NAMES = st.one_of(
    st.sampled_from(["0", "1", "000000001", "a b", "déjà", "猫", "x" * 99, "y" * 130, "._hidden", "", "__meta__"]),
    st.text(st.characters(exclude_characters="\0/.", exclude_categories=["Cs"]), min_size=1, max_size=12),
)
FOLDERS = st.sampled_from(["", "a/", "./", "a.b/c/", "/abs/", f"{'deep/' * 25}", f"{'z' * 80}/{'w' * 60}/", ".hid/"])
SUFFIXES = st.sampled_from(
    [
        *(".jpg", ".JPG", ".png", ".webp", ".txt", ".Txt", ".json", ".seg.png", ".cls", "", ".", ".jpg/", ".jpg.txt"),
        *(".image.jpg", ".jfif", ".caption", ".1.jpg", ".1.txt", ".2.jpg", ".2.txt"),
    ]
)
MEMBERS = st.lists(st.tuples(FOLDERS, NAMES, SUFFIXES, st.one_of(st.none(), st.binary(max_size=1200))), max_size=25)


@pytest.mark.parametrize("kind", FORMATS)
@given(members=MEMBERS, mtime=st.sampled_from([0, 1700000000, 1700000000.123]), seed=st.integers(0, 9))
@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_every_tar_gives_what_tarfile_finds(kind, tmp_path, members, mtime, seed):
    members = [(folder + name + suffix, data) for folder, name, suffix, data in members for _ in range(1 + seed % 2)]
    if kind == "ustar":
        members = [(name, data) for name, data in members if len(name.encode()) < 100]
    members = [(name, data) for name, data in members if name.strip("/")]
    content = tar_of(members, kind, mtime=mtime if kind == "pax" else int(mtime))
    rows, problems = indexed(tmp_path, content)
    assert samples(content, rows) == reference(content)
    assert not [problem for problem in problems if not problem.partition(" ")[2].startswith(TOLD)]


def sample(base, *suffixes):
    return [(f"{base}.{suffix}", f"{base} {suffix}".encode() * 40) for suffix in suffixes]


@pytest.mark.parametrize(
    ("kind", "members", "told"),
    [
        ("ustar", sample("a", "jpg", "json", "txt") + sample("b", "txt", "jpg"), {}),
        ("gnu", [*sample("a", "jpg", "txt"), ("folder", None), *sample("folder/b", "png", "txt")], {}),
        ("pax", sample("a", "jpg", "txt") + sample("b", "jpg"), {"mtime": 1700000000.25}),  # webdataset's writer
        ("ustar", sample("p" * 90 + "/" + "q" * 80, "jpg", "txt"), {}),  # the prefix field
        ("ustar", [("a.jpg", b""), ("a.txt", b""), ("b.jpg", bytes(512)), ("c.jpg", bytes(513))], {}),
        ("ustar", [member for base in range(4000) for member in sample(base, "jpg")], {}),  # more than a batch
        ("ustar", [], {}),
    ],
)
def test_plain_tars_are_read_the_fast_way(kind, members, told, tmp_path):
    content = tar_of(members, kind, **told)
    assert read_plainly(content)
    rows, problems = indexed(tmp_path, content)
    assert (samples(content, rows), problems) == (reference(content), [])


@pytest.mark.parametrize("kind", ["gnu", "pax"])
def test_long_names_are_read_the_other_way(kind, tmp_path):
    content = tar_of(sample("r" * 300, "jpg", "txt") + sample("b", "jpg"), kind)
    assert not read_plainly(content)
    rows, problems = indexed(tmp_path, content)
    assert (samples(content, rows), problems) == (reference(content), [])
    headers = [content[(row["image"] - row["headers"]) * BLOCK : row["image"] * BLOCK] for row in rows]
    assert [member_name(header) for header in headers] == ["r" * 300 + ".jpg", "b.jpg"]


def test_sizes_in_base_256_are_read(tmp_path):
    content = bytearray(tar_of([("a.jpg", b"image"), ("a.txt", b"text")], "gnu"))
    content[124:136] = b"\x80" + (5).to_bytes(11, "big")
    resum(content, 0)
    rows, problems = indexed(tmp_path, bytes(content))
    assert (samples(bytes(content), rows), problems) == ([(b"image", b"text", None)], [])


def resum(content, start):
    """Make a header's checksum right again."""
    block = content[start : start + 148] + b" " * 8 + content[start + 156 : start + BLOCK]
    content[start + 148 : start + 156] = b"%06o\0 " % sum(block)


def test_old_tars_without_a_magic_are_read(tmp_path):
    content = bytearray(tar_of([("a.jpg", b"image"), ("dir", None), ("b.jpg", b"other")]))
    for start, kind in ((0, b"\0"), (1024, b"\0"), (1536, b"\0")):
        content[start + 156 : start + 157] = kind
        content[start + 257 : start + 265] = bytes(8)
        resum(content, start)
    rows, _ = indexed(tmp_path, bytes(content))
    assert samples(bytes(content), rows) == reference(bytes(content)) == [(b"image", None, None), (b"other", None, None)]


def test_the_first_image_and_text_of_a_sample_count(tmp_path):
    content = tar_of([("a.png", b"1"), ("a.jpg", b"2"), ("a.txt", b"3"), ("a.TXT", b"4"), ("a.webp", b"5")])
    assert samples(content, indexed(tmp_path, content)[0]) == [(b"1", b"3", None)]


# -- what is left out


def test_links_and_samples_without_an_image_are_counted(tmp_path):
    file = io.BytesIO()
    with tarfile.open(fileobj=file, mode="w") as tar:
        for name, kind in (("a.jpg", tarfile.SYMTYPE), ("b.jpg", tarfile.LNKTYPE), ("c.jpg", tarfile.REGTYPE)):
            member = tarfile.TarInfo(name)
            member.type, member.linkname = kind, "elsewhere"
            tar.addfile(member)
        for name in ("d.txt", "e.json", "e.txt"):
            tar.addfile(tarfile.TarInfo(name))
    rows, problems = indexed(tmp_path, file.getvalue())
    assert len(rows) == 1
    assert problems == ["2 links, sparse or special files, first a.jpg", "2 samples without an image, first d"]


@pytest.mark.parametrize("kind", FORMATS)
def test_a_cut_shard_gives_what_is_whole(kind, tmp_path):
    told = {"mtime": 1.5} if kind == "pax" else {}
    members = [("0.jpg", b"i" * 700), ("0.txt", b"t" * 30), (("l" * 120 if kind == "gnu" else "1") + ".jpg", b"j" * 1500)]
    whole = tar_of(members, kind, **told)
    with tarfile.open(fileobj=io.BytesIO(whole)) as tar:
        ends = [(member.offset_data + member.size, member) for member in tar]
    for length in (*range(512, len(whole), 97), *(end for end, _ in ends), *(end - 1 for end, _ in ends)):
        expected = sum(end <= length for end, member in ends if member.name.endswith("jpg"))
        try:
            rows, problems = indexed(tmp_path, whole[:length])
        except ValueError:
            assert (kind, expected) == ("pax", 0)  # not even one header is whole
            continue
        assert len(rows) == expected, length
        end_mark = -(-ends[-1][0] // BLOCK) * BLOCK + BLOCK
        assert bool(problems) == (length < end_mark), (length, problems)


@pytest.mark.parametrize("kind", FORMATS)
def test_a_damaged_header_ends_what_is_read_and_is_told(kind, tmp_path):
    members = [member for number in range(6) for member in sample(number, "jpg", "txt")]
    content = bytearray(tar_of(members, kind))
    with tarfile.open(fileobj=io.BytesIO(content)) as tar:
        place = tar.getmembers()[7].offset
    content[place + 3] ^= 255
    rows, problems = indexed(tmp_path, bytes(content))
    assert samples(content, rows) == reference(content)
    assert len(rows) == 4
    left = len(content) - place
    assert problems == [f"1 damaged headers, first at byte {place}; the {left} bytes from there on are not read"]


def test_joined_archives_are_told(tmp_path):
    first, second = tar_of(sample("a", "jpg")), tar_of(sample("b", "jpg"))
    rows, problems = indexed(tmp_path, first + second)
    assert len(rows) == 1
    assert problems == ["1 archives joined to the first, first behind byte 1024; only the first is read"]


@pytest.mark.parametrize("kind", FORMATS)
def test_no_damage_crashes_or_hangs(kind, tmp_path):
    told = {"mtime": 1.5} if kind == "pax" else {}
    long = ("n" * 150,) if kind != "ustar" else ()
    content = tar_of([member for base in ("0", "1", *long) for member in sample(base, "jpg", "txt", "json")], kind, **told)
    chance, messages = random.Random(0), set()
    for _ in range(400):
        damaged = bytearray(content[: chance.choice([len(content), chance.randrange(1, len(content))])])
        for _ in range(chance.choice([0, 1, 1, 5])):
            place = chance.randrange(len(damaged))
            damaged[place] = chance.randrange(256)
            if chance.random() < 0.7 and place - place % BLOCK + BLOCK <= len(damaged):
                resum(damaged, place - place % BLOCK)  # damage that the sum does not show
        try:
            rows, _ = indexed(tmp_path, bytes(damaged))
        except ValueError as error:
            messages.add(str(error).partition(":")[0])
            continue
        for image, text, entries in samples(damaged, rows):
            assert image is not None
            assert len(image) + len(text or b"") + len(entries or b"") <= len(damaged)
        assert all(int(row["image"]) * BLOCK + int(row["image_bytes"]) <= len(damaged) for row in rows)
    assert messages == {str(tmp_path / "a.tar")}


HUGE = [b"77777777777\0", b"-0000000001\0", b"\x80" + b"\x7f" * 11, b"\xff" * 12, b"\xff" * 11 + b"\0", b"99999999999\0"]


@pytest.mark.parametrize("kind", [b"0", b"x", b"g", b"L", b"K", b"S", b"5", b"1", b"Z"])
@pytest.mark.parametrize("size", HUGE)
def test_a_header_may_claim_any_size(size, kind, tmp_path):
    content = bytearray(tar_of(sample("a", "jpg") + sample("b", "jpg") + sample("c", "jpg"), "gnu"))
    content[1024 + 124 : 1024 + 136] = size
    content[1024 + 156 : 1024 + 157] = kind
    resum(content, 1024)
    rows, problems = indexed(tmp_path, bytes(content))
    assert samples(content, rows)[0] == (sample("a", "jpg")[0][1], None, None)
    assert len(rows) in (1, 3 if kind == b"1" else 2)
    assert problems


def test_a_size_that_an_extended_header_claims_is_doubted(tmp_path):
    for size in ("-5", "-512", "99999999999999999999", str(2**63), "x"):
        member = tarfile.TarInfo("b.jpg")
        member.pax_headers = {"size": size, "path": "b.jpg"}
        content = tar_of(sample("a", "jpg"))[:1024] + member.tobuf(tarfile.PAX_FORMAT) + bytes(1024)
        rows, _ = indexed(tmp_path, content)
        assert len(rows) <= 2
        assert all(int(row["image"]) * BLOCK + int(row["image_bytes"]) <= len(content) for row in rows)


def test_an_extended_header_is_not_read_into_memory(tmp_path):
    member = tarfile.TarInfo("b.jpg")
    member.type, member.size = tarfile.XHDTYPE, 2**33
    path = tmp_path / "a.tar"
    with path.open("wb") as file:
        file.write(tar_of(sample("a", "jpg"))[:1024] + member.tobuf(tarfile.GNU_FORMAT))
        file.truncate(2**33 + 4096)
    descriptor = os.open(path, os.O_RDONLY)
    (rows, _), problems = tar_index._rows_of(descriptor, "a.tar")
    os.close(descriptor)
    assert len(rows) == 1
    assert "damaged headers, first at byte 1024" in problems.messages()[0]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "empty: 0 bytes"),
        (b"short", "not a tar: 5 bytes"),
        (b"\x1f\x8b" + bytes(2000), "not an uncompressed tar, or its first header is damaged; it is a gzip archive"),
        (bytes(range(256)) * 40, "not an uncompressed tar, or its first header is damaged"),
        (b"<html>" * 500, "not an uncompressed tar, or its first header is damaged; it is an HTML page"),
    ],
)
def test_what_is_no_tar_is_refused_by_name(content, message, tmp_path, cache):
    (tmp_path / "a.tar").write_bytes(content)
    with pytest.raises(ValueError, match=re.escape(f"{tmp_path}/a.tar: {message}")):
        index_shards([str(tmp_path / "a.tar")], cache)


# -- index files


@pytest.fixture
def shard(tmp_path):
    (tmp_path / "a.tar").write_bytes(tar_of(sample("a", "jpg", "txt") + sample("b", "jpg")))
    return str(tmp_path / "a.tar")


def test_an_index_is_built_once_and_holds_the_rows(shard, tmp_path, cache, monkeypatch):
    (version,), counts, _ = index_shards([shard], cache)
    path = index_path(cache.folder, version)
    assert counts == [stored_count(path)] == [2]
    rows, _ = indexed(tmp_path, (tmp_path / "a.tar").read_bytes(), "copy.tar")
    assert np.load(path, allow_pickle=False).tolist() == rows.tolist()
    assert path.stat().st_size == 256 + 2 * ROW.itemsize == 256 + 2 * 25
    monkeypatch.setattr(tar_index, "_build", lambda cache, job: pytest.fail("built again"))
    assert index_shards([shard], cache) == ([version], [2], [])


def test_a_changed_shard_has_another_index(shard, cache):
    (before,), *_ = index_shards([shard], cache)
    Path(shard).write_bytes(tar_of(sample("a", "jpg") + sample("b", "jpg") + sample("c", "jpg")))
    (after,), counts, _ = index_shards([shard], cache)
    assert (before != after, counts) == (True, [3])


@pytest.mark.parametrize("content", [b"", b"\x93NUMPY", b"garbage" * 100])
def test_a_damaged_index_is_built_anew(content, shard, cache):
    (version,), *_ = index_shards([shard], cache)
    path = index_path(cache.folder, version)
    path.write_bytes(content)
    assert stored_count(path) is None
    assert index_shards([shard], cache) == ([version], [2], [])


def test_a_cut_or_foreign_index_is_built_anew(shard, cache, tmp_path):
    (version,), *_ = index_shards([shard], cache)
    path = index_path(cache.folder, version)
    whole = path.read_bytes()
    path.write_bytes(whole[:-1])
    assert stored_count(path) is None
    np.save(path, np.zeros(3))
    assert stored_count(path) is None
    np.save(path, np.array([{}], dtype=object), allow_pickle=True)
    assert stored_count(path) is None
    index_shards([shard], cache)
    assert path.read_bytes() == whole


def test_many_shards_keep_their_order(tmp_path, cache):
    paths = []
    for number in range(20):
        paths.append(str(tmp_path / f"{number}.tar"))
        members = [member for base in range(number) for member in sample(base, "jpg")]
        (tmp_path / f"{number}.tar").write_bytes(tar_of(members)[: None if number != 7 else 1024 * 6])
    versions, counts, notes = index_shards(paths, cache)
    assert counts == [*range(7), 6, *range(8, 20)]
    assert [stored_count(index_path(cache.folder, version)) for version in versions] == counts
    assert notes == ["1 missing end marks, first 7.tar: at byte 6144, where the shard may be cut off"]
    assert index_shards(paths, cache) == (versions, counts, notes)  # at every opening
    assert index_row(index_path(cache.folder, versions[7]), 5) == index_row(index_path(cache.folder, versions[8]), 5)


def test_progress_is_shown_on_a_terminal_once_it_takes_long(shard, cache, monkeypatch, capfd):
    index_shards([shard], cache)
    assert capfd.readouterr().err == ""  # no terminal
    for seconds, shown in ((0.1, False), (10.0, True)):
        terminal, clock = io.StringIO(), itertools.count(0, seconds)
        monkeypatch.setattr(tar_index, "Console", lambda stderr, to=terminal: Console(file=to, force_terminal=True))
        monkeypatch.setattr(tar_index, "time", types.SimpleNamespace(monotonic=lambda clock=clock: next(clock)))
        assert list(tar_index._with_progress(iter([1, 2]), 2)) == [1, 2]
        assert ("indexing shards" in terminal.getvalue()) == shown
        assert bool(terminal.getvalue()) == shown


def test_a_missing_shard_is_named(shard, cache):
    with pytest.raises(FileNotFoundError, match=r"no\.tar"):
        index_shards([shard, "no.tar"], cache)


def test_two_processes_may_index_at_once(tmp_path, cache):
    paths = []
    for number in range(6):
        paths.append(str(tmp_path / f"{number}.tar"))
        (tmp_path / f"{number}.tar").write_bytes(tar_of([m for base in range(500) for m in sample(base, "jpg", "txt")]))

    def build():
        assert index_shards(paths, cache)[1] == [500] * 6

    processes = [multiprocessing.get_context("fork").Process(target=build) for _ in range(3)]
    for process in processes:
        process.start()
    for process in processes:
        process.join(20)
        assert process.exitcode == 0
    assert len(list((cache.folder / "index").iterdir())) == 6  # and nothing temporary
