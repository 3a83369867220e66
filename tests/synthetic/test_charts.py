"""`genlip.synthetic.charts`: captions checked against bars, slices, lines and points measured in the image."""

import hashlib
import re
import subprocess
import sys
from collections import Counter

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from genlip.synthetic.charts import COLOURS, KINDS, Chart, chart, describe, draw, questions
from genlip.synthetic.page import Slice
from tests.synthetic.test_documents import assert_texts_are_inside_and_apart, assert_texts_are_visible

CONTENTS = [chart(0, index) for index in range(180)]
MANY = settings(max_examples=300, deadline=None, derandomize=True)


def few(kind: str, count: int = 25) -> list[Chart]:
    return [chart(11, index, kind=kind) for index in range(count)]


def coloured(content: Chart, colour: str) -> np.ndarray:
    """Bool[h, w], where the plot has exactly this colour; legends are outside."""
    inside = np.zeros(content.page.size[::-1], bool)
    inside[content.plot.top : content.plot.bottom, content.plot.left : content.plot.right] = True
    return (np.asarray(draw(content)) == COLOURS[colour]).all(axis=2) & inside


def scale(content: Chart, along: int) -> tuple[float, float]:
    """Place of 0 and pixels for each unit, by the numbers written at an axis: 0 the horizontal one, 1 the vertical one."""
    numbers = {}
    for text in content.page.texts:
        at_axis = text.at[1] > content.plot.bottom + 0.7 * text.style.size if along == 0 else text.at[0] < content.plot.left
        if at_axis and re.fullmatch(r"[\d,]+", text.text) and text.text not in numbers:
            middle = text.at[0] + text.style.width(text.text) / 2 if along == 0 else text.at[1] - 0.4 * text.style.above
            numbers[text.text] = middle
    places = {int(number.replace(",", "")): place for number, place in numbers.items()}
    return places[0], (places[max(places)] - places[0]) / max(places)


def runs(marked: np.ndarray) -> list[tuple[int, int]]:
    """Begin and end of each stretch of True."""
    edges = np.flatnonzero(np.diff(np.concatenate([[False], marked, [False]]).astype(int)))
    return list(zip(edges[::2].tolist(), edges[1::2].tolist(), strict=True))


def cropped(pixels: np.ndarray, paper: tuple[int, int, int]) -> np.ndarray:
    """Rows and columns with anything on them."""
    marked = (pixels != paper).any(axis=2)
    return pixels[np.ix_(marked.any(axis=1), marked.any(axis=0))]


def islands(marked: np.ndarray) -> int:
    """Connected regions, by flooding each in turn."""
    left, found = set(zip(*np.nonzero(marked), strict=True)), 0
    while left:
        found, edge = found + 1, [left.pop()]
        while edge:
            y, x = edge.pop()
            for beside in ((y + 1, x), (y - 1, x), (y, x + 1), (y, x - 1)):
                if beside in left:
                    left.remove(beside)
                    edge.append(beside)
    return found


# -- the same on every machine


def test_a_chart_depends_on_its_seed_and_index_alone():
    backwards = [chart(0, index) for index in reversed(range(60))]
    assert backwards[::-1] == CONTENTS[:60]
    program = (
        "import hashlib; from genlip.synthetic.charts import chart, draw\n"
        "images = [draw(chart(7, index, (256, 320))) for index in range(18)]\n"
        "print(hashlib.sha256(b''.join(image.tobytes() for image in images)).hexdigest())"
    )
    elsewhere = subprocess.run([sys.executable, "-c", program], check=True, capture_output=True, text=True).stdout
    here = b"".join(draw(chart(7, index, (256, 320))).tobytes() for index in range(18))
    assert hashlib.sha256(here).hexdigest() == elsewhere.strip()


# -- text


@MANY
@given(
    index=st.integers(0, 2**40),
    longest=st.sampled_from(((256, 1024), (256, 256), (1024, 1024))),
    system_fonts=st.booleans(),
)
def test_texts_are_inside_the_image_and_apart(index, longest, system_fonts):
    assert_texts_are_inside_and_apart(chart(5, index, longest, system_fonts=system_fonts).page)


@pytest.mark.parametrize("kind", KINDS)
def test_titles_labels_and_categories_are_visible(kind):
    for content in few(kind, 4):
        image = draw(content)
        assert (image.mode, image.size) == ("RGB", content.page.size)
        if kind not in ("line", "pie"):  # where text may lie on marks or is light on dark
            assert_texts_are_visible(content.page, image)
        shown = " ".join(text.text for text in content.page.texts)
        for words in (content.title, content.below, content.beside, *content.categories):
            assert words in shown
        assert all(series.name in shown for series in content.series)


