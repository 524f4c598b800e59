"""A score that is not part of natmu."""

import math

import numpy as np

from natmu.errors import UsageError
from natmu.scores import Panel, margin, score


@score(
    unit="nats",
    low=None,
    high=None,
    identical=0,
    needs=("predictions", "retrained"),
    cost="1 retrained model",
    formula="mean over the tenth of D_f where it is largest of φ - (mean of φ over retrained models), φ the margin",
    baseline="that of a retrained model among the others, above 0",
    original="far above the baseline",
    family="Tails",
    question="forgotten",
)
def exposed_tail(panel: Panel) -> float:
    """How much surer than retrained models the model is of the tenth of the forget set that it gives away most.

    A mean over all forget samples can hide a few that the model still knows by heart. This one looks at those, and at
    nothing else: next to a method that forgets most samples and keeps some, its value stays near the original's. A
    tenth is always the most exposed of something, so retrained models lie above 0, too.
    """
    forget = panel.model.forget
    if not len(forget):
        raise UsageError("exposed_tail needs forget samples; leave it out without them.")
    if not panel.retrained:
        raise UsageError("exposed_tail needs a retrained model; retrain one on the same split.")
    surer = margin(forget) - np.mean([margin(other.forget) for other in panel.retrained], axis=0)
    return float(np.sort(surer)[-math.ceil(len(surer) / 10) :].mean())
