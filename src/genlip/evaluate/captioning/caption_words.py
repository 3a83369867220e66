"""Caption words: what BLEU, ROUGE and CIDEr count as a word.

In: a caption. Out: its words in lower case, without punctuation. Published figures are made of the words of Stanford's Penn
Treebank tokenizer, a Java program; a small expression finds the same words in ordinary captions.
"""

from __future__ import annotations

import re

__all__ = ["caption_words"]

_CLITIC = r"'(?:s|m|d|re|ve|ll)(?!\w)"
_WORD = re.compile(
    rf"""
      can(?=not\b)                       # cannot -> can not
    | \w+(?=n't\b) | n't\b               # isn't -> is n't
    | {_CLITIC}                          # dog's -> dog 's
    | [^\W\d_](?:\.[^\W\d_])+\.          # u.s.
    | \d+(?:[.,:/]\d+)+(?!\w)            # 1,000  3.5  12:30
    | \w+(?:(?!{_CLITIC})[-'/&]\w+)*     # t-shirt  o'clock  black/white
    | [$£€¥%&#@*+=/°×©]                  # signs that are read aloud
    """,
    re.VERBOSE,
)


def caption_words(caption: str) -> list[str]:
    """The words of a caption; empty if it has none.

    The same as the reference's (pycocoevalcap 1.2: Stanford CoreNLP 3.4.1) for letters, numbers, hyphens, contractions and
    plain punctuation. It can differ for brackets and runs such as ?!, which the reference keeps as words (-lrb- is one);
    abbreviations other than of single letters (mr. keeps its full stop there); web and mail addresses; numbers with a sign
    or a unit; £, € and fractions of one character, which it rewrites; gonna, wanna, 'tis and y'all, which it divides; words
    joined by a full stop; and scripts with combining marks.
    """
    return _WORD.findall(caption.lower().replace("’", "'"))
