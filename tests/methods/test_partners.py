"""The choice of classes and partners: exact against slow walks and matchings, complete, and linear."""

from __future__ import annotations

import sys
from collections import Counter

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.sparse import csr_array
from scipy.sparse.csgraph import maximum_bipartite_matching
from scipy.stats import chisquare

from natmu.errors import SettingError
from natmu.methods import partners
from natmu.methods.partners import ANY_CLASS, assign_classes, draw_partners, rank_classes


def slow_ranking(scores, own, capacity):
    """Classes that may serve one sample, by walking through all of them over and over."""
    left = [c for c in range(len(scores)) if c != own and capacity[c] > 0]
    ranking = []
    while left:
        best = left[0]
        for c in left[1:]:
            if scores[c] > scores[best]:
                best = c
        ranking.append(best)
        left.remove(best)
    return ranking


def plain_walk(scores, own, capacity, n):
    """The research code's walk: the next most probable classes with an unused image; None where it gets stuck."""
    free, rows = list(capacity), []
    for sample, true_class in enumerate(own):
        row = [c for c in slow_ranking(scores[sample], true_class, capacity) if free[c] > 0][:n]
        if len(row) < n:
            return None
        for c in row:
            free[c] -= 1
        rows.append(row)
    return rows


def solvable(demands, free):
    """Whether hybrids, given as the class that each must not have, can all get an image of their own."""
    images = [c for c, count in enumerate(free) for _ in range(count)]
    if not demands:
        return True
    if not images:
        return False
    allowed = np.array([[own != image for image in images] for own in demands])
    return bool((maximum_bipartite_matching(csr_array(allowed), "column") >= 0).all())


def careful_walk(scores, own, capacity, n):
    """The best class not yet used, if the rest stays solvable; else the best class that leaves it solvable."""
    demands = [c for c in own for _ in range(n)]
    if not solvable(demands, capacity):
        return None
    free, rows, done = list(capacity), [], 0
    for sample, true_class in enumerate(own):
        row = []
        for _ in range(n):
            done += 1
            ranking = slow_ranking(scores[sample], true_class, capacity)
            for c in [c for c in ranking if c not in row] + [c for c in ranking if c in row]:
                if free[c] and solvable(demands[done:], [f - (k == c) for k, f in enumerate(free)]):
                    break
            else:
                raise AssertionError("a solvable rest must have a next step")
            free[c] -= 1
            row.append(c)
        rows.append(row)
    return rows


def assigned(scores, own, capacity, n):
    ranked = rank_classes(scores, own, capacity, n)
    return assign_classes(ranked, own, capacity, n)


def check_valid(classes, own, capacity):
    assert (classes >= 0).all()
    assert (np.bincount(classes.ravel(), minlength=len(capacity)) <= capacity).all()
    assert not (classes == own[:, None]).any()


def random_instance(rng):
    samples, classes = int(rng.integers(1, 6)), int(rng.integers(3, 6))
    n = int(rng.integers(1, min(3, classes - 1) + 1))
    own = rng.integers(0 if rng.random() < 0.8 else ANY_CLASS, classes, samples)
    capacity = rng.multinomial(samples * n + int(rng.integers(-1, 4)), rng.dirichlet(np.full(classes, 1.0)))
    scores = rng.normal(size=(samples, classes)) + 2 * rng.normal(size=classes)
    return scores, own, np.maximum(capacity, 1), n


def test_ranking_equals_a_slow_one():
    rng = np.random.default_rng(0)
    for _ in range(50):
        scores = rng.integers(0, 4, (6, 7)).astype(np.float32)  # many ties, which go to the lower class
        own, capacity = rng.integers(-1, 7, 6), rng.integers(0, 3, 7)
        if min(sum(1 for c in range(7) if c != o and capacity[c]) for o in own) == 0:
            continue
        ranked = rank_classes(scores, own, capacity, 1)
        for sample in range(6):
            expected = slow_ranking(scores[sample], own[sample], capacity)
            assert ranked[sample].tolist() == expected + [7] * (7 - len(expected))


def test_confident_answers_keep_their_order():
    """Probabilities of an overconfident model underflow to zero; its logits still rank the classes."""
    logits = np.array([[400.0, -30.0, -10.0, -20.0]], np.float32)
    assert rank_classes(logits, np.array([0]), np.full(4, 9), 3).tolist() == [[2, 3, 1, 4]]


def test_inputs_are_left_alone():
    rng = np.random.default_rng(1)
    scores, own, capacity = rng.normal(size=(6, 4)), np.array([0, 1, 2, 3, 0, 1]), np.array([3, 3, 3, 4])
    before = scores.copy(), own.copy(), capacity.copy()
    assigned(scores, own, capacity, 2)
    assert all(np.array_equal(a, b) for a, b in zip(before, (scores, own, capacity), strict=True))


