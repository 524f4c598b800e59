"""Fine-tuning on samples that a model may have forgotten, and how its loss falls."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from torch import nn
from torch.nn import functional

from natmu.data.batches import Batch, Batches, plain
from natmu.data.images import ImageData
from natmu.engine import processes
from natmu.engine.compute import Compute
from natmu.engine.loop import Watch, fit
from natmu.engine.predict import logits_of
from natmu.engine.snapshots import Snapshots
from natmu.records.settings import FitSettings
from natmu.types import ForgetSet

STEPS = 60
"""Steps after which the loss counts as not coming back."""

SHOWN = 500
"""Forget samples on which the loss is measured after each step, at most, evenly spread."""

SETTINGS = FitSettings(epochs=STEPS, optimizer="sgd", lr=0.02, weight_decay=0, schedule="constant")
"""Of the fine-tuning: one step on a random batch of the forget set makes an epoch of it."""


def shown_rows(forget: ForgetSet) -> np.ndarray[Any, np.dtype[np.int64]]:
    """Rows of the forget set on which the loss is measured."""
    return np.unique(np.linspace(0, len(forget) - 1, min(len(forget), SHOWN)).round().astype(np.int64))


def relearning_curve(
    model: nn.Module, data: ImageData, forget: ForgetSet, batch_size: int, compute: Compute
) -> list[float]:
    """Fine-tune a model in place on the forget set.

    Args:
        model: The model, on the device.
        data: The training data, on the device.
        forget: The forget set.
        batch_size: Samples per step, at most.
        compute: Device and precision.

    Returns:
        The mean loss on the forget set before any step and after each, in nats.
    """
    positions = torch.from_numpy(forget.indices)
    shown = positions[torch.from_numpy(shown_rows(forget))]

    def loss() -> float:
        labels = data.labels[shown].to(compute.device)
        return float(functional.cross_entropy(logits_of(model, data, shown, compute), labels))

    size = min(len(positions), batch_size)
    steps = []
    for step in range(STEPS):
        order = torch.randperm(len(positions), generator=torch.Generator().manual_seed(step))[:size]
        steps.append(plain(positions[order], data.labels[positions[order]], augment=False))
    batches = Batches(data, steps, batch_size=max(2, size), seed=0, device=compute.device, share=processes.share())
    curve = _Curve(range(STEPS), loss=loss)
    curve.losses.append(loss())

    def cross_entropy(model: nn.Module, batch: Batch) -> torch.Tensor:
        return functional.cross_entropy(model(batch.images).float(), batch.labels)

    norms = [module for module in model.modules() if hasattr(module, "running_mean")]
    fit(model, batches, cross_entropy, SETTINGS, compute, Watch("relearn", snapshots=curve), in_eval=norms)
    return curve.losses


@dataclass
class _Curve(Snapshots):
    """Measures the loss where others keep the state: at the end of every epoch, which is one step."""

    loss: Callable[[], float] = lambda: 0.0
    losses: list[float] = field(default_factory=list)

    def take(self, epoch: int, model: nn.Module) -> None:  # noqa: ARG002 - the loss knows the model
        """Note the loss."""
        self.losses.append(self.loss())
