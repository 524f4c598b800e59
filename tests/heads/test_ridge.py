"""A ridge head after removals and additions is the head of the samples that are there."""

import tracemalloc
from fractions import Fraction

import numpy as np
import pytest
from sklearn.linear_model import Ridge
from tests.heads.exactly import difference, true_error
from threadpoolctl import threadpool_limits

from natmu.errors import RunError, UsageError
from natmu.heads import RefitNeeded, RidgeHead, ridge, rows_of, solving
from natmu.heads.rows import MOST_ROWS
from natmu.heads.sums import Sums

CLASSES = 3
PROMISED = 1e-9


def drawn(seed, count=120, columns=6):
    """Plain features, on no grid, and labels that depend on them."""
    draw = np.random.default_rng(seed)
    features = draw.standard_normal((count, columns)) * draw.uniform(0.1, 10, columns)
    return features, np.argmax(features[:, :CLASSES] + draw.standard_normal((count, CLASSES)), axis=1)


def same_bits(first, second):
    """Whether two heads have the same state and weights."""
    states = (first.state(), second.state())
    return first.weights.tobytes() == second.weights.tobytes() and all(
        states[0][name].tobytes() == states[1][name].tobytes() for name in states[0] | states[1]
    )


@pytest.mark.parametrize("seed", range(12))
def test_any_sequence_of_changes_equals_a_refit(seed):
    features, labels = drawn(seed)
    draw = np.random.default_rng(seed)
    l2, refused, there = 10.0 ** draw.integers(-2, 2), 0, draw.random(len(labels)) < 0.7

    def fitted():
        return RidgeHead.fit(features[there], labels[there], num_classes=CLASSES, l2=l2)

    head = fitted()
    for _ in range(40):
        these = (there if draw.random() < 0.5 else ~there) & (draw.random(len(labels)) < draw.choice([0.02, 0.2, 0.5]))
        change = head.remove if (these & there).any() else head.add
        there = there ^ these
        try:
            head = change(features[these], labels[these])
        except RefitNeeded:
            head, refused = fitted(), refused + 1
    assert refused <= 1
    assert head.count == there.sum() > 0
    assert difference(head, fitted()) <= head.error + fitted().error <= PROMISED
    assert true_error(head, features[there], labels[there]) <= head.error


def test_thousand_removals_on_the_grid_leave_the_bits_of_a_refit():
    features, labels = drawn(0, count=1500, columns=32)
    rows = rows_of(features)
    order = np.random.default_rng(1).permutation(len(rows))
    head = whole = RidgeHead.fit(rows, labels, num_classes=CLASSES)
    for sample in order[:1000]:
        head = head.remove(rows[[sample]], labels[[sample]])
    batches = whole
    for batch in np.array_split(order[:1000], 7):
        batches = batches.remove(rows[batch], labels[batch])
    refit = RidgeHead.fit(rows[order[1000:]], labels[order[1000:]], num_classes=CLASSES)
    assert same_bits(head, refit)
    assert same_bits(batches, refit)
    assert head.error == 0
    assert same_bits(refit.add(rows[order[:1000]], labels[order[:1000]]), whole)


def test_addition_restores_what_removal_took():
    features, labels = drawn(3)
    head = RidgeHead.fit(features, labels, num_classes=CLASSES)
    less = head.remove(features[:50], labels[:50])
    assert difference(less, head) > 1e-3
    assert difference(less.add(features[:50], labels[:50]), head) <= 1e-12


@pytest.mark.parametrize("l2", [0.01, 1.0, 100.0])
def test_fit_equals_scikit_learn(l2):
    features, labels = drawn(4)
    head = RidgeHead.fit(features.astype(np.float32), labels, num_classes=CLASSES, l2=l2)
    peer = Ridge(alpha=l2, fit_intercept=False, solver="cholesky")
    peer.fit(features.astype(np.float32).astype(np.float64), np.eye(CLASSES)[labels])
    np.testing.assert_allclose(head.weights, peer.coef_, rtol=1e-11, atol=1e-14)
    np.testing.assert_allclose(head.logits(features), peer.predict(features), rtol=1e-4, atol=1e-5)


