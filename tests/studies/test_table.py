"""Rows of a table from runs: means over replicates, and costs that compare like with like."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from natmu.records.passes import Passes, Shown
from natmu.records.run import Hardware
from natmu.records.table import Column
from natmu.studies.table import Cell, Measured, column, table_rows
from natmu.types import ORIGINAL, RETRAINED, ForgetSet

MACHINE = Hardware(device="cpu", precision="fp32", processor="one", threads=2)
HALF = MACHINE.model_copy(update={"threads": 1})
OTHER = MACHINE.model_copy(update={"processor": "another"})


def test_a_column_is_the_mean_and_the_spread_of_the_values_that_there_are():
    assert column([]) is None
    assert column([3.0]) == Column(mean=3.0, std=None, values=(3.0,))
    assert column([None, None]) is None
    found = column([None, 1.0, 3.0])
    assert (found.mean, found.std, found.values) == (2.0, pytest.approx(2**0.5), (None, 1.0, 3.0))
    found = column([1.0, 3.0])
    assert (found.mean, found.std, found.values) == (2.0, pytest.approx(2**0.5), (1.0, 3.0))


def run_of(number, seconds=1.0, hardware=MACHINE, passes=None):
    facts = {"seconds": seconds, "hardware": hardware, "passes": passes, "versions": {"torch": f"2.{number}"}}
    record = SimpleNamespace(**facts, digest=f"{number:x}")
    return SimpleNamespace(path=Path(str(number)), record=record)


def cell(*runs):
    scores = dict.fromkeys(("test_acc", "retain_acc", "forget_acc", "mia_entropy"), 50.0)
    forget = ForgetSet(np.arange(3), "class:3", "class")
    return Cell(
        [Measured((0, number, None), run_of(number, *facts), scores, forget) for number, facts in enumerate(runs)]
    )


def costs(method, reference):
    """Seconds of both, and the fraction of the method."""
    cells = {("one", ORIGINAL): Cell(), ("one", RETRAINED): reference, ("one", "method"): method}
    _, retrained, row = table_rows(["one"], [ORIGINAL, RETRAINED, "method"], [], cells, {})
    columns = retrained.scores["seconds"], row.scores["seconds"], row.scores["retrain_fraction"]
    return [found and list(found.values) for found in columns]


def test_costs_are_those_of_runs_that_had_the_machine_to_themselves():
    method = cell((2.0, MACHINE), (4.0, MACHINE))
    assert costs(method, cell((8.0, MACHINE), (15.0, HALF))) == [[8.0, None], [2.0, 4.0], [0.25, 0.5]]
    assert costs(method, cell((15.0, HALF), (8.0, MACHINE))) == [[None, 8.0], [2.0, 4.0], [0.25, 0.5]]
    assert costs(method, cell((15.0, HALF))) == [[15.0], [2.0, 4.0], None]
    assert costs(method, cell((8.0, OTHER))) == [[8.0], [2.0, 4.0], None]
    assert costs(cell(), cell((8.0, MACHINE))) == [[8.0], None, None]


def test_a_run_counts_once_for_each_forget_set():
    first, second = (ForgetSet(np.arange(count), "random:1%", "random") for count in (3, 4))
    found = Cell()
    for seeds, forget in (((0, 0, 0), first), ((1, 0, 0), second), ((2, 0, 0), first)):
        found.add(seeds, run_of(7), {}, forget)
    assert [(one.seeds, one.run.path.name) for one in found.measured] == [((0, 0, 0), "7"), ((1, 0, 0), "7")]
    assert [one.forget for one in found.measured] == [first, second]


def test_the_first_reason_of_a_row_stays():
    found = Cell()
    found.fail("The disk is on fire.", "a.log")
    found.fail("It diverged.", None)
    assert (found.failed, found.log) == ("The disk is on fire.", "logs/a.log")


def test_passes_of_the_request_stand_apart_from_preparation_and_search():
    passes = Passes(training_set=100, request=Shown(trained=50, forward=30), preparation=Shown(trained=200))
    method = cell((1.0, MACHINE, passes), (1.0, MACHINE, None))
    cells = {("one", RETRAINED): Cell(), ("one", "method"): method, ("one", "other"): cell((1.0, MACHINE))}
    row, other = table_rows(["one"], ["method", "other"], [], cells, {"method": 12.5})
    assert row.scores["passes"].values == (pytest.approx(0.6), None)
    assert (row.preparation, row.search) == (pytest.approx(2.0), 12.5)
    assert (other.scores["passes"], other.preparation, other.search) == (None, None, None)
    assert [one.versions for one in row.replicates] == [{"torch": "2.0"}, {"torch": "2.1"}]
