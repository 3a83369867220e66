"""Pages: every text escaped, nothing external, and markup that nests."""

import re

import pytest
from PIL import Image

from genlip.evaluate.scores import Scores
from genlip.report import caption_cards, charts, html, patch_words
from genlip.report.charts import Line
from genlip.report.html import Headline, Section, Thumbnail
from genlip.speaker import PatchWords

from .helpers import EVIL, Checker, image_of, readout_2_by_3, spoken


def whole_page() -> str:
    events = [{"step": step, "loss": 1 / step, "picture_gain": step / 10} for step in (1, 2, 3)]
    sections = [
        Section("words", html.paragraphs("one", "two") + html.headlines([Headline("1", "label", "note")])),
        Section("what to change", html.warning_list(["this"]) + html.table(["name", "values"], [["a", ["1", "2"]]])),
        Section("counts", html.side_by_side(charts.histogram("sizes", [1, 2, 300], "pixels"))),
        Section("sheet", html.contact_sheet([Thumbnail(Image.new("RGB", (8, 4)), "text", "note")])),
        Section("curves", html.side_by_side(charts.loss_chart(events, events[1:]), charts.gain_chart(events))),
        Section(
            "images",
            caption_cards.gallery([spoken("a b", "a c")]) + patch_words.readout(Image.new("RGB", (8, 8)), readout_2_by_3()),
        ),
        Section(
            "facts",
            html.key_value_table({"name": 3}) + html.commands({"genlip --help": "help"}) + html.details("more", "a: 1"),
        ),
    ]
    return html.page("A page", sections)


@pytest.mark.parametrize(
    "html",
    [
        html.page(EVIL, [Section(EVIL, "")]),
        html.paragraphs(EVIL),
        html.headlines([Headline(EVIL, EVIL, EVIL)]),
        html.key_value_table({EVIL: EVIL}),
        html.commands({EVIL: EVIL}),
        html.details(EVIL, EVIL),
        charts.chart(EVIL, [Line("x", [1], [1])]),
        charts.bars(EVIL, [EVIL], [Scores.mean([1.0])], EVIL),
        html.table([EVIL], [[EVIL], [[EVIL, EVIL]]]),
        html.warning_list([EVIL]),
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


def test_every_end_of_a_line_is_a_newline_and_bytes_are_shown() -> None:
    markup = html.page("t", [Section("caf\udce9", "a\r\nb\rc\x1b")])
    assert "<h2>caf\\xe9</h2>\na\nb\nc\ufffd\n" in markup


def test_a_table_stacks_the_texts_of_a_cell() -> None:
    markup = html.table(["reason", "such as"], [["missing", ["a", "b"]], ["damaged", "c"]])
    assert re.findall(r"<t[hd]>(.*?)</t[hd]>", markup) == [
        "reason", "such as", "missing", "<div>a</div><div>b</div>", "damaged", "c",
    ]  # fmt: skip


def test_no_warnings_are_no_list() -> None:
    assert html.warning_list([]) == ""
    assert html.warning_list(["x", "y"]).count("<li>") == 2


def test_an_image_row_shows_pictures_in_order_above_its_words() -> None:
    pictures = [Image.new("RGB", (2, 1), colour) for colour in ("red", "blue")]
    markup = html.image_row(pictures, EVIL, EVIL, side=120)
    assert [image_of(f"<{part}").getpixel((0, 0)) for part in markup.split("<img")[1:]] == [(255, 0, 0), (0, 0, 255)]
    assert Checker(markup).text == EVIL * 2
    assert "--side:120px" in markup


def test_a_contact_sheet_cuts_long_texts_and_keeps_them_to_point_at() -> None:
    long = "word " * 100 + "end"
    markup = html.contact_sheet([Thumbnail(Image.new("RGB", (200, 50)), long, "200x50")])
    assert f'title="{long}"' in markup
    assert f"<p>{('word ' * 32).rstrip()}…</p><small>200x50</small>" in markup
    assert image_of(markup).size == (200, 50)
