"""The commands on images: what they write, and what they do with large, foreign and oddly named files and full disks."""

import io
import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors import safe_open
from safetensors.torch import load_file

import genlip
from genlip.cli.main import main
from genlip.speaker import Speaker
from genlip.train.loop import train_model

from ..data.helpers import READ, noise
from ..train.helpers import small_run

COMMANDS = ["caption", "encode", "readout"]
LATIN = os.fsdecode(b"caf\xe9.png")  # no UTF-8


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    return str(train_model(small_run(tmp_path_factory.mktemp("run"), steps=2)))


@pytest.fixture
def images(tmp_path):
    paths = [tmp_path / "in" / f"{name}.png" for name in "abcd"]
    paths[0].parent.mkdir()
    for seed, path in enumerate(paths):
        Image.fromarray(noise(40, 56, seed=seed)).save(path)
    return paths


def error_lines(capsys, *arguments):
    """What a failing command prints to standard error."""
    capsys.readouterr()
    assert main(list(map(str, arguments))) == 1
    return capsys.readouterr().err.splitlines()


def error_line(capsys, *arguments):
    (line,) = error_lines(capsys, *arguments)
    assert line.startswith("genlip: ")
    return line.removeprefix("genlip: ")


def records(path):
    return [json.loads(line) for line in path.read_text(encoding="utf8").splitlines()]


def run(program, *arguments, **how):
    """A program in a process of its own."""
    command = [sys.executable, "-c", f"import sys; from genlip.cli.main import main\n{program}", *map(str, arguments)]
    return subprocess.run(command, text=True, timeout=300, **{"capture_output": True} | how)


def test_a_saved_model_says_what_its_folder_lacks_and_speaks_once_it_is_copied(model, images, tmp_path, caplog, capsys):
    copy = genlip.save(genlip.load(model), tmp_path / "copy")
    few = [images[0], "--max-tokens", "4"]
    told = error_lines(capsys, "caption", copy, *few)
    assert told[-1] == (
        "genlip: this model came without a tokenizer.json: copy it from the folder of the model that it was made from, or "
        'name one, for published models Qwen/Qwen3-0.6B (Speaker.load(..., tokenizer="Qwen/Qwen3-0.6B"), --tokenizer on the '
        "command line)"
    )
    (lacks,) = caplog.messages
    assert lacks.startswith(f"{copy} has no preprocessing.json and no tokenizer.json: ")
    assert "copy preprocessing.json and tokenizer.json from the folder of the model that it was made from" in lacks
    for name in ("preprocessing.json", "tokenizer.json"):
        (copy / name).write_bytes((Path(model) / name).read_bytes())
    said = []
    for folder in (copy, model):
        assert main(["caption", str(folder), *map(str, few)]) == 0
        said.append(capsys.readouterr().out)
    assert said[0] == said[1]


# -- what files are


def test_every_foreign_file_is_told_by_its_kind_and_the_rest_is_done(model, images, tmp_path, capsys):
    files = {
        "iphone.jpg": (b"\0\0\0\x18ftypheic\0\0\0\0mif1heic" + bytes(200), "a HEIC image"),
        "vector.svg": (b'<svg xmlns="http://www.w3.org/2000/svg"/>', "an SVG drawing"),
        "empty.jpg": (b"", "an empty file"),
        "html.jpg": (b"<!DOCTYPE html><html>404</html>", "an HTML page"),
        "photo.jpg": (
            b"version https://git-lfs.github.com/spec/v1\noid sha256:1\nsize 9\n",
            "a Git LFS pointer, not the file itself (fetch it with: git lfs pull)",
        ),
    }
    for name, (data, _) in files.items():
        (tmp_path / name).write_bytes(data)
    out = tmp_path / "out.jsonl"
    paths = [tmp_path / name for name in files]
    lines = error_lines(capsys, "caption", model, *paths, images[0], "--max-tokens", "2", "--out", out)
    assert lines == [
        *(
            f"genlip: {path}: not an image in a known format: {found} {READ}"
            for path, (_, found) in zip(paths, files.values(), strict=True)
        ),
        "genlip: 5 of 6 images could not be used",
    ]
    assert [list(record) for record in records(out)] == [["path", "error"]] * 5 + [["path", "caption"]]


