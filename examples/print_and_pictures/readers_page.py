"""Page of the comparison of readers: curves of errors over the height of an x, a table, and lines with all readings.

In: lines, and what each reader read. Out: HTML.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from reader_errors import COLUMNS, Measured, Sample

from genlip.report import charts, html
from genlip.report.charts import Line
from genlip.report.html import Section

_COLOURS = {"genlip": "blue", "tesseract": "orange", "rapidocr": "grey", "tesseract-languages": "text"}
_SHOWN = 6  # lines of each shard: a third of them with the most errors of the first reader


def readers_page(lines: Mapping[str, Sequence[Sample]], found: Sequence[Measured]) -> str:
    """The page."""
    number = len(next(iter(lines.values())))
    story = (
        f"Error rates by characters and words in percent, with intervals of 95 %, on {number:,} lines of manuals that are "
        "kept aside, drawn so that an x is 5, 8, 12 or 20 pixels high, clean and damaged (blur, noise, JPEG, low contrast, "
        "slight rotation). New fonts are in no line for training. Speed is that of one core."
    )
    drawn = [_chart(found, kind) for kind in ("clean", "damaged")]
    tables = html.table(COLUMNS, [one.cells() for one in found])
    readings = [
        Section(f"Lines of {shard}", _readings(some, [one for one in found if one.shard == shard]))
        for shard, some in lines.items()
    ]
    figures = Section("Error rates", html.paragraphs(story) + html.side_by_side(*drawn) + tables)
    return html.page("Readers of single lines", [figures, *readings])


def _chart(found: Sequence[Measured], kind: str) -> str:
    """Error rates by characters over the height of an x, for each reader that has a colour."""
    lines = []
    for name, colour in _COLOURS.items():
        mine = [one for one in found if one.reader == name and one.shard.endswith(kind)]
        heights = [int(one.shard[1:3]) for one in mine]  # of a name such as x05-clean
        lines.append(Line(name, heights, [one.characters.value for one in mine], colour, marked=True))
    return charts.chart(
        f"Wrong characters in percent, {kind} lines", lines, logarithmic=True, below="height of an x, pixels"
    )


def _readings(some: Sequence[Sample], found: Sequence[Measured]) -> str:
    """The lines that the first reader reads worst, and some others, with what all readers read."""
    wrong = found[0].edits[:, 0] / found[0].edits[:, 1]
    worst = np.argsort(-wrong, kind="stable")[: _SHOWN // 3]
    others = np.linspace(0, len(some) - 1, _SHOWN - len(worst)).astype(int)
    shown = html.paragraphs("First those that the first reader reads worst. The truth stands below each line.")
    for place in dict.fromkeys([*worst, *others]):
        said = [[one.reader, one.texts[place].strip(), str(one.edits[place, 0])] for one in found]
        shown += html.image_row([some[place].image], some[place].text, side=720)
        shown += html.table(["", "reads", "edits"], said)
    return shown
