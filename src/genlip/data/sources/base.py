"""Base: the protocol of sources, which are captioned images with a length and random access; and parts of a source.

Parts, mixtures and held-out examples need only `Indexed`: they also serve sources of dialogues, which have no captions.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, Protocol, cast

import numpy as np

from genlip.data.examples import Caption, Example, Unusable, plain_text, short_repr

__all__ = ["Indexed", "Source", "Subset", "Without", "corpus", "notes_of"]


class Indexed(Protocol):
    """Examples of any kind with a length and random access; the same index always gives the same example.

    Several processes read them at once: they must work after pickling and after a fork.
    """

    @property
    def name(self) -> str:
        """Its name in counters and messages."""
        ...

    def __len__(self) -> int: ...

    def __getitem__(self, index: int, /) -> Any: ...


class Source(Indexed, Protocol):
    """Captioned images."""

    def __getitem__(self, index: int, /) -> Example:
        """The example. Raises `Unusable` if it cannot be read; other errors stop the run."""
        ...

    def caption(self, index: int, /) -> Caption:
        """The caption alone, without reading the image."""
        ...


@dataclass(frozen=True, repr=False)
class Subset:
    """Some examples of a source, in the order of `indices`."""

    source: Indexed
    indices: Sequence[int] | np.ndarray

    @property
    def name(self) -> str:
        """The source's."""
        return self.source.name

    __repr__ = short_repr

    def __len__(self) -> int:
        return len(self.indices)

    def __getitem__(self, index: int) -> Any:
        return self.source[int(self.indices[index])]

    def caption(self, index: int) -> Caption:
        """The caption alone, where the source has captions."""
        return cast(Source, self.source).caption(int(self.indices[index]))


class Without:
    """A source without some of its examples. Memory depends only on the number that is left out."""

    def __init__(self, source: Indexed, left_out: Sequence[int] | np.ndarray) -> None:
        self.source = source
        self.name = source.name
        gone = np.unique(np.asarray(left_out, dtype=np.int64))
        for index in (gone[0], gone[-1]) if len(gone) else ():
            if not 0 <= index < len(source):
                raise IndexError(f"{self.name}: cannot leave out example {index} of {len(source)}")
        self._kept_before = gone - np.arange(len(gone))  # number of kept examples before each one that is left out
        self._length = len(source) - len(gone)

    __repr__ = short_repr

    def __len__(self) -> int:
        return self._length

    def __getitem__(self, index: int) -> Any:
        return self.source[self._index(index)]

    def caption(self, index: int) -> Caption:
        """The caption alone, where the source has captions."""
        return cast(Source, self.source).caption(self._index(index))

    def _index(self, index: int) -> int:
        if not 0 <= index < self._length:
            raise IndexError(f"{self.name}: example {index} of {self._length}")
        return index + int(np.searchsorted(self._kept_before, index, side="right"))


def corpus(source: Source, limit: int) -> Iterator[str]:
    """Up to `limit` captions as texts, spread evenly over the source; those that cannot be read are left out."""
    taken = min(limit, len(source))
    for place in range(taken):
        with suppress(Unusable):
            yield plain_text(source.caption(place * len(source) // taken))


def notes_of(source: object) -> list[str]:
    """Lines about what was left out or unusual when a source and its parts were opened, each with the source's name."""
    parts = [*getattr(source, "sources", ()), *([source.source] if hasattr(source, "source") else [])]
    own = [f"{source.name}: {note}" for note in getattr(source, "notes", ())]  # type: ignore[attr-defined]
    return list(dict.fromkeys([*own, *(note for part in parts for note in notes_of(part))]))
