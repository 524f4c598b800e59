"""A job that fails is a row that says so; the others go on, whatever was raised."""

from __future__ import annotations

import json
from typing import ClassVar

import pytest
from natmu.study import auditing
from natmu.study.bench import run_recipe
from natmu.study.executors import failure, sentence_of
from natmu.study.jobs import train_original as real_train_original
from natmu.study.plan import plan_of

from natmu import methods
from natmu.errors import NatmuError
from natmu.methods import Method
from natmu.report import has_failures
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
    table = json.loads((folder / "table.json").read_text())
    return folder, table, {row["method"]: row for row in table["rows"]}


def test_some_seeds_that_fail_leave_the_others_in_the_row(tmp_path):
    folder, table, rows = study(tmp_path)
    row = rows["faulty"]
    assert (row["n"], row["failed"]) == (1, "ZeroDivisionError: by <zero>")
    assert [one["unlearning"] for one in row["replicates"]] == [0]
    log = (folder / row["log"]).read_text()
    assert log.startswith("faulty, class:3, seeds 0, 0, 1\nZeroDivisionError: by <zero>\n")
    assert "raise self.faults[problem.seed]" in log
    assert (rows["amnesiac"]["n"], rows["amnesiac"]["failed"], rows["amnesiac"]["log"]) == (3, None, None)
    logs = [path.read_text() for path in (folder / "logs").iterdir()]
    assert sorted(text.splitlines()[0] for text in logs) == [f"faulty, class:3, seeds 0, 0, {seed}" for seed in (1, 2)]
    assert has_failures(table)


def test_the_logs_of_what_has_been_mended_are_gone(tmp_path, monkeypatch):
    of_a_search = tmp_path / "tiny" / "logs" / "search-0123456789abcdef-12.log"
    of_a_search.parent.mkdir(parents=True)
    of_a_search.touch()
    folder, _, _ = study(tmp_path)
    assert of_a_search.exists()
    of_a_search.unlink()
    monkeypatch.setattr(Faulty, "faults", {1: RuntimeError("still there")})
    folder, _, rows = study(tmp_path)
    assert (rows["faulty"]["n"], rows["faulty"]["failed"]) == (2, "RuntimeError: still there")
    assert [f"logs/{path.name}" for path in (folder / "logs").iterdir()] == [rows["faulty"]["log"]]
    monkeypatch.setattr(Faulty, "faults", {})
    folder, table, rows = study(tmp_path)
    assert (rows["faulty"]["n"], rows["faulty"]["failed"], rows["faulty"]["log"]) == (3, None, None)
    assert list((folder / "logs").iterdir()) == []
    assert not has_failures(table)


def test_an_original_that_cannot_be_trained_fails_what_needs_it_and_no_more(tmp_path, monkeypatch):
    def train(bench, seed, *rest):
        if seed == 1:
            raise NatmuError("The disk is on fire; put it out.")
        return real_train_original(bench, seed, *rest)

    monkeypatch.setattr("natmu.study.graph.train_original", train)
    seeds = {"training": [0, 1], "unlearning": [0]}
    folder, _, rows = study(tmp_path, seeds=seeds)
    for label in ("original", "retrained", "amnesiac"):
        assert rows[label]["n"] == 1
        assert "The disk is on fire; put it out." in rows[label]["failed"]
        assert "The disk is on fire" in (folder / rows[label]["log"]).read_text()
    assert rows["amnesiac"]["failed"] == "original, seed 1 failed: The disk is on fire; put it out."


def test_an_audit_that_fails_says_so_where_audits_are(tmp_path, monkeypatch):
    def fail(audit, data):
        if audit.run.record.spec["method"] == "amnesiac":
            raise ValueError("no such thing")
        return write(audit, data)

    write = auditing.write_audit
    monkeypatch.setattr("natmu.study.graph.write_audit", fail)
    folder, _, _ = study(tmp_path, audit="quick", references=1, seeds={"training": [0]})
    audits = {one["label"]: one for one in json.loads((folder / "audit.json").read_text())}
    assert audits["amnesiac"]["failed"] == "ValueError: no such thing"
    assert (folder / audits["amnesiac"]["log"]).exists()
    assert "verdict" in audits["faulty"]


def test_a_method_that_serves_not_all_forget_sets_is_no_failure(tmp_path):
    _, table, _ = study(
        tmp_path,
        forget=["random:10%", "class:3"],
        methods=[{"method": "unsir", "settings": {"noise_steps": 1}}],
        seeds={"training": [0]},
    )
    assert [row["log"] for row in table["rows"]] == [None] * 6
    assert table["rows"][2]["failed"].startswith("unsir serves class")
    assert not has_failures(table)


def test_jobs_whose_names_read_alike_have_logs_of_their_own(tmp_path):
    labels = ("a b", "a-b", "é" * 200, "ü" * 200)
    jobs = plan_of(fakes.recipe(methods=[{"method": "retrain", "label": one} for one in labels])).jobs
    names = {failure(job, "Why.", "", tmp_path / "logs").log for job in jobs}
    assert {path.name for path in (tmp_path / "logs").iterdir()} == names
    assert len(names) == len(jobs)


@pytest.mark.parametrize(
    ("error", "sentence"),
    [
        (NatmuError("Two\n lines."), "Two lines."),
        (KeyError("x"), "KeyError: 'x'"),
        (MemoryError(), "MemoryError: no message"),
    ],
)
def test_a_reason_is_one_line(error, sentence):
    assert sentence_of(error) == sentence
