"""A job that fails is a row that says so; the others go on, whatever was raised."""

from __future__ import annotations

from typing import ClassVar

import pytest

from natmu import methods
from natmu.errors import NatmuError
from natmu.lineage import making
from natmu.methods import Method
from natmu.records.lineage import Everything
from natmu.records.study import StudyFolder
from natmu.report import has_failures
from natmu.studies import auditing, run_recipe
from natmu.types import Settings

from . import fakes


class Faulty(Method):
    """Stands for a method with a bug, which shows with some seeds."""

    name = "faulty"
    Config = Settings
    faults: ClassVar[dict] = {}

    def run(self, problem):
        if problem.seed in self.faults:
            raise self.faults[problem.seed]
        return problem.model


@pytest.fixture(autouse=True)
def _faulty(monkeypatch):
    monkeypatch.setattr(methods, "METHODS", (*methods.METHODS, Faulty))
    monkeypatch.setattr(Faulty, "faults", {1: ZeroDivisionError("by <zero>"), 2: MemoryError()})


def study(out, **changed):
    values = {"forget": ["class:3"], "seeds": {"training": [0], "unlearning": [0, 1, 2]}}
    values["methods"] = [{"method": "faulty"}, {"method": "amnesiac", "settings": {"epochs": 1, "lr": 1e-3}}]
    folder = run_recipe(fakes.recipe(**values | changed), data_dir=out, out=out, device="cpu", progress=False)
    table = StudyFolder(folder).table
    return folder, table, {row.method: row for row in table.rows}


def test_some_seeds_that_fail_leave_the_others_in_the_row(tmp_path):
    folder, table, rows = study(tmp_path)
    row = rows["faulty"]
    assert (row.n, row.failed) == (1, "ZeroDivisionError: by <zero>")
    assert [one.unlearning for one in row.replicates] == [0]
    log = (folder / row.log).read_text()
    assert log.startswith("faulty, class:3, seed 1 from original, seed 0\nZeroDivisionError: by <zero>\n")
    assert "raise self.faults[problem.seed]" in log
    assert (rows["amnesiac"].n, rows["amnesiac"].failed, rows["amnesiac"].log) == (3, None, None)
    logs = [path.read_text() for path in (folder / "logs").iterdir()]
    assert sorted(text.splitlines()[0] for text in logs) == [
        f"faulty, class:3, seed {seed} from original, seed 0" for seed in (1, 2)
    ]
    assert has_failures(table, ())


def test_the_logs_of_what_has_been_mended_are_gone(tmp_path, monkeypatch):
    of_a_search = tmp_path / "tiny" / "logs" / "search-0123456789abcdef-12.log"
    of_a_search.parent.mkdir(parents=True)
    of_a_search.touch()
    folder, _, _ = study(tmp_path)
    assert of_a_search.exists()
    of_a_search.unlink()
    monkeypatch.setattr(Faulty, "faults", {1: RuntimeError("still there")})
    folder, _, rows = study(tmp_path)
    assert (rows["faulty"].n, rows["faulty"].failed) == (2, "RuntimeError: still there")
    assert [f"logs/{path.name}" for path in (folder / "logs").iterdir()] == [rows["faulty"].log]
    monkeypatch.setattr(Faulty, "faults", {})
    folder, table, rows = study(tmp_path)
    assert (rows["faulty"].n, rows["faulty"].failed, rows["faulty"].log) == (3, None, None)
    assert list((folder / "logs").iterdir()) == []
    assert not has_failures(table, ())


