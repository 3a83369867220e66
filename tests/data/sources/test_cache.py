"""`genlip.data.sources.cache`: one download per machine, the limit, and what killed processes leave."""

import logging
import multiprocessing
import os
import signal
import time
from pathlib import Path

import fsspec
import pytest

from genlip.data.sources import cache as module
from genlip.data.sources.cache import ShardCache, cache_folder, fingerprint
from genlip.model.writing import write_whole

from .far import Far, register

FORK = multiprocessing.get_context("fork")


@pytest.fixture(autouse=True)
def downloads(tmp_path, monkeypatch):
    """The log of downloads, with waits that take no time."""
    monkeypatch.setenv("GENLIP_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(module, "_WAITS", (0.0, 0.0, 0.0))
    return register(monkeypatch, tmp_path)


@pytest.fixture
def shards(tmp_path):
    """Five remote shards of 1,000 bytes."""
    for number in range(5):
        (tmp_path / f"{number}.tar").write_bytes(bytes([number]) * 1000)
    return [f"far://{tmp_path}/{number}.tar" for number in range(5)]


def content(cache, path, version=None):
    descriptor = cache.open(path, version)
    try:
        return os.pread(descriptor, 10**6, 0)
    finally:
        os.close(descriptor)


def lines(log):
    return log.read_text().splitlines()


def kept(cache):
    return sorted(path.name for path in (cache.folder / "shards").iterdir())


def at_once(function, count):
    processes = [FORK.Process(target=function, args=(number,)) for number in range(count)]
    for process in processes:
        process.start()
    for process in processes:
        process.join(20)
        assert process.exitcode == 0


# -- where and how much


def test_the_folder_is_the_users_choice_then_the_systems(tmp_path, monkeypatch):
    assert cache_folder() == tmp_path / "cache"
    monkeypatch.delenv("GENLIP_CACHE")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "xdg"))
    assert cache_folder() == tmp_path / "xdg/genlip"
    monkeypatch.delenv("XDG_CACHE_HOME")
    monkeypatch.setenv("HOME", str(tmp_path))
    assert cache_folder() == tmp_path / ".cache/genlip"


def test_the_limit_is_in_gib(tmp_path, monkeypatch):
    assert ShardCache.default() == ShardCache(tmp_path / "cache", 50 * 2**30)
    monkeypatch.setenv("GENLIP_CACHE_LIMIT", "0.5")
    assert ShardCache.default().limit_bytes == 2**29
    for text in ("much", "inf", "nan"):
        monkeypatch.setenv("GENLIP_CACHE_LIMIT", text)
        with pytest.raises(ValueError, match=f"GENLIP_CACHE_LIMIT is '{text}'; need a number of GiB"):
            ShardCache.default()


# -- what is fetched


def test_a_local_file_is_opened_where_it_is(tmp_path, downloads):
    (tmp_path / "a.tar").write_bytes(b"here")
    cache = ShardCache.default()
    assert content(cache, str(tmp_path / "a.tar")) == b"here"
    assert not cache.folder.exists()
    with pytest.raises(FileNotFoundError):
        cache.open(str(tmp_path / "no.tar"))


def test_a_remote_file_is_fetched_once(shards, downloads):
    cache = ShardCache.default()
    for _ in range(3):
        assert [content(cache, url) for url in shards] == [bytes([number]) * 1000 for number in range(5)]
    assert lines(downloads) == [url.removeprefix("far://") for url in shards]


def test_what_fsspec_keeps_in_memory_is_remote_too():
    fsspec.filesystem("memory").pipe("/x/a.tar", b"far away")
    assert content(ShardCache.default(), "memory://x/a.tar") == b"far away"


def test_a_changed_file_is_fetched_anew(tmp_path, shards, downloads):
    cache, version = ShardCache.default(), fingerprint(shards[0])
    content(cache, shards[0])
    (tmp_path / "0.tar").write_bytes(b"y" * 1000)
    os.utime(tmp_path / "0.tar", ns=(1, 1))
    assert content(cache, shards[0]) == b"y" * 1000
    assert len(lines(downloads)) == 2
    assert content(cache, shards[0], version) == bytes(1000)  # an opened source goes on with what it has