def test_where_no_class_is_short_each_sample_gets_its_top_classes():
    rng = np.random.default_rng(2)
    scores, own = rng.normal(size=(200, 10)), rng.integers(0, 10, 200)
    classes = assigned(scores, own, np.full(10, 200), 4)
    for sample in range(200):
        assert classes[sample].tolist() == slow_ranking(scores[sample], own[sample], [1] * 10)[:4]


def test_the_fast_path_gives_what_the_walk_gives():
    rng = np.random.default_rng(3)
    for _ in range(50):
        scores, own = rng.normal(size=(12, 5)), rng.integers(0, 5, 12)
        ranked = rank_classes(scores, own, np.full(5, 99), 2)
        capacity = np.bincount(ranked[:, :2].ravel(), minlength=5)  # exactly enough, so that the fast path still serves
        slack = partners._require_enough(own, capacity, 2)
        fast = assign_classes(ranked, own, capacity, 2)
        assert np.array_equal(fast, ranked[:, :2])
        assert np.array_equal(fast, partners._walk(ranked, own, capacity, slack, 2))


def test_where_a_class_is_short_the_walk_is_the_sequential_one():
    rng = np.random.default_rng(4)
    compared = 0
    for _ in range(60):
        scores = rng.normal(size=(40, 6)) + np.array([3, 2, 0, 0, 0, 0])
        own, capacity = rng.integers(0, 6, 40), rng.integers(15, 40, 6)
        expected = plain_walk(scores, own, capacity, 2)
        top = rank_classes(scores, own, capacity, 2)[:, :2]
        if expected is None or (np.bincount(top.ravel(), minlength=6) <= capacity).all():
            continue
        compared += 1
        assert assigned(scores, own, capacity, 2).tolist() == expected
    assert compared > 30


def test_trap_rebalancing_never_hands_out_the_own_class():
    """In the research code 43 of 20,000 hybrids had the forget sample's own class (CIFAR-10, 10 % hardest)."""
    rng = np.random.default_rng(5)
    own = rng.permutation(np.arange(5_000) % 10)
    scores = rng.normal(size=(5_000, 10)) + np.array([0, 0, 1.5, 3, 1, 3, 0, 0.5, 0, 0])  # cats and dogs
    capacity = np.full(10, 4_500) - np.bincount(own, minlength=10)
    top = rank_classes(scores, own, capacity, 4)[:, :4]
    assert np.bincount(top.ravel(), minlength=10).max() > capacity.max()  # the case is one of shortage
    classes = assigned(scores, own, capacity, 4)
    check_valid(classes, own, capacity)
    assert classes.tolist() == plain_walk(scores, own, capacity, 4)


def test_every_outcome_agrees_with_a_matching_over_many_small_instances():
    rng = np.random.default_rng(6)
    outcomes: Counter[str] = Counter()
    for _ in range(400):
        scores, own, capacity, n = random_instance(rng)
        expected = careful_walk(scores, own.tolist(), capacity.tolist(), n)
        if expected is None:
            with pytest.raises(SettingError):
                assigned(scores, own, capacity, n)
            outcomes["impossible"] += 1
            continue
        classes = assigned(scores, own, capacity, n)
        check_valid(classes, own, capacity)
        assert classes.tolist() == expected
        outcomes["plain" if plain_walk(scores, own, capacity, n) else "repaired"] += 1
    assert min(outcomes.values()) > 20
    assert len(outcomes) == 3


@settings(max_examples=60, deadline=None)
@given(st.data())
def test_an_assignment_is_found_whenever_there_is_one(data):
    classes = data.draw(st.integers(3, 5), "classes")
    n = data.draw(st.integers(1, classes - 1), "n")
    own = np.array(data.draw(st.lists(st.integers(-1, classes - 1), min_size=1, max_size=5), "own"))
    capacity = np.array(data.draw(st.lists(st.integers(1, 6), min_size=classes, max_size=classes), "capacity"))
    ranks = [data.draw(st.permutations(range(classes))) for _ in own]
    scores = np.array(ranks, np.float64)
    demands = [c for c in own for _ in range(n)]
    if solvable(demands, capacity):
        check_valid(assigned(scores, own, capacity, n), own, capacity)
    else:
        with pytest.raises(SettingError, match="smaller n, or reuse_partners=true"):
            assigned(scores, own, capacity, n)


@pytest.mark.parametrize("spare", [0, 1])
def test_trap_tight_instances_end_with_the_only_solution(spare):
    """Permuting until all labels match never ends when every image is needed; this takes one walk."""
    half = 3_000
    own = np.array([0] * half + [1] * half)
    capacity = np.array([half + spare, half + spare, spare])
    scores = np.tile([0.3, 0.2, 0.5], (2 * half, 1))
    classes = assigned(scores, own, capacity, 1)
    check_valid(classes, own, capacity)
    assert (classes.ravel() != 2).sum() == 2 * half - spare


