"""Whether retrained models learnt what the original did, without which nothing can be read from them."""

from __future__ import annotations

import numpy as np

from natmu.scores.examine import Examination

FAR = 10.0
"""Points of accuracy on the retain set. Trainings with one recipe differ by a few at most, also on small data."""


def poor_baseline(found: Examination) -> list[str]:
    """A warning where retrained models are far less often right on the retain set than the original; else nothing.

    Args:
        found: What came of an audit.
    """
    retrained, original = found.retrained.get("retain_acc", []), found.original.get("retain_acc")
    if not retrained or original is None or original - np.mean(retrained) <= FAR:
        return []
    return [
        f"Retrained models are right on {np.mean(retrained):.1f} % of the retain set, and the original on "
        f"{original:.1f} %. They did not learn what it did, so a comparison with them says little; train them as the "
        "original was trained (--training or --trainer)."
    ]
