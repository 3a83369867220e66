"""The registry: every name leads to a folder, its section and its schema."""

from importlib import import_module
from pathlib import Path

import genlip.evaluate
from genlip.evaluate.registry import MEASUREMENTS, schema_of, section_of, title_of
from genlip.evaluate.result import Result
from genlip.evaluate.scores import Scores


def test_every_measurement_is_a_folder_with_the_same_slots():
    folders = {name.replace("-", "_") for name in MEASUREMENTS}
    there = {file.parent.name for file in Path(genlip.evaluate.__path__[0]).glob("*/measure.py")}
    assert folders == there
    for name in MEASUREMENTS:
        page, schema = (import_module(f"genlip.evaluate.{name.replace('-', '_')}.{slot}") for slot in ("page", "schema"))
        assert MEASUREMENTS[name].section is page.section
        assert schema_of(name) is schema.SCHEMA
        assert title_of(name) == MEASUREMENTS[name].title


def test_a_measurement_from_elsewhere_is_shown_by_its_scores():
    result = Result(
        measurement="colour <naming>",
        model="m",
        data="s",
        settings={},
        scores={"right": Scores.mean([1, 0])},
        keys=["a", "b"],
    )
    section = section_of(result)
    assert section.title == "colour <naming> on s"
    assert "<td>right</td><td>0.500</td>" in section.body
    assert "2 images" in section.body
