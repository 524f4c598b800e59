"""Wrong labels, and the method that trains on them."""

from __future__ import annotations

from collections import Counter
from itertools import pairwise

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import chisquare

from natmu.data import forget_from_indices, parse_forget, resolve_forget
from natmu.errors import ScenarioError
from natmu.methods import Amnesiac, RandomLabel, SalUn
from natmu.methods.labels import borrowed_labels, relabelled, wrong_labels

from .problems import intercept, noise_data, problem_of, state_of, superclass_data

FORGET = list(range(0, 60, 3))


def forget_labels(caught, problem, epoch=0):
    """Labels of the forget samples in an epoch; they must come once each."""
    rows = caught.epoch(epoch)
    chosen = torch.isin(rows.positions, problem.forget_positions)
    assert torch.equal(rows.positions[chosen], problem.forget_positions)
    kept = rows.positions[~chosen]
    assert torch.equal(rows.labels[~chosen], problem.data.labels[kept])
    return rows.labels[chosen]


@given(
    own=st.lists(st.integers(0, 6), min_size=1, max_size=30), extra=st.integers(1, 5), seed=st.integers(0, 2**32 - 1)
)
def test_a_wrong_label_is_a_class_and_never_the_true_one(own, extra, seed):
    classes = max(own) + 1 + extra
    drawn = wrong_labels(np.array(own), np.arange(classes), np.random.default_rng(seed))
    assert ((drawn >= 0) & (drawn < classes) & (drawn != own)).all()


@pytest.mark.parametrize("own", [0, 2, 5])
def test_wrong_labels_are_uniform_over_the_other_classes(own):
    drawn = wrong_labels(np.full(6_000, own), np.arange(6), np.random.default_rng(own))
    counts = np.bincount(drawn, minlength=6)
    assert counts[own] == 0
    assert chisquare(np.delete(counts, own)).pvalue > 1e-3


def test_no_class_that_was_forgotten_before_is_a_wrong_label():
    data = noise_data(400)
    first = resolve_forget(parse_forget("class:2"), data, seed=0)
    second = resolve_forget(parse_forget("random:50%"), data, seed=0, after=first)
    problem = problem_of(data, second)
    assert problem.classes.tolist() == [0, 1, *range(3, data.num_classes)]
    labels = relabelled(problem)
    own = data.labels.numpy()[second.indices]
    assert not np.isin(labels, [2]).any()
    assert (labels != own).all()
    assert set(labels) == set(problem.classes)
    half = forget_from_indices(first.indices[::2], data)
    assert problem_of(data, forget_from_indices([0], data, half)).classes.tolist() == list(range(data.num_classes))


def test_a_single_class_has_no_wrong_label():
    with pytest.raises(ScenarioError, match="two classes"):
        wrong_labels(np.zeros(3, np.int64), np.arange(1), np.random.default_rng(0))


def test_each_forget_sample_has_one_wrong_label_for_all_epochs(monkeypatch):
    problem = problem_of(noise_data(100), FORGET)
    caught = intercept(monkeypatch, Amnesiac(), problem)
    first = forget_labels(caught, problem)
    assert not (first == problem.data.labels[problem.forget_positions]).any()
    assert len(set(first.tolist())) > 2
    for epoch in (1, 2):
        assert torch.equal(forget_labels(caught, problem, epoch), first)


def test_another_seed_draws_other_labels(monkeypatch):
    problems = [problem_of(noise_data(100), FORGET, seed=seed) for seed in (0, 0, 1)]
    labels = [forget_labels(intercept(monkeypatch, Amnesiac(), p), p) for p in problems]
    assert torch.equal(labels[0], labels[1])
    assert not torch.equal(labels[0], labels[2])


def test_forgetting_a_class_takes_the_labels_of_random_retain_images(monkeypatch):
    """Retain labels are 2 : 1 here, so labels drawn uniformly over classes would stand out."""
    data = noise_data(800, classes=4)
    labels = torch.where((data.labels == 2) & (torch.arange(800) % 8 != 2), 1, data.labels)
    skewed = type(data)(data.images, labels, data.class_names)
    problem = problem_of(skewed, resolve_forget(parse_forget("class:c0"), skewed, seed=0))
    drawn = forget_labels(intercept(monkeypatch, Amnesiac(), problem), problem)
    kept = np.bincount(skewed.labels[problem.retain_positions].numpy(), minlength=4)
    counts = np.bincount(drawn.numpy(), minlength=4)
    assert counts[0] == kept[0] == 0
    expected = kept[1:] / kept.sum() * len(drawn)
    assert chisquare(counts[1:], expected).pvalue > 1e-3
    assert chisquare(counts[1:]).pvalue < 1e-4


def research_labels(own, retain_labels, count, rng):
    """The labels that NatMU's code gives ``count`` samples of one class.

    class-wise/utils/generate_natural_data.py, lines 86-95, called by class-wise/amnesiac.py, lines 66-71, and
    class-wise/salun.py, lines 68-72: the first images of a permutation serve; those of the own class change places at
    random with the rest until there are none.
    """
    order = rng.permutation(len(retain_labels))
    while own in retain_labels[order[:count]]:
        moved = [place for place in range(len(order)) if place >= count or retain_labels[order[place]] == own]
        order[moved] = rng.permutation(order[moved])
    return retain_labels[order[:count]]


