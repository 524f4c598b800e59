"""The choice of classes beside that of the research code, where probabilities say less than logits."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from natmu.methods.partners import rank_classes


def by_probability(logits, own, n):
    """The classes that NatMU's code chooses, sample-wise/natmu.py, lines 56-60: the largest float32 probabilities where
    the own class's is multiplied by 0. Of equals it takes any; here the first."""
    rows = []
    for row, true_class in zip(torch.from_numpy(logits).softmax(1).tolist(), own.tolist(), strict=True):
        keys = [0.0 if c == true_class else probability for c, probability in enumerate(row)]
        rows.append(sorted(range(len(keys)), key=lambda c: -keys[c])[:n])
    return np.array(rows)


def by_logit(logits, own, n):
    """The other classes with the largest logits."""
    rows = []
    for row, true_class in zip(logits.tolist(), own.tolist(), strict=True):
        rows.append(sorted((c for c in range(len(row)) if c != true_class), key=lambda c: -row[c])[:n])
    return np.array(rows)


@pytest.mark.parametrize(("deviation", "saturated"), [(1, False), (10, False), (80, True)])
def test_saturated_probabilities_leave_the_research_code_to_ties(deviation, saturated):
    """They round to 0 beside one of 1, and the own class's is one 0 among others; the logits still rank the classes."""
    rng = np.random.default_rng(0)
    own, logits = rng.integers(0, 10, 2_000), deviation * rng.normal(size=(2_000, 10)).astype(np.float32)
    ours = rank_classes(logits, own, np.full(10, 2_000), 4)[:, :4]
    assert np.array_equal(ours, by_logit(logits, own, 4))
    theirs = by_probability(logits, own, 4)
    differing, own_chosen = (theirs != ours).any(1).mean(), (theirs == own[:, None]).any(1).mean()
    if saturated:
        assert differing > 0.3
        assert own_chosen > 0.05
    else:
        assert differing == own_chosen == 0
