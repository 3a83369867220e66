"""Control tokens: a tokenizer that tells the tokens of a chat template from the same characters in a message.

In: a tokenizer of Transformers, and texts in which control tokens are quoted. Out: token ids and their places in the text.
Tokenizers read `<|im_end|>` as the end of a turn wherever these characters stand, also in what a user wrote. Here only
quoted ones are control tokens, and all others plain characters. Quotes are two noncharacters of Unicode, which no text may
contain. The whole text is still tokenized at once, so ids are those of the tokenizer itself where no message holds such
characters.
"""

from __future__ import annotations

import copy
import re
from collections.abc import Iterable
from typing import Any, NamedTuple

import numpy as np
from tokenizers import AddedToken

from genlip.data.examples import Unusable

__all__ = ["BREAK", "RESERVED", "ControlTokenizer", "Tokens"]

_LEFT, _RIGHT = "\ufdd3", "\ufdd4"
BREAK = _LEFT + _RIGHT  # ends a token, and is none itself
RESERVED = "\ufdd0-\ufdd4"  # for a regular expression: noncharacters with a meaning here and in `genlip.mllm.templates`


class Tokens(NamedTuple):
    """Token ids Int64[L], and the first character and the one after the last of each, Int64[L] both."""

    ids: np.ndarray
    starts: np.ndarray
    ends: np.ndarray


class ControlTokenizer:
    """Tokenizes texts with quoted control tokens. It works after pickling."""

    def __init__(self, tokenizer: Any, more: Iterable[str] = ()) -> None:
        """All special tokens of the tokenizer are control tokens, and those named in `more`, which it must have."""
        self._tokenizer, self._more = tokenizer, tuple(more)
        added = {token.content: (number, token) for number, token in tokenizer.added_tokens_decoder.items()}
        self.ids = {text: number for text, (number, token) in added.items() if token.special or text in self._more}
        longest_first = sorted(self.ids, key=len, reverse=True)
        self._pattern = re.compile("|".join(map(re.escape, longest_first)) or "(?!)")
        self._backend = copy.deepcopy(tokenizer.backend_tokenizer)
        self._backend.no_padding()
        self._backend.no_truncation()
        size = self._backend.get_vocab_size(with_added_tokens=True)
        self._backend.add_special_tokens([AddedToken(text, special=True) for text in self._more])
        self._backend.add_tokens([_quoted_token(added[text][1]) for text in self.ids])
        self._backend.add_tokens([AddedToken(BREAK, normalized=False)])
        self._original = {self._backend.token_to_id(_quoted(text)): number for text, number in self.ids.items()}
        self._break = self._backend.token_to_id(BREAK)
        unknown = getattr(tokenizer, "unk_token_id", None)  # it is what a plain text may well become
        self._refused = np.array([number for number in self.ids.values() if number != unknown], np.int64)
        assert min(self._original, default=size) >= size

    def __reduce__(self) -> tuple[type, tuple[Any, tuple[str, ...]]]:
        return type(self), (self._tokenizer, self._more)  # a backend loses `encode_special_tokens` in a pickle

    def quote(self, text: str) -> str:
        """A text of a template, with its control tokens quoted."""
        return self._pattern.sub(lambda found: _quoted(found[0]), text)

    def find(self, text: str) -> re.Match[str] | None:
        """The first control token in a text of a template."""
        return self._pattern.search(text)

    def encode(self, text: str) -> Tokens:
        """Tokens of a text; places count the quotes.

        Raises `Unusable` if the vocabulary makes a control token of plain characters.
        """
        self._backend.encode_special_tokens = True
        encoding = self._backend.encode(text, add_special_tokens=False)
        found = np.array(encoding.ids, np.int64)
        if (plain := np.isin(found, self._refused)).any():
            start, end = encoding.offsets[int(plain.argmax())]
            raise Unusable(
                "special token in a text", f"the text holds {text[start:end]!r}, which this tokenizer only knows as special"
            )
        places = np.array(encoding.offsets, np.int64).reshape(-1, 2)
        kept = found != self._break
        ids = np.array([self._original.get(number, number) for number in found[kept].tolist()], np.int64)
        return Tokens(ids, places[kept, 0], places[kept, 1])


def _quoted(text: str) -> str:
    return f"{_LEFT}{text}{_RIGHT}"


def _quoted_token(token: AddedToken) -> AddedToken:
    """The quoted form of a token. It is not special: special ones are plain characters here."""
    return AddedToken(_quoted(token.content), lstrip=token.lstrip, rstrip=token.rstrip, normalized=False, special=False)
