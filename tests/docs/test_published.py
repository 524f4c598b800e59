"""The page that holds natmu against published tables: its sums are right, and its recipes are those that exist."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs/published.md").read_text(encoding="utf-8")
RECIPES = sorted((ROOT / "recipes/published").glob("*.yaml"))
GAPS = ("Avg. Gap", "Disparity Ave.")
ROUNDING = 0.02
"""Means of rounded figures; the tables' own gaps are of figures that were not rounded."""

Row = tuple[str, list[float], float]


def _tables(page: str) -> list[list[list[str]]]:
    """Cells of all tables, heads first and without the lines below them."""
    blocks = re.findall(r"(?:^\|.*\|\n)+", page, flags=re.MULTILINE)
    tables = [
        [[cell.strip() for cell in line.strip("|").split("|")] for line in block.splitlines()] for block in blocks
    ]
    return [[head, *rows] for head, _, *rows in tables]


def _rows(table: list[list[str]]) -> list[Row]:
    """Name, scores and stated gap of the rows whose figures are all at hand."""
    complete = [cells for cells in table[1:] if all(re.match(r"\d", cell) for cell in cells[1:])]
    return [(name, [_mean(cell) for cell in scores], float(gap)) for name, *scores, gap in complete]


def _mean(cell: str) -> float:
    """The mean of ``mean ± standard deviation``."""
    return float(cell.split(" ± ")[0])


def _wrong(table: list[list[str]]) -> list[str]:
    """Names of rows whose stated gap is not the mean distance from the first row."""
    (_, retrained, _), *rows = _rows(table)
    gaps = {name: sum(abs(a - b) for a, b in zip(scores, retrained, strict=True)) / 4 for name, scores, _ in rows}
    return [name for name, _, stated in rows if abs(gaps[name] - stated) > ROUNDING]


WITH_GAPS = [table for table in _tables(PAGE) if table[0][-1] in GAPS]


def test_five_tables_have_a_gap_and_each_has_figures() -> None:
    assert [len(_rows(table)) for table in WITH_GAPS] == [10, 10, 4, 5, 5]


@pytest.mark.parametrize("table", WITH_GAPS, ids=range(len(WITH_GAPS)))
def test_stated_gaps_are_those_of_the_figures_beside_them(table: list[list[str]]) -> None:
    """A slip in copying any of a row's figures by more than a few hundredths shows here."""
    assert _wrong(table) == []


def test_a_slip_in_copying_is_found() -> None:
    table = [row[:] for row in WITH_GAPS[0]]
    table[2][1] = "6.63 ± 0.55"
    assert _wrong(table) == [table[2][0]]


def test_the_minutes_follow_from_the_measured_rate() -> None:
    sums = re.findall(r"([\d.]+) million images / ([\d,]+) images/s = ([\d,]+) s: about (\d+) minutes", PAGE)
    assert len(sums) == 8
    results = (ROOT / "benchmarks/results/h100.md").read_text(encoding="utf-8")
    (measured,) = re.findall(r"^\| ResNet18, batch 128 \| [^|]+ \| ([\d,]+) \|", results, flags=re.MULTILINE)
    for images, rate, seconds, minutes in sums:
        assert rate == measured
        assert float(seconds.replace(",", "")) == pytest.approx(
            float(images) * 1e6 / float(rate.replace(",", "")), abs=1
        )
        assert int(minutes) == round(float(seconds.replace(",", "")) / 60)


def test_the_page_and_the_recipes_state_the_same_minutes() -> None:
    for path in RECIPES:
        head = " ".join(path.read_text(encoding="utf-8").split("\nname:")[0].replace("#", " ").split())
        (minutes,) = re.findall(r"docs/published\.md derives about (\d+) minutes", head)
        name = path.relative_to(ROOT).as_posix()
        assert f"`{name}` | not run: needs a GPU, about {minutes} minutes |" in PAGE


def test_the_page_names_the_recipes_that_exist() -> None:
    named = {*re.findall(r"recipes/[\w./-]+\.yaml", PAGE)}
    assert {name for name in named if not (ROOT / name).is_file()} == set()
    assert named >= {path.relative_to(ROOT).as_posix() for path in RECIPES}
