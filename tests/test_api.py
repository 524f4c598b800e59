"""The Python interface leaves what it is given as it was."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from natmu import unlearn
from natmu.errors import ModelError


def test_a_model_without_a_linear_head_is_refused_and_stays_as_it_was():
    model = torch.nn.Sequential(torch.nn.Conv2d(1, 10, 8), torch.nn.Flatten())
    before = {name: value.clone() for name, value in model.state_dict().items()}
    images, labels = np.zeros((20, 8, 8), np.uint8), np.arange(20) % 10
    with pytest.raises(ModelError, match="linear"):
        unlearn(model, (images, labels), [3], method="boundary_expand", progress=False)
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
