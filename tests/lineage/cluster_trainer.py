"""A training of a user's own, as a module that the workers of a cluster find."""

from __future__ import annotations

import torch
from torch.nn import functional

from natmu.models import build_model


def train(samples, seed, lr=0.02):
    """One epoch of Adam in an order that the seed decides."""
    model = build_model("small_cnn", num_classes=10, image_shape=(1, 8, 8), mean=[0.3], std=[0.3], seed=seed)
    images, labels = zip(*(samples[row] for row in torch.randperm(len(samples)).tolist()), strict=True)
    optimizer = torch.optim.Adam(model.parameters(), lr)
    for batch, wanted in zip(torch.stack(images).split(32), torch.tensor(labels).split(32), strict=True):
        optimizer.zero_grad()
        functional.cross_entropy(model(batch), wanted).backward()
        optimizer.step()
    return model
