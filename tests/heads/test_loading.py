"""Real heads in files: removals go on where they were, and the examples in docstrings run."""

from __future__ import annotations

import re
import subprocess
import sys

import numpy as np
import pytest

from natmu.errors import RunError, UsageError
from natmu.heads import BudgetSpent, LogisticHead, RidgeHead, load_head, rows_of
from natmu.heads.saving import SavedHead

LOGISTIC = {"l2": 5.0, "epsilon": 1.0, "delta": 1e-5, "noise": 1.0, "seed": 3}
KINDS = [(RidgeHead, {"l2": 0.5}), (LogisticHead, LOGISTIC)]


@pytest.fixture(scope="module")
def samples():
    rng = np.random.default_rng(0)
    labels = rng.integers(0, 3, 200)
    return rows_of(np.eye(3, 7)[labels] + rng.normal(size=(200, 7))), labels


@pytest.mark.parametrize(("kind", "settings"), KINDS, ids=["ridge", "logistic"])
def test_a_head_that_was_read_goes_on_as_the_one_that_was_written(samples, tmp_path, kind, settings):
    rows, labels = samples
    head = kind.fit(rows, labels, num_classes=3, **settings).remove(rows[:3], labels[:3])
    read = load_head(head.save(tmp_path / "head.safetensors"))
    assert type(read) is kind
    for one, other in ((head, read), (head.remove(rows[3:9], labels[3:9]), read.remove(rows[3:9], labels[3:9]))):
        np.testing.assert_array_equal(one.weights, other.weights, strict=True)
        np.testing.assert_array_equal(one.logits(rows), other.logits(rows), strict=True)
        assert one.count == other.count
        assert {name: array.tolist() for name, array in one.state().items()} == {
            name: array.tolist() for name, array in other.state().items()
        }


def test_a_spent_budget_stays_spent(samples, tmp_path):
    rows, labels = samples
    head = LogisticHead.fit(rows, labels, num_classes=3, **LOGISTIC)
    for row in range(len(rows)):
        try:
            head = head.remove(rows[row : row + 1], labels[row : row + 1])
        except BudgetSpent:
            break
    read = load_head(head.save(tmp_path / "head.safetensors"))
    assert (read.spent, read.budget, read.removed) == (head.spent, head.budget, head.removed)
    with pytest.raises(BudgetSpent, match="fit again"):
        read.remove(rows[row : row + 1], labels[row : row + 1])


class Other(SavedHead):
    """A head of another kind, or of a kind that has other arrays."""

    def __init__(self, kind):
        self.kind = kind

    def state(self):
        """Nothing that a head needs."""
        return {"cross": np.ones((3, 2)), "weights": np.ones(2)}


@pytest.mark.parametrize(
    ("kind", "sentence"),
    [("quadratic", "knows no 'quadratic' head"), ("ridge", "damaged"), ("logistic", "damaged")],
)
def test_another_head_is_one_sentence(tmp_path, kind, sentence):
    path = Other(kind).save(tmp_path / "head.safetensors")
    with pytest.raises((RunError, UsageError), match=re.escape(sentence)):
        load_head(path)


def test_heads_need_no_pytorch():
    program = "import sys, natmu.heads; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", program], check=False).returncode == 0
