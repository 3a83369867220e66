"""The models in the package: small, complete, with a card, and as good as the card says on lines that are drawn here."""

import json
import os
from pathlib import Path

import pytest
from PIL import Image, ImageDraw, ImageFont

import genlip
from genlip.cli.main import main
from genlip.evaluate.captioning.alignment import edits
from genlip.model.checkpoint import shipped_models

FOLDER = Path(genlip.__file__).parent / "shipped"
MOST_BYTES = 16 * 2**20
LINES = ["The first line of text", "Version 2.17 of 2019", "to be or not to be", "Pages 12 to 38", "see the next section"]


@pytest.fixture(scope="module")
def speaker():
    return genlip.Speaker.load("pocket")


def drawn(text, size=24, font="DejaVuSerif.ttf"):
    import matplotlib

    path = Path(matplotlib.get_data_path(), "fonts/ttf", font)
    letters = ImageFont.truetype(path, size)
    left, top, right, bottom = letters.getbbox(text)
    image = Image.new("L", (right - left + size // 2, bottom - top + size // 2), 255)
    ImageDraw.Draw(image).text((size // 4 - left, size // 4 - top), text, 0, letters)
    return image


def test_the_models_are_listed():
    assert "pocket" in shipped_models()


@pytest.mark.parametrize("name", shipped_models())
def test_a_model_is_small_complete_and_has_a_card(name):
    files = {path.name: path.stat().st_size for path in (FOLDER / name).iterdir()}
    assert {*files} == {"README.md", "config.json", "model.safetensors", "preprocessing.json", "tokenizer.json"}
    assert sum(files.values()) <= MOST_BYTES
    card = (FOLDER / name / "README.md").read_text("utf8")
    first_screen = "\n".join(card.splitlines()[:40])
    for part in ("cannot", "license", "data"):
        assert part in first_screen.lower()
    assert genlip.Speaker.load(name).speaks


@pytest.mark.parametrize("font", ["DejaVuSerif.ttf", "DejaVuSans.ttf", "cmr10.ttf"])
def test_pocket_reads_print(speaker, font):
    read = genlip.read_lines(speaker, [drawn(text, font=font) for text in LINES])
    wrong = sum(edits(text, said) for text, said in zip(LINES, read, strict=True))
    assert wrong <= 0.1 * sum(map(len, LINES)), read


def test_pocket_reads_a_page(speaker, tmp_path, capsys):
    page = Image.new("L", (500, 40 * len(LINES) + 40), 250)
    for number, text in enumerate(LINES):
        page.paste(drawn(text, 20), (30, 30 + 40 * number))
    page.save(tmp_path / "page.png")
    assert main(["read", "pocket", str(tmp_path / "page.png"), "--out", str(tmp_path / "out.jsonl")]) == 0
    lines = json.loads((tmp_path / "out.jsonl").read_text("utf8"))["lines"]
    assert len(lines) == len(LINES)
    wrong = sum(edits(text, line["text"]) for text, line in zip(LINES, lines, strict=True))
    assert wrong <= 0.1 * sum(map(len, LINES)), lines


def test_a_folder_of_the_same_name_comes_first(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    os.mkdir("pocket")
    with pytest.raises(genlip.CheckpointError, match=r"pocket: not a checkpoint: it has no config\.json"):
        genlip.load("pocket")


def test_other_names_are_told_of_the_models(tmp_path):
    with pytest.raises(genlip.CheckpointError, match="a Hub id owner/name, or pocket"):
        genlip.load("pockett")
