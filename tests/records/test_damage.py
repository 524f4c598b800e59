"""Whatever becomes of a stored file, its readers give what was written, or say in one sentence which file is wrong.

``NATMU_DAMAGE_EDITS`` says how many edits each of the tests draws; 10,000 are for a change of the records.
"""

from __future__ import annotations

import io
import json
import os
import re
import shutil
from contextlib import contextmanager

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tests.records import edits, folders

from natmu.errors import RunError, UsageError
from natmu.records.audit import audit_of
from natmu.records.files import file_digest
from natmu.records.run import CONFIDENCE, RunFolder
from natmu.records.search import SearchFolder
from natmu.records.study import StudyFolder
from natmu.report.run_page import run_page
from natmu.report.study_page import study_page
from natmu.report.trackers.tracked import read_tracked_run, read_tracked_study
from natmu.types import ForgetSet

EDITS = int(os.environ.get("NATMU_DAMAGE_EDITS", "100"))
pytestmark = pytest.mark.timeout(240 + EDITS)
many = settings(
    max_examples=EDITS, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow]
)


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    """Two small but complete studies beside their runs."""
    root = tmp_path_factory.mktemp("runs")
    for name, seed in (("one", 0), ("other", 5)):
        folders.make_study(root, name, seed)
    for path in (path for path in root.iterdir() if (path / "record.json").exists()):
        np.save(path / CONFIDENCE, np.full(folders.TRAIN, 0.5, np.float32))
        reseal_run(path)
    return root


def reseal_run(path):
    """Make the record of a run fit its files."""
    record = json.loads((path / "record.json").read_text())
    (path / "record.json").unlink()
    files = {held.name: file_digest(held) for held in path.iterdir() if held.is_file()}
    (path / "record.json").write_text(json.dumps(edits.sealed(record | {"files": files})))


def pairs(root):
    """Every file of the first study with one of its kind of the second."""
    chosen = {"one": root / "one", "other": root / "other"}
    for name, study in chosen.items():
        rows = json.loads((study / "table.json").read_text())["rows"]
        chosen[name] = [study, *(root / held["run"] for row in rows for held in row["replicates"])]
    for mine, theirs in zip(*chosen.values(), strict=True):
        for path in sorted(mine.rglob("*")):
            if path.is_file() and path.name not in ("best.yaml",):
                yield path, theirs / path.relative_to(mine)


def everything(folder):
    """All that is stored in a folder, as plain values by reader."""
    run, study, search = RunFolder(folder), StudyFolder(folder), SearchFolder(folder)
    if not any((folder / name).exists() for name in ("record.json", "table.json")):
        raise RunError(f"{folder / 'record.json'} and {folder / 'table.json'} are gone.")
    if (folder / "table.json").exists() or (folder / "search.json").exists():
        return [
            study.table.plain(),
            [audit.plain() for audit in study.audits],
            plain(study.hybrids),
            search.search.plain(),
            [trial.plain() for trial in search.trials],
        ]
    forget = None if run.record.forgotten is None else run.forget().indices.tolist()
    outputs = run.outputs()
    found = [run.record.plain(), run.history(), forget, run.confidence().tolist()]
    found += [part.logits.tolist() + part.labels.tolist() for part in (outputs.train, outputs.test)]
    audit = audit_of(run)
    if audit is not None:
        found += [audit.audit.plain(), [sample.plain() for sample in audit.samples], plain(audit.exposed)]
    return found


def plain(arrays):
    return {name: array.tolist() for name, array in vars(arrays).items()}


@contextmanager
def replaced(*contents):
    """Files with another content meanwhile; None removes one."""
    before = [(path, path.read_bytes()) for path, _ in contents]
    try:
        for path, content in contents:
            path.unlink() if content is None else path.write_bytes(content)
        yield
    finally:
        for path, content in before:
            path.write_bytes(content)


def folder_of(path):
    """The run or study folder that a file belongs to."""
    return path.parent.parent if path.parent.name == "audit" else path.parent


def edited(path, other, *, seal):
    """What a file may hold instead."""
    content = path.read_bytes()
    if path.suffix == ".json":
        return edits.edited_bytes(content) | edits.edited_json(content.decode(), other.read_text(), seal)
    if path.suffix == ".csv":
        return edits.edited_bytes(content) | edits.edited_csv(content)
    return edits.edited_bytes(content) | edits.edited_arrays(path.name, content)


@many
@given(st.data())
def test_a_reader_gives_what_was_written_or_names_the_file(runs, data):
    path, other = data.draw(st.sampled_from(list(pairs(runs))))
    written = everything(folder_of(path))
    content = data.draw(st.one_of(st.none(), edited(path, other, seal=False), edited(path, other, seal=False)))
    if content is None and path.parent.name == "audit":
        return  # without its audit.json, a run was not audited
    with replaced((path, content)):
        try:
            assert everything(folder_of(path)) == written
        except (RunError, UsageError) as error:
            assert_is_one_sentence(error, path)
        for show in (study_page, read_tracked_study, run_page, read_tracked_run):
            assert_fails_well(show, folder_of(path))


@many
@given(st.data())
def test_files_that_were_swapped_are_found_out(runs, data):
    path, other = data.draw(st.sampled_from([(one, two) for one, two in pairs(runs) if differ(one, two)]))
    with replaced((path, other.read_bytes()), (other, path.read_bytes())):
        for folder in (folder_of(path), folder_of(other)):
            with pytest.raises((RunError, UsageError)) as caught:
                everything(folder)
            assert_is_one_sentence(caught.value, folder)


