"""Made-up shadow models, and the likelihood ratio of LiRA by the book."""

from __future__ import annotations

import math

import numpy as np
from scipy.stats import norm


def shadow_models(rng, models, samples, lift=2.0, spread_in=1.0, spread_out=1.0):
    """Margins of shadows, each trained on a random half of the samples, and who was trained on what."""
    member = rng.permuted(np.tile(np.arange(models) % 2 == 0, (samples, 1)), axis=1).T
    difficulty = rng.normal(0, 4, samples)
    noise = rng.normal(size=(models, samples))
    values = difficulty + np.where(member, lift + spread_in * noise, spread_out * noise)
    return values, member, difficulty


def slow_fit(values, chosen):
    """Mean and standard deviation of each sample, by the book."""
    columns = [values[chosen[:, at], at] for at in range(values.shape[1])]
    means = np.array([column.mean() for column in columns])
    if len(values) >= 64:
        return means, np.array([column.std(ddof=1) for column in columns])
    squares = math.fsum(float(((column - column.mean()) ** 2).sum()) for column in columns)
    return means, np.full(len(means), math.sqrt(squares / sum(len(column) - 1 for column in columns)))


def slow_online(target, values, member):
    return norm.logpdf(target, *slow_fit(values, member)) - norm.logpdf(target, *slow_fit(values, ~member))
