"""Originals and references that are trained together: the same study, and costs that compare like with like."""

from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from natmu.study.bench import run_recipe
from natmu.study.jobs import Bench, import_original, load_data, train_original, unlearn_from
from natmu.study.table import Cell, Replicate, table_rows

from natmu.data import resolve_forget
from natmu.engine import together
from natmu.engine.checkpoint import save_weights
from natmu.engine.compute import Compute
from natmu.engine.store import Run, Store
from natmu.errors import SharedMemoryError
from natmu.methods import Retrain, method_named
from natmu.progress import showing
from natmu.studies import ahead
from natmu.types import ORIGINAL, RETRAINED, ForgetSet
from natmu.verbs import audit_run

from . import fakes

MACHINE = {"processor": "one", "threads": "2"}
HALF = MACHINE | {"threads": "1"}
OTHER = MACHINE | {"processor": "another"}


@pytest.fixture
def asked(monkeypatch):
    """Train together all that can be; what was asked for: label, number of calls, processes."""
    found = []

    def run(function, arguments, processes, label):
        found.append((label, len(arguments), processes))
        together.run_together(function, arguments, processes, label)

    monkeypatch.setattr(ahead, "processes_for", lambda *_, count: min(2, count))
    monkeypatch.setattr(ahead, "run_together", run)
    return found


@pytest.fixture
def in_this_process(monkeypatch):
    """Let this process make the calls that workers would make."""

    def run(function, arguments, processes, label):
        for one in arguments:
            function(*one)

    monkeypatch.setattr(together, "run_together", run)


def study(out):
    recipe = fakes.recipe(
        forget=["hardest:5%"],
        methods=[{"method": "amnesiac", "settings": {"epochs": 1, "lr": 1e-3}}],
        seeds={"training": [0, 1, 2]},
    )
    folder = run_recipe(recipe, data_dir=out, out=out, device="cpu", progress=False)
    return json.loads((folder / "table.json").read_text())["rows"]


def without_costs(rows):
    return [{name: value for name, value in row.items() if name not in ("seconds", "retrain_share")} for row in rows]


def weights(out):
    return {path.parent.name: path.read_bytes() for path in out.glob("*/model.safetensors")}


def test_a_study_trained_together_is_the_study_trained_in_turn(tmp_path, asked, monkeypatch):
    """To the bit, because workers have one thread here, as this process has."""
    rows = study(tmp_path / "together")
    assert asked == [("originals", 2, 2), ("references", 4, 2)]
    assert study(tmp_path / "together") == rows
    assert asked[2:] == [("originals", 0, 2), ("references", 0, 2)]
    monkeypatch.undo()
    assert without_costs(study(tmp_path / "in turn")) == without_costs(rows)
    assert weights(tmp_path / "in turn") == weights(tmp_path / "together")
    assert len(asked) == 4


def test_a_study_that_is_not_faster_together_looks_at_nothing_ahead(tmp_path, monkeypatch):
    def refuse(*_):
        raise AssertionError

    monkeypatch.setattr(ahead, "processes_for", lambda *_, count: 1)
    monkeypatch.setattr(ahead, "run_together", refuse)
    ahead.train_ahead(bench(tmp_path), [0, 1, 2])
    ahead.retrain_ahead(bench(tmp_path), map(refuse, [0, 1]), 2, alone=1)
    assert list(tmp_path.iterdir()) == []


def test_where_memory_cannot_be_shared_models_are_trained_in_turn(tmp_path, asked, monkeypatch, capsys):
    def refuse(*_):
        raise SharedMemoryError("It is full.")

    monkeypatch.setattr(together, "run_together", refuse)
    with showing():
        ahead.train_ahead(bench(tmp_path), [0, 1])
    assert asked == [("originals", 2, 2)]
    assert capsys.readouterr().err == "It is full. The originals are trained one after another.\n"