def with_a_giant():
    """One sample outweighs all others, and goes."""
    features, labels = drawn(5)
    features[0] *= 1e8 / np.linalg.norm(features[0])
    return features, labels, 1.0


def nearly_collinear():
    """Two columns that are all but the same, and hardly any l2."""
    features, labels = drawn(6)
    features[:, 1] = features[:, 0] + 1e-6 * features[:, 1]
    return features, labels, 1e-9


@pytest.mark.parametrize("constructed", [with_a_giant, nearly_collinear])
def test_lost_conditioning_is_refused_and_would_have_broken_the_promise(constructed, monkeypatch):
    features, labels, l2 = constructed()
    head = RidgeHead.fit(features, labels, num_classes=CLASSES, l2=l2)
    with pytest.raises(RefitNeeded, match="Fit the head again"):
        head.remove(features[:1], labels[:1])
    monkeypatch.setattr(ridge, "TOLERANCE", np.inf)
    wrong = head.remove(features[:1], labels[:1])
    assert PROMISED < true_error(wrong, features[1:], labels[1:]) <= wrong.error


def test_neither_is_refused_on_the_grid():
    for constructed in (with_a_giant, nearly_collinear):
        features, labels, _ = constructed()
        rows = rows_of(features)
        head = RidgeHead.fit(rows, labels, num_classes=CLASSES)
        refit = RidgeHead.fit(rows[1:], labels[1:], num_classes=CLASSES)
        assert same_bits(head.remove(rows[:1], labels[:1]), refit)


@pytest.mark.parametrize(("seed", "collinear"), [(seed, 10.0**-power) for seed, power in enumerate(range(10))])
def test_error_is_a_bound_and_no_wild_one(seed, collinear):
    features, labels = drawn(seed, count=40, columns=4)
    features[:, 1] = features[:, 0] + collinear * features[:, 1]
    head = RidgeHead.fit(features, labels, num_classes=CLASSES, l2=1e-6)
    assert true_error(head, features, labels) <= head.error
    assert head.error <= 1e-12 * head.condition
    truth = np.linalg.cond(features.T @ features + head.l2 * np.eye(4), 1)
    assert head.condition == pytest.approx(truth, rel=1e-3)


@pytest.mark.parametrize("seed", range(4))
def test_error_covers_the_worst_that_its_parts_allow(seed):
    features, labels = drawn(seed, count=40, columns=4)
    draw = np.random.default_rng(seed)
    head = RidgeHead.fit(features, labels, num_classes=CLASSES, l2=0.01)
    weakest = np.linalg.eigh(features.T @ features)[1][:, 0]
    off = 1e-7 * np.outer(weakest, weakest)
    cross_off = 1e-7 * np.outer(weakest, draw.standard_normal(CLASSES))
    for gram, cross, weights in ((off, 0 * cross_off, 0), (0 * off, cross_off, 0), (0 * off, 0 * cross_off, 1e-7)):
        rounding = (max(np.linalg.norm(gram), 1e-300), np.linalg.norm(cross))
        moved = RidgeHead(Sums(head.sums.gram + gram, head.sums.cross + cross, head.sums.counts, *rounding), head.l2)
        vars(moved)["weights"] = moved.weights + weights * np.outer(draw.standard_normal(CLASSES), weakest)
        assert true_error(moved, features, labels) <= moved.error <= 1e5 * true_error(moved, features, labels)