def test_images_are_kept_for_the_one_class_that_needs_them_all():
    """The first samples would like class 1 best, but the last, of class 0, can use nothing else."""
    own = np.array([2, 2, 0, 0])
    scores = np.array([[0.4, 0.6, 0, 0]] * 4)
    capacity = np.array([2, 1, 0, 1])
    assert plain_walk(scores, own, capacity, 1) is None
    classes = assigned(scores, own, capacity, 1)
    assert classes.ravel().tolist() == [0, 0, 1, 3]


def count_lines(function):
    """Lines of ``partners`` that run during a call: a measure of work that no other load disturbs."""
    count = 0

    def trace(frame, event, _argument):
        nonlocal count
        if frame.f_code.co_filename != partners.__file__:
            return None
        count += event == "line"
        return trace

    before = sys.gettrace()
    sys.settrace(trace)
    try:
        function()
    finally:
        sys.settrace(before)
    return count


@pytest.mark.parametrize("spare", [0, 50])
def test_work_grows_linearly_with_the_number_of_hybrids(spare):
    def work(samples):
        own = np.arange(samples) % 5
        scores = np.tile(np.arange(8.0), (samples, 1))  # everyone wants the same classes, which run out one by one
        capacity = np.full(8, samples * 3 // 8 + 1 + spare)
        return count_lines(lambda: assigned(scores, own, capacity, 3))

    first, second = work(400), work(1600)
    assert first > 400 * 3  # the walk was taken
    assert second < 4.4 * first


@pytest.mark.parametrize(
    ("own", "capacity", "n"),
    [
        ([0, 1, 2, 3], [1, 1, 1, 1], 2),  # fewer images than hybrids
        ([0, 0, 0], [9, 1, 1, 0], 1),  # plenty of images, but of the class that must not serve
    ],
)
def test_what_cannot_be_done_is_said_with_a_way_out(own, capacity, n):
    with pytest.raises(SettingError, match=r"smaller n, or reuse_partners=true"):
        assigned(np.zeros((len(own), 4)), np.array(own), np.array(capacity), n)


def test_more_hybrids_than_other_classes_is_said_with_the_largest_n():
    with pytest.raises(SettingError, match=r"only 2 .* set n=2"):
        rank_classes(np.zeros((3, 3)), np.array([0, 1, 2]), np.full(3, 50), 4)


def test_no_other_class_at_all_is_said():
    with pytest.raises(SettingError, match="no other class"):
        rank_classes(np.zeros((2, 2)), np.array([0, 0]), np.array([5, 0]), 1)


def check_drawn(drawn, classes, labels, *, reuse=False):
    seen = set()
    for sample in range(classes.shape[0]):
        for rank in range(classes.shape[1]):
            image = int(drawn[sample, rank])
            assert labels[image] == classes[sample, rank]
            assert reuse or image not in seen
            seen.add(image)


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 2**32 - 1), st.booleans())
def test_partners_are_of_the_given_class_and_serve_once(seed, reuse):
    rng = np.random.default_rng(seed)
    labels = rng.integers(0, 4, 60)
    pool = labels if not reuse else rng.choice(labels, 90)
    classes = rng.permutation(pool)[: len(pool) // 3 * 3].reshape(-1, 3)
    check_drawn(draw_partners(classes, labels, rng, reuse=reuse), classes, labels, reuse=reuse)


def test_all_images_can_be_drawn():
    labels = np.array([2, 0, 2, 0, 2])
    drawn = draw_partners(np.array([[2], [0], [2], [0], [2]]), labels, np.random.default_rng(0))
    assert sorted(drawn.ravel()) == [0, 1, 2, 3, 4]


@pytest.mark.parametrize("reuse", [False, True])
def test_every_partner_is_equally_likely(reuse):
    rng = np.random.default_rng(7)
    labels = np.array([0, 1, 1, 0, 1, 1, 1, 0])
    classes = np.array([[1, 0], [1, 1]])
    draws = np.stack([draw_partners(classes, labels, rng, reuse=reuse) for _ in range(4_000)])
    ones = np.flatnonzero(labels == 1)
    for place in [(0, 0), (1, 0), (1, 1)]:
        counts = [np.count_nonzero(draws[:, *place] == image) for image in ones]
        assert chisquare(counts).pvalue > 1e-3
    pairs = Counter(zip(draws[:, 0, 0].tolist(), draws[:, 1, 1].tolist(), strict=True))
    assert len(pairs) == (25 if reuse else 20)
    assert chisquare(list(pairs.values())).pvalue > 1e-3


def test_a_draw_depends_on_its_source_alone():
    labels, classes = np.arange(40) % 4, np.array([[0, 1], [2, 3]])
    first = draw_partners(classes, labels, np.random.default_rng(1))
    assert np.array_equal(first, draw_partners(classes, labels, np.random.default_rng(1)))
    assert not np.array_equal(first, draw_partners(classes, labels, np.random.default_rng(2)))
