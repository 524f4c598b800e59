"""A logistic head that samples leave with a certificate."""

import dataclasses
import math
from typing import Any

import numpy as np
import pytest
from scipy.stats import beta, kstest, norm

from natmu.errors import DataError, SettingError
from natmu.heads.errors import BudgetSpent
from natmu.heads.gaussian import delta_of_shift, largest_shift
from natmu.heads.hessians import Matrix, inverses
from natmu.heads.logistic import LogisticHead, residual_of
from natmu.heads.one_against_rest import gradient, hessian
from natmu.heads.rows import rows_of
from natmu.types import IntArray

CLASSES = 3


def data(count: int, width: int, *, seed: int = 0) -> tuple[Matrix, IntArray]:
    """Rows of length 1 around the mean of their class."""
    random = np.random.default_rng(seed)
    labels = random.integers(0, CLASSES, count)
    rows = 0.5 * random.normal(size=(CLASSES, width))[labels] + random.normal(size=(count, width))
    return rows / np.linalg.norm(rows, axis=1, keepdims=True), labels


def fitted(rows: Matrix, labels: IntArray, **settings: Any) -> LogisticHead:
    values = {"l2": 1.0, "epsilon": 1.0, "delta": 1e-5, "noise": 1.0, "seed": 1, **settings}
    return LogisticHead.fit(rows, labels, num_classes=CLASSES, **values)


def published(rows: Matrix, steps: Matrix) -> float:
    """The bound of Guo et al., corollary 2, on one batch, for all classes; its Lipschitz constant is 1/4."""
    lengths = np.linalg.norm(steps, axis=1) * np.linalg.norm(rows @ steps.T, axis=0)
    return float(np.linalg.norm(lengths) * np.linalg.norm(rows, 2) / 4)


@pytest.fixture(scope="module")
def rows() -> Matrix:
    return data(400, 5)[0]


@pytest.fixture(scope="module")
def labels() -> IntArray:
    return data(400, 5)[1]


@pytest.fixture(scope="module")
def head(rows: Matrix, labels: IntArray) -> LogisticHead:
    return fitted(rows, labels)


@pytest.mark.parametrize(("l2", "noise", "loosest"), [(0.1, 1.0, 50), (3.0, 0.1, 12), (10.0, 10.0, 8)])
def test_bound_holds_at_each_of_1000_removals(l2: float, noise: float, loosest: float) -> None:
    rows, labels = data(2000, 20)
    rows = rows_of(rows).astype(np.float64)
    head = fitted(rows, labels, l2=l2, noise=noise)
    order = np.random.default_rng(3).permutation(2000)
    assert residual_of(head, rows, labels) <= head.spent <= 0.01 * head.budget
    head = dataclasses.replace(head, epsilon=1e6)
    looseness = []
    for gone in range(1, 1001):
        head = head.remove(rows[order[gone - 1 : gone]], labels[order[gone - 1 : gone]])
        true = residual_of(head, rows[order[gone:]], labels[order[gone:]])
        assert true <= head.spent
        looseness.append(head.spent / true)
    assert np.median(looseness) < loosest
    assert head.spent < published(rows[order[1000:]], head.step)


def test_bound_holds_where_those_leave_that_matter_most() -> None:
    rows, labels = data(500, 8)
    head = dataclasses.replace(fitted(rows, labels, l2=0.01, noise=0.1), epsilon=1e12)
    order = np.argsort(-np.abs(rows @ head.weights[0]))
    for gone in range(20, 420, 20):
        head = head.remove(rows[order[gone - 20 : gone]], labels[order[gone - 20 : gone]])
        assert residual_of(head, rows[order[gone:]], labels[order[gone:]]) <= head.spent


