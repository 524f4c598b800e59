"""What exact methods promise stands in their docstrings, in the words of evidence."""

from __future__ import annotations

import pytest

from natmu.methods import SISA, Downdate, Retrain
from natmu.methods.catalogue import row_of
from natmu.records.guarantees import FUNCTION, PROMISES, STRONGEST, promise_of
from natmu.records.settings import LogisticTraining, RidgeTraining, TrainSettings


@pytest.mark.parametrize(
    ("method", "promise"), [(Retrain, "retrain"), (SISA, "sisa"), (Downdate, "ridge"), (Downdate, "logistic")]
)
def test_a_docstring_promises_what_evidence_does_under_the_same_assumptions(method, promise):
    rule = " ".join(row_of(method)["rule"].split())
    said = PROMISES[promise]
    assert [text for text in (said.promise, *said.assumptions) if text not in rule] == []


@pytest.mark.parametrize("method", [Retrain, SISA, Downdate])
def test_a_docstring_assumes_nothing_beyond_that(method):
    items = {line.removeprefix("- ") for line in row_of(method)["rule"].split("\n\n") if line.startswith("- ")}
    names = ["ridge", "logistic"] if method is Downdate else [method.name]
    assert items == {assumption for name in names for assumption in PROMISES[name].assumptions}


def test_what_a_method_promises_follows_from_the_recipe():
    assert promise_of("sisa", TrainSettings()).guarantee == "exact"
    assert promise_of("downdate", RidgeTraining()).guarantee == "exact"
    assert promise_of("downdate", LogisticTraining()).guarantee == "certified"
    assert promise_of("natmu", TrainSettings()).guarantee == "approximate"
    assert {*STRONGEST} == {method.name for method in (Retrain, SISA, Downdate)}


def test_whatever_trains_again_assumes_a_function_without_a_memory():
    assert {name for name, one in PROMISES.items() if FUNCTION in one.assumptions} == {"retrain", "sisa"}
    assert all(word in FUNCTION for word in ("earlier call", "weights or files", "random numbers"))
