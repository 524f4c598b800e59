"""Stored predictions, divided as a forget set and those before it ask."""

from __future__ import annotations

import numpy as np

from natmu.types import ForgetSet, Outputs, Part


def part(labels, fine=None):
    """Predictions whose first logit counts the samples."""
    logits = np.stack([np.arange(len(labels)), np.zeros(len(labels))], 1).astype(np.float32)
    return Part(logits, np.asarray(labels), None if fine is None else np.asarray(fine))


def rows(found):
    """Which samples a part holds."""
    return None if found is None else found.logits[:, 0].astype(int).tolist()


def split(forget, train, unseen):
    found = Outputs(train, unseen, unseen).split(forget)
    return {name: rows(getattr(found, name)) for name in ("retain", "forget", "test", "forget_test", "before")}


TRAIN, UNSEEN = part([0, 0, 1, 1, 2, 2], [0, 1, 2, 3, 4, 5]), part([0, 1, 2, 2], [0, 2, 4, 5])
FIRST = ForgetSet(np.array([0, 1]), "class:0", "class", (0,))


def test_a_first_request_splits_in_two():
    expected = {"retain": [2, 3, 4, 5], "forget": [0, 1], "test": [1, 2, 3], "forget_test": [0], "before": None}
    assert split(FIRST, TRAIN, UNSEEN) == expected


def test_a_class_that_was_forgotten_before_is_in_no_other_part():
    second = ForgetSet(np.array([4]), "subclass:4", "subclass", (4,)).after(FIRST)
    expected = {"retain": [2, 3, 5], "forget": [4], "test": [1, 3], "forget_test": [2], "before": [0, 1]}
    assert split(second, TRAIN, UNSEEN) == expected
    third = ForgetSet(np.array([3]), "random:1", "random").after(second)
    expected = {"retain": [2, 5], "forget": [3], "test": [1, 3], "forget_test": None, "before": [0, 1, 4]}
    assert split(third, TRAIN, UNSEEN) == expected
