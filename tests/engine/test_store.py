"""Run folders: complete or absent, computed once, read without running code."""

from __future__ import annotations

import csv
import errno
import json
import pickle
import shutil
import textwrap
import time
import zipfile
from pathlib import Path

import numpy as np
import pytest
import torch
from filelock import FileLock
from safetensors.numpy import save_file
from torch import nn

import warm
from natmu.engine import run_names
from natmu.engine.checkpoint import save_weights
from natmu.engine.run_names import _digest_in
from natmu.engine.store import Run, Store
from natmu.errors import ResourceError, RunError, UsageError
from natmu.lineage.same_weights import has_weights
from natmu.records.run import RunRecord, open_run
from natmu.types import ForgetSet, Outputs, Part
from records import lineages

from . import fakes

MODEL = lineages.trained()
HISTORY = [{"epoch": 1.0, "lr": 0.1, "loss": 2.25, "seconds": 0.5, "accuracy": 12.5}, {"epoch": 2.0, "lr": 0.0}]


def part(count, fine=False):
    rng = np.random.default_rng(count)
    labels = rng.integers(0, 3, count)
    return Part(rng.normal(size=(count, 3)).astype(np.float32), labels, labels * 2 if fine else None)


def outputs(holdout=True):
    return Outputs(part(6, fine=True), part(4), part(3) if holdout else None)


class Computation:
    """Fills a workplace, and counts how often it was asked to."""

    def __init__(self, seed=0, confidence=True, holdout=True):
        self.calls = 0
        self.model = fakes.model(seed=seed)
        self.confidence = torch.tensor([0.5, 0.25]) if confidence else None
        self.holdout = holdout

    def __call__(self, work):
        self.calls += 1
        work.finish(
            self.model,
            outputs(self.holdout),
            fakes.CPU,
            seconds=1.25,
            scores={"test_acc": 50.0},
            history=HISTORY,
            confidence=self.confidence,
        )


def test_a_run_is_computed_once_and_read_back(tmp_path):
    store, computation = Store(tmp_path / "runs"), Computation()
    run = store.obtain(MODEL, computation)
    again = Store(tmp_path / "runs").obtain(lineages.trained(), computation)
    assert computation.calls == 1
    assert run.path == again.path == tmp_path / "runs" / MODEL.digest
    record = run.record
    assert record.lineage == MODEL
    assert record.digest == MODEL.digest
    assert (record.seconds, record.scores) == (1.25, {"test_acc": 50.0})
    assert record.peak_memory_mb > 0
    assert record.finished.endswith("+00:00")
    assert record.hardware.device == "cpu"
    assert fakes.same(run.weights(), fakes.state(computation.model))
    for found, expected in zip(
        (run.outputs().train, run.outputs().test, run.outputs().holdout), (part(6, True), part(4), part(3)), strict=True
    ):
        assert np.array_equal(found.logits, expected.logits)
        assert found.logits.dtype == np.float32
        assert np.array_equal(found.labels, expected.labels)
        assert (found.fine_labels is None) == (expected.fine_labels is None)
    assert np.array_equal(run.outputs().train.fine_labels, part(6, True).fine_labels)
    assert run.confidence().tolist() == [0.5, 0.25]


def test_what_a_process_left_that_was_killed_after_it_had_published_is_removed(tmp_path):
    store, computation = Store(tmp_path), Computation()
    store.obtain(MODEL, computation)
    work = tmp_path / ".work" / MODEL.digest
    work.mkdir()
    (work / "checkpoint.safetensors").write_bytes(b"of the finished run")
    assert store.obtain(MODEL, computation).path == tmp_path / MODEL.digest
    assert computation.calls == 1
    assert not work.exists()