def test_an_original_that_cannot_be_trained_fails_what_needs_it_and_no_more(tmp_path, monkeypatch):
    def train(model, workspace, work):
        if model.seed == 1 and isinstance(model.on, Everything):
            raise NatmuError("The disk is on fire; put it out.")
        real(model, workspace, work)

    real = making.train
    monkeypatch.setattr(making, "train", train)
    seeds = {"training": [0, 1], "unlearning": [0]}
    folder, table, _ = study(tmp_path, seeds=seeds, forget=["class:3", "hardest:5%"])
    rows = {(row.scenario, row.method): row for row in table.rows}
    for text, label in ((text, label) for text in ("class:3", "hardest:5%") for label in ("original", "amnesiac")):
        row = rows[text, label]
        assert row.n == 1
        assert "The disk is on fire; put it out." in row.failed
        assert "The disk is on fire" in (folder / row.log).read_text()
    reason = "original, seed 1 failed: The disk is on fire; put it out."
    assert rows["class:3", "amnesiac"].failed == reason
    assert rows["class:3", "original"].failed == "The disk is on fire; put it out."
    # Retraining needs an original only to know which samples are the hardest.
    assert (rows["class:3", "retrained"].n, rows["class:3", "retrained"].failed) == (2, None)
    assert (rows["hardest:5%", "retrained"].n, rows["hardest:5%", "retrained"].failed) == (2, reason)


def test_a_damaged_run_fails_its_row_alone(tmp_path):
    folder, _, rows = study(tmp_path)
    runs = {label: [tmp_path / one.run for one in rows[label].replicates] for label in ("amnesiac", "retrained")}
    damage = dict(zip(("forget.npy", "predictions.safetensors", "record.json"), runs["amnesiac"], strict=True))
    for name, run in damage.items():
        (run / name).write_bytes((run / name).read_bytes()[:-9])
    (runs["retrained"][0] / "record.json").write_text("{")
    folder, _, rows = study(tmp_path)
    for label, first in (("amnesiac", damage["forget.npy"]), ("retrained", runs["retrained"][0])):
        assert rows[label].n == len(runs[label]) - (3 if label == "amnesiac" else 1)
        assert str(first) in rows[label].failed
        assert str(first) in (folder / rows[label].log).read_text()
    assert (rows["faulty"].n, rows["original"].n) == (1, 1)
    assert rows["faulty"].scores["test_acc"] is not None


def test_an_audit_that_fails_says_so_where_audits_are(tmp_path, monkeypatch):
    def fail(audit, data):
        if getattr(audit.models.subject, "method", None) == "amnesiac":
            raise ValueError("no such thing")
        return write(audit, data)

    write = auditing.write
    monkeypatch.setattr(auditing, "write", fail)
    folder, _, _ = study(tmp_path, audit="quick", references=1, seeds={"training": [0]})
    audits = {one.label: one for one in StudyFolder(folder).audits}
    assert (audits["amnesiac"].failed, audits["amnesiac"].audit) == ("ValueError: no such thing", None)
    assert (folder / audits["amnesiac"].log).read_text().startswith("audit of amnesiac, class:3\nValueError")
    assert audits["faulty"].audit.forgotten.sentence
    assert audits["faulty"].failed is None


def test_a_row_all_of_whose_replicates_failed_has_no_audit_and_says_so(tmp_path, monkeypatch):
    monkeypatch.setattr(Faulty, "faults", {0: ZeroDivisionError("by <zero>")})
    folder, _, _ = study(tmp_path, audit="quick", references=1, seeds={"training": [0]})
    audits = {one.label: one for one in StudyFolder(folder).audits}
    assert audits["faulty"].failed == ("There is no model of faulty, class:3 to audit; all its replicates failed.")
    assert audits["amnesiac"].audit.forgotten.sentence


def test_a_method_that_serves_not_all_forget_sets_is_no_failure(tmp_path):
    _, table, _ = study(
        tmp_path,
        forget=["random:10%", "class:3"],
        methods=[{"method": "unsir", "settings": {"noise_steps": 1}}],
        seeds={"training": [0]},
    )
    assert [row.log for row in table.rows] == [None] * 6
    assert table.rows[2].failed.startswith("unsir serves class")
    assert not has_failures(table, ())


def test_settings_of_one_method_that_fail_alike_have_logs_of_their_own(tmp_path, monkeypatch):
    grid = {"method": "amnesiac", "settings": fakes.DIVERGING, "grid": {"epochs": [10, 11]}}
    folder, _, rows = study(tmp_path, methods=[grid], seeds={"training": [0]})
    logs = [row.log for label, row in rows.items() if label.startswith("amnesiac")]
    assert len({*logs}) == 2
    assert {f"logs/{path.name}" for path in (folder / "logs").iterdir()} == {*logs}
