"""Figures: what a look at a collection found.

In: examples as they were read. Out: an `Inspection`: sizes, captions, packs and skipped examples. `page` writes about it.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Literal, NamedTuple

import numpy as np
from PIL import Image

from genlip.data.captions import CaptionConfig
from genlip.data.images import ImageConfig
from genlip.data.packing import PackingConfig
from genlip.data.samples import Skipped

__all__ = ["QUANTILES", "Inspection", "Packs", "Part", "Seen"]

QUANTILES = (1, 5, 25, 50, 75, 95, 99)  # in percent


class Part(NamedTuple):
    """A source of a mixture: numbers of its examples, of those in an epoch, of those looked at, and of usable ones."""

    name: str
    examples: int
    per_epoch: int
    looked_at: int
    usable: int


class Seen(NamedTuple):
    """Measurements of a usable example.

    Attributes:
        key, source, number: name of the example, name of its source, and its number there.
        width, height: of the upright image, in pixels.
        format, file_bytes: usual suffix and size of its file; "in memory" and None if there is no file.
        patches: number of patches after resizing.
        resized: whether resizing adds or removes pixels; changes up to half a patch per side count as "kept".
        squeezed: the image is too long to keep its aspect ratio.
        caption: the caption of the first epoch.
        lines: of the stored caption, if it is a text, before captions.lines chooses among them.
        conversation: the caption is a conversation.
        several: the caption was chosen among several.
        tokens: supervised tokens of the caption, before any cut and without its end.
        text: rows of a pack for all its text.
        cut: the caption is cut at captions.max_tokens.
        cut_by_pack: the caption is cut because the patches leave too little room in a pack.
    """

    key: str
    source: str
    number: int
    width: int
    height: int
    format: str
    file_bytes: int | None
    patches: int
    resized: Literal["enlarged", "kept", "reduced"]
    squeezed: bool
    caption: str
    lines: int
    conversation: bool
    several: bool
    tokens: int
    text: int
    cut: bool
    cut_by_pack: bool


class Packs(NamedTuple):
    """Statistics of packs filled from the measured sizes.

    Attributes:
        laid: number of packs.
        packing_efficiency, least_efficiency: mean and least share of packing.max_tokens in use.
        samples: mean number per pack.
        patch_share: share of the rows in use that are patches; the rest is text.
    """

    laid: int
    packing_efficiency: float
    least_efficiency: float
    samples: float
    patch_share: float


@dataclass(frozen=True, repr=False)
class Inspection:
    """Statistics of a source, from the examples looked at.

    Attributes:
        name, examples: the source's name and length.
        notes: what was left out or unusual when the source was opened, one line each.
        parts: sources of a mixture; empty for any other source.
        seen: usable examples.
        skipped: examples that cannot be used, by reason, the most frequent first.
        shown: examples for the contact sheet, spread over the source, with reduced images.
        packs: statistics of packs.
        images, captions, packing, patch_size: the settings.
    """

    name: str
    examples: int
    notes: Sequence[str]
    parts: Sequence[Part]
    seen: Sequence[Seen]
    skipped: Mapping[str, Sequence[Skipped]]
    shown: Sequence[tuple[Seen, Image.Image]]
    packs: Packs
    images: ImageConfig
    captions: CaptionConfig
    packing: PackingConfig
    patch_size: int

    def __repr__(self) -> str:
        """One line; `genlip.inspection_text` gives all figures."""
        return f"<Inspection of {self.name!r}: {self.usable:,} of {self.looked_at:,} examples usable>"

    @property
    def usable(self) -> int:
        """Number of usable examples among those looked at."""
        return len(self.seen)

    @property
    def looked_at(self) -> int:
        """Number of examples that were read."""
        return self.usable + sum(map(len, self.skipped.values()))

    @cached_property
    def measures(self) -> dict[str, np.ndarray]:
        """Each measure of the usable examples: "bytes" only of files, "rows" of a pack."""
        sizes = [(one.width, one.height, one.patches, one.tokens, one.text) for one in self.seen]
        width, height, patches, tokens, text = np.array(sizes).T
        measures = {"width": width, "height": height, "aspect": width / height, "patches": patches, "tokens": tokens}
        files = [one.file_bytes for one in self.seen if one.file_bytes is not None]
        return {**measures, "rows": patches + text, **({"bytes": np.array(files)} if files else {})}

    def quantiles(self, measure: str) -> dict[str, float]:
        """Least, quantiles, most and mean of a measure."""
        values = self.measures[measure]
        between = dict(zip((f"p{q}" for q in QUANTILES), np.percentile(values, QUANTILES).tolist(), strict=True))
        return {"least": values.min().item(), **between, "most": values.max().item(), "mean": values.mean().item()}

    def count(self, field: str, value: object = True) -> int:
        """Number of usable examples for which a field of `Seen` has this value."""
        return sum(getattr(one, field) == value for one in self.seen)

    def share(self, field: str, value: object = True) -> float:
        """The same as a share, in [0, 1]."""
        return self.count(field, value) / self.usable

    @property
    def several_lines(self) -> int:
        """Number of usable examples whose stored caption has several lines."""
        return sum(one.lines > 1 for one in self.seen)

    @property
    def formats(self) -> dict[str, int]:
        """Number of usable examples by file format, the most frequent first."""
        return dict(Counter(one.format for one in self.seen).most_common())

    @cached_property
    def caption_counts(self) -> Counter[str]:
        """Number of different examples with each caption; an example that a mixture repeats counts once."""
        return Counter(caption for *_, caption in {(one.source, one.number, one.caption) for one in self.seen})

    @property
    def most_frequent_caption(self) -> tuple[str, int]:
        """The most frequent caption and its number of examples; the alphabetically first if several are equally frequent."""
        return min(self.caption_counts.items(), key=lambda item: (-item[1], item[0]))

    @property
    def duplicates(self) -> float:
        """Share of the examples whose caption is identical to that of an earlier example."""
        return 1 - len(self.caption_counts) / self.caption_counts.total()

    @property
    def epoch(self) -> dict[str, float]:
        """Samples, tokens, packs and updates of an epoch, scaled from the examples looked at."""
        samples = self.examples * self.usable / self.looked_at
        packs = samples / self.packs.samples
        tokens = samples * self.quantiles("rows")["mean"]
        return {"samples": samples, "tokens": tokens, "packs": packs, "updates": packs / self.packing.packs}

    def to_json(self) -> dict[str, Any]:
        """All figures, for `json.dumps`."""
        caption, times = self.most_frequent_caption
        return {
            "source": self.name,
            "examples": self.examples,
            "notes": list(self.notes),
            "parts": [part._asdict() for part in self.parts],
            "looked_at": self.looked_at,
            "usable": self.usable,
            "skipped": {reason: [one.message for one in some] for reason, some in self.skipped.items()},
            "measures": {name: self.quantiles(name) for name in self.measures},
            "formats": self.formats,
            "resized": {how: self.count("resized", how) for how in ("enlarged", "kept", "reduced")},
            **{field: self.count(field) for field in ("squeezed", "conversation", "several", "cut", "cut_by_pack")},
            "several_lines": self.several_lines,
            "duplicates": self.duplicates,
            "most_frequent_caption": {"caption": caption, "times": times},
            "packs": self.packs._asdict(),
            "epoch": self.epoch,
        }