def test_what_a_killed_process_left_of_a_complete_run_goes_with_the_next_one(tmp_path):
    """Also where nobody asks for that run any more; not while a process holds it, nor of a run that is not complete."""
    store = Store(tmp_path)
    done = store.obtain(MODEL, Computation()).record.digest
    unfinished = "0" * len(done)
    for digest in (done, unfinished):
        (tmp_path / ".work" / digest).mkdir()
    with FileLock(tmp_path / ".work" / f"{done}.lock"):
        store.obtain(lineages.trained(1), Computation())
        assert (tmp_path / ".work" / done).exists()
    store.obtain(lineages.trained(2), Computation())
    assert not (tmp_path / ".work" / done).exists()
    assert (tmp_path / ".work" / unfinished).exists()


def test_what_was_not_there_is_not_there_when_read(tmp_path):
    run = Store(tmp_path).obtain(MODEL, Computation(confidence=False, holdout=False))
    assert run.confidence() is None
    assert run.outputs().holdout is None


def test_a_run_folder_holds_the_documented_files_and_no_pickle(tmp_path, monkeypatch):
    run = Store(tmp_path).obtain(MODEL, Computation())
    files = {path.name: path for path in run.path.rglob("*")}
    assert files.keys() == {
        "model.safetensors",
        "predictions.safetensors",
        "record.json",
        "history.csv",
        "confidence.npy",
    }
    record = json.loads(files["record.json"].read_text())
    assert record["lineage"] == MODEL.plain()
    assert record["files"].keys() == files.keys() - {"record.json"}
    for path in files.values():
        assert not zipfile.is_zipfile(path)
    assert np.load(files["confidence.npy"], allow_pickle=False).dtype == np.float32

    def refuse(*_, **__):
        raise AssertionError("unpickled")

    for name in ("load", "loads", "Unpickler"):
        monkeypatch.setattr(pickle, name, refuse)
    monkeypatch.setattr(torch, "load", refuse)
    run.weights(), run.outputs(), run.record, run.confidence()


