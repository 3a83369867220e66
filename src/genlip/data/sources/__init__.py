"""Sources: captioned images with random access by index, from any storage."""

from genlip.data.sources.base import Source, Subset, Without, corpus, notes_of
from genlip.data.sources.mixture import Mixture, hold_out, locate
from genlip.data.sources.opening import open_source
from genlip.data.sources.procedural import Procedural
from genlip.data.sources.tables import Files

__all__ = [
    "Files", "Mixture", "Procedural", "Source", "Subset", "Without", "corpus", "hold_out", "locate", "notes_of",
    "open_source",
]  # fmt: skip
