"""Patch words: an image under its grid of patches, each with its most likely tokens."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from genlip.data.images import ImageLike
from genlip.report.html import escape, inline_image
from genlip.speaker import PatchWords

__all__ = ["common_token", "readout"]


def readout(image: ImageLike, said: PatchWords) -> str:
    """An image under its grid of patches: each shows its likeliest token, and all its tokens on hover or focus.

    A token that is likeliest for most patches is dimmed.
    """
    (rows, columns), (common, _) = map(int, said.grid), common_token(said)
    cells = "".join(_cell(words, i // columns, i % columns, words[0][0] == common) for i, words in enumerate(said.words))
    return (
        f'<div class="readout" style="--rows:{rows};--columns:{columns}"><div class="readout-area">'
        f'<div class="image">{inline_image(image, 512)}<div class="patches">{cells}</div></div>'
        '<p class="hint">Point at a patch, tap it, or move to it with Tab, to see its likeliest tokens.</p>'
        f"</div></div>{_readout_table(said)}"
    )


def common_token(said: PatchWords) -> tuple[str | None, int]:
    """The token that is likeliest for more than half of the patches, and their number; (None, 0) if there is none."""
    (token, times), *_ = Counter(words[0][0] for words in said.words).most_common()
    return (token, times) if 2 * times > len(said.words) else (None, 0)


def _cell(words: Sequence[tuple[str, float]], row: int, column: int, dim: bool) -> str:
    token, chance = words[0]
    shown = _visible(token).strip("␣") or "␣"
    return (
        f'<div class="patch{" dim" if dim else ""}" tabindex="0" style="--letters:{len(shown)};--chance:{chance:.2f}">'
        f"<b>{escape(shown)}</b><small>{chance:.0%}</small>"
        f'<div class="tokens"><h3>row {row + 1}, column {column + 1}</h3>{_bars(words)}</div></div>'
    )


def _bars(words: Sequence[tuple[str, float]]) -> str:
    rows = "".join(
        f'<tr><th>{escape(_visible(token))}</th><td><span style="width:{chance:.1%}"></span></td><td>{chance:.1%}</td></tr>'
        for token, chance in words
    )
    return f"<table>{rows}</table>"


def _readout_table(said: PatchWords) -> str:
    columns = int(said.grid[1])
    lines = "".join(
        f"<tr><td>{i // columns + 1}</td><td>{i % columns + 1}</td><td>"
        + ", ".join(f"{escape(_visible(token))} {chance:.1%}" for token, chance in words)
        + "</td></tr>"
        for i, words in enumerate(said.words)
    )
    head = "<tr><th>row</th><th>column</th><th>likeliest tokens</th></tr>"
    return f"<details><summary>The same as a table</summary><table>{head}{lines}</table></details>"


def _visible(token: str) -> str:
    """A token with its white space made visible."""
    return token.replace(" ", "␣").replace("\n", "↵").replace("\t", "⇥")