def test_history_is_a_table(tmp_path):
    run = Store(tmp_path).obtain(MODEL, Computation())
    with (run.path / "history.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert list(rows[0]) == ["epoch", "lr", "loss", "seconds", "accuracy"]
    assert [float(row["lr"]) for row in rows] == [0.1, 0.0]
    assert float(rows[0]["accuracy"]) == 12.5


def test_channels_last_weights_are_stored_as_values(tmp_path):
    computation = Computation()
    computation.model = fakes.CPU.place(nn.Sequential(nn.Conv2d(3, 5, kernel_size=3)))
    run = Store(tmp_path).obtain(MODEL, computation)
    assert fakes.same(run.weights(), fakes.state(computation.model))


@pytest.mark.parametrize("error", [KeyboardInterrupt, RuntimeError, OSError])
def test_a_computation_that_dies_half_way_leaves_nothing_that_looks_finished(tmp_path, error):
    store = Store(tmp_path)

    def dies(work):
        save_weights(fakes.model(seed=9), work.folder / "model.safetensors")
        (work.folder / "junk").write_text("left over")
        work.checkpoint.path.write_bytes(b"state")
        raise error

    for name in (None, "named"):
        with pytest.raises(error):
            store.obtain(MODEL, dies, name=name)
        assert store.find(MODEL.digest) is None
        assert {path.name for path in tmp_path.iterdir()} == {".work"}
    computation = Computation()
    run = store.obtain(MODEL, computation)
    assert computation.calls == 1
    assert not (run.path / "junk").exists()
    assert fakes.same(run.weights(), fakes.state(computation.model))
    assert [path for path in (tmp_path / ".work").iterdir() if path.suffix != ".lock"] == []


@pytest.mark.parametrize("resume", [True, False])
def test_the_checkpoint_of_an_unfinished_run_is_kept_if_wanted(tmp_path, resume):
    store, found = Store(tmp_path), []

    def dies(work):
        work.checkpoint.path.write_bytes(b"state")
        raise KeyboardInterrupt

    def looks(work):
        found.append(work.checkpoint.path.exists())
        Computation()(work)

    with pytest.raises(KeyboardInterrupt):
        store.obtain(MODEL, dies)
    store.obtain(MODEL, looks, resume=resume)
    assert found == [resume]


def test_a_named_run_is_found_by_its_lineage(tmp_path):
    store, computation = Store(tmp_path), Computation()
    named = store.obtain(MODEL, computation, name="mine")
    assert named.path == tmp_path / "mine"
    assert store.obtain(MODEL, computation).path == named.path
    assert store.obtain(MODEL, computation, name="mine").path == named.path
    assert computation.calls == 1


def test_a_missing_run_is_missed_without_reading_the_runs_of_other_digests(tmp_path, monkeypatch):
    store = Store(tmp_path)
    for seed in range(3):
        store.obtain(lineages.trained(seed), Computation())
    store.obtain(lineages.trained(3), Computation(), name="mine")
    read = []
    keep = RunRecord.read
    monkeypatch.setattr(RunRecord, "read", lambda path: read.append(path.parent.name) or keep(path))
    assert store.find(lineages.trained(4).digest) is None
    assert read == ["mine"]
    assert store.find(lineages.trained(3).digest).path.name == "mine"


def test_records_of_named_runs_are_read_again_only_when_they_change(tmp_path, monkeypatch):
    store, read = Store(tmp_path), []
    first = store.obtain(MODEL, Computation(), name="mine")
    other = Store(tmp_path / "other").obtain(lineages.trained(1), Computation())
    keep = RunRecord.read
    monkeypatch.setattr(RunRecord, "read", lambda path: read.append(path) or keep(path))
    for _ in range(3):
        assert store.find(MODEL.digest).path == first.path
        assert store.find(lineages.trained(1).digest) is None
    assert len(read) <= 1
    (other.path / "record.json").replace(first.path / "record.json")
    assert store.find(MODEL.digest) is None
    assert store.find(lineages.trained(1).digest).path == first.path


def test_a_run_is_busy_while_it_is_computed(tmp_path):
    store, digest = Store(tmp_path / "runs"), MODEL.digest
    seen = []

    def compute(work):
        seen.append((store.busy(digest), store.busy(lineages.trained(1).digest)))
        Computation()(work)

    assert not store.busy(digest)
    assert not store.root.exists()
    store.obtain(MODEL, compute)
    assert seen == [(True, False)]
    assert not store.busy(digest)


def test_a_name_that_is_taken_is_refused_before_anything_is_computed(tmp_path):
    store, computation = Store(tmp_path), Computation()
    store.obtain(MODEL, computation, name="mine")
    (tmp_path / "notes").mkdir()
    for name in ("mine", "notes"):
        with pytest.raises(UsageError, match=rf"{name}.*choose another"):
            store.obtain(lineages.trained(1), computation, name=name)
    assert computation.calls == 1


def test_a_name_like_the_digest_of_another_run_is_refused_before_anything_is_computed(tmp_path):
    store, computation = Store(tmp_path), Computation()
    with pytest.raises(UsageError, match="0123456789abcdef looks like the digest of another run"):
        store.obtain(MODEL, computation, name="0123456789abcdef")
    assert computation.calls == 0
    assert store.obtain(MODEL, computation, name=MODEL.digest).path.name == MODEL.digest


def test_a_name_taken_during_the_computation_is_refused_and_nothing_is_overwritten(tmp_path):
    store = Store(tmp_path)

    def overtaken(work):
        store.obtain(lineages.trained(7), Computation(), name="mine")
        Computation()(work)

    with pytest.raises(UsageError, match=f"mine was taken by something else .* kept as .*{MODEL.digest}"):
        store.obtain(MODEL, overtaken, name="mine")
    assert Run(tmp_path / "mine").record.lineage.seed == 7
    assert store.find(MODEL.digest).record.digest == MODEL.digest


def test_the_same_run_under_another_name_is_a_copy(tmp_path):
    store, computation = Store(tmp_path), Computation()
    first = store.obtain(MODEL, computation)
    second = store.obtain(MODEL, computation, name="mine")
    third = store.obtain(MODEL, computation, name="also mine")
    assert computation.calls == 1
    for copy in (second, third):
        assert copy.path != first.path
        for path in first.path.iterdir():
            assert (copy.path / path.name).read_bytes() == path.read_bytes()
    assert [path for path in (tmp_path / ".work").iterdir() if path.is_dir()] == []


def test_a_run_of_another_folder_is_adopted_once(tmp_path):
    store, run = Store(tmp_path / "runs"), Store(tmp_path / "elsewhere").obtain(MODEL, Computation(), name="mine")
    adopted = store.adopt(run)
    assert adopted.path == tmp_path / "runs" / MODEL.digest
    assert {path.name: path.read_bytes() for path in adopted.path.iterdir()} == {
        path.name: path.read_bytes() for path in run.path.iterdir()
    }
    assert store.adopt(run).path == store.adopt(adopted).path == adopted.path


@pytest.mark.parametrize("file", ["history.csv", "model.safetensors"])
def test_a_run_whose_files_were_changed_is_not_copied(tmp_path, file):
    run = Store(tmp_path / "theirs").obtain(MODEL, Computation())
    (run.path / file).write_bytes((run.path / file).read_bytes()[:-2])
    with pytest.raises(RunError, match=f"{file} is not what this run wrote"):
        Store(tmp_path / "ours").adopt(run)
    assert not (tmp_path / "ours" / MODEL.digest).exists()


def test_a_folder_whose_copying_was_broken_off_is_set_aside_and_the_run_computed_once(tmp_path, monkeypatch):
    store, computation, said = Store(tmp_path), Computation(), []
    monkeypatch.setattr("natmu.engine.store.say", said.append)
    folder = tmp_path / MODEL.digest
    folder.mkdir()
    (folder / "model.safetensors").write_bytes(b"half")
    assert store.obtain(MODEL, computation).path == folder
    assert store.obtain(MODEL, computation).record.digest == MODEL.digest
    assert computation.calls == 1
    assert (tmp_path / f"{MODEL.digest}.incomplete" / "model.safetensors").read_bytes() == b"half"
    (line,) = said
    assert "the copy of that run is not complete" in line


def test_a_run_is_adopted_where_its_copying_was_broken_off_twice(tmp_path):
    run = Store(tmp_path / "elsewhere").obtain(MODEL, Computation())
    for _ in range(2):
        (tmp_path / MODEL.digest).mkdir()
        (tmp_path / MODEL.digest / "history.csv").touch()
        assert Store(tmp_path).adopt(run).record.digest == MODEL.digest
        shutil.rmtree(tmp_path / MODEL.digest)
    names = {f"{MODEL.digest}.incomplete", f"{MODEL.digest}.incomplete-2"}
    assert {path.name for path in tmp_path.iterdir()} == names | {".work", "elsewhere"}


def test_a_named_folder_whose_copying_was_broken_off_is_refused_as_such(tmp_path):
    store, computation = Store(tmp_path), Computation()
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "model.safetensors").touch()
    for attempt in (lambda: store.obtain(MODEL, computation, name="mine"), lambda: store.refuse_other("mine", bool)):
        with pytest.raises(
            UsageError, match=r"mine holds model\.safetensors and no record\.json: the copy of that run is not"
        ) as caught:
            attempt()
        assert "delete" not in str(caught.value)
    with pytest.raises(UsageError, match="the copy of that run is not complete; copy it again"):
        open_run(tmp_path / "mine")
    assert computation.calls == 0


