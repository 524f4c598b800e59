"""Gap against cost on the page of a study."""

from __future__ import annotations

import json
import math

import pytest
from scipy.stats import t as student
from tests.records import folders

from natmu.report.cost_figure import cost_figure, cost_table
from natmu.report.costs import Costs
from natmu.report.figures import Model

from .many_methods import many_rows

COLUMNS = ("avg_gap", "passes")


def row(label, passes, *gaps, failed=None, **more):
    replicates = [((0, seed, seed), f"{label}{seed}", f"{seed:016x}") for seed in range(len(gaps))]
    values = {"avg_gap": gaps} | ({} if passes is None else {"passes": (passes,) * len(gaps)})
    made = folders.row("random:10%", label, replicates, failed=failed, columns=COLUMNS, **values)
    return made.model_copy(update=more)


ROWS = [
    row("original", None, 6.0, 6.2),
    row("retrained", 18.0, 0.4, 0.6, 0.5),
    row("dear", 9.0, 1.0, 1.2, 1.1),
    row("cheap", 0.09, 2.0, 2.6, search=12.5, preparation=0.25),
    row("beaten", 10.0, 3.0, 3.1),
    row("single", 0.9, 1.5),
    row("free", 0.0, 4.0, 4.1),
    row("unknown", None, 0.1, 0.1),
    row("lucky", 0.01, 0.1, failed="One seed diverged."),
]


@pytest.fixture
def costs():
    return Costs(ROWS, 20)


def models(rows):
    return [Model(f"m{place}", row.method, place) for place, row in enumerate(rows)]


def test_methods_come_by_cost_with_their_interval_and_standing(costs):
    found = {one.label: one for one in costs.methods}
    assert list(found) == ["free", "cheap", "single", "dear", "beaten"]  # not what failed, or whose cost is not known
    assert [one.standing for one in found.values()] == ["front", "front", "front", "front", "behind"]
    half = student.ppf(0.975, 2) * 0.1 / math.sqrt(3)
    assert found["dear"].interval == pytest.approx((1.1 - half, 1.1 + half))
    assert found["single"].interval is None


def test_the_same_seeds_show_a_difference_that_intervals_of_each_method_hide():
    """Gaps of both vary by 1 from seed to seed and their difference by 0.1."""
    rows = [row("better", 1.0, 1.0, 2.0, 3.0), row("worse", 1.0, 1.5, 2.6, 3.5), row("alike", 1.0, 0.5, 2.6, 3.1)]
    found = {one.label: one for one in Costs(rows, 20).methods}
    assert {label: one.standing for label, one in found.items()} == {
        "better": "front",
        "worse": "behind",
        "alike": "near",
    }
    assert found["better"].interval[1] > found["worse"].interval[0]


@pytest.mark.parametrize(
    "worse",
    [
        row("worse", 1.0, 9.0),  # one seed
        row("worse", 1.0, 3.0, 4.0, 5.0),  # a difference of which nobody knows the spread
        row("worse", 1.0, 0.5, 1.5, 2.45, 9.0),  # better in all pairs, with one seed more that was a hard one
    ],
)
def test_what_no_pair_of_seeds_shows_is_within_noise(worse):
    rows = [row("better", 1.0, 1.0, 2.0, 3.0), worse]
    assert [one.standing for one in Costs(rows, 20).methods] == ["front", "near"]


def test_yardsticks_show_the_retain_set_once_an_epoch(costs):
    assert costs.retraining == 18.0
    assert (costs.yardstick(10), costs.yardstick(100)) == (pytest.approx(9.0), pytest.approx(90.0))
    assert Costs(ROWS, None).yardstick(10) == 10  # of which nobody says how large it is


def test_the_table_has_fractions_of_each_retraining_and_what_stands_apart(costs):
    table = cost_table(costs)
    rows = {cells[0]: dict(zip(table.headers, cells, strict=True)) for cells in table.rows}
    assert rows["cheap"] == {
        "method": "cheap",
        "avg_gap": "2.30 [-1.51, 6.11]",
        "passes": "0.09",
        "% of retraining (20 epochs)": "0.5",
        "% of 10 epochs": "1",
        "% of 100 epochs": "0.1",
        "preparation": "0.25",
        "search": "12.5",
        "on the front": "yes",
    }
    assert rows["retrained"]["% of 10 epochs"] == "200"
    assert rows["beaten"]["on the front"] == "no"
    assert rows["dear"]["search"] == "-"


def test_the_figure_has_the_front_as_steps_and_marks_at_the_yardsticks(costs):
    figure = cost_figure(models(ROWS), costs)
    steps, *points = figure["data"]
    assert steps["line"]["shape"] == "hv"
    assert steps["y"][:-1] == pytest.approx([4.05, 2.3, 1.5, 1.1])
    names = {trace["meta"]: trace["text"][0] for trace in points if "text" in trace}
    assert (names["m3"], names["m4"]) == ("<b>cheap</b>", "beaten")
    lines = [shape["x0"] for shape in figure["layout"]["shapes"] if shape["xref"] == "x"]
    assert sorted(lines) == pytest.approx([0.09, 0.9, 9.0, 90.0])
    words = {words["text"] for words in figure["layout"]["annotations"]}
    assert words == {
        "original",
        "retraining baseline",
        "1 % of 10",
        "10 % of 10<br>1 % of 100",
        "10 epochs<br>10 % of 100",
        "100 epochs",
    }
    json.dumps(figure, allow_nan=False)


def test_the_band_is_the_interval_of_the_retraining_baseline(costs):
    (band,) = [shape for shape in cost_figure(models(ROWS), costs)["layout"]["shapes"] if shape["type"] == "rect"]
    half = student.ppf(0.975, 2) * 0.1 / math.sqrt(3)
    assert (band["y0"], band["y1"]) == (pytest.approx(0.5 - half, rel=1e-4), pytest.approx(0.5 + half, rel=1e-4))


@pytest.mark.parametrize("rows", [[], ROWS[:2], [row("unknown", None, 0.1)]])
def test_there_is_no_figure_without_a_method_whose_cost_is_known(rows):
    assert cost_figure(models(rows), Costs(rows, 20)) is None
    assert cost_table(Costs(rows, 20)) is None


@pytest.mark.parametrize("rows", [ROWS[4:5], ROWS[3:4] + ROWS[6:7], ROWS[6:7]])
def test_what_is_not_known_is_left_out(rows):
    figure = cost_figure(models(rows), Costs(rows, None))
    assert all(math.isfinite(value) for trace in figure["data"] for value in (*trace["x"], *trace["y"]))
    assert "% of retraining" not in " ".join(cost_table(Costs(rows, None)).headers)


def test_of_thirty_methods_all_on_the_front_are_named_and_most_of_the_others():
    rows = many_rows()
    costs = Costs(rows, 20)
    figure = cost_figure(models(rows), costs)
    named = {trace["name"] for trace in figure["data"] if trace["mode"] == "markers+text"}
    assert {one.label for one in costs.methods if one.standing == "front"} <= named
    assert len(named) >= 15
