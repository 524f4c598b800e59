"""A study as one long table for other programs."""

from __future__ import annotations

from collections.abc import Sequence

from natmu.records.table import Column, Replicate, Results
from natmu.report.made_with import made_with
from natmu.report.units import name_of, unit_of
from natmu.safe_text import csv_lines

FIELDS = ("scenario", "method", "score", "unit", "n", "mean", "std", "values", "replicates", "versions")


def csv_table(study: Results) -> str:
    """Write a study as CSV by RFC 4180: a row per scenario, method and score, also where nothing was measured.

    Args:
        study: The study.

    Returns:
        ``FIELDS`` and rows in the study's order. Numbers are those stored, in full. ``values`` has one for each of
        ``replicates``, both separated by semicolons: ``93.1;;92.8`` of ``s0t0u0;s1t1u1;s2t2u2``, which are the seeds of
        split, training and unlearning (``s0t0`` where no method ran); ``n`` counts the values. ``versions`` says for
        each replicate what it was made with: ``natmu 0.3.0 torch 2.9.0``. A name that a spreadsheet would calculate has
        an apostrophe before it, so that it is shown instead; what is not seen in a name is written as Python writes it.
    """
    rows: list[Sequence[object]] = [FIELDS]
    for row in study.rows:
        seeds = ";".join(map(_seeds, row.replicates))
        versions = ";".join(map(made_with, row.replicates))
        for score in study.columns:
            names = row.scenario, row.method, name_of(score, study.score_on), unit_of(score)
            rows.append([*names, *_numbers(row.scores[score]), seeds, versions])
    return csv_lines(rows, "\r\n")


def _numbers(column: Column | None) -> tuple[int, object, object, str]:
    """How many values, their mean and spread, and the values; None becomes an empty field."""
    if column is None:
        return 0, None, None, ""
    known = [value for value in column.values if value is not None]
    values = ";".join("" if value is None else repr(value) for value in column.values)
    return len(known), column.mean, column.std, values


def _seeds(replicate: Replicate) -> str:
    """The seeds of a replicate, in a form that no spreadsheet takes for a date."""
    unlearning = "" if replicate.unlearning is None else f"u{replicate.unlearning}"
    return f"s{replicate.split}t{replicate.training}{unlearning}"