def test_bound_holds_where_the_hessian_was_taken_elsewhere(rows: Matrix, labels: IntArray, head: LogisticHead) -> None:
    anchor = head.start + np.random.default_rng(4).normal(size=head.start.shape)
    curved = hessian(anchor, rows, head.l2)
    apart = head.start - anchor
    drift = np.sqrt(np.einsum("cp,cpq,cq->c", apart, curved, apart) - head.l2 * (apart**2).sum(1))
    moved = dataclasses.replace(head, anchor=anchor, hessian=curved, inverse=inverses(curved), drift=drift, epsilon=1e6)
    for gone in (1, 10, 100):
        less = moved.remove(rows[:gone], labels[:gone])
        left = residual_of(less, rows[gone:], labels[gone:])
        assert residual_of(head.remove(rows[:1], labels[:1]), rows[1:], labels[1:]) < left <= less.spent


def test_a_batch_leaves_what_one_after_another_leaves(rows: Matrix, labels: IntArray, head: LogisticHead) -> None:
    free = dataclasses.replace(head, epsilon=1e6)
    batch = free.remove(rows[:60], labels[:60])
    single = free
    for index in reversed(range(60)):
        single = single.remove(rows[index : index + 1], labels[index : index + 1])
    np.testing.assert_allclose(single.weights, batch.weights, atol=1e-8)
    np.testing.assert_allclose(single.hessian, batch.hessian, atol=1e-10)
    assert single.spent == pytest.approx(batch.spent, rel=1e-4)
    assert (single.count, single.removed) == (batch.count, batch.removed) == (340, 60)


def test_weights_come_near_a_refit_with_the_same_noise(rows: Matrix, labels: IntArray, head: LogisticHead) -> None:
    free = dataclasses.replace(head, epsilon=1e6)
    refit = fitted(rows[40:], labels[40:])
    less = free.remove(rows[:40], labels[:40])
    assert np.linalg.norm(less.weights - refit.weights) <= (less.spent + refit.spent) / less.l2
    assert np.linalg.norm(less.weights - refit.weights) < 0.2 * np.linalg.norm(free.weights - refit.weights)


def test_a_spent_budget_refuses_and_changes_nothing(rows: Matrix, labels: IntArray, head: LogisticHead) -> None:
    before = head.state()
    assert head.budget == largest_shift(1.0, 1e-5)
    with pytest.raises(BudgetSpent, match="fit again on the rows that are left"):
        head.remove(rows[:200], labels[:200])
    for name, value in head.state().items():
        np.testing.assert_array_equal(value, before[name])
    less = head.remove(rows[:4], labels[:4])
    assert head.spent < less.spent <= less.budget
    assert less.removed == 4


def test_noise_is_normal_and_enters_the_fit() -> None:
    rows, labels = data(50, 400)
    head = fitted(rows, labels, noise=3.0)
    assert kstest(head.perturbation.ravel() / 3, "norm").pvalue > 0.001
    assert np.std(head.perturbation / 3) == pytest.approx(1, abs=0.07)  # 1,200 draws: 3.4 standard errors
    without = gradient(head.weights, rows, labels, head.l2, np.zeros_like(head.perturbation))
    assert np.linalg.norm(without + head.perturbation) <= head.spent


def test_same_seed_same_bits_and_another_seed_other_noise(rows: Matrix, labels: IntArray, head: LogisticHead) -> None:
    again = fitted(rows, labels).remove(rows[:1], labels[:1])
    for name, value in head.remove(rows[:1], labels[:1]).state().items():
        np.testing.assert_array_equal(value, again.state()[name])
    assert np.abs(fitted(rows, labels, seed=2).weights - head.weights).min() > 1e-3


def test_state_is_all_of_a_head(rows: Matrix, labels: IntArray, head: LogisticHead) -> None:
    less = head.remove(rows[:2], labels[:2])
    read = LogisticHead.from_state(less.state())
    assert (type(read.count), read.count, read.removed, read.spent) == (int, 398, 2, less.spent)
    assert (read.l2, read.epsilon, read.delta, read.noise) == (1.0, 1.0, 1e-5, 1.0)
    on, same = less.remove(rows[2:4], labels[2:4]), read.remove(rows[2:4], labels[2:4])
    np.testing.assert_array_equal(on.weights, same.weights)
    assert on.spent == same.spent
    np.testing.assert_allclose(on.logits(rows), rows @ on.weights.T, rtol=1e-5, atol=1e-6)
    assert on.logits(rows).dtype == np.float32