def test_a_run_refuses_a_file_that_changed_before_it_came(tmp_path, shards):
    cache, version = ShardCache.default(), fingerprint(shards[0])
    (tmp_path / "0.tar").write_bytes(b"y" * 999)
    with pytest.raises(OSError, match=f"{shards[0]}: has changed since it was opened"):
        cache.open(shards[0], version)


@pytest.mark.parametrize("mark", ["ETag", "mtime", "LastModified", "xet_hash", "Last-Modified"])
def test_a_fingerprint_follows_size_mark_and_address(mark, monkeypatch):
    told = {"size": 7, mark: "a"}
    monkeypatch.setattr(module, "_info", lambda url: told)
    same = fingerprint("s3://b/a.tar")
    assert fingerprint("s3://b/b.tar") != same
    told["created"] = "today"  # a mark less sure than the first
    assert fingerprint("s3://b/a.tar") == same
    told[mark] = "b"
    assert fingerprint("s3://b/a.tar") != same
    told |= {mark: "a", "size": 8}
    assert fingerprint("s3://b/a.tar") != same


def test_a_local_fingerprint_follows_size_time_and_place(tmp_path, monkeypatch):
    path = tmp_path / "a.tar"
    path.write_bytes(b"123")
    os.utime(path, ns=(0, 5))
    same = fingerprint(str(path))
    monkeypatch.chdir(tmp_path)
    assert fingerprint("a.tar") == same
    os.utime(path, ns=(0, 6))
    assert fingerprint(str(path)) != same
    os.utime(path, ns=(0, 5))
    path.rename(tmp_path / "b.tar")
    assert fingerprint(str(tmp_path / "b.tar")) != same


# -- failures


def test_a_failed_download_is_tried_again(shards, downloads, caplog):
    Far.failures = (RuntimeError("reset by peer"), OSError("timeout"))
    with caplog.at_level(logging.WARNING):
        assert content(ShardCache.default(), shards[1]) == b"\1" * 1000
    assert len(lines(downloads)) == 3
    assert "reset by peer" in caplog.text
    assert shards[1] in caplog.text


def test_after_a_few_attempts_the_address_and_the_cause_are_named(shards, downloads, monkeypatch):
    waits = []
    monkeypatch.setattr(module, "_WAITS", (1.0, 4.0))
    monkeypatch.setattr(module.time, "sleep", waits.append)
    Far.failures = tuple(RuntimeError("reset by peer") for _ in range(10))
    with pytest.raises(OSError, match=rf"{shards[0]}: cannot be read after 3 attempts: RuntimeError\('reset by peer'\)"):
        ShardCache.default().open(shards[0])
    assert waits == [1.0, 4.0]
    Far.failures = ()
    assert content(ShardCache.default(), shards[0]) == bytes(1000)  # the lock is free again


def test_a_missing_file_is_not_asked_for_again(tmp_path, downloads):
    with pytest.raises(FileNotFoundError):
        ShardCache.default().open(f"far://{tmp_path}/no.tar")
    assert lines(downloads) == []


def test_a_short_download_is_not_taken_for_a_shard(shards, monkeypatch):
    monkeypatch.setattr(Far, "get_file", lambda self, rpath, lpath, **kwargs: Path(lpath).write_bytes(b"half"))
    cache = ShardCache.default()
    with pytest.raises(OSError, match="4 of 1000 bytes arrived"):
        cache.open(shards[0])
    assert not [name for name in kept(cache) if not name.endswith(".part")]


# -- the limit


def test_the_least_recently_opened_make_room(tmp_path, shards):
    cache = ShardCache(tmp_path / "cache", 3000)
    names = [fingerprint(url) for url in shards]
    for number in (0, 1, 2, 0, 3):  # 0 is opened again, so that 1 is the oldest
        content(cache, shards[number])
        time.sleep(0.01)  # times of files come in steps
    assert kept(cache) == sorted(names[number] for number in (0, 2, 3))
    content(cache, shards[4])
    assert kept(cache) == sorted(names[number] for number in (0, 3, 4))