@pytest.mark.parametrize("command", COMMANDS)
def test_urls_are_refused_before_any_work(command, tmp_path, capsys):
    line = error_line(capsys, command, tmp_path / "no model", "https://example.org/cat.jpg")
    assert line == "https://example.org/cat.jpg: a URL, which is not fetched: download it"


# -- memory

PEAK = """
import resource
def peak():
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / (2**20 if sys.platform == "darwin" else 2**10)
small, *rest = sys.argv[1:]
main([rest[0], rest[1], small, *rest[3:]])
before = peak()
status = main(rest)
print(status, peak() - before, file=sys.stderr)
"""


def test_a_batch_of_large_images_is_resized_one_by_one(model, images, tmp_path):
    folder = tmp_path / "large"
    folder.mkdir()
    Image.new("L", (2000, 2000)).save(folder / "0.png")  # 12 MB in RGB, from 4 KB
    for number in range(1, 16):
        (folder / f"{number}.png").write_bytes((folder / "0.png").read_bytes())
    for command, more in (("caption", ["--max-tokens", "2"]), ("readout", ["--html", tmp_path / "page.html"])):
        done = run(PEAK, images[0], command, model, folder, "--dtype", "float32", *more)
        status, growth = done.stderr.split()
        assert status == "0"
        assert float(growth) < 100  # all at once are 192 MB