@pytest.mark.parametrize(
    ("row", "label", "message"),
    [
        ([[0.9, 0.9, 0, 0, 0]], [0], "scale all rows"),
        ([[np.nan, 0, 0, 0, 0]], [0], "scale all rows"),
        ([[0.1, 0, 0, 0, 0]], [3], "between 0 and 2"),
        ([[0.1, 0, 0, 0, 0]], [0.5], "class indices"),
        ([[0.1, 0, 0, 0, 0]], [0, 1], "class indices"),
        ([[0.1, 0, 0, 0]], [0], "rows of 5 numbers"),
        ([[0.1, 0, 0, 0, 0]] * 401, [0] * 401, "401 rows cannot be removed"),
        ([[1.0, 0, 0, 0, 0]] * 400, [0] * 400, "cannot have been part"),
    ],
)
def test_what_cannot_be_removed_is_refused(
    head: LogisticHead, row: list[list[float]], label: list[float], message: str
) -> None:
    with pytest.raises(DataError, match=message):
        dataclasses.replace(head, epsilon=1e6).remove(np.array(row), np.array(label))


def test_rows_that_were_never_there_are_not_noticed(rows: Matrix, labels: IntArray, head: LogisticHead) -> None:
    less = head.remove(0.3 * rows[:1], labels[:1])
    assert residual_of(less, rows[1:], labels[1:]) > less.spent


def test_noise_that_hides_nothing_is_refused(rows: Matrix, labels: IntArray) -> None:
    with pytest.raises(SettingError, match="raise noise or epsilon"):
        fitted(rows, labels, noise=1e-9)


def attack(gone: int, epsilon: float) -> tuple[float, float, float]:
    """The delta that an attack on a removal proves, with confidence 99.9 %, and what bound and residual allow.

    Whoever has the rows that are left computes, from weights, the perturbation of which they are the minimum. For a
    refit it is normal, for a head that rows left it is shifted. The attack, a likelihood ratio, projects it on the mean
    shift of simulations.
    """
    rows, labels = data(60, 2)
    rows = rows_of(rows).astype(np.float64)
    shifts, seen, bounds = [], [], []
    for seed in range(400):
        fit = dataclasses.replace(fitted(rows, labels, l2=0.3, noise=0.1, seed=seed), epsilon=1e6)
        less = fit.remove(rows[:gone], labels[:gone])
        implied = -gradient(less.weights, rows[gone:], labels[gone:], less.l2, np.zeros_like(less.perturbation))
        shifts.append((implied - less.perturbation) / less.noise)
        seen.append(implied / less.noise)
        bounds.append(less.spent / less.noise)
    direction = np.mean(shifts[:100], axis=0)
    scores = np.sum(np.array(seen[100:]) * direction / np.linalg.norm(direction), axis=(1, 2))
    thresholds = np.linspace(-1, 5, 13)
    hits = [int((scores > threshold).sum()) for threshold in thresholds]
    surely = [float(beta.ppf(0.001 / 13, hit, 301 - hit)) if hit else 0.0 for hit in hits]
    proven = max(p - math.exp(epsilon) * norm.sf(t) for p, t in zip(surely, thresholds, strict=True))
    return proven, max(bounds), float(np.linalg.norm(shifts, axis=(1, 2)).max())


def test_an_attack_proves_no_more_than_was_promised() -> None:
    proven, bound, _ = attack(gone=1, epsilon=0.5)
    assert proven <= delta_of_shift(bound, 0.5)


def test_an_attack_sees_a_budget_that_is_50_times_too_large() -> None:
    proven, bound, true = attack(gone=10, epsilon=0.5)
    assert (
        delta_of_shift(bound / 50, 0.5) < 0.01 < 0.3 < proven <= delta_of_shift(true, 0.5) < delta_of_shift(bound, 0.5)
    )
