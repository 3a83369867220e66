"""Measurements: which there are, and the part of a page that each writes.

In: a stored result. Out: its section. The modules are imported when one of their results is shown.
"""

from __future__ import annotations

from importlib import import_module
from typing import NamedTuple

from genlip.evaluate.pages.score_words import score_table
from genlip.evaluate.result import Result
from genlip.report.html import Section, paragraphs

__all__ = ["MEASUREMENTS", "Measurement", "section_of", "title_of"]


class Measurement(NamedTuple):
    """What it is called on pages, and the module whose `section` writes its part."""

    title: str
    module: str


MEASUREMENTS = {
    "captioning": Measurement("Captioning", "captioning"),
    "zero-shot": Measurement("Zero-shot classification", "pages.zero_shot_page"),
    "probe": Measurement("Probe of frozen features", "pages.probe_page"),
    "segmentation": Measurement("Linear segmentation", "pages.segmentation_page"),
    "resolution": Measurement("Over resolutions", "resolution"),
    "attention": Measurement("Attention allocation", "attention"),
    "readout": Measurement("Patch readout", "readout"),
    "features": Measurement("Views of features", "views"),
}
"""By the name that `genlip eval` and `Result.measurement` have, in the order of a page."""


def title_of(measurement: str) -> str:
    """What pages call it; a measurement from elsewhere by its own name."""
    return MEASUREMENTS[measurement].title if measurement in MEASUREMENTS else measurement


def section_of(result: Result) -> Section:
    """The part of a page about a result; of a measurement from elsewhere its scores alone."""
    if result.measurement in MEASUREMENTS:
        module = import_module(f"genlip.evaluate.{MEASUREMENTS[result.measurement].module}")
        try:
            return module.section(result)
        except (LookupError, ValueError, ArithmeticError) as error:  # types are checked; values may still not fit each other
            told = f"{type(error).__name__}: {error}"
            raise ValueError(f"{result.folder_name}: not what {result.measurement} finds ({told}); measure again") from error
    story = paragraphs(f"Measured on {len(result.keys):,} images.")
    return Section(f"{result.measurement} on {result.data}", story + score_table(result.scores))
