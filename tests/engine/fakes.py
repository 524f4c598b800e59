"""Tiny data, models and settings that train in milliseconds."""

from __future__ import annotations

import numpy as np
import torch
from torch import nn

from natmu.data import ImageData
from natmu.data.batches import Batches, plain
from natmu.engine.compute import Compute
from natmu.records.settings import FitSettings

CPU = Compute(torch.device("cpu"), "fp32")
CLASSES = 3


def image_data(count=22, channels=1, size=8, seed=0):
    rng = np.random.default_rng(seed)
    labels = rng.integers(0, CLASSES, count)
    images = rng.integers(0, 128, (count, channels, size, size)) + 40 * labels[:, None, None, None]
    names = tuple(f"class {number}" for number in range(CLASSES))
    return ImageData(torch.from_numpy(images.astype(np.uint8)), torch.from_numpy(labels), names)


def model(channels=1, dropout=0.0, seed=0):
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        return nn.Sequential(
            nn.Conv2d(channels, 4, kernel_size=3, padding=1, bias=False),
            nn.BatchNorm2d(4),
            nn.ReLU(),
            nn.Dropout(dropout),
            nn.Conv2d(4, 5, kernel_size=3, stride=2),
            nn.ReLU(),
            nn.Flatten(),
            nn.Linear(45, CLASSES),
        )


def batches(data, seed=0, batch_size=8, augment=False):
    rows = plain(torch.arange(len(data)), data.labels, augment=augment)
    return Batches(data, rows, batch_size=batch_size, seed=seed, device=CPU.device)


def settings(**changed):
    values = {"epochs": 3, "optimizer": "sgd", "lr": 0.05, "weight_decay": 0.01, "schedule": "cosine"}
    return FitSettings(**{**values, **changed})


def state(network):
    return {name: tensor.clone() for name, tensor in network.state_dict().items()}


def same(first, second):
    """Whether two states are equal to the bit."""
    return first.keys() == second.keys() and all(torch.equal(first[name], second[name]) for name in first)
