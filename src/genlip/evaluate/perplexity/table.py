"""Table: the perplexities of several encoders side by side, as text.

In: results of the same study. Out: a line for each encoder.
"""

from __future__ import annotations

from collections.abc import Sequence

from genlip.evaluate.result import Result

__all__ = ["perplexity_table"]


def perplexity_table(results: Sequence[Result]) -> str:
    """A line for each encoder, with the interval of each perplexity in which 95 % of resampled sets lie."""
    names = list(dict.fromkeys(name for result in results for name in result.scores))
    rows = [["encoder", *names]]
    for result in results:
        cells = []
        for name in names:
            scores = result.scores.get(name)
            cells.append("" if scores is None else "{:.3f} ({:.3f} to {:.3f})".format(scores.score, *scores.interval()))
        rows.append([result.model, *cells])
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    return "\n".join("   ".join(f"{cell:{width}}" for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows)
