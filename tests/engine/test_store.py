"""Run folders: complete or absent, computed once, read without running code."""

from __future__ import annotations

import csv
import json
import os
import pickle
import subprocess
import sys
import textwrap
import zipfile

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from safetensors.numpy import save_file
from torch import nn

from natmu.engine.checkpoint import save_weights
from natmu.engine.store import Run, Store, digest_of, open_run
from natmu.errors import RunError, UsageError
from natmu.types import Outputs, Part

from . import fakes

SPEC = {"kind": "train", "lr": 0.1, "data": {"source": "digits", "sizes": [1, 2]}, "seed": 0, "holdout": None}
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


values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-9, 9)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(max_size=3),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=3),
    max_leaves=8,
)


def reversed_keys(value):
    if isinstance(value, dict):
        return {key: reversed_keys(value[key]) for key in reversed(value)}
    return [reversed_keys(item) for item in value] if isinstance(value, list) else value


@given(st.dictionaries(st.text(max_size=3), values, max_size=5))
def test_digest_does_not_depend_on_the_order_of_keys(spec):
    assert digest_of(spec) == digest_of(reversed_keys(spec))
    assert len(digest_of(spec)) == 16
    assert int(digest_of(spec), 16) >= 0


@given(
    st.dictionaries(st.text(max_size=3), values, max_size=3), st.dictionaries(st.text(max_size=3), values, max_size=3)
)
def test_digests_are_equal_only_for_equal_specs(first, second):
    same = json.dumps(first, sort_keys=True) == json.dumps(second, sort_keys=True)
    assert (digest_of(first) == digest_of(second)) == same


@pytest.mark.parametrize(
    "change",
    [
        {"kind": "unlearn"},
        {"lr": 0.1 + 1e-17 * 8},
        {"data": {"source": "digits", "sizes": [2, 1]}},
        {"data": {"source": "digits", "sizes": [1, 2], "more": None}},
        {"seed": 1},
        {"seed": "0"},
        {"holdout": False},
    ],
    ids=str,
)
def test_each_value_counts(change):
    assert digest_of(SPEC | change) != digest_of(SPEC)


def test_the_numerics_tag_counts(monkeypatch):
    before = digest_of(SPEC)
    monkeypatch.setattr("natmu.engine.store.NUMERICS", "other")
    assert digest_of(SPEC) != before


def test_a_run_is_computed_once_and_read_back(tmp_path):
    store, computation = Store(tmp_path / "runs"), Computation()
    run = store.obtain(SPEC, computation)
    again = Store(tmp_path / "runs").obtain(dict(reversed(SPEC.items())), computation)
    assert computation.calls == 1
    assert run.path == again.path == tmp_path / "runs" / digest_of(SPEC)
    record = run.record
    assert record.spec == SPEC
    assert record.digest == digest_of(SPEC)
    assert (record.seconds, record.scores) == (1.25, {"test_acc": 50.0})
    assert record.peak_memory_mb > 0
    assert record.finished.endswith("+00:00")
    assert record.hardware["device"] == "cpu"
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


def test_what_was_not_there_is_not_there_when_read(tmp_path):
    run = Store(tmp_path).obtain(SPEC, Computation(confidence=False, holdout=False))
    assert run.confidence() is None
    assert run.outputs().holdout is None


def test_a_run_folder_holds_the_documented_files_and_no_pickle(tmp_path, monkeypatch):
    run = Store(tmp_path).obtain(SPEC, Computation())
    files = {path.name: path for path in run.path.rglob("*")}
    assert files.keys() == {
        "spec.json",
        "model.safetensors",
        "predictions.safetensors",
        "record.json",
        "history.csv",
        "difficulty.npy",
    }
    assert json.loads(files["spec.json"].read_text()) == SPEC
    for path in files.values():
        assert not zipfile.is_zipfile(path)
    assert np.load(files["difficulty.npy"], allow_pickle=False).dtype == np.float32

    def refuse(*_, **__):
        raise AssertionError("unpickled")

    for name in ("load", "loads", "Unpickler"):
        monkeypatch.setattr(pickle, name, refuse)
    monkeypatch.setattr(torch, "load", refuse)
    run.weights(), run.outputs(), run.record, run.confidence()


