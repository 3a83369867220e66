"""The page of an inspection: it says what looks wrong and nothing else, and texts stay texts whatever they hold."""

import re
from dataclasses import replace

import pytest

from genlip.data.captions import CaptionConfig, Captions
from genlip.data.examples import Example
from genlip.data.images import ImageConfig
from genlip.data.packing import PackingConfig
from genlip.data.sources import Mixture
from genlip.inspect.page import inspection_page, inspection_text, warnings

from ..data import small_run
from ..data.helpers import READ, InMemory, small_config, small_tokenizer
from ..data.small_run import IMAGES, PACKING
from ..report.helpers import EVIL, Checker
from .test_inspection import TALK, captioned, image, inspected, sized

# -- warnings

LONG = "a small red circle on the left and the number"
FULL = PackingConfig(max_tokens=4096)


@pytest.mark.parametrize(
    ("examples", "changes", "expected"),
    [
        (captioned(*(f"{LONG} {i}" for i in range(30))), {}, []),
        (captioned("", *(f"{LONG} {i}" for i in range(30))), {}, ["3.2% of the examples cannot be used, 1 of them for"]),
        (captioned(*(f"{LONG} {i % 20}" for i in range(30))), {}, ["33.3% of the captions repeat"]),
        (captioned(*(f"{i}" for i in range(30))), {}, ["Half of the captions have 2 tokens or fewer"]),
        (
            captioned(*(f"{LONG} {i}" for i in range(30))),
            {"captions": Captions(small_tokenizer(), CaptionConfig(max_tokens=8))},
            ["100.0% of the captions are cut, so their ends are not trained on: raise captions.max_tokens (now 8; 99%"],
        ),
        (
            captioned(*(f"{LONG} {i}" for i in range(30))),
            {"image_config": ImageConfig(size=16)},
            ["100.0% of the images are enlarged, which costs tokens and adds no detail: lower images.size"],
        ),
        (
            captioned(*(f"{LONG} {i}" for i in range(30))),
            {"image_config": replace(IMAGES, min_patches=4)},
            ["100.0% of the images are enlarged, which costs tokens and adds no detail: lower images.min_patches"],
        ),
        (
            captioned(*(f"{LONG} {i}" for i in range(30))),
            {"packing": PackingConfig(max_tokens=40)},
            ["raise packing.packing_buffer (now 16) or packing.max_tokens (now 40)"],
        ),
    ],
)  # fmt: skip
def test_what_looks_wrong_is_said_with_what_to_change_and_nothing_else_is(examples, changes, expected):
    found = inspected(examples, **{"packing": FULL, **changes})
    assert len(warnings(found)) == len(expected), warnings(found)
    for warning, part in zip(warnings(found), expected, strict=True):
        assert part in warning
        assert f"warning: {warning}" in inspection_text(found)
    assert ("No problems were found." in inspection_page(found)) == (not expected)


def test_a_pack_that_is_too_small_for_images_and_their_text_is_said():
    packing = replace(PACKING, max_tokens=12)
    (warning, *_) = warnings(inspected(sized((8, 8), (32, 24)), packing=packing))
    assert "“too large for a pack”: raise packing.max_tokens or lower images.max_patches." in warning
    found = inspected([Example("b", image(32, 24), f"{LONG} 47")], packing=replace(PACKING, max_tokens=20))
    assert any("no room in a pack" in text for text in warnings(found))


# -- words and page


def test_a_summary_says_what_was_found():
    bad = [Example(f"key {i}", b"no image", "x") for i in range(3)]
    lines = inspection_text(inspected([*sized((200, 1), (8, 8), (1, 200)), Example("a", image(), TALK), *bad])).split("\n")
    assert lines[0] == "memory: 7 examples, 7 looked at, 4 usable"
    assert lines[1] == "skipped: not an image: 3, such as key 0: 8 bytes: not an image in a known format: plain text " + READ
    assert "image size: median 8, from 1 to 200 wide, median 8, from 1 to 200 high, in pixels" in lines
    assert "very long images: 2 too long to keep their aspect ratio" in lines
    assert "conversations: 25.0%" in lines


