"""The page that says which kind of unlearning to choose promises what the code promises, and its figures are right."""

from __future__ import annotations

import re
from fractions import Fraction
from itertools import product
from pathlib import Path

import pytest

from natmu.records.guarantees import PROMISES

PAGE = (Path(__file__).parents[2] / "docs/which-kind.md").read_text(encoding="utf-8")


def section(guarantee, heading):
    """What stands below a heading on claims."""
    (found,) = re.findall(rf"^### {heading}: {guarantee}\n(.*?)(?=^##)", PAGE, flags=re.DOTALL | re.MULTILINE)
    return found


HEADINGS = {
    "retrain": "`retrain`",
    "sisa": "`sisa`, on shards",
    "ridge": "`downdate`, on a ridge head",
    "logistic": "`downdate`, on a logistic head",
    "approximate": "All other methods",
}


def test_every_promise_has_its_heading():
    assert HEADINGS.keys() == PROMISES.keys()


@pytest.mark.parametrize("kind", PROMISES)
def test_the_page_promises_what_the_code_promises_and_no_more(kind):
    promise = PROMISES[kind]
    text = section(promise.guarantee, HEADINGS[kind])
    assert re.findall(r"^> (.+)$", text, flags=re.MULTILINE) == [promise.promise]
    assert re.findall(r"^- (.+)$", text, flags=re.MULTILINE) == [*promise.assumptions]


def test_the_shares_of_batches_are_those_of_all_ways_to_divide_them():
    header, *rows = re.findall(r"^\| (?:samples in the request|\d+) \|.*$", PAGE, flags=re.MULTILINE)
    shards = [int(number) for number in re.findall(r"S = (\d+)", header)]
    assert len(rows) == 5
    for row in rows:
        samples, *shown = (int(number) for number in re.findall(r"\d+", row))
        for count, share in zip(shards, shown, strict=True):
            assert round(100 * _affected(count, samples)) == share, (count, samples)
    for count, samples in product((2, 3), (1, 2, 5)):
        ways = [*product(range(count), repeat=samples)]
        assert _affected(count, samples) == Fraction(sum(len({*way}) for way in ways), count * len(ways))


def _affected(shards, samples):
    """The expected part of the shards that hold one of the samples."""
    return 1 - (1 - Fraction(1, shards)) ** samples


def test_the_shares_of_slices_are_those_of_all_places_of_a_sample():
    shown = re.search(r"(\d+) % with two slices, (\d+) % with five, never less than (\d+) %", PAGE)
    assert [round(100 * _again(slices)) for slices in (2, 5, 10**3)] == [int(number) for number in shown.groups()]
    assert all(_again(slices) == Fraction(2 * slices + 1, 3 * slices) for slices in (1, 2, 3, 7))


def _again(slices):
    """The expected part of a shard's work from the slice of a sample on: the work of each stage is its slices."""
    work = [*range(1, slices + 1)]
    return Fraction(sum(sum(work[place:]) for place in range(slices)), slices * sum(work))
