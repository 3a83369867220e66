"""The command line: every command on a tiny model, and errors that are one line with a status."""

import json
import os
import re
import subprocess
import sys
from contextlib import suppress

import pytest
import torch
from PIL import Image
from safetensors import safe_open
from safetensors.torch import load_file

import genlip
from genlip.cli.main import main
from genlip.terminal import harmless
from genlip.train.loop import train_model
from genlip.train.update import NonFinite

from ..train.helpers import small_run
from .helpers import error_line


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    return str(train_model(small_run(tmp_path_factory.mktemp("run"), steps=2)))


@pytest.fixture
def images(tmp_path):
    paths = [tmp_path / "in" / name for name in ("a.png", "b.jpg", "c.png")]
    paths[0].parent.mkdir()
    for i, path in enumerate(paths):
        Image.new("RGB", (70 + i, 50), (80 * i, 100, 30)).save(path)
    return paths


def test_caption_says_what_python_says(model, images, capsys):
    assert main(["caption", model, *map(str, images), "--max-tokens", "6", "--dtype", "float32"]) == 0
    expected = genlip.Speaker.load(model).caption(images, max_tokens=6)
    assert capsys.readouterr().out == "".join(f"{p}: {harmless(text)}\n" for p, text in zip(images, expected, strict=True))


def test_caption_takes_folders_and_globs_and_writes_jsonl(model, images, tmp_path, capsys):
    out = tmp_path / "captions.jsonl"
    folder = images[0].parent
    assert (
        main(
            [
                "caption",
                model,
                str(folder),
                str(folder / "*.png"),
                "--out",
                str(out),
                "--batch-size",
                "2",
                "--max-tokens",
                "3",
            ]
        )
        == 0
    )
    records = [json.loads(line) for line in out.read_text().splitlines()]
    assert [record["path"] for record in records] == [str(p) for p in images]
    assert all(isinstance(record["caption"], str) for record in records)


@pytest.mark.parametrize("command", ["caption", "encode", "readout"])
def test_the_batch_asked_for_reaches_the_model(command, model, images, tmp_path, monkeypatch):
    from genlip import speaker

    sizes = []
    pack_images = speaker.pack_images
    monkeypatch.setattr(speaker, "pack_images", lambda batch, *rest: sizes.append(len(batch)) or pack_images(batch, *rest))
    copies = []
    for number in range(18):
        copies.append(tmp_path / f"{number:02}.png")
        Image.new("RGB", (8, 8)).save(copies[-1])
    assert main([command, model, *map(str, copies), "--batch-size", "17", "--out", str(tmp_path / "out")]) == 0
    assert sizes == [17, 1]


def test_readout_writes_a_page_of_its_images(model, images, tmp_path, capsys):
    page = tmp_path / "readout.html"
    assert main(["readout", model, *map(str, images), "-k", "2", "--html", str(page)]) == 0
    assert capsys.readouterr().out == f"page: {page}\n"
    html = page.read_text(encoding="utf8")
    assert [html.count(f"<h2>{path.name}</h2>") for path in images] == [1, 1, 1]
    assert "no such folder" in error_line(capsys, "readout", model, images[0], "--html", tmp_path / "no/page.html")


def test_one_image_streams_in_a_terminal(model, images, capsys, monkeypatch):
    monkeypatch.setattr("sys.stdout.isatty", lambda: True, raising=False)
    assert main(["caption", model, str(images[0]), "--max-tokens", "5"]) == 0
    expected = genlip.Speaker.load(model).caption(images[:1], max_tokens=5)
    assert capsys.readouterr().out.strip() == expected[0]


def test_a_broken_image_among_others_is_named_and_the_rest_is_done(model, images, tmp_path, capsys):
    broken = tmp_path / "broken.png"
    broken.write_bytes(b"nothing")
    out = tmp_path / "out.jsonl"
    assert main(["caption", model, str(images[0]), str(broken), str(images[1]), "--out", str(out), "--max-tokens", "2"]) == 1
    records = [json.loads(line) for line in out.read_text().splitlines()]
    assert [sorted(record) for record in records] == [["caption", "path"], ["error", "path"], ["caption", "path"]]
    assert f"{broken}: not an image" in capsys.readouterr().err


def test_encode_writes_one_row_per_patch_and_the_grids(model, images, tmp_path, capsys):
    out = tmp_path / "features.safetensors"
    exact = ["--dtype", "float32", "--resize", "native", "--batch-size", "2"]
    assert main(["encode", model, *map(str, images), "--out", str(out), *exact]) == 0
    expected = genlip.Speaker.load(model, resize="native").encode(images)
    with safe_open(out, "pt") as file:
        features, grids = file.get_tensor("features"), file.get_tensor("grids")
        paths = json.loads(file.metadata()["paths"])
    assert paths == [str(p) for p in images]
    assert grids.tolist() == [list(e.grid) for e in expected] == [[4, 5], [4, 5], [4, 5]]
    torch.testing.assert_close(features, torch.cat([e.patches for e in expected]))


