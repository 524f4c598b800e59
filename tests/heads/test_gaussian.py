"""How far Gaussian noise may be shifted."""

import math

import numpy as np
import pytest
from scipy.stats import norm

from natmu.heads.gaussian import delta_of_shift, largest_shift

EPSILONS = [0.01, 0.1, 0.5, 1.0, 5.0, 100.0]


def classical(epsilon: float, delta: float) -> float:
    """The shift that Guo et al., theorem 3, allow."""
    return epsilon / math.sqrt(2 * math.log(1.5 / delta))


@pytest.mark.parametrize("epsilon", [0.1, 1.0, 3.0])
@pytest.mark.parametrize("shift", [0.2, 1.0, 4.0])
@pytest.mark.parametrize("way", [1, -1])
def test_delta_is_the_largest_excess_of_probability(epsilon: float, shift: float, way: int) -> None:
    x = np.linspace(-20, 20, 400_001)
    excess = np.maximum(norm.pdf(x, shift) - math.exp(epsilon) * norm.pdf(x), 0)
    if way < 0:
        excess = np.maximum(norm.pdf(x) - math.exp(epsilon) * norm.pdf(x, shift), 0)
    assert delta_of_shift(shift, epsilon) == pytest.approx(np.trapezoid(excess, x), abs=1e-8)


@pytest.mark.parametrize("epsilon", EPSILONS)
@pytest.mark.parametrize("delta", [1e-9, 1e-5, 0.01])
def test_largest_shift_is_the_largest(epsilon: float, delta: float) -> None:
    shift = largest_shift(epsilon, delta)
    assert 0 < delta_of_shift(shift, epsilon) <= delta < delta_of_shift(shift * (1 + 1e-6), epsilon)


@pytest.mark.parametrize("epsilon", [0.01, 0.1, 0.5, 1.0])
@pytest.mark.parametrize("delta", [1e-9, 1e-5, 0.01])
def test_the_paper_never_allows_more_while_epsilon_is_small(epsilon: float, delta: float) -> None:
    assert classical(epsilon, delta) <= largest_shift(epsilon, delta)


def test_the_classical_rule_would_be_wrong_for_large_epsilon() -> None:
    assert delta_of_shift(classical(100, 1e-5), 100) > 0.5
    assert largest_shift(100, 1e-5) < classical(100, 1e-5)
