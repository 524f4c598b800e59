"""Retrained models that learnt little are no baseline, and the audit says so."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import nn

import natmu
from natmu.scores.examine import examine
from natmu.testing.panels import panel_of


@pytest.mark.parametrize(("retrained", "warned"), [([99.0, 97.0], False), ([90.5, 89.5], False), ([90.5, 89.0], True)])
def test_retrained_models_far_below_the_original_are_told(retrained, warned):
    found = replace(examine(panel_of(0), "quick"), original={"retain_acc": 100.0}, retrained={"retain_acc": retrained})
    assert bool(found.poor_baseline) == warned
    assert replace(found, original={}).poor_baseline == replace(found, retrained={}).poor_baseline == []


def reader(offset, scale):
    """A model that reads the class from an image, and adds an offset to it."""
    model = nn.Sequential(nn.Flatten(), nn.Linear(4, 4, bias=False))
    model[1].weight.data = scale * torch.eye(4).roll(offset, 0)
    return model.eval()


def test_the_audit_keeps_the_warning():
    labels = np.arange(80) % 4
    images = np.eye(4, dtype=np.float32)[labels].reshape(80, 1, 2, 2) * np.linspace(0.5, 1, 80).reshape(80, 1, 1, 1)
    data, test = (images[:60].astype(np.float32), labels[:60]), (images[60:].astype(np.float32), labels[60:])
    poor = [reader(1, 3.0), reader(1, 3.5)]
    said = natmu.audit(reader(0, 4.0), data, test, [1, 2, 3], retrained=poor, original=reader(0, 5.0)).decisions
    assert any("right on 0.0 % of the retain set, and the original on 100.0 %" in sentence for sentence in said)
    good = [reader(0, 3.0), reader(0, 3.5)]
    said = natmu.audit(reader(0, 4.0), data, test, [1, 2, 3], retrained=good, original=reader(0, 5.0)).decisions
    assert not any("retain set" in sentence for sentence in said)