def test_room_is_made_before_a_shard_comes(tmp_path, shards, monkeypatch):
    cache, most = ShardCache(tmp_path / "cache", 2500), []
    plain = Far.get_file

    def measured(self, rpath, lpath, **kwargs):
        plain(self, rpath, lpath, **kwargs)
        most.append(sum(path.stat().st_size for path in (cache.folder / "shards").iterdir()))

    monkeypatch.setattr(Far, "get_file", measured)
    for url in shards:
        content(cache, url)
    assert max(most) == 2000


def test_one_shard_is_kept_however_large(tmp_path, shards):
    cache = ShardCache(tmp_path / "cache", 10)
    for url in shards:
        assert len(content(cache, url)) == 1000
        assert kept(cache) == [fingerprint(url)]


def test_an_open_shard_stays_readable_when_it_is_evicted(tmp_path, shards):
    cache = ShardCache(tmp_path / "cache", 1000)
    descriptor = cache.open(shards[0])
    content(cache, shards[1])
    assert kept(cache) == [fingerprint(shards[1])]
    assert os.pread(descriptor, 5, 995) == bytes(5)
    os.close(descriptor)


def test_an_eviction_between_finding_and_opening_is_survived(tmp_path, shards, downloads):
    cache, tries = ShardCache.default(), []

    def opener(path):
        tries.append(path)
        if len(tries) == 1:
            path.unlink()
        return path.read_bytes()

    assert cache.open_with(shards[2], opener) == b"\2" * 1000
    assert len(lines(downloads)) == len(tries) == 2


# -- several processes


def test_several_processes_fetch_a_shard_once(shards, downloads, monkeypatch):
    monkeypatch.setattr(Far, "delay", 0.3)

    def read(number):
        assert content(ShardCache.default(), shards[0]) == bytes(1000)

    at_once(read, 6)
    assert len(lines(downloads)) == 1


def test_processes_in_a_narrow_cache_read_what_they_asked_for(tmp_path, shards):
    def read(seed):
        cache = ShardCache(tmp_path / "cache", 2000)
        for step in range(60):
            number = (step * (seed + 1)) % 5
            assert content(cache, shards[number]) == bytes([number]) * 1000

    at_once(read, 4)


def killed_download(url):
    process = FORK.Process(target=lambda: ShardCache.default().open(url))
    process.start()
    folder = cache_folder() / "shards"
    while not (folder.exists() and any(path.stat().st_size for path in folder.glob("*.part"))):
        time.sleep(0.01)
    os.kill(process.pid, signal.SIGKILL)
    process.join()


def test_a_killed_download_blocks_nobody(shards, monkeypatch):
    monkeypatch.setattr(Far, "delay", 60.0)
    killed_download(shards[3])
    assert [name.endswith(".part") for name in kept(ShardCache.default())] == [True]
    monkeypatch.setattr(Far, "delay", 0.0)
    assert content(ShardCache.default(), shards[3]) == b"\3" * 1000
    assert kept(ShardCache.default()) == [fingerprint(shards[3])]


def test_what_a_killed_download_left_goes_with_the_next_shard(shards, monkeypatch):
    monkeypatch.setattr(Far, "delay", 60.0)
    killed_download(shards[3])
    monkeypatch.setattr(Far, "delay", 0.0)
    content(ShardCache.default(), shards[0])
    assert kept(ShardCache.default()) == [fingerprint(shards[0])]


def test_a_download_on_its_way_is_left_alone(shards, monkeypatch):
    monkeypatch.setattr(Far, "delay", 1.0)
    process = FORK.Process(target=lambda: ShardCache.default().open(shards[3]))
    process.start()
    while not list((cache_folder() / "shards").glob("*.part")):
        time.sleep(0.01)
    monkeypatch.setattr(Far, "delay", 0.0)
    cache = ShardCache(cache_folder(), 10)
    content(cache, shards[0])
    assert f"{fingerprint(shards[3])}.part" in kept(cache)
    process.join(20)
    assert process.exitcode == 0


# -- files written whole


def test_a_file_is_replaced_whole_or_not_at_all(tmp_path):
    path = tmp_path / "deep/index"
    with write_whole(path) as part:
        part.write_bytes(b"one")
        assert not path.exists()

    def fail():
        with write_whole(path) as part:
            part.write_bytes(b"tw")
            raise RuntimeError

    with pytest.raises(RuntimeError):
        fail()
    assert [child.read_bytes() for child in path.parent.iterdir()] == [b"one"]
