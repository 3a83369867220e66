"""`genlip.data.file_search`: which files a folder or a pattern means."""

import os
from pathlib import Path

import pytest
from PIL import Image

from genlip.data.file_search import files_of, first_names, image_files, subfolders, walk
from genlip.data.images import _FORMATS, IMAGE_SUFFIXES

from .helpers import written


def names(folder):
    return [str(Path(path).relative_to(folder)) for path in walk(folder).files]


def test_files_come_in_the_order_of_paths(tmp_path):
    for name in ("b/a.png", "b.png", "a/z.png", "a/b/c.png", "a-.png"):
        written(tmp_path, name, "")
    assert names(tmp_path) == [str(path.relative_to(tmp_path)) for path in sorted(tmp_path.rglob("*.png"))]


def test_hidden_names_and_those_of_other_systems_are_passed_over(tmp_path):
    for name in (
        "a.png",
        "._a.png",
        ".hidden/b.png",
        "__MACOSX/a.png",
        "c/.ipynb_checkpoints/d.png",
        "c/__MACOSX/._e",
        "@eaDir/a.png",
        "lost+found/a.png",
        "c/$RECYCLE.BIN/a.png",
        "System Volume Information/a.png",
    ):
        written(tmp_path, name, "")
    assert names(tmp_path) == ["a.png"]
    assert subfolders(tmp_path) == ["c"]
    assert names(tmp_path / ".hidden") == ["b.png"]  # what a user names is meant


def test_links_are_followed_once_and_never_in_a_circle(tmp_path):
    written(tmp_path, "images/a.png", "")
    written(tmp_path, "disk/b.png", "")
    written(tmp_path, "disk/deep/c.png", "")
    for name, target in (("more", "../disk"), ("again", "../disk"), ("loop", "."), ("self", "self"), ("zz.png", "nowhere")):
        (tmp_path / "images" / name).symlink_to(target)
    (tmp_path / "disk/deep/up").symlink_to("../../images")
    walked = walk(tmp_path / "images")
    assert names(tmp_path / "images") == ["a.png", "again/b.png", "again/deep/c.png"]
    assert [Path(path).name for path in walked.again] == ["up", "loop", "more"]
    assert walked.notes() == [
        "2 broken links or special files are left out: self, zz.png",
        "3 links lead to folders that were already read: up, loop, more",
    ]


def test_a_folder_is_named_by_its_own_path_if_a_link_leads_to_it_too(tmp_path):
    written(tmp_path, "z/a.png", "")
    (tmp_path / "b").mkdir()
    (tmp_path / "b/link").symlink_to("../z")
    assert names(tmp_path) == ["z/a.png"]


def test_special_files_are_left_out_and_told(tmp_path):
    written(tmp_path, "a.png", "")
    os.mkfifo(tmp_path / "b.png")
    walked = walk(tmp_path)
    assert (names(tmp_path), walked.notes()) == (["a.png"], ["1 broken links or special files are left out: b.png"])


def test_every_suffix_of_a_format_that_is_read_is_known():
    known = {suffix for suffix, kind in Image.registered_extensions().items() if kind in _FORMATS}
    assert known <= set(IMAGE_SUFFIXES)


def test_pictures_of_other_formats_are_told(tmp_path):
    for name in ("a.JFIF", "b.svg", "c.HEIC", "d.svg", "e.svg", "notes.md"):
        written(tmp_path, name, "")
    walked = walk(tmp_path)
    assert [Path(path).name for path in walked.images()] == ["a.JFIF"]
    told = ["4 files of formats that are not read (.heic, .svg) are left out: b.svg, c.HEIC, d.svg, …"]
    assert walked.unread_pictures() == told
    assert image_files([str(tmp_path)]) == ([f"{tmp_path}/a.JFIF"], [f"{tmp_path}: {told[0]}"])


def test_names_in_messages_can_be_written():
    assert first_names([os.fsdecode(b"x/caf\xe9.png"), "b.png"]) == "caf\\xe9.png, b.png"


@pytest.mark.parametrize("folder", ["plain", "photos [2024]", "a*b", "{x}"])
def test_a_glob_may_lie_in_a_folder_of_any_name(folder, tmp_path):
    for name in ("1.png", "2.png", "3.txt"):
        written(tmp_path, f"{folder}/{name}", "")
    (tmp_path / folder / "4.png").mkdir()
    assert files_of(f"{tmp_path}/{folder}/*.png") == [f"{tmp_path}/{folder}/{n}.png" for n in (1, 2)]
    assert files_of(f"{tmp_path}/{folder}/1.png") == [f"{tmp_path}/{folder}/1.png"]
    assert files_of(f"{tmp_path}/{folder}/[12].png") == ([] if "[" in folder else files_of(f"{tmp_path}/{folder}/*.png"))
    assert files_of(f"{tmp_path}/{folder}/9*") == []


def test_a_pipe_among_the_files_of_a_glob_is_refused(tmp_path):
    written(tmp_path, "a.png", "")
    os.mkfifo(tmp_path / "b.png")
    for pattern in ("*.png", "b.png"):
        with pytest.raises(ValueError, match=r"b\.png: is a named pipe; need a file"):
            files_of(f"{tmp_path}/{pattern}")


def test_images_are_named_once_each_also_from_a_home(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    written(tmp_path, "pictures/a.png", "")
    expected = [f"{tmp_path}/pictures/a.png"]
    assert image_files(["~/pictures", "~/pictures/*.png", "~/pictures/a.png"]) == (expected, [])
    for missing, kind in {
        "~/none": "file or folder",
        "~/none/": "folder",
        "~/no.d/": "folder",
        "~/none.png": "file",
    }.items():
        with pytest.raises(FileNotFoundError, match=f"^{missing}: no such {kind}$"):
            image_files([missing])
