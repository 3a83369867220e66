"""`genlip data`: what the commands write and say, and what they refuse."""

import json
import re
from importlib.util import find_spec

import pytest
from PIL import Image

from genlip.cli.main import main
from genlip.data.captions import train_tokenizer
from genlip.data.sources import open_source


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("GENLIP_CACHE", str(tmp_path / "cache"))


@pytest.fixture
def folder(tmp_path):
    """Twelve captioned images, two of which are none."""
    place = tmp_path / "images"
    place.mkdir()
    for i in range(12):
        file = place / f"{i:02}.png"
        file.write_text("no image") if i % 6 == 5 else Image.new("RGB", (40 + 9 * i, 50), (i, 9 * i, 99)).save(file)
        file.with_suffix(".txt").write_text(f"a plain image, the {i}th")
    return place


def said(capsys) -> tuple[str, str]:
    found = capsys.readouterr()
    return found.out, found.err


def test_synth_then_pack_then_read(tmp_path, capsys):
    pages, packed = tmp_path / "pages", tmp_path / "packed"
    assert main(["data", "synth", "charts", str(pages), "--samples", "7", "--samples-per-shard", "4", "--workers", "0"]) == 0
    assert re.fullmatch(rf"{pages}: 7 samples in 2 shards, \d+\.\d MiB; captions: caption, conversations\n", said(capsys)[0])
    assert main(["data", "pack", f"{pages}/*.tar", str(packed), "--fields", "caption", "--workers", "2"]) == 0
    told, _ = said(capsys)
    assert told.startswith(f"{packed}: 7 samples in 1 shard, ")
    assert told.endswith("captions: txt (--fields keeps others)\n")
    source = open_source("charts:0")
    assert [open_source(f"{packed}/*.tar").caption(i) for i in range(7)] == [source.caption(i) for i in range(7)]


def test_pack_names_what_it_left_out(folder, tmp_path, capsys):
    assert main(["data", "pack", str(folder), str(tmp_path / "out"), "--workers", "0"]) == 0
    assert "10 samples in 1 shard, " in (told := said(capsys)[0])
    assert "; left out: 2 not an image; " in told


def test_a_pack_of_nothing_is_an_error(tmp_path, capsys):
    (tmp_path / "a.jsonl").write_text('{"image": "a.png", "caption": "a cat"}\n{"image": "b.png", "caption": "a dog"}\n')
    assert main(["data", "pack", str(tmp_path / "a.jsonl"), str(tmp_path / "out"), "--workers", "0"]) == 1
    assert f"genlip: {tmp_path}/out: no example could be written: 2 missing; genlip data inspect" in said(capsys)[1]


def test_inspect_tells_and_writes(folder, tmp_path, capsys):
    page, figures = tmp_path / "page.html", tmp_path / "figures.json"
    assert main(["data", "inspect", str(folder), "--out", str(page), "--json", str(figures), "--max-tokens", "512"]) == 0
    told, _ = said(capsys)
    assert "not an image" in told
    assert told.endswith(f"page: {page}\nfigures: {figures}\n")
    assert "a plain image, the 3th" in page.read_text(encoding="utf8")
    assert json.loads(figures.read_text(encoding="utf8"))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["inspect", "nowhere"], "nowhere: no such source; need 'scenes'"),
        (["inspect", "scenes", "--out", "no/such/page.html"], "no/such/page.html: no such folder"),
        (["inspect", "scenes", "--stray"], "unknown argument --stray; see genlip data inspect --help"),
        (["inspect", "scenes", "--fields", "re_caption"], "scenes:0: no field re_caption; need caption"),
        (["pack", "gone/*.tar", "out"], "gone/*.tar"),
        pytest.param(
            ["inspect", "s3://bucket/x.tar"],
            "reading s3:// needs another package: `pip install s3fs`",
            marks=pytest.mark.skipif(find_spec("s3fs") is not None, reason="the package is there"),
        ),
        (["synth", "poems", "out"], "one of the kinds scenes, documents, charts"),
        (["synth", "scenes", "out", "--samples", "0"], "0 images of kind 'scenes'"),
    ],
)
def test_wrong_arguments_are_one_line(arguments, message, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert main(["data", *arguments]) == 1
    out, err = said(capsys)
    assert (out, err.count("\n")) == ("", 1)
    assert err.startswith("genlip: ")
    assert message in err
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("command", ["inspect", "pack", "synth"])
def test_every_command_has_help_with_an_example_and_its_python_call(command, capsys):
    with pytest.raises(SystemExit) as stop:
        main(["data", command, "--help"])
    told, _ = said(capsys)
    assert stop.value.code == 0
    assert f"  genlip data {command} " in told
    assert "python: " in told


def test_inspect_says_what_was_left_out_and_what_lines_are_for(folder, tmp_path, capsys):
    (folder / "bare.png").write_bytes((folder / "00.png").read_bytes())
    for i in range(12):
        (folder / f"{i:02}.txt").write_text(f"first line {i}\nsecond line {i}")
    page = tmp_path / "page.html"
    arguments = ["data", "inspect", str(folder), "--max-tokens", "512", "--max-caption", "6"]
    assert main([*arguments, "--out", str(page)]) == 0
    told, _ = said(capsys)
    note = "1 of 13 images have no caption beside them, and are left out: bare.png"
    assert f"note: {folder}: {note}" in told
    assert note in page.read_text(encoding="utf8")
    assert "captions have several lines, which are read as one text" in told
    assert "raise captions.max_tokens" not in told
    assert main([*arguments, "--lines", "any"]) == 0
    assert "read as one text" not in said(capsys)[0]


def test_inspect_takes_the_end_that_a_tokenizer_has(folder, tmp_path, capsys):
    tokenizer = train_tokenizer(["a plain image, the 3th"], 300)
    file = tmp_path / "tokenizer.json"
    tokenizer.save(str(file))
    file.write_text(file.read_text().replace("<|im_end|>", "</s>"))
    arguments = ["data", "inspect", str(folder), "--max-tokens", "512", "--tokenizer", str(file)]
    assert main(arguments) == main([*arguments, "--end", "</s>"]) == 0
    assert main([*arguments, "--end", "<none>"]) == 1
    assert "captions.end is '<none>'" in said(capsys)[1]


def test_inspect_reads_outside_of_a_tables_folder_only_if_that_is_allowed(folder, tmp_path, capsys):
    (tmp_path / "deep").mkdir()
    table = tmp_path / "deep/table.csv"
    table.write_text("path,caption\n" + "".join(f"../images/{i:02}.png,a plain image\n" for i in range(5)))
    arguments = ["data", "inspect", str(table), "--max-tokens", "512"]
    assert main(arguments) == 1
    assert "--allow-outside" in said(capsys)[1]
    assert main([*arguments, "--allow-outside"]) == 0
