"""Predictions whose scores are known beforehand."""

from __future__ import annotations

import numpy as np
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays
from scipy.stats import norm

from natmu.types import Part, Predictions


def part(logits, labels):
    return Part(np.asarray(logits, np.float32), np.asarray(labels, np.int64))


def random_part(rng, count, confidence, classes=10):
    """Random predictions whose true class stands out by about ``confidence``."""
    labels = rng.integers(0, classes, count)
    logits = rng.normal(size=(count, classes))
    logits[np.arange(count), labels] += rng.normal(confidence, confidence / 4, count)
    return part(logits, labels)


def predictions(rng, retain, forget, test, counts=(900, 100, 300), classes=10):
    confidences = (retain, forget, test)
    return Predictions(*(random_part(rng, *pair, classes) for pair in zip(counts, confidences, strict=True)))


def gaussian(mean, count=200_000):
    """Predictions of two classes whose margins are the evenly spaced quantiles of a Gaussian of variance 1."""
    margins = mean + norm.ppf((np.arange(count) + 0.5) / count)
    labels = np.arange(count) % 2
    logits = np.zeros((count, 2))
    logits[np.arange(count), labels] = margins
    return part(logits, labels)


def moved(one, offsets):
    """The same predictions with a constant added to the logits of each sample."""
    return Part(one.logits.astype(np.float64) + offsets, one.labels)


@st.composite
def any_part(draw, most=12):
    """Logits up to ±1e4 and probabilities of exactly 0; at least one class of each sample is possible."""
    shape = draw(array_shapes(min_dims=2, max_dims=2, min_side=2, max_side=most))
    heights = st.floats(-1e4, 1e4, width=32) | st.sampled_from([-np.inf, 0.0, 1e4, -1e4])
    logits = draw(arrays(np.float32, shape, elements=heights))
    labels = draw(arrays(np.int64, shape[0], elements=st.integers(0, shape[1] - 1)))
    never = np.isneginf(logits).all(axis=1)
    logits[never, labels[never]] = 0
    return Part(logits, labels)
