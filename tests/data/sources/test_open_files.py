"""`genlip.data.sources.open_files`: one pool of open files for all sources of a process."""

import gc
import resource

import pytest

from genlip.data.sources.open_files import OpenFiles


class Owner:
    """Stands for a source."""


def test_what_is_open_is_given_again_and_the_least_recently_used_goes_first():
    pool, owner, opened = OpenFiles(2), Owner(), []

    def get(key):
        return pool.get(owner, key, lambda: opened.append(key) or f"file {key}")

    assert [get(key) for key in "aabab"] == ["file a", "file a", "file b", "file a", "file b"]
    assert opened == ["a", "b"]
    get("c")  # a goes
    assert [get(key) for key in "bca"] == ["file b", "file c", "file a"]
    assert opened == ["a", "b", "c", "a"]


def test_owners_share_the_pool_but_not_their_files():
    pool, one, two = OpenFiles(2), Owner(), Owner()
    assert pool.get(one, 0, lambda: "one") == "one"
    assert pool.get(two, 0, lambda: "two") == "two"
    assert pool.get(one, 1, lambda: "more") == "more"
    assert len(pool.opened) == 2
    del one
    gc.collect()
    assert list(pool.opened.values()) == ["two"]


@pytest.mark.parametrize(("soft", "limit"), [(16, 2), (256, 32), (1024, 64), (4, 1), (resource.RLIM_INFINITY, 64)])
def test_the_pool_takes_a_share_of_what_the_system_allows(soft, limit, monkeypatch):
    monkeypatch.setattr(resource, "getrlimit", lambda which: (soft, soft))
    assert OpenFiles(64).limit() == limit