def test_a_turned_label_reads_upwards():
    content = next(c for c in CONTENTS for text in c.page.texts if text.turned)
    label = next(text for text in content.page.texts if text.turned)
    lying = content.page._replace(marks=(label._replace(turned=False, at=(20, 40)),), size=(400, 400))
    standing = content.page._replace(marks=(label._replace(at=(200, 300)),), size=(400, 400))
    across = np.asarray(draw(content._replace(page=lying)))
    turned_back = np.rot90(np.asarray(draw(content._replace(page=standing))), -1)
    one, other = (cropped(pixels, content.page.paper) for pixels in (across, turned_back))
    assert one.shape == other.shape
    assert (one == other).all()


# -- values


@pytest.mark.parametrize("kind", ["vertical bar", "grouped bar"])
def test_bars_are_as_high_as_their_values(kind):
    for content in few(kind):
        zero, unit = scale(content, 1)
        assert abs(zero - content.plot.bottom) <= 3
        for series in content.series:
            mask = coloured(content, series.colour)
            heights = [mask[:, left:right].any(axis=1).sum() for left, right in runs(mask.any(axis=0))]
            assert len(heights) == len(series.values)
            for height, value in zip(heights, series.values, strict=True):
                assert height == pytest.approx(-unit * value, abs=1.6)


def test_lying_bars_are_as_long_as_their_values():
    for content in few("horizontal bar"):
        zero, unit = scale(content, 0)
        assert abs(zero - content.plot.left) <= 1.5
        mask = coloured(content, content.series[0].colour)
        lengths = [mask[top:bottom].any(axis=0).sum() for top, bottom in runs(mask.any(axis=1))]
        assert len(lengths) == len(content.categories)
        for length, value in zip(lengths, content.series[0].values, strict=True):
            assert length == pytest.approx(unit * value, abs=1.6)


def test_slices_fill_their_shares_clockwise_from_the_top():
    for content in few("pie"):
        bare = content.page._replace(marks=tuple(mark for mark in content.page.marks if isinstance(mark, Slice)))
        pixels = np.asarray(draw(content._replace(page=bare)))
        masks = [(pixels == COLOURS[series.colour]).all(axis=2) for series in content.series]
        areas = np.array([mask.sum() for mask in masks])
        values = np.array([series.values[0] for series in content.series])
        assert values.sum() == 100
        assert areas / areas.sum() * 100 == pytest.approx(values, abs=1.0)
        centre = np.argwhere(np.any(masks, axis=0)).mean(axis=0)
        for mask, value, begin in zip(masks, values, np.cumsum(values) - values, strict=True):
            y, x = (np.argwhere(mask).mean(axis=0) - centre) * (1, 1)
            if value < 45:  # the centre of mass of a large slice is near the middle
                angle = np.arctan2(x, -y) / (2 * np.pi) * 100 % 100
                assert angle == pytest.approx(begin + value / 2, abs=1.5)


def test_lines_pass_through_their_values():
    for content in few("line"):
        zero, unit = scale(content, 1)
        pixels = np.asarray(draw(content)).astype(int)
        for series in content.series[-1:]:  # the last one hides the others
            for place, value in enumerate(series.values):
                x = content.plot.left + (place + 0.5) * content.plot.width / len(content.categories)
                y, row = zero + unit * value, slice(round(x) - 2, round(x) + 3)
                near = np.abs(pixels[round(y) - 3 : round(y) + 4, row] - COLOURS[series.colour]).sum(axis=2)
                assert near.min() < 60, (content.title, place)


def test_points_lie_where_the_caption_counts_them():
    for content in few("scatter", 12):
        (left, along), (bottom, up) = scale(content, 0), scale(content, 1)
        (series,) = content.series
        mask = coloured(content, series.colour)
        apart = islands((np.asarray(draw(content)) == COLOURS[series.colour]).all(axis=2))
        assert apart == len(content.across) == len(series.values)
        for x, y in zip(content.across, series.values, strict=True):
            row, column = round(bottom + up * y), round(left + along * x)
            if content.plot.top < row < content.plot.bottom - 2 and column < content.plot.right - 2:
                assert mask[row - 2 : row + 3, column - 2 : column + 3].any(), (content.title, x, y)