def test_a_record_that_cannot_be_looked_at_is_neither_missing_nor_computed_again(tmp_path, monkeypatch):
    store, computation = Store(tmp_path), Computation()
    path = store.obtain(MODEL, computation).path / "record.json"
    keep = Path.stat

    def closed(self, **given):
        if self == path:
            raise PermissionError(errno.EACCES, "Permission denied")
        return keep(self, **given)

    monkeypatch.setattr(Path, "stat", closed)
    for attempt in (lambda: store.obtain(MODEL, computation), lambda: open_run(path.parent)):
        with pytest.raises(RunError, match=r"record\.json cannot be opened now \(Permission denied\)") as caught:
            attempt()
        assert "delete" not in str(caught.value)
    assert computation.calls == 1
    assert sorted(held.name for held in tmp_path.iterdir()) == sorted([".work", MODEL.digest])


def test_a_store_that_cannot_be_written_is_refused_before_the_work(tmp_path):
    (tmp_path / "file").touch()
    (tmp_path / "dangling").symlink_to(tmp_path / "gone")
    for root, name in (("file", None), ("file", "mine"), ("dangling", None), ("", "dangling"), ("", "file")):
        with pytest.raises(UsageError, match=r"--out .* cannot be written"):
            Store(tmp_path / root).require_writable(name)
    Store(tmp_path / "new").require_writable("mine")
    assert {path.name for path in tmp_path.iterdir()} == {"file", "dangling"}