def bench(out):
    recipe = fakes.recipe()
    compute = Compute.choose("cpu", "fp32")
    return Bench(recipe.data, load_data(recipe.data, out), recipe.model, recipe.training, compute, Store(out))


def test_the_first_reference_and_what_repeats_it_are_left_to_be_trained_alone(tmp_path, asked, in_this_process):
    original = train_original(bench(tmp_path), 0)
    forget = resolve_forget("class:3", original.bench.splits.train, seed=0)
    references = [(original, forget, Retrain(init="fresh"), seed) for seed in (0, 1, 0, 1, 2)]
    ahead.retrain_ahead(original.bench, references, 5, alone=1)
    assert asked == [("references", 2, 2)]
    seeds = [Run(path.parent).record.spec for path in tmp_path.glob("*/record.json")]
    assert sorted(spec["seed"] for spec in seeds if spec["kind"] == "unlearn") == [1, 2]


def test_a_reference_that_cannot_be_trained_is_left_to_the_job_that_asks_for_it(tmp_path, asked, in_this_process):
    place = bench(tmp_path)
    save_weights(place.build(0), tmp_path / "elsewhere.safetensors")
    original = import_original(place, tmp_path / "elsewhere.safetensors")
    forget = resolve_forget("class:3", place.splits.train, seed=0)
    ahead.retrain_ahead(place, [(original, forget, Retrain(init="original"), seed) for seed in range(3)], 3, alone=1)
    assert asked == [("references", 2, 2)]
    assert [Run(path.parent).record.spec["kind"] for path in tmp_path.glob("*/record.json")] == ["import"]


def test_an_audit_trains_its_references_together(tmp_path, asked, in_this_process):
    original = train_original(bench(tmp_path), 0)
    forget = resolve_forget("class:3", original.bench.splits.train, seed=0)
    run = unlearn_from(original, forget, method_named("amnesiac")(epochs=1, lr=1e-3), seed=0)
    rows = audit_run(run.path, tmp_path, "quick", 3, "cpu")["rows"]
    assert asked == [("references", 2, 2)]
    assert [row["n"] for row in rows] == [1, 3, 1]


def run_of(number, seconds, hardware):
    record = SimpleNamespace(seconds=seconds, hardware=hardware, digest=str(number))
    return SimpleNamespace(path=Path(str(number)), record=record)


def cell(*runs):
    return Cell(
        replicates=[Replicate(0, number, None) for number in range(len(runs))],
        runs=[run_of(number, *facts) for number, facts in enumerate(runs)],
        scores=[dict.fromkeys(("test_acc", "retain_acc", "forget_acc", "mia_entropy"), 50.0) for _ in runs],
        forgets=[ForgetSet(np.arange(3), "class:3", "class")] * len(runs),
    )


def costs(method, reference):
    """Seconds of both, and the share of the method."""
    cells = {("one", ORIGINAL): Cell(), ("one", RETRAINED): reference, ("one", "method"): method}
    _, retrained, row = table_rows(["one"], [ORIGINAL, RETRAINED, "method"], [], cells)
    return [found and found["values"] for found in (retrained["seconds"], row["seconds"], row["retrain_share"])]


def test_costs_are_those_of_runs_that_had_the_machine_to_themselves():
    method = cell((2.0, MACHINE), (4.0, MACHINE))
    assert costs(method, cell((8.0, MACHINE), (15.0, HALF))) == [[8.0, None], [2.0, 4.0], [0.25, 0.5]]
    assert costs(method, cell((15.0, HALF), (8.0, MACHINE))) == [[None, 8.0], [2.0, 4.0], [0.25, 0.5]]
    assert costs(method, cell((15.0, HALF))) == [[15.0], [2.0, 4.0], None]
    assert costs(method, cell((8.0, OTHER))) == [[8.0], [2.0, 4.0], None]
    assert costs(cell(), cell((8.0, MACHINE))) == [[8.0], None, None]
