"""The objective of a logistic head, and its minimum."""

import numpy as np
import pytest
import torch
from sklearn.linear_model import LogisticRegression
from torch.nn.functional import softplus

from natmu.errors import TrainingError
from natmu.heads import one_against_rest
from natmu.heads.hessians import Matrix, inverses, times_each
from natmu.heads.one_against_rest import gradient, hessian, minimum, objective
from natmu.types import IntArray


def data(count: int = 300, width: int = 6, classes: int = 3) -> tuple[Matrix, IntArray]:
    random = np.random.default_rng(0)
    labels = random.integers(0, classes, count)
    rows = random.normal(size=(classes, width))[labels] + random.normal(size=(count, width))
    return rows / np.linalg.norm(rows, axis=1).max(), labels


def of_autograd(weights: torch.Tensor, rows: Matrix, labels: IntArray, l2: float, noise: Matrix) -> torch.Tensor:
    """The objective of all classes, as its definition says."""
    total = torch.zeros((), dtype=torch.float64)
    for index, own in enumerate(weights):
        signs = torch.as_tensor(np.where(labels == index, 1.0, -1.0))
        losses = softplus(-signs * (torch.as_tensor(rows) @ own))
        total = total + losses.sum() + l2 / 2 * own @ own + torch.as_tensor(noise[index]) @ own
    return total


def test_objective_gradient_and_hessian_are_those_of_the_definition() -> None:
    rows, labels = data(30, 4)
    weights, noise = np.random.default_rng(1).normal(size=(2, 3, 4))
    given = torch.tensor(weights, requires_grad=True)
    value = of_autograd(given, rows, labels, 0.7, noise)
    value.backward()  # type: ignore[no-untyped-call]
    np.testing.assert_allclose(objective(rows @ weights.T, weights, labels, 0.7, noise).sum(), value.item(), rtol=1e-12)
    np.testing.assert_allclose(gradient(weights, rows, labels, 0.7, noise), np.asarray(given.grad), rtol=1e-10)
    curved = torch.autograd.functional.hessian(  # type: ignore[no-untyped-call]
        lambda w: of_autograd(w, rows, labels, 0.7, noise), given.detach()
    )
    for index, matrix in enumerate(hessian(weights, rows, 0.7)):
        np.testing.assert_allclose(matrix, curved[index, :, index], rtol=1e-10, atol=1e-13)


@pytest.mark.parametrize("count", [300, 3000])  # of the larger one, the first steps take a part only
def test_minimum_without_noise_is_that_of_scikit_learn(count: int) -> None:
    rows, labels = data(count)
    found = minimum(rows, labels, 0.5, np.zeros((3, 6)), goal=1e-9)
    for index in range(3):
        sklearn = LogisticRegression(C=1 / 0.5, fit_intercept=False, tol=1e-10, max_iter=1000)
        np.testing.assert_allclose(found.weights[index], sklearn.fit(rows, labels == index).coef_[0], atol=1e-6)


@pytest.mark.parametrize(("l2", "strength"), [(1e-3, 0.0), (0.1, 30.0), (10.0, 1000.0)])
def test_minimum_is_found_from_afar(l2: float, strength: float) -> None:
    rows, labels = data(2000)
    noise = strength * np.random.default_rng(2).normal(size=(3, 6))
    found = minimum(rows, labels, l2, noise, goal=1e-6)
    left = np.linalg.norm(gradient(found.weights, rows, labels, l2, noise), axis=1)
    assert np.linalg.norm(left) <= 1e-6
    np.testing.assert_allclose(found.residual, left)
    np.testing.assert_allclose(found.hessian, hessian(found.anchor, rows, l2))
    np.testing.assert_allclose(found.inverse @ found.hessian, np.stack([np.eye(6)] * 3), atol=1e-6)


def test_a_step_that_goes_too_far_is_shortened() -> None:
    rows, labels = data(200)
    weights = np.full((3, 6), 40.0)
    arguments = (labels, 1e-3, np.zeros((3, 6)))
    steps = times_each(inverses(hessian(weights, rows, 1e-3)), gradient(weights, rows, *arguments))
    lengths = one_against_rest._lengths(weights, steps, gradient(weights, rows, *arguments), rows, *arguments)
    ahead = weights - lengths * steps
    assert (lengths < 1).any()
    assert (objective(rows @ ahead.T, ahead, *arguments) < objective(rows @ weights.T, weights, *arguments)).all()


def test_what_cannot_be_reached_is_an_error() -> None:
    rows, labels = data()
    with pytest.raises(TrainingError, match="did not reach its minimum"):
        minimum(rows, labels, 1.0, np.zeros((3, 6)), goal=1e-30)
