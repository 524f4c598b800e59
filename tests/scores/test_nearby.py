from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from natmu.errors import UsageError
from natmu.scores.nearby import residual_knowledge
from natmu.scores.verdict import judge


def test_it_is_the_ratio_of_right_answers_with_one_more_on_either_side():
    assert residual_knowledge(29, [9, 19, 14]) == 30 / 15
    assert residual_knowledge(0, [9, 9]) == 0.1
    assert residual_knowledge(0, [0, 0]) == 1, "nobody predicts a forgotten class"
    assert residual_knowledge(999, [0, 0]) == 1000


@given(st.lists(st.integers(0, 10000), min_size=1, max_size=9), st.integers(0, 10000))
def test_retrained_models_have_1_on_average_and_more_right_answers_a_higher_ratio(retrained, right):
    ratios = [residual_knowledge(one, retrained) for one in retrained]
    assert sum(ratios) / len(ratios) == pytest.approx(1)
    assert residual_knowledge(right + 1, retrained) > residual_knowledge(right, retrained) > 0


def test_models_that_know_more_and_models_that_know_less_are_both_distinguishable():
    retrained = [790, 800, 805, 810, 795]
    ratios = [residual_knowledge(one, retrained) for one in retrained]
    for right, side in ((1000, "above"), (600, "below")):
        value = residual_knowledge(right, retrained)
        assert judge("residual_knowledge", value, None, ratios).distinguishable
        assert judge("residual_knowledge", value, None, ratios, side=side).distinguishable
    assert not judge("residual_knowledge", residual_knowledge(802, retrained), None, ratios).distinguishable


def test_what_is_no_number_of_answers_is_refused():
    with pytest.raises(UsageError, match="needs a retrained model"):
        residual_knowledge(1, [])
    for right, retrained in ((-1, [2]), (1, [float("nan")])):
        with pytest.raises(UsageError, match="0 or above"):
            residual_knowledge(right, retrained)