@pytest.mark.parametrize("entry", [0.1, 1 / 3, np.pi, 1e-5])
def test_rounding_of_sums_is_bounded_where_it_only_goes_one_way(entry):
    features = np.full((1500, 1), entry)
    sums = RidgeHead.fit(features, np.zeros(1500, int), num_classes=1).sums
    off = abs(Fraction(sums.gram[0, 0]) - 1500 * Fraction(entry) ** 2)
    assert off <= sums.gram_rounding <= 1e-12 * sums.gram[0, 0]
    assert abs(Fraction(sums.cross[0, 0]) - 1500 * Fraction(entry)) <= sums.cross_rounding <= 1e-12 * sums.cross[0, 0]


def test_least_eigenvalue_is_never_above_the_true_one(monkeypatch):
    draw = np.random.default_rng(0)
    for power in range(0, 14, 2):
        basis = np.linalg.qr(draw.standard_normal((8, 8)))[0]
        matrix = basis @ np.diag(np.logspace(0, -power, 8)) @ basis.T
        matrix = (matrix + matrix.T) / 2
        bound = solving.least_eigenvalue(matrix, solving.factor_of(matrix))
        assert 0.1 * 10.0**-power < bound < 1.01 * 10.0**-power
    monkeypatch.setattr(solving, "condition_of", lambda *_: 1.0)
    assert solving.least_eigenvalue(matrix, solving.factor_of(matrix)) == 0


