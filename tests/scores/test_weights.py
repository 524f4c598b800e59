from __future__ import annotations

import math

import numpy as np
import pytest

from natmu.errors import TrainingError, UsageError
from natmu.scores import weight_distance

REFERENCE = {
    "conv1.weight": np.array([[[3.0]], [[0.0]]], np.float32),
    "conv1.bias": np.array([4.0], np.float32),
    "bn1.weight": np.array([1.0, 1.0], np.float32),
    "bn1.running_mean": np.array([9.0, 9.0], np.float32),
    "bn1.running_var": np.array([9.0, 9.0], np.float32),
    "bn1.num_batches_tracked": np.array(7),
    "token": np.array([2.0], np.float32),
}


def changed(**new):
    return REFERENCE | {name.replace("__", "."): np.asarray(value, np.float32) for name, value in new.items()}


def test_a_layer_is_the_norm_of_all_its_weights_over_the_references():
    found = weight_distance(changed(conv1__bias=[1.0], token=[3.0]), REFERENCE)
    assert found.layers == pytest.approx({"conv1": 3 / 5, "bn1": 0, "token": 1 / 2})
    assert found.total == pytest.approx(math.sqrt((9 + 0 + 1) / (25 + 2 + 4)))


def test_the_total_agrees_with_one_long_vector(rng):
    ours, theirs = ({f"l{i}.weight": rng.normal(size=(i, 3)) for i in range(1, 6)} for _ in range(2))
    long, other = (np.concatenate([value.ravel() for value in state.values()]) for state in (ours, theirs))
    expected = np.linalg.norm(long - other) / np.linalg.norm(other)
    assert weight_distance(ours, theirs).total == pytest.approx(expected, rel=1e-12)


def test_equal_weights_are_at_distance_nought_whatever_their_statistics():
    found = weight_distance(changed(bn1__running_mean=[0, 0], bn1__running_var=[5, 5]), REFERENCE)
    assert set(found.layers.values()) == {0}
    assert found.total == 0


def test_a_layer_that_is_nought_in_the_reference_is_infinitely_far_from_any_other():
    zero = changed(token=[0.0])
    assert weight_distance(zero, zero).layers["token"] == 0
    assert weight_distance(REFERENCE, zero).layers["token"] == math.inf


def test_half_precision_does_not_overflow():
    large = {"a.weight": np.full(9, 6e4, np.float16)}
    assert weight_distance({"a.weight": -large["a.weight"]}, large).total == pytest.approx(2)


@pytest.mark.parametrize(
    ("state", "reference", "message"),
    [
        ({"a.weight": [1.0]}, {"b.weight": [1.0]}, "a.weight"),
        ({"a.weight": [1.0], "a.bias": [1.0]}, {"a.weight": [1.0]}, "a.bias"),
        ({"a.weight": [1.0]}, {"a.weight": [1.0, 2.0]}, "a.weight"),
        ({"a.num_batches_tracked": 1}, {"a.num_batches_tracked": 1}, "no trained weights"),
        ({}, {}, "no trained weights"),
    ],
)
def test_other_architectures_are_refused(state, reference, message):
    with pytest.raises(UsageError, match=message):
        weight_distance(state, reference)


def test_weights_that_are_not_numbers_are_refused():
    with pytest.raises(TrainingError, match="not a finite number"):
        weight_distance(changed(token=[np.nan]), REFERENCE)
