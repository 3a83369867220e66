"""Characters: how texts are written, so that what is printed and what is read can be compared."""

from __future__ import annotations

import unicodedata

ALPHABET = frozenset(
    "".join(map(chr, range(32, 127))) + "ÀÁÂÃÄÅÆÇÈÉÊËÌÍÎÏÑÒÓÔÕÖØÙÚÛÜÝßàáâãäåæçèéêëìíîïñòóôõöøùúûüýÿŒœŠšŽž¡¿«»£€§©®°±×÷•…"
)
SAME = str.maketrans({"‘": "'", "’": "'", "‚": ",", "“": '"', "”": '"', "„": '"', "–": "-", "—": "-", "‐": "-", "\xad": "-"}
                     | {"−": "-", "\xa0": " ", "\t": " ", "·": "•"})  # fmt: skip


def plain(text: str) -> str:
    """The text with ligatures in letters, plain quotes and dashes, and single spaces."""
    return " ".join(unicodedata.normalize("NFKC", text.translate(SAME)).translate(SAME).split())
