"""Which samples of a list are still there, by what they are called, what their pixels are and which class they have."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from natmu.types import BoolArray, IntArray


@dataclass(frozen=True, eq=False)
class Described:
    """Samples, as they are recognised.

    Attributes:
        names: What they are called.
        pixels: Digests of their pixels, uint8 ``(N, 16)``.
        labels: Their classes, int64 ``(N,)``.
    """

    names: Sequence[str]
    pixels: npt.NDArray[np.uint8]
    labels: IntArray


@dataclass(frozen=True, eq=False)
class Matches:
    """What became of listed samples.

    Attributes:
        live: For each of them the row of the sample that it is now, -1 where it is gone; int64 ``(N,)``.
        moved: Which of them are called otherwise now, bool ``(N,)``.
        edited: Which are gone, and another image has their name, bool ``(N,)``.
        relabelled: Which are gone, and the same image has another class, bool ``(N,)``.
        added: Rows of samples that are none of them, and stand for none that was edited or relabelled.
    """

    live: IntArray
    moved: BoolArray
    edited: BoolArray
    relabelled: BoolArray
    added: IntArray


def matches(listed: Described, live: Described, last: BoolArray) -> Matches:
    """Recognise listed samples: no live sample stands for two of them, and none for one with other pixels or class.

    First come those with the same name, pixels and class, then those with the same pixels and class.

    Args:
        listed: The listed samples.
        live: The samples that are there now.
        last: Which listed samples may be gone, bool ``(N,)``: where copies are alike, the others are recognised first.
    """
    count = len(listed.labels)
    pixels = _codes(_keys(listed.pixels), _keys(live.pixels))
    named = _numbers(listed.names, live.names)
    found = np.full(count, -1, np.int64)
    free = np.ones(len(live.labels), bool)
    content = _joint(pixels, (listed.labels, live.labels))

    def match(codes: tuple[IntArray, IntArray]) -> BoolArray:
        """Give what is not recognised yet what is still free, where both have the same code."""
        rows, places = np.flatnonzero(found < 0), np.flatnonzero(free)
        own, other = _paired(codes[0][rows], codes[1][places], last[rows])
        found[rows[own]] = places[other]
        free[places[other]] = False
        new = np.zeros(count, bool)
        new[rows[own]] = True
        return new

    match(_joint(content, named))
    moved = match(content)
    known = found.copy()
    relabelled = match(pixels)
    edited = match(named)
    return Matches(known, moved, edited, relabelled, np.flatnonzero(free))


def _paired(first: IntArray, second: IntArray, last: BoolArray) -> tuple[IntArray, IntArray]:
    """Places of equal codes, each used once and in their order, but for those of the first that come last."""
    order, other = np.lexsort((np.arange(len(first)), last, first)), np.argsort(second, kind="stable")
    width = len(first) + len(second) + 1
    ranks, others = (codes * width + _rank(codes) for codes in (first[order], second[other]))
    _, own, theirs = np.intersect1d(ranks, others, assume_unique=True, return_indices=True)
    return order[own], other[theirs]


def _rank(codes: IntArray) -> IntArray:
    """The how manieth of its kind each of sorted codes is."""
    return np.arange(len(codes)) - np.searchsorted(codes, codes, "left")


def _codes(
    first: npt.NDArray[np.void] | IntArray, second: npt.NDArray[np.void] | IntArray
) -> tuple[IntArray, IntArray]:
    """Small numbers for values of two lists, equal for equal values."""
    _, codes = np.unique(np.concatenate([first, second]), return_inverse=True)
    codes = codes.reshape(-1).astype(np.int64)
    return codes[: len(first)], codes[len(first) :]


def _joint(first: tuple[IntArray, IntArray], second: tuple[IntArray, IntArray]) -> tuple[IntArray, IntArray]:
    """Small numbers for pairs of values."""
    own, other = (np.concatenate(pair) for pair in (first, second))
    low = int(other.min()) if len(other) else 0
    width = int(other.max()) - low + 1 if len(other) else 1
    joint = own * width + (other - low)
    return _codes(joint[: len(first[0])], joint[len(first[0]) :])


def _numbers(first: Sequence[str], second: Sequence[str]) -> tuple[IntArray, IntArray]:
    """A number for each name, the same for the same name."""
    known: dict[str, int] = {}
    own, other = (
        np.array([known.setdefault(name, len(known)) for name in names], np.int64) for names in (first, second)
    )
    return own, other


def _keys(digests: npt.NDArray[np.uint8]) -> npt.NDArray[np.void]:
    """Digests as one value each."""
    return np.ascontiguousarray(digests).view(f"V{digests.shape[1]}").reshape(-1)