def differ(path, other):
    """Whether two files can be told from each other, which whole runs and studies cannot where they are named."""
    return path.read_bytes() != other.read_bytes()


@many
@given(st.data())
def test_what_was_made_to_look_whole_fails_well_too(runs, data):
    """Checksums and digests are made to fit the edit, so that only the types and the rules between values are left."""
    path, other = data.draw(st.sampled_from(list(pairs(runs))))
    content = data.draw(edited(path, other, seal=True))
    folder = folder_of(path)
    with replaced((path, content), *((held, held.read_bytes()) for held in folder.rglob("*.json"))):
        reseal(path)
        assert_fails_well(everything, folder)
        for show in (study_page, read_tracked_study, run_page, read_tracked_run):
            assert_fails_well(show, folder)


def reseal(path):
    """Make what holds the digest of a file fit it."""
    for name in ("record.json", "table.json", "audit.json", "search.json"):
        holder = path.parent / name
        held = json.loads(holder.read_text()) if holder.exists() and holder != path else {}
        if path.name in held.get("files", {}):
            digest = file_digest(path)
            holder.write_text(json.dumps(edits.sealed(held | {"files": held["files"] | {path.name: digest}})))


def assert_fails_well(read, folder):
    """It may fail, but only with one sentence that names the folder or a file in it, or in one beside it."""
    try:
        read(folder)
    except (RunError, UsageError) as error:
        assert_is_one_sentence(error, folder.parent)


def assert_is_one_sentence(error, named):
    text = str(error)
    assert str(named) in text
    assert text.endswith(".")
    assert "\n" not in text
    assert len(text) < 700


@pytest.mark.parametrize("bomb", ["[" * 100_000, '{"a":' * 100_000, '{"format": 3, "lineage": ' + "[" * 100_000])
def test_deep_nesting_is_damage(runs, bomb):
    for path, _ in pairs(runs):
        if path.suffix == ".json":
            with replaced((path, bomb.encode())), pytest.raises(RunError, match=re.escape(str(path))):
                everything(folder_of(path))


def test_a_folder_in_the_place_of_a_file_is_damage(runs, tmp_path):
    for path, _ in pairs(runs):
        copy = tmp_path / "copy"
        shutil.copytree(folder_of(path), copy / folder_of(path).name)
        place = copy / folder_of(path).name / path.relative_to(folder_of(path))
        place.unlink()
        place.mkdir()
        with pytest.raises(RunError, match=re.escape(str(place))):
            everything(copy / folder_of(path).name)
        shutil.rmtree(copy)


def test_a_file_of_an_earlier_format_is_named_with_both_formats(runs):
    path = runs / "one" / "table.json"
    content = json.loads(path.read_text()) | {"format": 1}
    with (
        replaced((path, json.dumps(content).encode())),
        pytest.raises(
            RunError, match=r"has format 1, and this version of natmu reads format 3; use .*, or run the study again"
        ),
    ):
        everything(path.parent)


def resealed_record(run, **changes):
    """A record that was edited by somebody who knows how to seal it."""
    content = json.loads((run / "record.json").read_text()) | changes
    return json.dumps(edits.sealed(content)).encode()


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"lineage": 7}, "lineage: Input should be an object"),
        ({"forgotten": {"count": 20}}, "forgotten.digest: Field required"),
        ({"hardware": {"device": "cpu"}}, "hardware.precision: Field required"),
        ({"scores": {"test_acc": "high"}}, "scores.test_acc: Input should be a valid number"),
        ({"finished": "yesterday"}, "finished: Value error, Invalid isoformat string: 'yesterday'"),
        ({"digest": "0" * 16}, "the digest is not that of the lineage"),
    ],
)
def test_what_is_wrong_with_a_record_is_named(runs, changes, reason):
    run = runs / folders.an_unlearned().digest
    with replaced((run / "record.json", resealed_record(run, **changes))), pytest.raises(RunError) as caught:
        RunFolder(run).record  # noqa: B018
    assert_is_one_sentence(caught.value, run / "record.json")
    assert reason in str(caught.value)


@pytest.mark.parametrize(
    ("positions", "reason"),
    [
        (np.zeros(folders.TRAIN, bool), "int64 (F,), positions in ascending order"),
        (folders.POSITIONS.astype(float), "int64 (F,), positions in ascending order"),
        (folders.POSITIONS - 50, "int64 (F,), positions in ascending order"),
        (folders.POSITIONS[::-1], "int64 (F,), positions in ascending order"),
        (folders.POSITIONS[:, None], "int64 (F,), positions in ascending order"),
        (folders.POSITIONS[:0], "int64 (F,), positions in ascending order"),
        (folders.POSITIONS[:5], "not the forget set that the record names"),
        (folders.POSITIONS + 200, "beyond the training data"),
    ],
    ids=["booleans", "floats", "negative", "descending", "two axes", "none", "fewer", "too large"],
)
def test_what_is_wrong_with_a_forget_set_is_named(runs, positions, reason):
    run = runs / folders.an_unlearned().digest
    record, path = run / "record.json", run / "forget.npy"
    held = io.BytesIO()
    np.save(held, positions)
    with replaced((path, held.getvalue()), (record, record.read_bytes())):
        forgotten = json.loads(record.read_text())["forgotten"]
        if reason == "beyond the training data":
            forgotten |= {"digest": ForgetSet(positions, "random:10%", "random").digest}
        record.write_bytes(resealed_record(run, forgotten=forgotten))
        reseal(path)
        with pytest.raises(RunError) as caught:
            RunFolder(run).forget()
    assert_is_one_sentence(caught.value, path)
    assert reason in str(caught.value)
