"""What is stored can be damaged: the report says so in one sentence and writes nothing."""

from __future__ import annotations

import copy
import json
from contextlib import suppress

import numpy as np
import pytest

from natmu.errors import RunError, UsageError
from natmu.report import csv_table, read_study, write_report

from . import folders

GONE = object()


def places(value, outer=()):
    """The path of everything in nested dictionaries and lists."""
    inner = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, one in inner:
        yield (*outer, key)
        yield from places(one, (*outer, key))


def changed(value, place, new):
    """A copy with one place set to something else, or without it."""
    whole = inner = copy.deepcopy(value)
    for key in place[:-1]:
        inner = inner[key]
    if new is GONE:
        del inner[place[-1]]
    else:
        inner[place[-1]] = new
    return whole


@pytest.fixture
def study(tmp_path):
    folder, _ = folders.make_study(tmp_path)
    return folder


@pytest.mark.parametrize(
    "place",
    [
        ("rows",),
        ("rows", 0),
        ("rows", 0, "scenario"),
        ("rows", 0, "test_acc", "mean"),
        ("rows", 0, "replicates", 0, "run"),
        ("columns", 0),
        ("comparisons",),
        ("ranks",),
        ("recipe", "seeds", "split"),
        ("recipe", "training", "lr"),
        ("versions",),
    ],
)
@pytest.mark.parametrize("value", [None, {"a": 1}, 3.5, ["x"]])
def test_a_table_of_another_shape_is_refused(study, place, value):
    path = study / "table.json"
    table = json.loads(path.read_text())
    inner = table
    for key in place[:-1]:
        inner = inner[key]
    if place[-1] in ("mean", "lr") and value == 3.5:
        value = "many"
    inner[place[-1]] = value
    path.write_text(json.dumps(table))
    with pytest.raises(RunError, match="run the study again"):
        write_report(study)
    assert not (study / "report.html").exists()
    if place[0] not in ("recipe", "versions"):
        with pytest.raises(RunError, match="run the study again"):
            csv_table(read_study(study))


@pytest.mark.parametrize("held", [None, 3, [None], [{"scenario": "random:10%", "label": "natmu"}]])
def test_audits_of_another_shape_are_refused(study, held):
    (study / "audit.json").write_text(json.dumps(held))
    with pytest.raises(RunError, match=r"audit\.json does not hold the audits"):
        write_report(study)


@pytest.mark.parametrize("name", ["run00", "run20"])
def test_a_record_of_another_shape_is_refused_wherever_it_is_damaged(study, name):
    path = study.parent / name / "record.json"
    record = json.loads(path.read_text())
    tried = 0
    for place in list(places(record)):
        for value in (3.5, ["x"], None, GONE):
            path.write_text(json.dumps(changed(record, place, value)))
            tried += 1
            with suppress(RunError, UsageError):  # anything else is a bug
                write_report(path.parent)
    assert tried > 100
    path.write_text(json.dumps(changed(record, ("spec", "kind"), GONE)))
    with pytest.raises(RunError, match="is not a complete run"):
        write_report(path.parent)


@pytest.mark.parametrize("said", [None, 3, ["x"], {"method": "retrain"}, {"method": "retrain", "forget": {}}])
def test_a_damaged_stranger_is_none_of_a_runs_business(study, said):
    (study.parent / "run10" / "spec.json").write_text(json.dumps(said))
    assert write_report(study.parent / "run20").exists()


@pytest.mark.parametrize("models", [None, 3.5, ["x"], {}, {"retrained": 3}])
def test_an_audit_that_does_not_name_its_models_is_refused(study, models):
    run = study.parent / "run20"
    folders.add_audit(run)
    path = run / "audit" / "audit.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"models": models}))
    with pytest.raises(RunError, match="is not an audit"):
        write_report(run)


def test_an_interval_with_one_end_is_refused(study):
    run = study.parent / "run20"
    folders.add_audit(run)
    path = run / "audit" / "audit.json"
    audit = json.loads(path.read_text())
    next(score["verdict"] for score in audit["scores"].values() if score["verdict"])["interval"] = [1.0]
    path.write_text(json.dumps(audit))
    with pytest.raises(RunError, match="is not an audit"):
        write_report(run)


@pytest.mark.parametrize("score", [None, {"value": "high"}, {"value": 1.0, "verdict": {}}])
def test_an_audit_of_another_shape_is_refused(study, score):
    run = study.parent / "run20"
    folders.add_audit(run)
    path = run / "audit" / "audit.json"
    audit = json.loads(path.read_text())
    audit["scores"][next(iter(audit["scores"]))] = score
    path.write_text(json.dumps(audit))
    with pytest.raises(RunError, match="is not an audit"):
        write_report(run)


def test_arrays_that_were_cut_short_are_refused(study):
    np.savez(study / "hybrids.npz", images=np.zeros((4, 8, 8, 1), np.uint8))
    whole = (study / "hybrids.npz").read_bytes()
    (study / "hybrids.npz").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(RunError, match=r"hybrids\.npz cannot be read"):
        write_report(study)


@pytest.mark.parametrize("form", ["csv", "latex", "markdown"])
def test_a_run_has_no_tables(study, form):
    from natmu.cli.report import run

    with pytest.raises(UsageError, match="is for the tables of a study"):
        run(study.parent / "run20", form=form)
