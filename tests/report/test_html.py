"""The page's pieces: every text escaped, nothing external, markup that nests, and the figures where they belong."""

import base64
import io
import re
import xml.etree.ElementTree as ET
from html.parser import HTMLParser
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from genlip.evaluate.captioning.generated import GeneratedCaption
from genlip.evaluate.scores import Scores
from genlip.report import caption_cards, charts, formatting, html, patch_words
from genlip.report.charts import Line
from genlip.report.html import Headline, Section, Thumbnail
from genlip.speaker import PatchWords

EVIL = "<script src='x'>&\"</script>"
VOID = {"img", "meta", "br", "hr", "link", "input"}
SVG = "{http://www.w3.org/2000/svg}"


class Checker(HTMLParser):
    """Collects tags, texts and addresses; fails where tags do not nest."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.tags: list[str] = []
        self.addresses: list[str] = []
        self.text = ""
        self.feed(html)
        assert not self.open, f"never closed: {self.open}"

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.addresses += [value or "" for name, value in attrs if name in ("src", "href", "xlink:href", "srcset", "data")]
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.handle_starttag(tag, attrs)
        self.handle_endtag(tag)

    def handle_endtag(self, tag: str) -> None:
        if tag not in VOID:
            assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.text += data


def spoken(caption: str, said: str) -> GeneratedCaption:
    return GeneratedCaption("key", Image.new("RGB", (8, 8), "red"), caption, said)


def readout_2_by_3() -> PatchWords:
    words = [[(f" w{i}", 0.5), ("<|im_end|>", 0.25), (" ", 0.125)] for i in range(6)]
    return PatchWords((2, 3), words)


def whole_page() -> str:
    events = [{"step": step, "loss": 1 / step, "picture_gain": step / 10} for step in (1, 2, 3)]
    sections = [
        Section("words", html.paragraphs("one", "two") + html.headlines([Headline("1", "label", "note")])),
        Section("what to change", html.advice(["this"]) + html.table(["name", "values"], [["a", ["1", "2"]]])),
        Section("counts", html.side_by_side(charts.histogram("sizes", [1, 2, 300], "pixels"))),
        Section("sheet", html.contact_sheet([Thumbnail(Image.new("RGB", (8, 4)), "text", "note")])),
        Section("curves", html.side_by_side(charts.loss_chart(events, events[1:]), charts.gain_chart(events))),
        Section(
            "images",
            caption_cards.gallery([spoken("a b", "a c")]) + patch_words.readout(Image.new("RGB", (8, 8)), readout_2_by_3()),
        ),
        Section("facts", html.facts({"name": 3}) + html.commands({"genlip --help": "help"}) + html.folded("more", "a: 1")),
    ]
    return html.page("A page", sections)


def image_of(html: str) -> Image.Image:
    (data,) = re.findall(r'src="data:image/png;base64,([^"]*)"', html)
    return Image.open(io.BytesIO(base64.b64decode(data)))


def svg_of(html: str) -> ET.Element:
    return ET.fromstring(html[html.index("<svg") : html.index("</svg>") + 6])


@pytest.mark.parametrize(
    "html",
    [
        html.page(EVIL, [Section(EVIL, "")]),
        html.paragraphs(EVIL),
        html.headlines([Headline(EVIL, EVIL, EVIL)]),
        html.facts({EVIL: EVIL}),
        html.commands({EVIL: EVIL}),
        html.folded(EVIL, EVIL),
        charts.chart(EVIL, [Line("x", [1], [1])]),
        charts.bars(EVIL, [EVIL], [Scores.mean([1.0])], EVIL),
        html.table([EVIL], [[EVIL], [[EVIL, EVIL]]]),
        html.advice([EVIL]),
        charts.histogram(EVIL, [1, 2], EVIL, EVIL),
        html.contact_sheet([Thumbnail(Image.new("RGB", (8, 8)), EVIL, EVIL)]),
        caption_cards.gallery([spoken(EVIL, "a"), spoken("a", EVIL), spoken(EVIL, EVIL)]),
        patch_words.readout(Image.new("RGB", (8, 8)), PatchWords((1, 1), [[(EVIL, 0.5), (EVIL, 0.25)]])),
    ],
)
def test_texts_are_escaped(html: str) -> None:
    checked = Checker(html)
    assert "script" not in checked.tags
    assert "&lt;script" in html.replace("␣", " ")
    assert not re.search(r"&amp;(lt|gt|amp|quot);", html), "escaped twice"


def test_a_page_needs_nothing_but_itself() -> None:
    markup = whole_page()
    checked = Checker(markup)
    assert not {"script", "link", "iframe", "object", "embed"} & set(checked.tags)
    assert all(address.startswith(("data:", "#")) for address in checked.addresses)
    assert not re.search(r"@import|url\((?!#)", markup)
    assert markup.startswith("<!doctype html>")


def test_a_page_shows_its_sections_in_order() -> None:
    markup = html.page("A page", [Section("first", "<p>1</p>"), Section("second", "<p>2</p>")])
    assert re.findall(r"<title>(.*?)</title>", markup) == re.findall(r"<h1>(.*?)</h1>", markup) == ["A page"]
    assert re.findall(r"<h2>(.*?)</h2>\s*<p>(.*?)</p>", markup) == [("first", "1"), ("second", "2")]


@pytest.mark.parametrize(
    ("true", "said", "true_marks", "said_marks"),
    [
        ("a red circle", "a red circle", "...", "..."),
        ("a red circle", "a blue circle", ".x.", ".x."),
        ("a red circle", "a circle", ".x.", ".."),
        ("a circle", "a red circle", "..", ".x."),
        ("number 47", "number 74", ".x", ".x"),
        ("a b c d", "c d a b", "..xx", "xx.."),
        ("a red circle", "", "xxx", ""),
        ("", "a", "", "x"),
    ],
)
def test_words_that_differ_are_found(true: str, said: str, true_marks: str, said_marks: str) -> None:
    for text, marks, found in zip((true, said), (true_marks, said_marks), caption_cards.word_marks(true, said), strict=True):
        assert found == [(word, mark == ".") for word, mark in zip(text.split(), marks, strict=True)]


def test_the_gallery_marks_what_differs_and_is_quiet_otherwise() -> None:
    markup = caption_cards.gallery(
        [spoken("a red circle", "a red circle"), spoken("one big red circle", "a small blue circle")]
    )
    assert (markup.count("✓"), markup.count("✗")) == (1, 1)
    assert "<del>one big red</del> circle" in markup
    assert "<mark>a small blue</mark> circle" in markup
    assert markup.count("<mark>") == markup.count("<del>") == 1


def test_saying_nothing_is_shown_as_such() -> None:
    assert "(nothing)" in caption_cards.gallery([spoken("a", "")])


def test_small_images_keep_every_pixel() -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (5, 7, 3), dtype=np.uint8)
    markup = caption_cards.gallery([GeneratedCaption("key", Image.fromarray(pixels), "a", "a")])
    np.testing.assert_array_equal(np.asarray(image_of(markup)), pixels)
    assert 'class="pixels"' in markup


def test_large_images_are_reduced_and_paths_are_read(tmp_path: Path) -> None:
    path = tmp_path / "large.jpg"
    Image.new("RGB", (3000, 1500)).save(path)
    markup = caption_cards.gallery([GeneratedCaption("key", path, "a", "a")])
    assert image_of(markup).size == (224, 112)
    assert "pixels" not in markup


def test_a_readout_has_a_cell_for_each_patch_in_order() -> None:
    markup = patch_words.readout(Image.new("RGB", (9, 6)), readout_2_by_3())
    assert re.findall(r"<b>(.*?)</b><small>(.*?)</small>", markup) == [(f"w{i}", "50%") for i in range(6)]
    places = [f"row {row}, column {column}" for row in (1, 2) for column in (1, 2, 3)]
    assert re.findall(r"<h3>(.*?)</h3>", markup) == places
    assert "--rows:2;--columns:3" in markup


def test_every_token_of_a_readout_is_there_twice_with_its_chance() -> None:
    """In the cell that is pointed at, and in the table for those who cannot point."""
    markup = patch_words.readout(Image.new("RGB", (9, 6)), readout_2_by_3())
    text = Checker(markup).text
    assert text.count("␣w3") == 2
    assert text.count("<|im_end|>") == 12
    assert text.count("25.0%") == text.count("12.5%") == 12


@pytest.mark.parametrize(
    ("tokens", "common", "quiet"), [("aaab", ("a", 3), 3), ("aabb", (None, 0), 0), ("abcd", (None, 0), 0)]
)
def test_a_token_that_most_patches_agree_on_is_quiet(tokens: str, common: tuple[str | None, int], quiet: int) -> None:
    said = PatchWords((2, 2), [[(token, 0.5), ("a", 0.25)] for token in tokens])
    assert patch_words.common_token(said) == common
    assert patch_words.readout(Image.new("RGB", (8, 8)), said).count('class="patch quiet"') == quiet


def test_a_blank_token_is_visible() -> None:
    markup = patch_words.readout(Image.new("RGB", (8, 8)), PatchWords((1, 2), [[(" ", 0.5)], [("\n", 0.5)]]))
    assert re.findall(r"<b>(.*?)</b>", markup) == ["␣", "↵"]


def test_a_chart_puts_values_where_they_belong() -> None:
    markup = charts.chart("gain", [Line("x", [0, 100, 300], [0.0, 1.0, 4.0], "orange", marked=True)])
    dots = [
        (float(dot.get("x", 0)), float(dot.get("y", 0))) for dot in svg_of(markup).iter(f"{SVG}use") if "x" in dot.attrib
    ]
    (x0, y0), (x1, y1), (x2, y2) = dots[-3:]  # ticks have marks too, and are drawn first
    assert (x2 - x0) / (x1 - x0) == pytest.approx(3, rel=1e-3)
    assert (y2 - y0) / (y1 - y0) == pytest.approx(4, rel=1e-3)
    assert x0 < x1
    assert y0 > y1, "SVG counts downwards"


def test_charts_take_the_colours_of_the_page() -> None:
    events = [{"step": 1, "loss": 2.0, "picture_gain": 0.5}]
    markup = charts.loss_chart(events, events) + charts.gain_chart(events)
    assert "var(--blue)" in markup
    assert "var(--orange)" in markup
    assert "var(--ink)" in markup
    assert not re.search(r"#0{5}[1-4]", markup)


def test_a_logarithmic_chart_survives_a_loss_of_zero() -> None:
    markup = charts.chart("loss", [Line("x", [1, 2], [1.0, 0.0])], logarithmic=True)
    Checker(markup)
    assert "<svg" in markup


def bars_of(html: str) -> list[tuple[float, float, float]]:
    """(left, right, height) of each bar, in the units of the SVG."""
    paths = [path for path in svg_of(html).iter(f"{SVG}path") if "var(--blue)" in path.get("style", "")]
    corners = [[float(n) for n in re.findall(r"-?\d+\.?\d*(?:e-?\d+)?", path.attrib["d"])] for path in paths]
    return [(min(c[::2]), max(c[::2]), max(c[1::2]) - min(c[1::2])) for c in corners]


@pytest.mark.parametrize("values", [[2, 2, 2, 5, 5, 9], [7], [3, 4], [-2, 0, 0, 3]])
def test_a_histogram_of_few_whole_numbers_has_a_bar_for_each(values: list[int]) -> None:
    heights = np.array([height for *_, height in bars_of(charts.histogram("h", values, "u"))])
    counts = np.array([values.count(value) for value in range(min(values), max(values) + 1)])
    np.testing.assert_allclose(heights / heights.max(), counts / counts.max(), atol=1e-3)


@pytest.mark.parametrize(
    ("values", "logarithmic"),
    [
        (np.arange(100, 1000), False),
        (np.linspace(0.5, 7.0, 500), False),
        (np.geomspace(0.001, 1000, 500), True),
        (np.unique(np.geomspace(1, 1e6, 500).round()), True),
        (np.array([0, *range(1000)]), False),
    ],
)
def test_a_histogram_counts_every_value_and_is_logarithmic_over_decades(values: np.ndarray, logarithmic: bool) -> None:
    edges = charts._edges(np.asarray(values, float), logarithmic)
    bars = bars_of(charts.histogram("h", values, "u"))
    counts = np.array([((values >= low) & (values < high)).sum() for low, high in pairwise(edges)])
    counts[-1] += (values == edges[-1]).sum()
    assert counts.sum() == len(values)
    heights = np.array([height for *_, height in bars])
    np.testing.assert_allclose(heights / heights.max(), counts / counts.max(), atol=1e-2)
    middles = np.array([(left + right) / 2 for left, right, _ in bars])
    low, high = (np.log(edges[:-1]), np.log(edges[1:])) if logarithmic else (edges[:-1], edges[1:])
    assert np.corrcoef(middles, (low + high) / 2)[0, 1] > 0.999


def test_a_linear_histogram_of_whole_numbers_gives_each_bin_equally_many() -> None:
    edges = charts._edges(np.arange(5.0, 105.0), False)
    counts = np.histogram(np.arange(5, 105), edges)[0]
    assert set(counts[:-1].tolist()) == {4}
    assert counts.sum() == 100


def test_a_histogram_names_its_median_and_what_it_counts() -> None:
    text = Checker(charts.histogram("Width", [1, 64, 20000], "pixels", "drawings")).text
    assert "median 64 of 3 drawings" in text
    assert "var(--blue)" in charts.histogram("Width", [1, 2], "pixels")


def scores(*values: float) -> Scores:
    return Scores.mean(values)


def test_bars_are_as_long_as_scores_and_stand_in_order() -> None:
    markup = charts.bars("by class", ["a", "b", "c"], [scores(0.25), scores(0.5), scores(1.0)])
    lengths = [right - left for left, right, _ in bars_of(markup)]
    assert lengths == pytest.approx([lengths[2] / 4, lengths[2] / 2, lengths[2]], rel=1e-3)
    assert len({round(left, 3) for left, _, _ in bars_of(markup)}) == 1, "all start at 0"


def test_the_line_of_a_bar_spans_its_interval() -> None:
    some = scores(*[1.0] * 30, *[0.0] * 70)
    markup = charts.bars("by class", ["a", "all"], [some, scores(1.0)])
    lines = [path for path in svg_of(markup).iter(f"{SVG}path") if "stroke-width: 1.4" in path.get("style", "")]
    ends = [float(number) for number in re.findall(r"[ML] (-?[\d.]+)", lines[0].attrib["d"])]
    (left, right, _), (_, one, _) = bars_of(markup)
    unit = one - left
    assert [(end - left) / unit for end in ends] == pytest.approx(some.interval(), abs=1e-3)
    assert (right - left) / unit == pytest.approx(0.3, abs=1e-3)


def test_negative_scores_have_bars_too() -> None:
    (left, right, _), (other, far, _) = bars_of(charts.bars("gain", ["a", "b"], [scores(-0.5), scores(1.0)]))
    assert right == pytest.approx(other, abs=1e-3)
    assert (far - other) / (right - left) == pytest.approx(2, rel=1e-3)


def test_every_end_of_a_line_is_a_newline_and_bytes_are_shown() -> None:
    markup = html.page("t", [Section("caf\udce9", "a\r\nb\rc\x1b")])
    assert "<h2>caf\\xe9</h2>\na\nb\nc\ufffd\n" in markup


def test_names_of_bars_and_lines_are_no_formulas() -> None:
    name = r"$\nonsense$"
    Checker(charts.bars("x", [name, "n" * 500], [scores(1.0), scores(0.5)], note=EVIL))
    Checker(charts.chart("x", [Line(name, [1], [1]), Line("y", [1], [2])], below=name))


def test_names_that_utf8_cannot_write_are_drawn() -> None:
    for name in ("caf\udce9", "half \ud800", "red \x1b[31m"):
        Checker(charts.bars("x", [name, "b"], [scores(1.0), scores(0.5)], note=name))
        Checker(charts.chart("x", [Line(name, [1], [1]), Line("y", [1], [2])], below=name))


def test_a_chart_says_what_is_below_it_and_only_steps_start_at_0() -> None:
    def first_dot(below: str) -> tuple[float, float]:
        markup = charts.chart("x", [Line("x", [100, 110, 120], [1.0, 2.0, 3.0], "orange", marked=True)], below=below)
        marks = [float(dot.get("x", 0)) for dot in svg_of(markup).iter(f"{SVG}use") if "x" in dot.attrib]
        return marks[-3], marks[-1]

    (step, last_step), (layer, last_layer) = first_dot("step"), first_dot("layer")
    assert last_layer - layer > 4 * (last_step - step)


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (0, "0"),
        (0.25, "0.25"),
        (1.5, "1.5"),
        (640, "640"),
        (9999, "9999"),
        (12_000, "12k"),
        (1_500_000, "1.5M"),
        (3e9, "3G"),
    ],
)
def test_numbers_on_axes_are_short(value: float, text: str) -> None:
    assert formatting.short_number(value) == text


def test_a_table_stacks_the_texts_of_a_cell() -> None:
    markup = html.table(["reason", "such as"], [["missing", ["a", "b"]], ["damaged", "c"]])
    assert re.findall(r"<t[hd]>(.*?)</t[hd]>", markup) == [
        "reason", "such as", "missing", "<div>a</div><div>b</div>", "damaged", "c",
    ]  # fmt: skip


def test_no_advice_is_no_list() -> None:
    assert html.advice([]) == ""
    assert html.advice(["x", "y"]).count("<li>") == 2


def test_a_strip_shows_pictures_in_order_above_its_words() -> None:
    pictures = [Image.new("RGB", (2, 1), colour) for colour in ("red", "blue")]
    markup = html.strip(pictures, EVIL, EVIL, side=120)
    assert [image_of(f"<{part}").getpixel((0, 0)) for part in markup.split("<img")[1:]] == [(255, 0, 0), (0, 0, 255)]
    assert Checker(markup).text == EVIL * 2
    assert "--side:120px" in markup


def test_a_contact_sheet_cuts_long_texts_and_keeps_them_to_point_at() -> None:
    long = "word " * 100 + "end"
    markup = html.contact_sheet([Thumbnail(Image.new("RGB", (200, 50)), long, "200x50")])
    assert f'title="{long}"' in markup
    assert f"<p>{('word ' * 32).rstrip()}…</p><small>200x50</small>" in markup
    assert image_of(markup).size == (200, 50)