def test_borrowed_labels_have_the_law_of_the_research_code():
    """Two samples of class 1 take two of the five other images, which are 0, 0, 2, 2 and 2, in random order."""
    retain_labels, draws = np.array([0, 1, 2, 1, 2, 0, 2]), 3_000
    chances = {(0, 0): 2 / 5 * 1 / 4, (0, 2): 2 / 5 * 3 / 4, (2, 0): 3 / 5 * 2 / 4, (2, 2): 3 / 5 * 2 / 4}
    rng = np.random.default_rng(0)
    for draw in (
        lambda: borrowed_labels(np.array([1, 1]), retain_labels, rng),
        lambda: research_labels(1, retain_labels, 2, rng),
    ):
        pairs = Counter(tuple(draw().tolist()) for _ in range(draws))
        assert pairs.keys() == chances.keys()
        assert chisquare([pairs[pair] for pair in chances], [draws * c for c in chances.values()]).pvalue > 1e-3


@given(
    own=st.lists(st.integers(0, 3), min_size=1, max_size=30),
    kept=st.lists(st.integers(0, 4), max_size=30),
    seed=st.integers(0, 2**32 - 1),
)
def test_a_borrowed_label_is_a_retained_one_and_never_the_own(own, kept, seed):
    retained = np.array([*kept, 5, 6])
    drawn = borrowed_labels(np.array(own), retained, np.random.default_rng(seed))
    assert set(drawn) <= set(retained)
    assert (drawn != own).all()
    for label in set(own):
        images = Counter(retained[retained != label].tolist())
        if own.count(label) <= images.total():
            assert Counter(drawn[np.array(own) == label].tolist()) <= images


def test_without_other_classes_no_label_can_be_borrowed():
    with pytest.raises(ScenarioError, match="retain images of other classes"):
        borrowed_labels(np.array([0, 1]), np.array([1, 1]), np.random.default_rng(0))


@pytest.mark.parametrize(
    "method",
    [Amnesiac(), SalUn(), SalUn(relabel="each_epoch"), RandomLabel()],
    ids=["amnesiac", "salun", "salun each epoch", "random_label"],
)
def test_a_forgotten_subclass_is_never_taught_its_own_superclass(monkeypatch, method):
    data = superclass_data(400)
    problem = problem_of(data, resolve_forget(parse_forget("subclass:c2"), data, seed=0))
    caught = intercept(monkeypatch, method, problem)
    assert 1 in data.labels[problem.retain_positions]
    assert {label for epoch in range(3) for label in forget_labels(caught, problem, epoch).tolist()} == {0, 2, 3}


def test_the_head_is_reset_only_where_asked(monkeypatch, trained, digits):
    problem = problem_of(digits, FORGET, model=trained)
    before = state_of(trained)
    for reset in (False, True):
        after = state_of(intercept(monkeypatch, Amnesiac(reset_head=reset), problem).model)
        assert torch.equal(after["5.weight"], before["5.weight"]) != reset
        assert all(torch.equal(after[name], before[name]) for name in before if name != "5.weight")


def test_random_labels_are_wrong_and_drawn_anew_at_each_visit(monkeypatch):
    problem = problem_of(noise_data(100), FORGET)
    own = problem.data.labels[problem.forget_positions]
    caught = intercept(monkeypatch, RandomLabel(), problem)
    labels = [forget_labels(caught, problem, epoch) for epoch in range(40)]
    assert not any((drawn == own).any() for drawn in labels)
    assert not any(torch.equal(*pair) for pair in pairwise(labels))
    assert torch.equal(forget_labels(caught, problem, 3), labels[3])  # a resumed run sees the same
    counts = torch.stack([((torch.stack(labels) - own) % 5 == shift).sum() for shift in range(1, 5)])
    assert chisquare(counts.numpy()).pvalue > 1e-3


def test_random_labels_follow_the_seed_and_the_retain_set_keeps_its_own(monkeypatch):
    problems = [problem_of(noise_data(100), FORGET, seed=seed) for seed in (0, 0, 1)]
    caught = [intercept(monkeypatch, RandomLabel(), problem) for problem in problems]
    labels = [forget_labels(*pair, epoch=2) for pair in zip(caught, problems, strict=True)]
    assert torch.equal(labels[0], labels[1])
    assert not torch.equal(labels[0], labels[2])
    assert torch.equal(caught[0].epoch(2).positions.sort().values, torch.arange(100))


def test_random_labels_of_a_forgotten_class_are_those_of_retain_images(monkeypatch):
    data = superclass_data(240)
    problem = problem_of(data, resolve_forget(parse_forget("class:c"), data, seed=0))
    caught = intercept(monkeypatch, RandomLabel(), problem)
    drawn = torch.cat([forget_labels(caught, problem, epoch) for epoch in range(3)])
    assert set(drawn.tolist()) == {0, 1, 3}


def test_with_random_labels_the_model_becomes_unsure_of_the_forget_set_alone(trained, digits):
    problem = problem_of(digits, FORGET, model=trained)
    result = RandomLabel(epochs=10, lr=0.03)(problem).model.eval()
    with torch.no_grad():
        before, after = (m(digits.images.float() / 255).softmax(1) for m in (problem.frozen_copy(), result))
    forgotten = problem.forget_positions
    own = digits.labels[forgotten]
    assert after[forgotten, own].mean() < before[forgotten, own].mean() - 0.1
    kept = problem.retain_positions
    assert (after[kept].argmax(1) == digits.labels[kept]).float().mean() > 0.8


def test_the_defaults_of_random_label_are_sgd_at_a_hundredth_for_ten_epochs():
    settings = RandomLabel().config
    assert (settings.optimizer, settings.lr, settings.epochs, settings.weight_decay) == ("sgd", 0.01, 10, 5e-4)