def test_a_file_of_another_run_is_refused_by_its_name(tmp_path):
    first, second = (Store(tmp_path).obtain(lineages.trained(seed), Computation(seed=seed)) for seed in (1, 2))
    (first.path / "model.safetensors").write_bytes((second.path / "model.safetensors").read_bytes())
    with pytest.raises(RunError, match=r"model\.safetensors is not what this run wrote"):
        first.weights()
    assert not has_weights(first, second.weights())


@pytest.mark.parametrize("count", [2, 12])
def test_nothing_that_was_copied_renamed_replaced_or_deleted_is_missed(tmp_path, count):
    """With two runs records are read each time, with twelve what they hold is noted beside them."""
    store = Store(tmp_path)
    runs = [store.obtain(lineages.trained(seed), Computation(), name=f"run{seed}") for seed in range(count)]
    digests = [run.record.digest for run in runs]

    def found():
        _digest_in.cache_clear()  # as in another process
        places = [Store(tmp_path).find(digest) for digest in digests]
        return [None if place is None else place.path.name for place in places]

    names = [run.path.name for run in runs]
    assert found() == names
    assert (tmp_path / ".work" / "names.json").exists() == (count > 8)
    (tmp_path / "run0").rename(tmp_path / "first")
    assert found() == ["first", *names[1:]]
    (tmp_path / "first" / "record.json").rename(tmp_path / "kept.json")
    assert found() == [None, *names[1:]]
    shutil.copy2(tmp_path / "kept.json", tmp_path / "run1" / "record.json")
    assert found() == ["run1", None, *names[2:]]
    if count > 8:
        (tmp_path / ".work" / "names.json").write_text("{")
        assert found() == ["run1", None, *names[2:]]


def test_a_store_is_listed_again_only_after_something_came_or_went(tmp_path, monkeypatch):
    store = Store(tmp_path)
    digests = [store.obtain(lineages.trained(seed), Computation(), name=f"run{seed}").record.digest for seed in (1, 2)]
    listed, real = [], run_names._list
    monkeypatch.setattr(run_names, "_list", lambda root: listed.append(root) or real(root))
    monkeypatch.setattr(run_names, "_STEP", 50_000_000)
    for count, change in enumerate((lambda: None, lambda: (tmp_path / "run2").rename(tmp_path / "other")), start=1):
        change()
        store.find("f" * 16)  # what was listed right after a change may miss another one of the same moment
        time.sleep(0.1)
        before = len(listed)
        names = [store.find(digest).path.name for digest in (*digests, *digests)]
        assert names == ["run1", ("run2", "other")[count - 1]] * 2
        assert len(listed) == before + 1


