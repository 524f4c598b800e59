from __future__ import annotations

import csv
import io

import pytest

from natmu.report import csv_table
from natmu.report.csv import FIELDS

from .folders import COLUMNS, changed, row, table


def read(text):
    return list(csv.DictReader(io.StringIO(text, newline="")))


def test_there_is_a_row_per_scenario_method_and_score_with_all_digits(study):
    rows = read(csv_table(study))
    expected = [(one.scenario, one.method, score) for one in study.rows for score in COLUMNS]
    assert [(one["scenario"], one["method"], one["score"]) for one in rows] == expected
    for one in rows:
        (source,) = (
            row.scores[one["score"]]
            for row in study.rows
            if (row.scenario, row.method) == (one["scenario"], one["method"])
        )
        if source is None:
            assert (one["n"], one["mean"], one["std"], one["values"]) == ("0", "", "", "")
        else:
            assert float(one["mean"]) == source.mean
            assert (float(one["std"]) if one["std"] else None) == source.std
            assert [float(value) for value in one["values"].split(";")] == list(source.values)
            assert int(one["n"]) == len(source.values)


def test_values_are_aligned_with_the_seeds_of_their_replicates():
    study = table(row("a", "x", 3, avg_gap=[0.5, None, 0.25]), row("a", "retrained", 2, avg_gap=[1.0, 2.0]))
    found = {(one["method"], one["score"]): one for one in read(csv_table(study))}
    first = found["x", "avg_gap"]
    assert (first["values"], first["replicates"], first["n"]) == ("0.5;;0.25", "s0t0u0;s0t1u1;s0t2u2", "2")
    assert found["retrained", "avg_gap"]["replicates"] == "s0t0;s0t1"


def test_units_are_those_of_the_stored_numbers(study):
    units = {one["score"]: one["unit"] for one in read(csv_table(study))}
    assert units["test_acc"] == units["mia_entropy"] == "%"
    assert (units["avg_gap"], units["seconds"], units["retrain_fraction"]) == ("pp", "s", "ratio")
    assert "holdout_acc" in {one["score"] for one in read(csv_table(changed(study, score_on="holdout")))}


def test_quoting_is_that_of_rfc_4180():
    label = 'a "quoted", long name'
    text = csv_table(table(row("a", label, 1, avg_gap=[1.0]), columns=["avg_gap"]))
    assert text == ",".join(FIELDS) + '\r\na,"a ""quoted"", long name",avg_gap,pp,1,1.0,,1.0,s0t0u0,\r\n'
    assert read(text)[0]["method"] == label


@pytest.mark.parametrize("label", ["=1+1", "+1+1", "-x", "@SUM(A1)", " =1", "\xa0=1", "\uff1d1", "\uff20x", "'=1"])
def test_no_name_is_a_formula(label):
    (one,) = read(csv_table(table(row(label, label, 1, avg_gap=[-1.0]), columns=["avg_gap"])))
    assert one["method"] == one["scenario"] == f"'{label}"
    assert one["mean"] == one["values"] == "-1.0"


@pytest.mark.parametrize("label", ["-1", "+2.5e-3", "\t=1", "\r=1", "\u200b=1"])
def test_numbers_are_no_formulas_nor_what_begins_with_something_made_visible(label):
    (one,) = read(csv_table(table(row("a", label, 1, avg_gap=[-1.0]), columns=["avg_gap"])))
    assert one["method"] == label.encode("unicode_escape").decode()


def test_other_names_are_left_as_they_are():
    (one,) = read(csv_table(table(row("class:=x", "natmu a=1", 1, avg_gap=[1.0]), columns=["avg_gap"])))
    assert (one["scenario"], one["method"]) == ("class:=x", "natmu a=1")