def test_parts_are_listed():
    parts = [InMemory(captioned("a"), "x"), InMemory(captioned("b", "c"), "y"), InMemory([], "nothing")]
    found = inspected(Mixture(parts))
    assert [line for line in inspection_text(found).split("\n") if line.startswith("part ")] == [
        "part x: 1 example, 1 per epoch (1.00 times each), 1 looked at, 1 usable",
        "part y: 2 examples, 2 per epoch (1.00 times each), 2 looked at, 2 usable",
        "part nothing: 0 examples, 0 per epoch, 0 looked at, 0 usable",
    ]
    assert "<h2>Parts</h2>" in inspection_page(found)


def test_a_part_that_comes_again_and_again_is_warned_about():
    few, many = InMemory(captioned("a", "b"), "few"), InMemory(captioned(*map(str, range(58))), "many")
    for weights, warned in (([2, 3], True), ([1, 9], False), (None, False)):
        told = [line for line in warnings(inspected(Mixture([few, many], weights))) if "of few" in line]
        assert bool(told) == warned
        if warned:
            assert told[0].startswith("Each of the 2 examples of few comes 12 times in an epoch")


def test_the_same_seed_makes_the_same_page():
    first, again = (inspection_page(inspected(small_run.mixture(), samples=20)).split("<svg")[0] for _ in range(2))
    assert first == again


def test_pages_of_one_example_and_of_grey_images_are_whole():
    for found in (inspected(captioned("a")), inspected(captioned("a", "b"), model_config=small_config(num_channels=1))):
        assert f"All {found.examples} examples were looked at." in Checker(inspection_page(found)).text


def hostile():
    """Captions, keys, names and messages that hold markup, quotes, terminal codes and bytes that are no text."""
    evil = f"{EVIL} ' onload=x \x1b[31m\udcff"
    good = [Example(evil + str(i), image(30, 20, i), EVIL + f" \x1b[31m {i}") for i in range(5)]
    return InMemory([*good, Example(evil, b"no image", "x"), Example(evil, image(), "")], evil)


def test_hostile_texts_stay_texts():
    html = inspection_page(inspected(hostile()))
    checked = Checker(html)
    assert "script" not in checked.tags
    assert EVIL in checked.text
    assert not re.search(r"&amp;(lt|gt|amp|quot);", html), "escaped twice"
    assert all(address.startswith(("data:", "#")) for address in checked.addresses)
    assert not re.search("[\x00-\x08\x0b-\x1f\x7f]", html)
    html.encode("utf8")


def test_words_for_a_terminal_hold_no_commands_for_it():
    text = inspection_text(inspected(hostile()))
    assert all(letter.isprintable() for line in text.split("\n") for letter in line)
    text.encode("utf8")


def test_a_name_of_several_lines_stays_one_line_each():
    source = InMemory([Example("a\nb", b"", "x"), *captioned("x")], "name\nof two lines")
    lines = inspection_text(inspected(source)).split("\n")
    assert lines[0].startswith("name of two lines: 2 examples")
    assert all(": " in line for line in lines)


def test_the_sheet_shows_images_captions_and_sizes():
    html = inspection_page(inspected(sized(*[(400, 100)] * 30)))
    assert html.count("data:image/png") == 24
    assert 'title="number 1"' in html
    assert "400x100" in html


def test_no_more_than_five_are_named_for_a_reason():
    bad = [Example(f"key {i}", b"no image", "x") for i in range(9)]
    html = inspection_page(inspected([*captioned("a"), *bad]))
    assert [f"key {i}:" in html for i in range(9)] == [True] * 5 + [False] * 4


def test_the_page_shows_figures_and_every_skipped_reason():
    found = inspected(small_run.mixture())
    checked = Checker(html := inspection_page(found))
    for reason in found.skipped:
        assert reason in checked.text
    assert f"{found.packs.packing_efficiency:.1%}" in checked.text
    assert "prefers-color-scheme: dark" in html
    assert not {"script", "link", "iframe"} & set(checked.tags)
    assert html.count("<svg") == sum(values.min() < values.max() for values in found.measures.values())
