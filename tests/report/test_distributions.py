from __future__ import annotations

import numpy as np
import pytest

from natmu.report.distributions import BINS, POINTS, Margins, edges_for, margins_of, percentages
from natmu.scores import auc, margin
from natmu.types import ForgetSet, Outputs, Part


@pytest.fixture
def outputs():
    draw = np.random.default_rng(0)

    def part(count, sure):
        labels = draw.integers(0, 5, count)
        logits = draw.normal(size=(count, 5)).astype(np.float32)
        logits[np.arange(count), labels] += sure
        return Part(logits, labels)

    return Outputs(part(3000, 3.0), part(1000, 2.0), part(500, 2.0))


FORGET = ForgetSet(np.arange(0, 600, 2), "random:10%", "random")


def test_margins_are_those_of_the_parts(outputs):
    found = margins_of(outputs, FORGET)
    split = outputs.split(FORGET)
    assert list(found.parts) == ["forget", "retain", "test"]
    for name in found.parts:
        assert np.array_equal(found.parts[name], margin(getattr(split, name)))


def test_of_an_original_the_training_data_is_one_part(outputs):
    assert {name: len(part) for name, part in margins_of(outputs, None).parts.items()} == {"train": 3000, "test": 1000}


def test_a_study_on_the_holdout_never_looks_at_the_test_set(outputs):
    found = margins_of(outputs, FORGET, "holdout")
    assert {name: len(part) for name, part in found.parts.items()} == {"forget": 300, "retain": 2700, "holdout": 500}


def test_every_sample_is_in_a_bin(outputs):
    found = margins_of(outputs, FORGET)
    edges = edges_for([found])
    assert len(edges) == BINS + 1
    heights = percentages(found.parts["retain"], edges)
    counts, _ = np.histogram(found.parts["retain"], edges)
    assert sum(heights) == pytest.approx(100, abs=0.3)
    assert heights[BINS // 2] == pytest.approx(100 * counts[BINS // 2] / 2700, abs=0.01)
    assert percentages(np.array([-1e5, 1e5]), edges)[0] == percentages(np.array([-1e5, 1e5]), edges)[-1] == 50


def test_equal_margins_have_bins_too():
    edges = edges_for([Margins({"test": np.full(9, 3.0)}, "test")])
    assert (np.diff(edges) > 0).all()


def test_areas_are_exact_and_thinned_curves_keep_their_shape(outputs):
    found = margins_of(outputs, FORGET)
    curve = found.against_unseen("retain")
    assert curve.area == auc(found.parts["retain"], found.parts["test"])
    assert len(curve.fpr) <= POINTS
    assert (curve.fpr[0], curve.tpr[0], curve.fpr[-1], curve.tpr[-1]) == (0, 0, 1, 1)
    assert np.trapezoid(curve.tpr, curve.fpr) == pytest.approx(curve.area, abs=0.005)


def test_a_forgotten_class_is_compared_with_unseen_samples_of_that_class(outputs):
    """Against other classes, a model that does not know the class would look as if it had learnt it backwards."""
    indices = np.flatnonzero(outputs.train.labels == 2)
    forget = ForgetSet(indices, "class:2", "class", (2,))
    for unseen, part in (("test", outputs.test), ("holdout", outputs.holdout)):
        found = margins_of(outputs, forget, unseen)
        assert found.seen == ["forget", "retain"]
        of_class = margin(part)[part.labels == 2]
        assert np.array_equal(found.parts["forget_test"], of_class)
        assert found.against_unseen("forget").area == auc(margin(outputs.train)[indices], of_class)
        assert found.against_unseen("retain").area == auc(found.parts["retain"], margin(part)[part.labels != 2])


def test_without_unseen_samples_there_is_nothing_to_compare_with(outputs):
    found = margins_of(Outputs(outputs.train, outputs.test), FORGET, "holdout")
    assert list(found.parts) == ["forget", "retain"]
    assert found.against_unseen("forget") is None
