from __future__ import annotations

import json

import pytest

from natmu.errors import RunError
from natmu.report import read_study, rows_for_summary


def test_a_study_is_read_back_as_it_was_stored(study, tmp_path):
    (tmp_path / "table.json").write_text(json.dumps(study))
    assert read_study(tmp_path) == study


@pytest.mark.parametrize("text", [None, "", '{"name": "cut sho', "[]", '{"name": "x", "rows": []}', "\x00"])
def test_what_is_not_a_study_is_refused_in_one_sentence(text, tmp_path):
    if text is not None:
        (tmp_path / "table.json").write_text(text)
    with pytest.raises(RunError, match="run the study"):
        read_study(tmp_path)


def test_a_file_that_is_not_text_is_refused(tmp_path):
    (tmp_path / "table.json").write_bytes(b"\xff\xfe\xfa")
    with pytest.raises(RunError, match="Cannot read"):
        read_study(tmp_path)


def test_summary_rows_are_flat_means(study):
    rows = rows_for_summary(study)
    keys = ["scenario", "method", "test_acc", "retain_acc", "forget_acc", "mia_entropy"]
    assert [list(row) for row in rows] == [[*keys, "avg_gap", "seconds", "retrain_share"]] * len(study["rows"])
    assert rows[0] == pytest.approx(
        {
            "scenario": "random:10%",
            "method": "natmu [retain_fraction=0.1]",
            "test_acc": 93.1,
            "retain_acc": 99.3,
            "forget_acc": 94.0,
            "mia_entropy": 60.0,
            "avg_gap": 2.9 / 3,
            "seconds": 2.4,
            "retrain_share": 0.011,
        }
    )
    assert rows[2]["avg_gap"] is None
    assert json.loads(json.dumps(rows)) == rows
