from __future__ import annotations

import pytest

from natmu.report.grid import grid

from . import folders

LABELS = ("natmu", "amnesiac", "salun", "scrub")
SCENARIO = "random:10%"


@pytest.fixture
def study(tmp_path):
    return folders.make_study(tmp_path, LABELS)[1]


def comparison(score, best, method, within_noise):
    shown = {"difference": -1.0, "interval": None, "n": 2, "within_noise": within_noise}
    return {"scenario": SCENARIO, "score": score, "best": best, "method": method, **shown}


def marks(found, column):
    place = found.columns.index(column)
    return {line.label: line.cells[place].mark for line in (*found.references, *found.methods)}


def test_cells_have_the_digits_of_their_spread_and_the_number_in_full(study):
    found = grid(study, SCENARIO)
    row = study["rows"][2]
    line = found.methods[0]
    assert line.label == row["method"]
    cells = dict(zip(found.columns, line.cells, strict=True))
    assert cells["test_acc"].value == row["test_acc"]["mean"]
    assert cells["test_acc"].text == "91 ± 2"
    assert cells["retrain_share"].value == pytest.approx(100 * row["retrain_share"]["mean"])


def test_columns_that_no_row_has_are_left_out_and_those_of_the_holdout_say_so(study):
    assert "forget_test_acc" not in grid(study, SCENARIO).columns
    assert grid(study | {"score_on": "holdout"}, SCENARIO).headers[0] == "holdout_acc"


def test_the_references_come_first_and_are_never_marked(study):
    study["rows"].reverse()
    found = grid(study, SCENARIO)
    assert [line.label for line in found.references] == ["original", "retrained"]
    assert {marks(found, name)[label] for name in found.columns for label in ("original", "retrained")} == {""}


def test_without_comparisons_only_the_lowest_gap_is_marked(study):
    found = grid(study, SCENARIO)
    assert not found.compared
    shown = {(label, name) for name in found.columns for label, mark in marks(found, name).items() if mark}
    gaps = {row["method"]: row["avg_gap"]["mean"] for row in study["rows"] if row["avg_gap"] and not row["failed"]}
    lowest = min(gaps.keys() - {"original", "retrained"}, key=gaps.__getitem__)
    assert shown == {(lowest, "avg_gap")}


def test_comparisons_say_which_methods_seeds_do_not_tell_from_the_best(study):
    study["comparisons"] = [
        comparison("avg_gap", "amnesiac", "salun", True),
        comparison("avg_gap", "amnesiac", "natmu", False),
        comparison("avg_gap", "salun", "natmu", True),
    ]
    found = grid(study, SCENARIO)
    assert found.compared
    assert not found.undecided
    wanted = {"amnesiac": "best", "salun": "near", "natmu": "", "scrub": "", "original": "", "retrained": ""}
    assert marks(found, "avg_gap") == wanted


def test_where_noise_is_not_known_only_the_best_is_marked(study):
    study["comparisons"] = [comparison("avg_gap", "amnesiac", "salun", None)]
    found = grid(study, SCENARIO)
    assert (found.compared, found.undecided) == (False, True)
    assert [label for label, mark in marks(found, "avg_gap").items() if mark] == ["amnesiac"]


def test_rows_without_all_numbers_say_what_became_of_them(study):
    study["rows"][3]["failed"] = "One seed\ndiverged."
    study["rows"].append(study["rows"][-1] | {"method": "unsir", "failed": "It serves classes.", "log": None})
    failures = {one.label: one for one in grid(study, SCENARIO).failures}
    assert {label: one.state for label, one in failures.items()} == {
        "amnesiac": "some seeds failed",
        "scrub": "failed",
        "unsir": "not run",
    }
    assert failures["amnesiac"].reason == "One seed diverged."
    assert failures["scrub"].log == "logs/three.log"
