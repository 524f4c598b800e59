from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from natmu.data import load
from natmu.engine.training import train_classifier

from .problems import CPU, TRAINING, small_net


@pytest.fixture(autouse=True)
def _one_thread():
    """More threads cost more than they save on networks of this size."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="session")
def digits():
    """250 real images, 1 x 8 x 8, of ten classes."""
    return load("digits", Path()).train.subset(np.arange(250))


@pytest.fixture(scope="session")
def trained(digits):
    """A network that has learnt the digits; tests must not change it."""
    model = small_net(digits.image_shape, digits.num_classes, 0)
    settings = TRAINING.model_copy(update={"epochs": 12, "augment": False})
    with torch.random.fork_rng([]):
        meter = train_classifier(model, digits, torch.arange(len(digits)), settings, CPU, seed=0)
    assert meter.confidence().mean() > 0.5
    return model