def test_only_rounded_sums_have_an_error():
    pixels = np.random.default_rng(0).integers(0, 17, (500, 6))
    labels = np.arange(500) % CLASSES
    assert RidgeHead.fit(pixels.astype(np.uint8), labels, num_classes=CLASSES).error == 0
    assert RidgeHead.fit(pixels / 2**16, labels, num_classes=CLASSES).error == 0
    assert RidgeHead.fit(pixels / 2**17, labels, num_classes=CLASSES).error > 0
    large = pixels * (MOST_ROWS // 16)
    assert RidgeHead.fit(large, labels, num_classes=CLASSES).error > 0
    head = RidgeHead.fit(pixels, labels, num_classes=CLASSES).add(pixels[:1] / 3, labels[:1])
    assert 0 < head.error <= head.remove(pixels[:1] / 3, labels[:1]).error
    assert 0 < head.sums.gram_rounding < head.add(pixels[:1], labels[:1]).sums.gram_rounding


def test_weights_do_not_depend_on_the_number_of_threads():
    features, labels = drawn(7, count=600, columns=300)
    heads = []
    for threads in (1, 2):
        with threadpool_limits(threads, user_api="blas"):
            heads.append(RidgeHead.fit(features, labels, num_classes=CLASSES))
    assert same_bits(*heads)


def test_a_class_or_all_samples_may_go():
    features, labels = drawn(8)
    head = RidgeHead.fit(features, labels, num_classes=CLASSES)
    gone = np.flatnonzero(labels == 1)[::-1]
    assert not head.remove(features[gone], labels[gone]).weights[1].any()
    nothing = head.remove(features, labels)
    assert nothing.count == 0
    assert not nothing.weights.any()
    assert same_bits(nothing, RidgeHead.fit(features[:0], labels[:0], num_classes=CLASSES))
    again = nothing.add(features, labels)
    assert same_bits(again, head)
    assert head.remove(features[:0], []) is head


def test_removal_of_samples_that_were_not_there():
    features, labels = drawn(9)
    head = RidgeHead.fit(features, labels, num_classes=CLASSES)
    of_one = np.flatnonzero(labels == 0)
    with pytest.raises(RefitNeeded, match="were not among"):
        head.remove(features[of_one[[0] * (len(of_one) + 1)]], [0] * (len(of_one) + 1))
    with pytest.raises(RefitNeeded, match="were not among"):
        head.remove(features[:1] * 100, labels[:1])
    with pytest.raises(RefitNeeded, match="were not among"):
        RidgeHead.fit(features, labels, num_classes=CLASSES, l2=1e6).remove(features[:1] * 20, labels[:1])
    two = labels < 2
    with pytest.raises(RefitNeeded, match="were not among"):
        RidgeHead.fit(features[two], labels[two], num_classes=CLASSES).remove(features[two][:1], [2])


@pytest.mark.parametrize(
    ("features", "labels", "message"),
    [
        ([[1.0, np.nan]], [0], "Row 0 .* not finite"),
        ([[1.0, 2.0], [np.inf, 0.0]], [0, 1], "Row 1 .* not finite"),
        ([1.0, 2.0], [0, 1], "an array"),
        (np.ones((1, 1, 2)), [0], "an array"),
        ([["1", "2"]], [0], "an array"),
        (np.ones((1, 2), complex), [0], "an array"),
        (np.ones((2, 3)), [0, 1], "fitted on 2 columns"),
        (np.ones((2, 2)), [0], "each of the 2 rows"),
        (np.ones((1, 2)), [0.0], "whole number"),
        (np.ones((1, 2)), [[0]], "whole number"),
        (np.ones((1, 2)), [2], "from 0 to 1, and one of these is 2"),
        (np.ones((1, 2)), [-1], "from 0 to 1, and one of these is -1"),
        (np.full((1, 2), 1e200), [0], "too large"),
    ],
)
def test_wrong_input_is_refused(features, labels, message):
    head = RidgeHead.fit(np.eye(2), [0, 1], num_classes=2)
    for change in (head.add, head.remove):
        with pytest.raises(UsageError, match=message):
            change(features, labels)


def test_wrong_fits_are_refused():
    same = np.full((30, 2), 0.1)
    for features, classes, l2, message in (
        (np.eye(2), 2, 0.0, "l2 is"),
        (np.eye(2), 2, np.nan, "l2 is"),
        (np.eye(2), 0, 1.0, "at least one class"),
        (np.ones((2, 0)), 2, 1.0, "an array"),
        (same, 2, 1e-300, "raise l2"),
    ):
        with pytest.raises(UsageError, match=message):
            RidgeHead.fit(features, np.arange(len(features)) % 2, num_classes=classes, l2=l2)
    with pytest.raises(UsageError, match="fitted on 2 columns"):
        RidgeHead.fit(np.eye(2), [0, 1], num_classes=2).logits(np.eye(3))


def test_state_makes_the_same_head():
    features, labels = drawn(10)
    head = RidgeHead.fit(features, labels, num_classes=CLASSES, l2=0.3).remove(features[:5], labels[:5])
    copy = RidgeHead.from_state({name: array.copy() for name, array in head.state().items()})
    assert same_bits(copy, head)
    assert copy.error == head.error
    assert same_bits(copy.remove(features[5:9], labels[5:9]), head.remove(features[5:9], labels[5:9]))


@pytest.mark.parametrize(
    ("name", "damage"),
    [
        ("gram", lambda array: array[:-1]),
        ("gram", lambda array: array * np.nan),
        ("gram", lambda array: array.astype(np.float32)),
        ("gram", lambda array: array - 1e9 * np.eye(len(array))),
        ("gram", lambda array: array + np.triu(np.ones_like(array))),
        ("cross", lambda array: array[0]),
        ("cross", lambda array: array[:, :1]),
        ("counts", lambda array: -array),
        ("rounding", lambda array: -array),
        ("rounding", lambda array: array[:1]),
        ("l2", lambda array: array * 0),
        ("l2", lambda array: array[:0]),
    ],
)
def test_damaged_state_is_refused(name, damage):
    features, labels = drawn(11)
    state = RidgeHead.fit(features, labels, num_classes=CLASSES).state()
    with pytest.raises(RunError, match="damaged"):
        RidgeHead.from_state({**state, name: damage(state[name])})
    with pytest.raises(RunError, match="damaged"):
        RidgeHead.from_state({other: state[other] for other in state if other != name})


def test_features_are_not_copied():
    features = np.ones((40_000, 32), np.float32)
    labels = np.zeros(len(features), np.int64)
    tracemalloc.start()
    RidgeHead.fit(features, labels, num_classes=2)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < features.nbytes / 2
