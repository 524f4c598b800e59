"""natmu's conformance suite on a score that is not natmu's, and its formula against a slow loop."""

import math

from natmu_exposed_tail import exposed_tail

from natmu.testing import ScoreRow, score_conformance
from natmu.testing.panels import panel_of

TestConformance = score_conformance(ScoreRow(exposed_tail))


def margins(part):
    """log p_y - log of the sum of the other probabilities, sample by sample."""
    found = []
    for logits, label in zip(part.logits.tolist(), part.labels.tolist(), strict=True):
        others = math.fsum(math.exp(logit) for place, logit in enumerate(logits) if place != label)
        found.append(logits[label] - math.log(others))
    return found


def test_it_is_the_mean_of_the_largest_tenth():
    panel = panel_of(3)
    others = [margins(one.forget) for one in panel.retrained]
    surer = sorted(
        own - math.fsum(other[place] for other in others) / len(others)
        for place, own in enumerate(margins(panel.model.forget))
    )
    assert len(surer) == 60
    assert math.isclose(exposed_tail(panel), math.fsum(surer[-6:]) / 6, rel_tol=1e-6)
