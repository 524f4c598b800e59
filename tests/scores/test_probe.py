"""Probes of several models as scores, or why there are none."""

from __future__ import annotations

import pytest

from natmu.scores.information import information_difference
from natmu.scores.nearby import residual_knowledge
from natmu.scores.probe import Probe, probe_scores

MODEL, ORIGINAL = Probe((0.5, 1.0), 90), Probe((0.5, 1.5), 100)
RETRAINED = [Probe((0.5, 0.75), 80), Probe((0.25, 0.75), 60)]


def test_information_is_summed_over_blocks_and_every_model_has_its_score():
    found = probe_scores(MODEL, RETRAINED, ORIGINAL)
    index, nearby = found["idi"], found["residual_knowledge"]
    sums = [1.25, 1.0]
    assert index.value == information_difference(1.5, sums, 2.0)
    assert index.retrained == [information_difference(one, sums, 2.0) for one in sums]
    assert index.original == 1
    assert nearby.value == residual_knowledge(90, [80, 60])
    assert nearby.retrained == [residual_knowledge(one, [80, 60]) for one in (80, 60)]
    assert nearby.original == residual_knowledge(100, [80, 60])


@pytest.mark.parametrize(
    ("model", "retrained", "original", "missing"),
    [
        (None, RETRAINED, ORIGINAL, {"idi": "was not measured", "residual_knowledge": "was not measured"}),
        (MODEL, RETRAINED, None, {"idi": "needs the original"}),
        (MODEL, [], ORIGINAL, {"idi": "needs a retrained model", "residual_knowledge": "needs a retrained model"}),
        (Probe((), 3), RETRAINED, ORIGINAL, {"idi": "inner layers"}),
        (MODEL, [*RETRAINED, Probe((), 3)], ORIGINAL, {"idi": "inner layers"}),
        (MODEL, [ORIGINAL], ORIGINAL, {"idi": "something else"}),
    ],
)
def test_what_is_missing_is_said_of_each_score_by_its_name(model, retrained, original, missing):
    found = probe_scores(model, retrained, original)
    assert found.keys() == {"idi", "residual_knowledge"}
    for name, one in found.items():
        if name in missing:
            assert one.value is None
            assert missing[name] in one.reason
            assert name in one.reason
        else:
            assert one.value is not None
