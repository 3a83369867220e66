"""The registry: every name leads to a section, and nothing is imported before it is needed."""

import subprocess
import sys
from importlib import import_module

import pytest

from genlip.evaluate.measurements import MEASUREMENTS, section_of, title_of
from genlip.evaluate.result import Result
from genlip.evaluate.scores import Scores


@pytest.mark.parametrize("name", MEASUREMENTS)
def test_every_measurement_has_a_module_that_writes_its_section(name):
    module = import_module(f"genlip.evaluate.{MEASUREMENTS[name].module}")
    assert callable(module.section)
    assert title_of(name) == MEASUREMENTS[name].title


def test_the_registry_imports_none_of_them():
    modules = {f"genlip.evaluate.{one.module}" for one in MEASUREMENTS.values()}
    script = f"import genlip.evaluate.measurements, sys; print(sorted({modules} & sys.modules.keys()))"
    found = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert found.stdout.strip() == "[]"


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