def test_a_look_up_needs_no_room_on_the_disk(tmp_path, monkeypatch):
    store = Store(tmp_path)
    runs = [store.obtain(lineages.trained(seed), Computation(), name=f"run{seed}") for seed in range(10)]
    (tmp_path / ".work" / "names.json").unlink()
    tried = []

    def full(*_, **__):
        tried.append(1)
        raise ResourceError("No space is left.")

    monkeypatch.setattr(run_names.RunNames, "write", full)
    _digest_in.cache_clear()
    assert store.find(runs[-1].record.digest) == runs[-1]
    assert tried


@pytest.fixture
def read_only(monkeypatch):
    """Make every folder one that may be read and not written; the tests may run as somebody who may do everything."""

    def make():
        def forbidden(self, *_, **__):
            raise OSError(errno.EROFS, "Read-only file system", str(self))

        for name in ("touch", "mkdir", "rename", "unlink", "write_text"):
            monkeypatch.setattr(Path, name, forbidden)
        monkeypatch.setattr("natmu.engine.store.FileLock", lambda path, **_: forbidden(path))
        monkeypatch.setattr("tempfile.TemporaryFile", lambda **named: forbidden(named["dir"]))

    return make


def test_a_store_that_may_only_be_read_serves_what_it_holds_and_computes_nothing(tmp_path, read_only):
    store, computation = Store(tmp_path), Computation()
    by_digest = store.obtain(lineages.trained(1), computation)
    named = store.obtain(lineages.trained(2), computation, name="mine")
    killed = tmp_path / ".work" / by_digest.record.digest  # it had not tidied up
    killed.mkdir()
    read_only()
    for name, run in ((None, by_digest), ("mine", named)):
        store.require_usable(name)
        assert store.obtain(run.record.lineage, computation, name=name) == run
    store.require_usable()
    assert not store.busy(by_digest.record.digest)
    with pytest.raises(UsageError, match=r"Read-only file system\); the run is not there yet, so choose another --out"):
        store.obtain(lineages.trained(3), computation)
    for attempt in (
        lambda: store.require_usable("other"),
        lambda: store.obtain(named.record.lineage, computation, name="other"),
        store.require_writable,
    ):
        with pytest.raises(UsageError, match=r"cannot be written \(Read-only file system\); choose another --out"):
            attempt()
    assert computation.calls == 2


@pytest.mark.parametrize(
    ("file", "read"),
    [
        ("record.json", lambda run: run.record),
        ("model.safetensors", lambda run: run.weights()),
        ("predictions.safetensors", lambda run: run.outputs()),
        ("confidence.npy", lambda run: run.confidence()),
    ],
)
@pytest.mark.parametrize("content", [b"", b"\x80\x04garbage", b"[1, 2]", b"\x93NUMPY\x01\x00", b"half"])
def test_damage_is_named_in_one_sentence(tmp_path, file, read, content):
    run = Store(tmp_path).obtain(MODEL, Computation())
    path = run.path / file
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2] if content == b"half" else content)
    with pytest.raises(RunError, match=r"compute (that|the run) again") as caught:
        read(run)
    assert str(run.path) in str(caught.value)
    assert "\n" not in str(caught.value)


def test_predictions_that_lack_a_part_are_damaged(tmp_path, monkeypatch):
    def write(_, path):
        save_file({"train_logits": np.zeros((1, 2))}, path)

    monkeypatch.setattr("natmu.engine.workplace.write_outputs", write)
    run = Store(tmp_path).obtain(MODEL, Computation())
    with pytest.raises(RunError, match="compute that again"):
        run.outputs()


def test_predictions_of_another_run_are_refused(tmp_path):
    first, second = (Store(tmp_path).obtain(lineages.trained(seed), Computation(holdout=seed == 1)) for seed in (1, 2))
    (first.path / "predictions.safetensors").write_bytes((second.path / "predictions.safetensors").read_bytes())
    with pytest.raises(RunError, match="of another run"):
        first.outputs()
    second.outputs()


def damage(record):
    record.write_text("{")


def lead_nowhere(record):
    record.unlink()
    record.symlink_to(record.name)


