"""Word tokens: which tokens of a vocabulary are a word, or begin it.

In: a tokenizer and words. Out: for each word the ids that count in the readout of a patch.

A token that is the whole word counts, whatever its case and the white space around it. Only a word that the tokenizer never
writes in one piece counts by its beginning: its first token, with and without a space before it. So " red" says "red", and
"re", with which the same tokenizer begins a caption that starts with "red", does not: it could as well begin "rectangle".
A space of its own before a word, as before digits, is not yet its beginning. What is left can still be ambiguous: "4" begins
"47" and "42". It then counts for both, in the controls of a measurement as well.
"""

from __future__ import annotations

from collections import defaultdict

import numpy as np

from genlip.data.captions import Captions

__all__ = ["WordTokens"]


class WordTokens:
    """The tokens of words; each word is looked up once."""

    def __init__(self, captions: Captions) -> None:
        self.captions = captions
        self._whole: defaultdict[str, list[int]] = defaultdict(list)
        ids = sorted(captions.tokenizer.get_vocab(with_added_tokens=True).values())
        texts = captions.tokenizer.decode_batch([[i] for i in ids], skip_special_tokens=False)
        for i, text in zip(ids, texts, strict=True):
            self._whole[_plain(text)].append(i)
        self._known: dict[str, np.ndarray] = {}

    def ids(self, word: str) -> np.ndarray:
        """Int64[n], ascending, the tokens that count for a word. Raises ValueError for one without a visible character."""
        if word not in self._known:
            self._known[word] = np.array(sorted({*self._whole.get(_plain(word), ()), *self._beginnings(word)}))
        return self._known[word]

    def split(self, word: str) -> bool:
        """Whether the tokenizer never writes the word in one piece, so that its beginning counts."""
        return bool(self._beginnings(word))

    def pieces(self, word: str) -> list[str]:
        """The tokens that count for a word, as texts."""
        return [self.captions.piece(i) for i in self.ids(word).tolist()]

    def _beginnings(self, word: str) -> set[int]:
        """The first visible tokens of a word that is split with and without a space before it; else none."""
        if not word.strip():
            raise ValueError(f"the word {word!r} has no visible character: give each object at least one word that has")
        forms = [self._visible(text) for text in (word.strip(), f" {word.strip()}")]
        return {ids[0] for ids in forms} if all(len(ids) > 1 for ids in forms) else set()

    def _visible(self, text: str) -> list[int]:
        """The tokens of a text from the first one that is more than white space."""
        ids = self.captions.ids(text)
        return next(ids[i:] for i, token in enumerate(ids) if self.captions.piece(token).strip())


def _plain(text: str) -> str:
    return text.strip().lower()