@pytest.mark.parametrize(
    ("error", "message"),
    [
        (MemoryError(), "not enough memory: none is left; use smaller batches, images or packs"),
        (
            RuntimeError("[enforce fail] DefaultCPUAllocator: can't allocate memory: 9 bytes"),
            "not enough memory: [enforce fail]",
        ),
        (torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2 GiB"), "not enough memory: CUDA out of memory."),
        (
            type("PanicException", (BaseException,), {})("index out of bounds"),
            "a library failed on its input, probably a damaged tokenizer.json: index out of bounds",
        ),
    ],
)
def test_lack_of_memory_and_a_panic_are_one_line_and_what_is_done_is_kept(
    error, message, model, images, tmp_path, capsys, monkeypatch
):
    caption, calls = Speaker.caption, []

    def fail_at_the_second(self, batch, *rest, **how):
        calls.append(len(batch))
        if len(calls) == 2:
            raise error
        return caption(self, batch, *rest, **how)

    monkeypatch.setattr(Speaker, "caption", fail_at_the_second)
    out = tmp_path / "out.jsonl"
    line = error_line(capsys, "caption", model, *images, "--batch-size", 2, "--max-tokens", 2, "--out", out)
    assert line.startswith(message)
    assert [record["path"] for record in records(out)] == [str(path) for path in images[:2]]


def test_other_errors_of_a_program_keep_their_traceback(model, images, monkeypatch):
    monkeypatch.setattr(Speaker, "caption", lambda *_, **__: (_ for _ in ()).throw(RuntimeError("shapes differ")))
    with pytest.raises(RuntimeError, match="shapes differ"):
        main(["caption", model, str(images[0])])


# -- what is written


def test_features_are_written_as_npz_for_numpy_alone(model, images, tmp_path, capsys):
    for dtype in ("float32", "bfloat16"):
        names = [tmp_path / f"{dtype}.{suffix}" for suffix in ("npz", "safetensors", "SafeTensors")]
        for out in names:
            assert main(["encode", model, *map(str, images), "--out", str(out), "--dtype", dtype]) == 0
        found, expected = np.load(names[0], allow_pickle=False), load_file(names[1])
        assert found["paths"].tolist() == [str(path) for path in images]
        assert found["grids"].tolist() == expected["grids"].tolist()
        assert found["features"].dtype == np.float32
        assert (found["features"] == expected["features"].float().numpy()).all()
        assert names[2].read_bytes() == names[1].read_bytes()
    assert sorted(path.name for path in tmp_path.glob("*.partial")) == []


@pytest.mark.parametrize("name", ["x.npy", "x.pt", "x.csv"])
def test_features_are_refused_under_a_suffix_of_another_format(name, tmp_path, capsys):
    line = error_line(capsys, "encode", tmp_path / "no model", "a.png", "--out", tmp_path / name)
    assert line == f"--out {tmp_path / name}: features are written as .safetensors or .npz; the name must end in one of them"
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("command", COMMANDS)
def test_a_folder_is_no_output(command, tmp_path, capsys):
    (tmp_path / "x.npz").mkdir()
    line = error_line(capsys, command, tmp_path / "no model", "a.png", "--out", tmp_path / "x.npz")
    assert line == f"--out {tmp_path / 'x.npz'}: is a folder; name a file"


def test_readout_writes_both_page_and_words_and_passes_over_a_broken_image(model, images, tmp_path, capsys):
    images[1].write_bytes(b"no image")
    page, out = tmp_path / "page.html", tmp_path / "words.jsonl"
    lines = error_lines(capsys, "readout", model, *images, "-k", 2, "--html", page, "--out", out, "--batch-size", 3)
    assert [line.partition(": not an image")[0] for line in lines] == [
        f"genlip: {images[1]}", "genlip: 1 of 4 images could not be used"
    ]  # fmt: skip
    html = page.read_text(encoding="utf8")
    assert [html.count(f"<h2>{path.name}</h2>") for path in images] == [1, 0, 1, 1]
    expected = genlip.Speaker.load(model).readout([images[0], *images[2:]], 2)
    found = [record for record in records(out) if "words" in record]
    assert [[[tuple(pair) for pair in words] for words in one["words"]] for one in found] == [one.words for one in expected]
    assert main(["readout", model, str(images[0]), "-k", "2", "--html", str(tmp_path / "alone.html")]) == 0
    assert genlip.evaluate.readout.page.readout_page(genlip.Speaker.load(model), [images[0]], 2) == (
        tmp_path / "alone.html"
    ).read_text(encoding="utf8")


def test_a_page_holds_so_many_images_and_says_so_before_any_work(model, images, tmp_path, capsys):
    for number in range(201):
        (tmp_path / "in" / f"{number}.png").write_bytes(b"")
    line = error_line(capsys, "readout", model, tmp_path / "in", "--html", tmp_path / "page.html")
    assert line == f"--html {tmp_path / 'page.html'}: 205 images, a page holds 200; name fewer, or use --out"


# -- full disks


def limited(size, *arguments):
    """A command that may write no file of more than so many bytes, as on a full disk."""
    limit = f"import resource; resource.setrlimit(resource.RLIMIT_FSIZE, ({size}, {size})); sys.exit(main(sys.argv[1:]))"
    return run(limit, *arguments, "--dtype", "float32")


@pytest.mark.parametrize("name", ["f.safetensors", "f.npz"])
def test_features_that_do_not_fit_are_one_line_and_the_old_file_stays(name, model, images, tmp_path):
    out = tmp_path / name
    out.write_bytes(b"old")
    done = limited(2000, "encode", model, *images, "--out", out)
    assert (done.returncode, done.stdout) == (1, "")
    (line,) = done.stderr.splitlines()
    assert line.startswith(f"genlip: {out}: cannot be written: ")
    assert "File too large" in line
    assert [path.name for path in tmp_path.iterdir() if path.is_file()] == [name]
    assert out.read_bytes() == b"old"


def test_pages_that_do_not_fit_are_one_line(model, images, tmp_path):
    done = limited(2000, "readout", model, images[0], "--html", tmp_path / "page.html")
    assert done.stderr == f"genlip: {tmp_path / 'page.html'}: cannot be written: File too large\n"
    assert not list(tmp_path.glob("page*"))


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="only Linux has a disk that is always full")
def test_records_that_do_not_fit_are_one_line(model, images, capsys):
    for command in ("caption", "readout"):
        line = error_line(capsys, command, model, images[0], "--out", "/dev/full")
        assert line == "/dev/full: cannot be written: No space left on device"
    with Path("/dev/full").open("w") as full:
        program = "sys.exit(main(sys.argv[1:]))"
        done = run(
            program,
            "caption",
            model,
            *images,
            "--max-tokens",
            2,
            "--dtype",
            "float32",
            capture_output=False,
            stdout=full,
            stderr=subprocess.PIPE,
        )
    assert (done.returncode, done.stderr) == (1, "genlip: standard output: cannot be written: No space left on device\n")
    assert Path("/dev/full").is_char_device()