def test_history_is_a_table(tmp_path):
    run = Store(tmp_path).obtain(SPEC, Computation())
    with (run.path / "history.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert list(rows[0]) == ["epoch", "lr", "loss", "seconds", "accuracy"]
    assert [float(row["lr"]) for row in rows] == [0.1, 0.0]
    assert float(rows[0]["accuracy"]) == 12.5


def test_channels_last_weights_are_stored_as_values(tmp_path):
    computation = Computation()
    computation.model = fakes.CPU.place(nn.Sequential(nn.Conv2d(3, 5, kernel_size=3)))
    run = Store(tmp_path).obtain(SPEC, computation)
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
            store.obtain(SPEC, dies, name=name)
        assert store.find(digest_of(SPEC)) is None
        assert {path.name for path in tmp_path.iterdir()} == {".work"}
    computation = Computation()
    run = store.obtain(SPEC, computation)
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
        store.obtain(SPEC, dies)
    store.obtain(SPEC, looks, resume=resume)
    assert found == [resume]


def test_a_named_run_is_found_by_its_spec(tmp_path):
    store, computation = Store(tmp_path), Computation()
    named = store.obtain(SPEC, computation, name="mine")
    assert named.path == tmp_path / "mine"
    assert store.obtain(SPEC, computation).path == named.path
    assert store.obtain(SPEC, computation, name="mine").path == named.path
    assert computation.calls == 1


def test_a_missing_run_is_missed_without_reading_the_runs_of_other_digests(tmp_path, monkeypatch):
    store = Store(tmp_path)
    for seed in range(3):
        store.obtain(SPEC | {"seed": seed}, Computation())
    store.obtain(SPEC | {"seed": 3}, Computation(), name="mine")
    read = []
    record = Run.record.fget
    monkeypatch.setattr(Run, "record", property(lambda run: read.append(run.path.name) or record(run)))
    assert store.find(digest_of(SPEC | {"seed": 4})) is None
    assert read == ["mine"]
    assert store.find(digest_of(SPEC | {"seed": 3})).path.name == "mine"


def test_a_run_is_busy_while_it_is_computed(tmp_path):
    store, digest = Store(tmp_path / "runs"), digest_of(SPEC)
    seen = []

    def compute(work):
        seen.append((store.busy(digest), store.busy(digest_of(SPEC | {"seed": 1}))))
        Computation()(work)

    assert not store.busy(digest)
    assert not store.root.exists()
    store.obtain(SPEC, compute)
    assert seen == [(True, False)]
    assert not store.busy(digest)


def test_a_name_that_is_taken_is_refused_before_anything_is_computed(tmp_path):
    store, computation = Store(tmp_path), Computation()
    store.obtain(SPEC, computation, name="mine")
    (tmp_path / "notes").mkdir()
    for name in ("mine", "notes"):
        with pytest.raises(UsageError, match=rf"{name}.*choose another"):
            store.obtain(SPEC | {"seed": 1}, computation, name=name)
    assert computation.calls == 1


def test_a_name_taken_during_the_computation_is_refused_and_nothing_is_overwritten(tmp_path):
    store = Store(tmp_path)

    def overtaken(work):
        store.obtain(SPEC | {"seed": 7}, Computation(), name="mine")
        Computation()(work)

    with pytest.raises(UsageError, match="mine"):
        store.obtain(SPEC, overtaken, name="mine")
    assert Run(tmp_path / "mine").record.spec["seed"] == 7


def test_the_same_run_under_another_name_is_a_copy(tmp_path):
    store, computation = Store(tmp_path), Computation()
    first = store.obtain(SPEC, computation)
    second = store.obtain(SPEC, computation, name="mine")
    third = store.obtain(SPEC, computation, name="also mine")
    assert computation.calls == 1
    for copy in (second, third):
        assert copy.path != first.path
        for path in first.path.iterdir():
            assert (copy.path / path.name).read_bytes() == path.read_bytes()
    assert [path for path in (tmp_path / ".work").iterdir() if path.is_dir()] == []


@pytest.mark.parametrize(
    ("file", "read"),
    [
        ("record.json", lambda run: run.record),
        ("model.safetensors", lambda run: run.weights()),
        ("predictions.safetensors", lambda run: run.outputs()),
        ("difficulty.npy", lambda run: run.confidence()),
    ],
)
@pytest.mark.parametrize("content", [b"", b"\x80\x04garbage", b"[1, 2]", b"\x93NUMPY\x01\x00", b"half"])
def test_damage_is_named_in_one_sentence(tmp_path, file, read, content):
    run = Store(tmp_path).obtain(SPEC, Computation())
    path = run.path / file
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2] if content == b"half" else content)
    with pytest.raises(RunError, match="compute it again") as caught:
        read(run)
    assert str(run.path) in str(caught.value)
    assert "\n" not in str(caught.value)


def test_predictions_that_lack_a_part_are_damaged(tmp_path):
    run = Store(tmp_path).obtain(SPEC, Computation())
    save_file({"train_logits": np.zeros((1, 2))}, run.path / "predictions.safetensors", {"run": run.record.digest})
    with pytest.raises(RunError, match="compute it again"):
        run.outputs()


def test_predictions_of_another_run_are_refused(tmp_path):
    first, second = (Store(tmp_path).obtain(SPEC | {"seed": seed}, Computation()) for seed in (1, 2))
    (first.path / "predictions.safetensors").write_bytes((second.path / "predictions.safetensors").read_bytes())
    with pytest.raises(RunError, match="of another run"):
        first.outputs()
    second.outputs()


def test_a_damaged_run_does_not_stand_in_the_way_of_others(tmp_path):
    store = Store(tmp_path)
    store.obtain(SPEC, Computation(), name="broken")
    (tmp_path / "broken" / "record.json").write_text("{")
    computation = Computation()
    store.obtain(SPEC | {"seed": 1}, computation)
    assert computation.calls == 1
    with pytest.raises(RunError):
        store.obtain(SPEC, computation, name="broken")


def test_only_run_folders_are_opened(tmp_path):
    run = Store(tmp_path).obtain(SPEC, Computation())
    assert open_run(run.path).record.digest == digest_of(SPEC)
    for path in (tmp_path, tmp_path / "absent"):
        with pytest.raises(UsageError, match=r"record\.json"):
            open_run(path)


SCRIPT = textwrap.dedent("""
    import sys, time
    from pathlib import Path
    import numpy as np
    import torch
    from natmu.engine.compute import Compute
    from natmu.engine.store import Store
    from natmu.types import Outputs, Part

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
    print(Store(root / "runs").obtain({"kind": "race"}, compute).path.name)
""")


def test_two_processes_compute_a_run_once(tmp_path):
    started = [
        subprocess.Popen(
            [sys.executable, "-c", SCRIPT, str(tmp_path), me], stdout=subprocess.PIPE, env=os.environ, text=True
        )
        for me in "ab"
    ]
    answers = [process.communicate(timeout=120)[0].strip() for process in started]
    assert [process.returncode for process in started] == [0, 0]
    assert answers == [digest_of({"kind": "race"})] * 2
    assert len(list(tmp_path.glob("computed-by-*"))) == 1
    assert [path.name for path in (tmp_path / "runs").iterdir() if path.name != ".work"] == answers[:1]
