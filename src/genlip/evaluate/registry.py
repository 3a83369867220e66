"""Registry: all measurements. Each is a folder with `measure.py`, `page.py` and `schema.py`.

In: a name. Out: its title, the function that writes its part of a page, and the types of its own parts of a stored result.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

from genlip.evaluate.attention import page as attention
from genlip.evaluate.attention.schema import SCHEMA as ATTENTION
from genlip.evaluate.captioning import page as captioning
from genlip.evaluate.captioning.schema import SCHEMA as CAPTIONING
from genlip.evaluate.features import page as features
from genlip.evaluate.features.schema import SCHEMA as FEATURES
from genlip.evaluate.perplexity import page as perplexity
from genlip.evaluate.perplexity.schema import SCHEMA as PERPLEXITY
from genlip.evaluate.probe import page as probe
from genlip.evaluate.probe.schema import SCHEMA as PROBE
from genlip.evaluate.questions import page as questions
from genlip.evaluate.questions.schema import SCHEMA as QUESTIONS
from genlip.evaluate.readout import page as readout
from genlip.evaluate.readout.schema import SCHEMA as READOUT
from genlip.evaluate.resolution import page as resolution
from genlip.evaluate.resolution.schema import SCHEMA as RESOLUTION
from genlip.evaluate.result import Result
from genlip.evaluate.schema import Schema
from genlip.evaluate.score_table import score_table
from genlip.evaluate.segmentation import page as segmentation
from genlip.evaluate.segmentation.schema import SCHEMA as SEGMENTATION
from genlip.evaluate.zero_shot import page as zero_shot
from genlip.evaluate.zero_shot.schema import SCHEMA as ZERO_SHOT
from genlip.report.html import Section, paragraphs

__all__ = ["MEASUREMENTS", "Measurement", "schema_of", "section_of", "title_of"]


class Measurement(NamedTuple):
    """Its title on pages, the function that writes its section, and the types of its own parts of a stored result."""

    title: str
    section: Callable[[Result], Section]
    schema: Schema


MEASUREMENTS = {
    "captioning": Measurement("Captioning", captioning.section, CAPTIONING),
    "questions": Measurement("Questions about images", questions.section, QUESTIONS),
    "perplexity": Measurement("Perplexity of a language model", perplexity.section, PERPLEXITY),
    "zero-shot": Measurement("Zero-shot classification", zero_shot.section, ZERO_SHOT),
    "probe": Measurement("Probe of frozen features", probe.section, PROBE),
    "segmentation": Measurement("Linear segmentation", segmentation.section, SEGMENTATION),
    "resolution": Measurement("Over resolutions", resolution.section, RESOLUTION),
    "attention": Measurement("Attention allocation", attention.section, ATTENTION),
    "readout": Measurement("Patch readout", readout.section, READOUT),
    "features": Measurement("Views of features", features.section, FEATURES),
}
"""By the name that `genlip eval` and `Result.measurement` have, in the order of a page."""


def title_of(measurement: str) -> str:
    """What pages call it; a measurement from elsewhere by its own name."""
    return MEASUREMENTS[measurement].title if measurement in MEASUREMENTS else measurement


def schema_of(measurement: str) -> Schema:
    """The types of its own parts of a stored result; of a measurement from elsewhere none are known."""
    return MEASUREMENTS[measurement].schema if measurement in MEASUREMENTS else Schema()


def section_of(result: Result) -> Section:
    """The part of a page about a result; of a measurement from elsewhere its scores alone."""
    if result.measurement in MEASUREMENTS:
        try:
            return MEASUREMENTS[result.measurement].section(result)
        except (LookupError, ValueError, ArithmeticError) as error:  # types are checked; values may still not fit each other
            told = f"{type(error).__name__}: {error}"
            raise ValueError(f"{result.folder_name}: not what {result.measurement} finds ({told}); measure again") from error
    story = paragraphs(f"Measured on {len(result.keys):,} images.")
    return Section(f"{result.measurement} on {result.data}", story + score_table(result.scores))