def test_points_rise_and_fall_as_the_caption_says():
    said = Counter()
    for content in few("scatter", 60):
        r = np.corrcoef(content.across, content.series[0].values)[0, 1]
        trend = re.search(r"they (rise|fall|neither rise nor fall)\.$", describe(content))[1]
        assert {"rise": r > 0.5, "fall": r < -0.5, "neither rise nor fall": abs(r) < 0.5}[trend]
        said[trend] += 1
    assert min(said.values()) > 8


def test_values_that_are_not_written_lie_on_ticks_or_halfway():
    for content in (one for one in CONTENTS if one.kind in ("line", "vertical bar", "grouped bar")):
        ticks = sorted(int(text.text.replace(",", "")) for text in content.page.texts
                       if re.fullmatch(r"[\d,]+", text.text) and text.at[0] < content.plot.left)  # fmt: skip
        written = sum(text.at[0] > content.plot.left and text.at[1] < content.plot.bottom for text in content.page.texts)
        values = [value for series in content.series for value in series.values]
        if written < len(values):
            assert all(value % (ticks[1] // 2) == 0 for value in values)


# -- captions and questions


def test_a_caption_states_every_word_and_value():
    for content in CONTENTS:
        text = describe(content)
        assert text.startswith(f"A {content.kind} chart titled {content.title}.")
        if content.kind == "scatter":
            x, y = content.across, content.series[0].values
            assert f"{len(x)} {content.series[0].colour} points, from {min(x):,} to {max(x):,} across" in text
            assert f"from {min(y):,} to {max(y):,} up" in text
            continue
        sign = "%" if content.kind == "pie" else ""
        highest = max(value for series in content.series for value in series.values)
        assert f"The highest value is {highest:,}{sign}, for " in text
        for series in content.series:
            assert not series.name or f"{series.name} ({series.colour}): " in text
            for category, value in zip(content.categories, series.values, strict=True):
                assert f"{category} {value:,}{sign}" in text


def test_the_highest_value_is_the_only_one():
    for content in (one for one in CONTENTS if one.kind != "scatter"):
        values = [value for series in content.series for value in series.values]
        assert values.count(max(values)) == 1


def test_a_caption_by_hand():
    content = CONTENTS[0]._replace(kind="line", title="Fish in Danby", below="Day", beside="Boxes",
                                   categories=("Mon", "Tue"), across=())  # fmt: skip
    series = content.series[0]
    one, two = series._replace(name="", values=(5, 1200)), series._replace(name="Coast", colour="red", values=(7, 8))
    axes = "A line chart titled Fish in Danby. The horizontal axis shows Day, the vertical axis Boxes."
    assert describe(content._replace(series=(one,))) == f"{axes} Mon 5, Tue 1,200. The highest value is 1,200, for Tue."
    both = content._replace(series=(two, two._replace(name="Inland", colour="blue", values=(3, 9))))
    assert describe(both) == f"{axes} Coast (red): Mon 7, Tue 8. Inland (blue): Mon 3, Tue 9. " \
                             "The highest value is 9, for Tue of Inland."  # fmt: skip
    asked = dict(questions(both))
    assert asked["What is the value for Mon of Coast?"] == "7"
    assert asked["Which colour stands for Inland?"] == "blue"
    assert asked["For what is the highest value?"] == "Tue of Inland"


def test_answers_are_in_the_caption():
    for content in CONTENTS:
        text = describe(content)
        asked = questions(content)
        assert len(asked) >= 4
        assert len(dict(asked)) == len(asked)
        assert all(question.endswith("?") and answer in text for question, answer in asked)


# -- how varied they are


def test_kinds_fonts_sizes_and_colours_vary():
    kinds = Counter(content.kind for content in CONTENTS)
    assert kinds.keys() == KINDS.keys()
    assert min(kinds.values()) >= 15
    sizes = np.array([content.page.size for content in CONTENTS])
    assert sizes.min() >= 192
    assert sizes.max() <= 1024
    shapes = sizes[:, 0] / sizes[:, 1]
    assert shapes.min() < 0.8
    assert shapes.max() > 1.6
    assert {series.colour for content in CONTENTS for series in content.series} == COLOURS.keys()
    assert len({text.style.font for content in CONTENTS for text in content.page.texts}) >= 10
    assert len({describe(content) for content in CONTENTS}) == len(CONTENTS)
    assert len({category for content in CONTENTS for category in content.categories}) > 100


def test_options_that_do_not_exist_are_refused():
    with pytest.raises(ValueError, match="kind is 'radar', must be one of vertical bar, horizontal bar"):
        chart(0, 0, kind="radar")
    with pytest.raises(ValueError, match=r"longest is \(500, 400\), must be two sizes in order"):
        chart(0, 0, longest=(500, 400))
