"""What is marked as best, or as not distinguishable from it."""

from __future__ import annotations

from natmu.report import markdown
from natmu.report.significance import marked, pairs

from .folders import row, table


def study(**gaps):
    return table(*(row("a", label, len(values), avg_gap=values) for label, values in gaps.items()))


def test_those_within_noise_of_the_best_are_near_it():
    found = study(x=[1.0, 1.2, 0.9], y=[1.1, 1.0, 1.2], z=[9.0, 9.1, 9.2])
    assert marked(found, "a") == {("x", "avg_gap"): "best", ("y", "avg_gap"): "near"}


def test_what_equals_the_best_is_best():
    found = study(x=[1.0, 2.0, 3.0], y=[1.0, 2.0, 3.0], z=[9.0, 9.1, 9.2])
    assert marked(found, "a") == {("x", "avg_gap"): "best", ("y", "avg_gap"): "best"}


def test_of_one_seed_the_lowest_gap_is_marked_and_the_legend_says_why():
    """There are two retrained models all the same, so that there is a retraining baseline."""
    found = table(
        row("a", "retrained", 2, avg_gap=[0.5, None]), row("a", "x", 1, avg_gap=[1.0]), row("a", "y", 1, avg_gap=[2.0])
    )
    assert marked(found, "a") == {("x", "avg_gap"): "best"}
    assert "one seed shows no noise" in markdown(found)
    assert "standard deviation over seeds" in markdown(found)


def test_every_pair_that_shares_seeds_is_shown_with_its_interval():
    """Differences of -8, -7.9 and -8.3: mean -8.07, and t(2) * 0.208 / sqrt(3) = 0.52 on either side."""
    found = study(x=[1.0, 1.2, 0.9], z=[9.0, 9.1, 9.2], one=[50.0])
    assert pairs(found, "a") == [("x", "z", "-8.07 (95 %: -8.58 to -7.55)", 3)]
