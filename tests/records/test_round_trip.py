"""What is written is read back as it was."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.records import folders

from natmu.errors import RunError, UsageError
from natmu.records.audit import audit_of, write_audit
from natmu.records.lineage import AllBut, HalfOfPool
from natmu.records.run import RunFolder, open_run
from natmu.records.samples import SAMPLE_COLUMNS, Exposed, Sample, read_samples, samples_text
from natmu.records.search import SearchFolder, Trial, read_trials, trials_text
from natmu.records.study import StudyAudit, StudyAudits, StudyFolder, open_study, write_study
from natmu.records.table import Row
from natmu.safe_text import for_terminal
from natmu.scores.exposure import COLUMNS

NUMBERS = st.floats(allow_nan=False, allow_infinity=False) | st.integers(-(2**60), 2**60).map(float)
PLAIN = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**60), 2**60)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)
"""What settings of a plug-in may be."""


@given(settings=st.dictionaries(st.text(), PLAIN, max_size=4), scores=st.dictionaries(st.text(), NUMBERS, max_size=4))
def test_a_record_comes_back_whatever_its_settings_and_scores_are(settings, scores, tmp_path_factory):
    lineage = folders.an_unlearned("any").model_copy(update={"settings": settings})
    path = folders.make_run(tmp_path_factory.mktemp("runs") / "run", lineage, scores=scores)
    record = RunFolder(path).record
    assert record.lineage == lineage
    assert record.lineage.digest == lineage.digest
    assert record.scores == scores


@pytest.mark.parametrize(
    "lineage",
    [
        folders.an_original(3),
        folders.a_retrained(),
        folders.an_original().model_copy(update={"on": HalfOfPool(forget=folders.a_forget(), number=3)}),
        folders.an_unlearned(forget=folders.a_forget("class:3, 4", None)),
        folders.an_unlearned(
            forget=folders.a_forget("hardest:7:loss").model_copy(update={"by": folders.an_original()})
        ),
    ],
    ids=["original", "retrained", "shadow", "class", "hardest"],
)
def test_every_kind_of_run_comes_back_with_its_files(lineage, tmp_path):
    run = RunFolder(folders.make_run(tmp_path / lineage.digest, lineage))
    assert run.record.lineage == lineage
    assert run.history() == folders.HISTORY
    written = folders.outputs()
    assert np.array_equal(run.outputs().test.logits, written.test.logits)
    assert run.outputs().train.labels.dtype == np.int64
    assert run.confidence() is None
    forgets = isinstance(getattr(lineage, "on", None), AllBut) or hasattr(lineage, "forget")
    if forgets:
        assert np.array_equal(run.forget().indices, folders.POSITIONS)
    else:
        with pytest.raises(UsageError, match="name the run of an unlearned model"):
            run.forget()


def test_an_audit_comes_back_with_its_samples_and_pictures(tmp_path):
    run = RunFolder(folders.make_run(tmp_path / "run", folders.an_unlearned()))
    assert audit_of(run) is None
    written = write_audit(run.path, folders.an_audit(run.record.digest), folders.samples(), folders.exposed())
    read = audit_of(run)
    assert read.audit == written
    assert set(written.files) == {"samples.csv", "exposed.npz"}
    assert list(read.samples) == folders.samples()
    for name, array in vars(folders.exposed()).items():
        assert np.array_equal(getattr(read.exposed, name), array)


def test_the_columns_of_samples_are_those_of_the_scores():
    assert SAMPLE_COLUMNS == COLUMNS


@given(
    rows=st.lists(st.builds(dict, index=st.integers(0, 10**9), loss=NUMBERS, margin=NUMBERS, rmia=st.none() | NUMBERS))
)
def test_samples_come_back_with_six_digits(rows, tmp_path_factory):
    samples = [Sample(part="forget", label=0, rank=1, **row) for row in rows]
    path = tmp_path_factory.mktemp("samples") / "samples.csv"
    path.write_text(samples_text(samples))
    for read, row in zip(read_samples(path), rows, strict=True):
        assert read.index == row["index"]
        assert read.loss == pytest.approx(row["loss"], rel=1e-5)
        assert (read.rmia is None) == (row["rmia"] is None)


def test_a_study_comes_back_and_keeps_nothing_of_an_earlier_one(tmp_path):
    path = folders.make_study(tmp_path)
    study = open_study(path)
    assert [audit.label for audit in study.audits] == ["natmu", "salun"]
    assert study.hybrids.forget.shape == (2, 8, 8)
    (path / "hybrids.npz").rename(path / "away")
    with pytest.raises(RunError, match=r"hybrids\.npz cannot be read, because it is missing; run the study again\."):
        _ = StudyFolder(path).hybrids
    (path / "away").rename(path / "hybrids.npz")
    again = write_study(path, study.table)
    assert again.files == {}
    assert StudyFolder(path).table == again
    assert (StudyFolder(path).audits, StudyFolder(path).hybrids) == ((), None)
    assert not (path / "audit.json").exists()


def test_a_search_comes_back(tmp_path):
    folders.make_search(tmp_path)
    found = SearchFolder(tmp_path)
    assert found.search.methods[0].best.trial == 1
    assert [trial.state for trial in found.trials] == ["complete", "complete", "failed"]
    assert found.trials[0].terms == {"forget_acc": 1.25, "retain_acc": 0.5}


@given(
    settings=st.dictionaries(st.text(), PLAIN, max_size=3), value=NUMBERS, reason=st.text().map(lambda text: f"x{text}")
)
def test_trials_come_back(settings, value, reason, tmp_path_factory):
    path = tmp_path_factory.mktemp("trials") / "trials.csv"
    named = {"method": "a", "forget": "random:1%", "trial": 0, "settings": settings}
    done = Trial(**named, state="complete", value=value, terms={"kept": value}, seconds=1.0, run="ab")
    failed = Trial(**named, state="failed", reason=for_terminal(" ".join(reason.split())))
    path.write_text(trials_text([done, failed], ["kept"]), encoding="utf-8", newline="")
    assert read_trials(path) == (done, failed)


def test_what_does_not_fit_together_cannot_be_made():
    row = folders.row("random:10%", "natmu", [((0, 0, 0), "a", "ab")], test_acc=(1.0,))
    for wrong in ({"n": 2}, {"scores": {"test_acc": folders.column(1.0, 2.0)}}):
        with pytest.raises(ValueError, match="replicates"):
            Row(**(dict(row) | wrong))
    with pytest.raises(ValueError, match="other columns than the table"):
        folders.a_table(row, columns=["test_acc"])
    with pytest.raises(ValueError, match="no forget request of the recipe"):
        folders.a_table(row, recipe=folders.a_recipe(("class:3",)))
    for both in ({}, {"audit": folders.an_audit("ab"), "failed": "It did."}):
        with pytest.raises(ValueError, match="either an audit or a reason"):
            StudyAudit(scenario="random:10%", label="natmu", **both)
    exposed = folders.exposed()
    for wrong in (
        {"images": exposed.images.astype(float)},
        {"samples": exposed.samples[:3]},
        {"names": exposed.samples},
    ):
        with pytest.raises(ValueError, match="its "):
            dataclasses.replace(exposed, **wrong)


def test_folders_that_hold_nothing_of_the_kind_are_refused(tmp_path):
    with pytest.raises(UsageError, match=r"not a run folder: it holds no record\.json"):
        open_run(tmp_path)
    with pytest.raises(UsageError, match=r"nothing is not a run folder: there is no such folder"):
        open_run(tmp_path / "nothing")
    with pytest.raises(UsageError, match=r"holds no table\.json; run the study first"):
        open_study(tmp_path)
    with pytest.raises(RunError, match=r"search\.json cannot be read, because it is missing"):
        SearchFolder(tmp_path).search  # noqa: B018
    with pytest.raises(RunError, match=r"exposed\.npz cannot be read"):
        Exposed.read(tmp_path / "exposed.npz")
    (tmp_path / "file").touch()
    with pytest.raises(RunError, match="choose a folder"):
        StudyAudits(name="x", audits=()).write(tmp_path / "file" / "audit.json")