def leave_dangling(record):
    record.unlink()
    record.symlink_to(record.with_name("gone"))


@pytest.mark.parametrize("spoil", [damage, lead_nowhere, leave_dangling])
def test_a_damaged_run_is_named_and_does_not_stand_in_the_way_of_others(tmp_path, monkeypatch, spoil):
    said = []
    monkeypatch.setattr("natmu.engine.run_names.say", said.append)
    store = Store(tmp_path)
    store.obtain(MODEL, Computation(), name="broken")
    spoil(tmp_path / "broken" / "record.json")
    computation = Computation()
    store.obtain(lineages.trained(1), computation)
    assert computation.calls == 1
    (told,) = said  # though every look-up passes it
    assert told.startswith(f"{tmp_path / 'broken' / 'record.json'} cannot be read")
    assert told.endswith(" It is not used.")
    with pytest.raises(RunError):
        store.obtain(MODEL, computation, name="broken")


def test_only_run_folders_are_opened(tmp_path):
    run = Store(tmp_path).obtain(MODEL, Computation())
    assert open_run(run.path).record.digest == MODEL.digest
    for path in (tmp_path, tmp_path / "absent"):
        with pytest.raises(UsageError, match=r"no record\.json|no such folder"):
            open_run(path)


def test_a_forget_set_is_kept_with_its_run(tmp_path):
    model = lineages.unlearned(of=lineages.forget("class:2", None))
    forget = ForgetSet(np.array([1, 4]), "class:2", "class", (2,))

    def compute(work):
        work.finish(fakes.model(), outputs(), fakes.CPU, seconds=0.0, scores={}, history=[], forget=forget)

    run = Store(tmp_path).obtain(model, compute)
    found = run.forget()
    assert (found.indices.tolist(), found.request, found.scenario, found.classes) == ([1, 4], "class:2", "class", (2,))
    assert run.record.forgotten.digest == found.digest == forget.digest
    with pytest.raises(UsageError, match="name the run of an unlearned model"):
        Store(tmp_path).obtain(MODEL, Computation()).forget()


def test_a_curve_is_kept_without_a_model(tmp_path):
    curve = [{"epoch": 0.0, "loss": 2.5}, {"epoch": 1.0, "loss": 0.125}]
    run = Store(tmp_path).obtain(lineages.relearned(), lambda work: work.finish_curve(curve, fakes.CPU, seconds=1.0))
    assert run.history() == curve
    assert run.record.files.keys() == {"history.csv"}


SCRIPT = textwrap.dedent("""
    import sys, time
    from pathlib import Path
    import numpy as np
    import torch
    from natmu.engine.compute import Compute
    from natmu.engine.store import Store
    from natmu.types import Outputs, Part
    from records import lineages

    root, me = Path(sys.argv[1]), sys.argv[2]
    part = Part(np.zeros((2, 3), np.float32), np.zeros(2, np.int64))

    def compute(work):
        (root / f"computed-by-{me}").touch()
        time.sleep(0.5)
        work.finish(torch.nn.Linear(2, 2), Outputs(part, part), Compute(torch.device("cpu"), "fp32"), seconds=0.0,
                    scores={}, history=[])

    (root / f"ready-{me}").touch()
    while len(list(root.glob("ready-*"))) < 2:
        time.sleep(0.01)
    print(Store(root / "runs").obtain(lineages.trained(), compute).path.name)
""")


def test_two_processes_compute_a_run_once(tmp_path):
    started = [warm.start(SCRIPT, tmp_path, me) for me in "ab"]
    ended = [process.join(120) for process in started]
    assert [done.returncode for done in ended] == [0, 0], ended
    answers = [done.stdout.strip() for done in ended]
    assert answers == [MODEL.digest] * 2
    assert len(list(tmp_path.glob("computed-by-*"))) == 1
    assert [path.name for path in (tmp_path / "runs").iterdir() if path.name != ".work"] == answers[:1]