@pytest.mark.parametrize(("faster", "told"), [(torch.bfloat16, "bfloat16"), (torch.float32, "float32")])
def test_the_machine_chooses_the_precision_and_says_so(faster, told, model, images, tmp_path, capsys, monkeypatch):
    monkeypatch.setattr("genlip.train.precision._product_time", lambda dtype: 1.0 if dtype == faster else 2.0)
    out = tmp_path / "features.safetensors"
    assert main(["encode", model, str(images[0]), "--out", str(out)]) == 0
    said = "computing in bfloat16, which is faster on this machine; --dtype float32 is exact\n"
    assert capsys.readouterr().err == (said if told == "bfloat16" else "")
    (expected,) = genlip.Speaker.load(model, dtype=getattr(torch, told)).encode(images[:1])
    with safe_open(out, "pt") as file:
        features = file.get_tensor("features")
    assert features.dtype == torch.float32
    torch.testing.assert_close(features, expected.patches.float())
    assert main(["encode", model, str(images[0]), "--out", str(out), "--dtype", "bfloat16"]) == 0
    with safe_open(out, "pt") as file:
        assert file.get_tensor("features").dtype == torch.bfloat16
    assert said not in capsys.readouterr().err


def test_encode_in_8_bits_stays_near(model, images, tmp_path):
    exact, near = tmp_path / "exact.safetensors", tmp_path / "near.safetensors"
    for out, dtype in ((exact, "float32"), (near, "int8")):
        assert main(["encode", model, *map(str, images), "--out", str(out), "--dtype", dtype]) == 0
    found, expected = (load_file(out)["features"] for out in (near, exact))
    assert (found - expected).abs().max() > 0
    assert torch.cosine_similarity(found, expected).min() > 0.98


def test_readout_lays_words_out_as_the_patches_lie(model, images, capsys):
    assert main(["readout", model, str(images[0])]) == 0
    (read,) = genlip.Speaker.load(model).readout(images[:1])
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == read.grid[0]
    assert lines[0].split()[0] == (read.words[0][0][0].strip() or repr(read.words[0][0][0]))


def test_readout_writes_all_words(model, images, tmp_path):
    out = tmp_path / "words.jsonl"
    assert main(["readout", model, str(images[0]), "-k", "3", "--out", str(out)]) == 0
    record = json.loads(out.read_text())
    assert (record["grid"], len(record["words"]), len(record["words"][0])) == ([4, 4], 16, 3)


def test_errors_are_one_clear_line(model, images, tmp_path, capsys):
    (tmp_path / "empty").mkdir()
    text = tmp_path / "text.png"
    text.write_text("no image")
    assert "absent.png: no such file" in error_line(capsys, "caption", model, tmp_path / "absent.png")
    assert "no images in this folder" in error_line(capsys, "caption", model, tmp_path / "empty")
    assert "not an image" in error_line(capsys, "caption", model, text)
    assert "has no config.json" in error_line(capsys, "encode", tmp_path / "empty", images[0])
    assert "no such folder" in error_line(capsys, "readout", "./nowhere", images[0])
    assert "did you mean optimizer.learning_rate" in error_line(
        capsys, "train", "quickstart", "--optimizer.learnin_rate", "1"
    )
    assert "no such recipe" in error_line(capsys, "train", "quickstrat")
    assert "no such recipe" in error_line(capsys, "train", tmp_path / "empty")
    assert "temperature -1.0" in error_line(capsys, "caption", model, images[0], "--temperature", "-1")
    assert "unknown argument --frobnicate" in error_line(capsys, "caption", model, images[0], "--frobnicate")
    assert "--device nonsense" in error_line(capsys, "caption", model, images[0], "--device", "nonsense")
    assert "no such folder" in error_line(
        capsys, "encode", model, images[0], "--out", tmp_path / "nowhere" / "f.safetensors"
    )
    assert "images.size 63" in error_line(capsys, "encode", model, images[0], "--size", "63")


class PanicException(BaseException):
    """As pyo3 raises it."""


