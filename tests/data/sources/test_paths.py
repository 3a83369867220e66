"""`genlip.data.sources.paths`: which files a specification means, against the shell's own expansion."""

import os
import subprocess

import fsspec
import pytest

from genlip.data.sources import paths
from genlip.data.sources.paths import expand, file_system, is_remote


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("GENLIP_CACHE", str(tmp_path / "cache"))


@pytest.fixture
def memory():
    system = fsspec.filesystem("memory")
    yield system
    system.store.clear()
    system.pseudo_dirs[:] = [""]


def touched(folder, *names):
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).touch()


@pytest.fixture
def tree(tmp_path, monkeypatch):
    touched(tmp_path, "b.tar", "a.tar", "c.txt", "deep/er/d.tar", "deep/e.tar", "train-0.tar", "train-1.tar")
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.mark.parametrize(
    ("spec", "expected"),
    [
        ("a.tar", ["a.tar"]),
        ("deep", ["deep"]),
        ("?.tar", ["a.tar", "b.tar"]),
        ("[bc].*", ["b.tar", "c.txt"]),
        ("*/*.tar", ["deep/e.tar"]),
        ("**/*.tar", ["a.tar", "b.tar", "deep/e.tar", "deep/er/d.tar", "train-0.tar", "train-1.tar"]),
        ("{b,a}.tar", ["b.tar", "a.tar"]),
        ("train-{1..0}.tar", ["train-1.tar", "train-0.tar"]),
        ("{train-*,a}.tar", ["train-0.tar", "train-1.tar", "a.tar"]),
        ("{b,*}.tar", ["b.tar", "a.tar", "train-0.tar", "train-1.tar"]),  # b once
    ],
)
def test_globs_are_sorted_and_braces_keep_their_order(spec, expected, tree):
    assert expand(spec) == expected
    assert expand(f"{tree}/{spec}") == [f"{tree}/{path}" for path in expected]
    assert expand(f"file://{tree}/{spec}") == [f"{tree}/{path}" for path in expected]


def test_a_glob_finds_files_only(tree):
    touched(tree, "dir.tar/x")
    assert expand("*.tar") == ["a.tar", "b.tar", "train-0.tar", "train-1.tar"]
    with pytest.raises(FileNotFoundError, match=r"dir\*: matches no file"):
        expand("dir*")


def test_home_is_known(tree, monkeypatch):
    monkeypatch.setenv("HOME", str(tree))
    assert expand("~/*.txt") == expand("~/c.txt") == [f"{tree}/c.txt"]


@pytest.mark.parametrize("name", ["odd[1].tar", "odd{1..2}.tar", "odd{a,b}.tar", "odd?.tar", "odd*.tar", "odd{}.tar"])
def test_a_file_may_have_signs_in_its_name(name, tree):
    touched(tree, name)
    assert expand(name) == [name]
    assert expand(f"file://{tree}/{name}") == [f"{tree}/{name}"]


@pytest.mark.parametrize(
    "spec",
    [
        "{0..12}",
        "{00..12}",
        "{000..3}",
        "{8..011}",
        "{9..07}",
        "{5..5}",
        "x{1..2}y{a,b}z{03..01}",
        "{a,}{1..3}",
        "{a}b{1..2}",
        "{}x",
    ],
)
def test_braces_mean_what_the_shell_takes_them_for(spec):
    shell = subprocess.run(["bash", "-c", f"printf '%s\\n' far/{spec}"], check=True, capture_output=True, text=True)
    assert expand(f"far://{spec}") == [f"far://{line.removeprefix('far/')}" for line in shell.stdout.splitlines()]


def test_a_million_files_and_no_more():
    assert len(expand("s3://b/{000000..999999}.tar")) == paths.MAX_MEMBERS
    for spec in ("s3://b/{0..1000000}.tar", "s3://{0..999}/{0..99}/{0..99}", "s3://b/{0..99999999999999999}"):
        with pytest.raises(ValueError, match="the limit is 1,000,000"):
            expand(spec)
    with pytest.raises(ValueError, match="range of numbers this long"):
        expand(f"s3://b/{{0..{'9' * 5000}}}")


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        ("no.tar", "no.tar: no such file"),
        ("no*.tar", "no*.tar: matches no file"),
        ("train-{0..3}.tar", "train-2.tar (of train-{0..3}.tar): no such file"),
        ("{a,no}*.tar", "no*.tar (of {a,no}*.tar): matches no file"),
    ],
)
def test_what_is_missing_is_named(spec, message, tree):
    with pytest.raises(FileNotFoundError) as error:
        expand(spec)
    assert str(error.value) == message


def test_globs_of_a_remote_file_system(memory):
    for name in ("/set/b.tar", "/set/a.tar", "/set/c.txt", "/set/deep/d.tar"):
        memory.pipe(name, b"")
    assert [file_system(url)[1] for url in expand("memory://set/*.tar")] == ["/set/a.tar", "/set/b.tar"]
    assert all(is_remote(url) for url in expand("memory://set/*.tar"))
    assert [file_system(url)[1] for url in expand("memory://set/**/*.tar")] == [
        "/set/a.tar",
        "/set/b.tar",
        "/set/deep/d.tar",
    ]
    assert len(expand("memory://set/*")) == 3  # no folder among them
    with pytest.raises(FileNotFoundError, match=r"memory://set/\*\.zip: matches no file"):
        expand("memory://set/*.zip")


def test_remote_files_without_a_glob_are_not_looked_up():
    assert expand("s3://bucket/{00..02}.tar") == [f"s3://bucket/{i:02}.tar" for i in range(3)]
    assert expand("https://host/a.tar?download=true") == ["https://host/a.tar?download=true"]


@pytest.mark.parametrize(("url", "package"), [("s3://b/*.tar", "s3fs"), ("gs://b/*.tar", "gcsfs"), ("abfs://b/*", "adlfs")])
def test_a_missing_package_is_named_with_its_command(url, package, monkeypatch):
    def missing(url):
        raise ImportError("Install it")

    monkeypatch.setattr(fsspec.core, "url_to_fs", missing)
    with pytest.raises(ImportError) as error:
        expand(url)
    assert f"`pip install {package}`" in str(error.value)
    assert str(error.value).startswith(url)
    assert "\n" not in str(error.value)


def test_an_unknown_protocol_is_refused():
    with pytest.raises(ValueError, match=r"nosuch://x/\*: Protocol not known: nosuch"):
        expand("nosuch://x/*")


@pytest.mark.parametrize("path", ["a.tar", "/a/b.tar", "file:///a.tar", "local:///a.tar", "C:\\a.tar", os.curdir])
def test_local_paths(path):
    assert not is_remote(path)


@pytest.mark.parametrize("path", ["s3://b/a", "https://h/a", "memory://a", "hf://datasets/a/b", "S3://b/a"])
def test_remote_paths(path):
    assert is_remote(path)
