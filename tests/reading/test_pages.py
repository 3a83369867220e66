"""Reading of pages: what is cut out, how it is cut, and the order of the texts."""

import json

import numpy as np
import pytest
from PIL import Image

import genlip
from genlip.cli.main import main
from genlip.data.images import ImageError
from genlip.reading.layout import Box
from genlip.reading.pages import ReadLine, read_page
from genlip.terminal import harmless

from ..train.helpers import small_run
from .test_layout import PAPER, PRINT, lines


class Ruler:
    """Says of each line how many strokes it has, and remembers the sizes of the images."""

    max_pixels = 10_000_000

    def __init__(self):
        self.sizes = []

    def caption(self, images, batch_size):
        self.sizes += [image.size for image in images]
        return [str(self._strokes(np.asarray(image.convert("L"))[16] < 130)) for image in images]

    @staticmethod
    def _strokes(dark):
        return int((np.diff(dark.astype(int)) == 1).sum())


def image_of(boxes, height=300, width=400, every=8, stroke=3):
    pixels = np.full((height, width), PAPER, np.uint8)
    for left, top, right, bottom in boxes:
        for start in range(left, right - stroke + 1, every):
            pixels[top:bottom, start : start + stroke] = PRINT
    return Image.fromarray(pixels)


def test_each_line_is_read_with_a_margin_at_one_height():
    boxes = lines(20, 119, 30, 3, height=16, pitch=40)
    ruler = Ruler()
    found = read_page(ruler, image_of(boxes))
    assert [line.text for line in found] == ["13"] * 3
    assert [line.box for line in found] == boxes
    assert ruler.sizes == [(round((99 + 10) * 32 / 26), 32)] * 3  # a margin of 5 pixels at each side


def test_a_lower_line_is_cut_out_at_the_usual_height():
    boxes = [*lines(20, 119, 30, 3, height=16, pitch=40), Box(20, 154, 119, 164)]
    ruler = Ruler()
    read_page(ruler, image_of(boxes))
    assert ruler.sizes[3][0] == round((99 + 6) * 32 / (10 + 2 * (3 + 3)))


@pytest.mark.parametrize("length", [700, 1500, 2900])
def test_a_long_line_is_cut_between_strokes_and_joined(length):
    box = Box(20, 30, length, 46)
    ruler = Ruler()
    (line,) = read_page(ruler, image_of([box], width=3000))
    assert sum(map(int, line.text.split())) == -(-(length - 22) // 8)
    assert len(ruler.sizes) == len(line.text.split())
    assert all(width <= 36 * 32 for width, _ in ruler.sizes)
    assert len(ruler.sizes) <= -(-1.5 * (line.box.right - 20 + 10) // (36 * 26))


def test_one_line_without_layout():
    image = image_of([Box(2, 4, 101, 20)], height=24, width=103)
    assert read_page(Ruler(), image, layout="line") == [ReadLine("13", Box(0, 0, 103, 24))]


def test_large_pages_are_found_on_a_smaller_copy():
    boxes = lines(200, 3000, 300, 4, height=60, pitch=120)
    image = image_of(boxes, 3000, 3300, every=32, stroke=12)
    found = read_page(Ruler(), image)
    assert np.abs(np.array([line.box for line in found]) - np.array(boxes)).max() <= 32
    assert [line.text for line in found] == [found[0].text] * 4


def test_an_empty_page_and_a_broken_one(tmp_path):
    assert read_page(Ruler(), Image.new("L", (200, 100), 240)) == []
    (tmp_path / "broken.png").write_bytes(b"\x89PNG\r\n\x1a\n")
    with pytest.raises(ImageError, match=r"broken\.png"):
        read_page(Ruler(), tmp_path / "broken.png")


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    return str(genlip.train_model(small_run(tmp_path_factory.mktemp("run"), steps=2)))


def test_the_command_reads_what_the_function_reads(model, tmp_path, capsys):
    names = [tmp_path / "a.png", tmp_path / "b.png"]
    for name, count in zip(names, (2, 3), strict=True):
        image_of(lines(20, 119, 30, count, height=16, pitch=40)).save(name)
    (tmp_path / "c.png").write_bytes(b"no image")
    out = tmp_path / "pages.jsonl"
    assert main(["read", model, *map(str, names), str(tmp_path / "c.png"), "--out", str(out)]) == 1
    records = [json.loads(line) for line in out.read_text("utf8").splitlines()]
    expected = [genlip.read_page(genlip.Speaker.load(model), name) for name in names]
    assert [record["lines"] for record in records[:2]] == [
        [{"text": line.text, "box": list(line.box)} for line in lines] for lines in expected
    ]
    assert records[2]["path"] == str(tmp_path / "c.png")
    assert "c.png" in records[2]["error"]
    capsys.readouterr()
    assert main(["read", model, str(names[0])]) == 0
    assert capsys.readouterr().out.splitlines() == [harmless(line.text) for line in expected[0]]


def test_impossible_batch_sizes_are_refused():
    image = Image.new("L", (200, 100), 240)
    for call in (
        lambda: genlip.read_lines(Ruler(), [image], batch_size=0),
        lambda: read_page(Ruler(), image, batch_size=-1),
    ):
        with pytest.raises(ValueError, match=r"batch_size is (0|-1): it must be at least 1"):
            call()