@pytest.mark.parametrize(
    ("error", "status", "line"),
    [
        (MemoryError(), 1, "genlip: not enough memory: none is left; use smaller batches, images or packs"),
        (torch.OutOfMemoryError("CUDA out of memory"), 1, "genlip: not enough memory: CUDA out of memory; use"),
        (
            RuntimeError("[enforce fail] DefaultCPUAllocator: can't allocate memory"),
            1,
            "genlip: not enough memory: [enforce",
        ),
        (PanicException("index out of bounds"), 1, "genlip: a library failed on its input, probably a damaged token"),
        (KeyboardInterrupt(), 130, "genlip: stopped"),
        (OSError(28, "No space left on device", "a\nb\x1b.png"), 1, "genlip: [Errno 28] No space left on device: 'a\\nb"),
        (ValueError("a\nname \x1b[2J\u202e: bad"), 1, "genlip: a name \ufffd[2J\ufffd: bad"),
        (BrokenPipeError(32, "Broken pipe"), 1, "genlip: [Errno 32] Broken pipe"),
        (NonFinite("step 3"), 1, "genlip: step 3"),
    ],
)
def test_what_ends_a_command_is_one_harmless_line(error, status, line, monkeypatch, capsys):
    def fail(args):
        raise error

    monkeypatch.setattr("genlip.cli.train._train", fail)
    assert main(["train", "quickstart"]) == status
    (found,) = capsys.readouterr().err.splitlines()
    assert found.startswith(line)


def test_programming_errors_keep_their_traceback(monkeypatch):
    def fail(args):
        raise KeyError("forgotten")

    monkeypatch.setattr("genlip.cli.train._train", fail)
    with pytest.raises(KeyError):
        main(["train", "quickstart"])


def test_a_reader_that_has_seen_enough_ends_no_command_with_an_error():
    command = f"{sys.executable} -m genlip train --help | head -1; {sys.executable} -m genlip plan stage1_l16 | true"
    done = subprocess.run(["bash", "-c", command], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")


def genlip_in_a_shell(arguments, after="", **environment):
    """The command in a process of its own, with what stands behind it in a shell."""
    command = ["bash", "-c", f'"$@" {after}', "bash", sys.executable, "-m", "genlip", *map(str, arguments)]
    return subprocess.run(command, capture_output=True, env=os.environ | environment, check=False)


def test_nothing_is_lost_to_a_closed_or_an_ascii_stream(model, images, tmp_path):
    closed = genlip_in_a_shell(["caption", model, images[0], "--max-tokens", "2", "--dtype", "float32"], ">&-")
    assert (closed.returncode, closed.stderr) == (0, b"")
    out = tmp_path / "captions.jsonl"
    both = genlip_in_a_shell(["caption", model, *images, "--out", out, "--max-tokens", "2"], ">&- 2>&-")
    assert (both.returncode, len(out.read_text().splitlines())) == (0, 3)
    (folder := tmp_path / "set").mkdir()
    for number in range(4):
        Image.new("RGB", (40, 40), (number, 0, 0)).save(folder / f"{number}.png")
        (folder / f"{number}.txt").write_text("it says “yes” 😀", encoding="utf8")
    shown = genlip_in_a_shell(["data", "inspect", folder, "--tokenizer", model], PYTHONIOENCODING="ascii")
    assert shown.returncode == 0
    assert rb"\u201cyes\u201d" in shown.stdout
    assert b"4 usable" in shown.stdout


def test_names_are_harmless_wherever_they_are_told(model, tmp_path, capfd):
    (folder := tmp_path / "set").mkdir()
    for name in ("a\x1b[31m.png", "b\u202egnp.png", "c\nd.png"):
        Image.new("RGB", (40, 40)).save(folder / name)
        (folder / name).with_suffix(".txt").write_text("a \x1b]0;title\x07 caption")
    for name in ("broken\x1b[31m.png", "broken\u2066.png"):
        (folder / name).write_bytes(b"no image")
        (folder / name).with_suffix(".txt").write_text("a caption")
    for command in (
        ["caption", model, folder, "--max-tokens", "2"],
        ["readout", model, folder],
        ["data", "inspect", folder, "--tokenizer", model],
        ["data", "pack", folder, tmp_path / "shards", "--verify", "--workers", "1"],
        ["eval", "captioning", model, folder, "--max-tokens", "2"],
        ["caption", model, "absent\x1b[31m.png"],
        ["train", "\x1b[31m.yaml"],
        ["caption", model, "x", "--\x1b[31m"],
        ["data", "inspect", "nowhere\x1b[31m"],
    ):
        with suppress(SystemExit):
            main([str(word) for word in command])
        told = "".join(capfd.readouterr())
        assert told, command
        assert not re.search("[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069]", told), (command, told)
        assert "Traceback" not in told, told


@pytest.mark.parametrize("command", ["quickstart", "train", "caption", "encode", "readout", "export", "push"])
def test_every_command_explains_itself(command, capsys):
    with pytest.raises(SystemExit) as stop:
        main([command, "--help"])
    assert stop.value.code == 0
    shown = capsys.readouterr().out
    assert "python: genlip." in shown


def test_the_installed_command_works():
    done = subprocess.run([sys.executable, "-m", "genlip", "--version"], capture_output=True, text=True)
    assert done.stdout.strip() == f"genlip {genlip.__version__}"
