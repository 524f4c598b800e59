"""Which rows of a study were made with other versions than the rest of it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from natmu.records.table import Replicate, Results, Row

DECISIVE = ("natmu", "torch")
"""Packages whose version may move a model's numbers."""

MIXED = "*"
"""Marks a row some of which was made with other versions."""


def made_with(replicate: Replicate) -> str:
    """The versions that a replicate was made with, in words; empty where they are not known."""
    return " ".join(f"{name} {replicate.versions[name]}" for name in DECISIVE if name in replicate.versions)


def usual(study: Results) -> str:
    """The versions that most of a study's replicates were made with, in words; of several the first."""
    counts = Counter(words for row in study.rows for one in replicates_of(row) if (words := made_with(one)))
    return max(counts, key=counts.__getitem__, default="")


def replicates_of(row: Row) -> tuple[Replicate, ...]:
    """The replicates of a row, and those of its own original."""
    return (*row.replicates, *(() if row.original is None else row.original.replicates))


def is_mixed(row: Row, expected: str) -> bool:
    """Whether some of a row was made with other versions."""
    return any(made_with(one) not in ("", expected) for one in replicates_of(row))


def version_sentences(rows: Sequence[Row], expected: str) -> tuple[str, ...]:
    """What is said of the rows that were made with other versions; nothing where there are none.

    Args:
        rows: Of one scenario.
        expected: The versions of most of the study, in words.
    """
    parts = []
    for row in rows:
        counts = Counter(made_with(one) for one in replicates_of(row))
        others = [f"{count} with {words}" for words, count in counts.items() if words not in ("", expected)]
        parts += [f"{row.method} ({', '.join(others)}, of {counts.total()})"] if others else []
    if not parts:
        return ()
    return (
        f"{MIXED} Made with other versions than most of this study, which has {expected}, so that numbers may differ "
        f"for that alone: {'; '.join(parts)}.",
    )
