"""What samples are called: as their source calls them, or by their position in it."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import overload

import numpy as np

from natmu.types import IntArray

ERASED = "(name erased)"
"""Stands for a name that was erased."""


@dataclass(frozen=True, eq=False)
class Listing:
    """All samples of a source in its own order.

    Attributes:
        count: How many there are.
        texts: The name of each, and an empty one where it was erased; None where samples are called by their positions.
        erased: Positions of samples whose names were erased; no text means these.
    """

    count: int
    texts: Sequence[str] | None = None
    erased: frozenset[int] = frozenset()

    def name(self, position: int) -> str:
        """What the sample at a position is called."""
        if self.texts is None:
            return str(position)
        return ERASED if position in self.erased else self.texts[position]

    def without_names(self, positions: Iterable[int]) -> Listing:
        """The same samples, without some of the names; positions are no names, and stay."""
        if self.texts is None:
            return self
        erased = self.erased.union(positions)
        texts = ("" if position in erased else text for position, text in enumerate(self.texts))
        return Listing(self.count, tuple(texts), erased)


@dataclass(frozen=True, eq=False)
class SampleNames(Sequence[str]):
    """The names of the samples of one part of a source.

    A part of a part refers to the same source, so that a position in the source keeps its meaning.

    Attributes:
        listing: The source.
        positions: Places of this part's samples in the source, int64 ``(N,)``.
        others: What the source's other parts are called, such as ``test``, with their names.
    """

    listing: Listing
    positions: IntArray
    others: tuple[tuple[str, SampleNames], ...] = ()

    @classmethod
    def of_source(cls, count: int, texts: Sequence[str] = ()) -> SampleNames:
        """The names of a whole source.

        Args:
            count: Its samples.
            texts: The name of each; positions if there are none.
        """
        return cls(Listing(count, tuple(texts) or None), np.arange(count))

    def __len__(self) -> int:
        return len(self.positions)

    @overload
    def __getitem__(self, row: int) -> str: ...
    @overload
    def __getitem__(self, row: slice) -> tuple[str, ...]: ...
    def __getitem__(self, row: int | slice) -> str | tuple[str, ...]:
        if isinstance(row, slice):
            return self.at(np.arange(len(self))[row])
        return self.at(np.asarray([self.positions[row]]), in_source=True)[0]

    def at(self, rows: IntArray, *, in_source: bool = False) -> tuple[str, ...]:
        """The names of several samples.

        Args:
            rows: Which of this part.
            in_source: Whether ``rows`` are positions in the source instead.
        """
        positions = (rows if in_source else self.positions[rows]).tolist()
        return tuple(map(self.listing.name, positions))

    def subset(self, rows: IntArray) -> SampleNames:
        """The names of the samples at these rows."""
        return replace(self, positions=self.positions[rows])

    def beside(self, **parts: SampleNames | None) -> SampleNames:
        """The same names, with what the other parts of the data hold."""
        return replace(self, others=tuple((role, names) for role, names in parts.items() if names is not None))
