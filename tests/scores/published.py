"""Scores as the code that papers publish computes them, one sample after another.

Written from the rules of that code, of which each docstring names the project, the file and the lines, as they were in
November 2026.
"""

from __future__ import annotations

import math

import numpy as np


def klom(unlearned, retrained, *, drops_the_largest=True):
    """KL(unlearned || retrained) of 20 bins: data-unlearning-bench, unlearning_bench/eval.py, lines 80-153.

    ``np.digitize`` puts the largest margin behind the last bin, where nothing counts it (lines 106-111). Both lists of
    shares are scaled to a sum of 1 after the floor (line 130).
    """

    def shares(margins, edges):
        bins = [sum(low <= value < high for value in margins) for low, high in zip(edges, edges[1:], strict=False)]
        bins[-1] += 0 if drops_the_largest else sum(value == edges[-1] for value in margins)
        return [count / max(1, sum(bins)) for count in bins]

    values = []
    for ours, theirs in zip(np.clip(unlearned, -100, 100).T, np.clip(retrained, -100, 100).T, strict=True):
        low, high = min(*ours, *theirs), max(*ours, *theirs)
        edges = np.linspace(low, high if high > low else low + 1, 21)
        p, q = shares(ours, edges), shares(theirs, edges)
        q = [max(other, 1e-5) if share > 0 else other for share, other in zip(p, q, strict=True)]
        pairs = [(share / sum(p), other / sum(q)) for share, other in zip(p, q, strict=True) if share > 0]
        values.append(math.fsum(share * math.log(share / other) for share, other in pairs))
    return np.array(values)