# -- closed outputs, names and terminals


def test_a_closed_standard_output_takes_nothing(model, images, tmp_path):
    def closed(*arguments):
        genlip_command = f'exec "{sys.executable}" -m genlip "$@" >&-'
        command = ["sh", "-c", genlip_command, "sh", *map(str, arguments)]
        return subprocess.run(command, stderr=subprocess.PIPE, text=True, timeout=300)

    done = closed("caption", model, images[0], "--dtype", "float32")
    assert (done.returncode, done.stderr) == (0, "")
    done = closed("encode", model, images[0], "--dtype", "float32", "--out", tmp_path / "f.npz")
    assert (done.returncode, done.stderr) == (0, "")
    assert len(np.load(tmp_path / "f.npz")["paths"]) == 1


@pytest.fixture
def latin(tmp_path):
    folder = tmp_path / "latin"
    folder.mkdir()
    try:
        Image.fromarray(noise(32, 32)).save(folder / LATIN)
    except OSError:
        pytest.skip("this file system takes UTF-8 alone")
    return folder


def test_names_that_are_no_utf8_are_written_so_that_they_name_the_file(latin, model, tmp_path, capsys):
    out = tmp_path / "out"
    for command in ("caption", "readout"):
        assert main([command, model, str(latin), "--out", str(out)]) == 0
        assert b"caf\\udce9.png" in out.read_bytes()
        assert Path(records(out)[0]["path"]).is_file()
    for suffix in ("npz", "safetensors"):
        assert main(["encode", model, str(latin), "--out", f"{out}.{suffix}"]) == 0
    assert Path(np.load(f"{out}.npz", allow_pickle=False)["paths"][0]).is_file()
    with safe_open(f"{out}.safetensors", "pt") as file:
        assert Path(json.loads(file.metadata()["paths"])[0]).is_file()
    assert main(["readout", model, str(latin), "--html", f"{out}.html"]) == 0
    assert r"<h2>caf\xe9.png</h2>" in Path(f"{out}.html").read_text(encoding="utf8")  # as a terminal shows it


@pytest.mark.parametrize("encoding", ["ascii", "latin-1", "utf8"])
def test_what_a_terminal_lacks_is_escaped(encoding, latin, model, images, monkeypatch):
    said = "“a café”"
    monkeypatch.setattr(Speaker, "caption", lambda self, batch, *_, **__: [said] * len(batch))
    written = io.BytesIO()
    monkeypatch.setattr("sys.stdout", io.TextIOWrapper(written, encoding=encoding))
    assert main(["caption", model, str(latin), str(images[0])]) == 0
    shown = said.encode(encoding, "backslashreplace")
    assert written.getvalue() == os.fsencode(latin) + b"/caf\\xe9.png: " + shown + b"\n" + (
        os.fsencode(images[0]) + b": " + shown + b"\n"
    )
