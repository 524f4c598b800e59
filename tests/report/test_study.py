from __future__ import annotations

import pytest

from natmu.errors import RunError, UsageError
from natmu.records.study import write_study
from natmu.records.table import Summary
from natmu.report import has_failures, read_study, summary_of, write_summary

from .folders import an_original, as_table, changed_row, make_run


def test_a_study_is_read_back_as_it_was_stored(study, tmp_path):
    table = as_table(study)
    write_study(tmp_path, table)
    assert read_study(tmp_path) == table


def test_a_folder_without_a_study_is_refused(tmp_path):
    with pytest.raises(UsageError, match="run the study first"):
        read_study(tmp_path)


@pytest.mark.parametrize(
    "content", [b"", b'{"name": "cut sho', b"[]", b'{"name": "x", "rows": []}', b"\x00", b"\xff\xfe"]
)
def test_what_is_not_a_study_is_refused_in_one_sentence(content, tmp_path):
    (tmp_path / "table.json").write_bytes(content)
    with pytest.raises(RunError, match=r"table\.json cannot be read .*; run the study again\.$"):
        read_study(tmp_path)


def test_what_failed_is_known_from_its_log(study):
    assert has_failures(study, ())
    assert not has_failures(changed_row(study, 2, log=None), ())


def test_a_summary_has_the_means(study, tmp_path):
    write_study(tmp_path, as_table(study))
    summary = Summary.read(write_summary(tmp_path, 12.345))
    assert summary == summary_of(study, 12.345)
    assert summary.seconds == pytest.approx(12.35, abs=0.006)
    first = summary.rows[0]
    assert (first.scenario, first.method) == ("random:10%", "natmu [retain_fraction=0.1]")
    assert first.scores == pytest.approx(
        {
            "test_acc": 93.1,
            "retain_acc": 99.3,
            "forget_acc": 94.0,
            "mia_entropy": 60.0,
            "avg_gap": 2.9 / 3,
            "seconds": 2.4,
            "retrain_fraction": 0.011,
            "passes": None,
        }
    )
    assert summary.rows[2].scores["avg_gap"] is None


@pytest.mark.parametrize("form", ["csv", "latex", "markdown"])
def test_a_run_has_no_tables(tmp_path, form):
    from natmu.cli.report import run

    with pytest.raises(UsageError, match="is for the tables of a study"):
        run(make_run(tmp_path / "a0", an_original()), form=form)
