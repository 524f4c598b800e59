"""How many steps of fine-tuning on the forget set bring its loss back: a run of the store for each model asked."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from torch import nn
from torch.nn import functional

from natmu.data import ImageData
from natmu.data.batches import Batch, Batches, plain
from natmu.engine import processes
from natmu.engine.compute import Compute
from natmu.engine.loop import Watch, fit
from natmu.engine.predict import logits_of
from natmu.engine.snapshots import Snapshots
from natmu.engine.store import Workplace
from natmu.lineage.workspace import Workspace
from natmu.records.lineage import Forget, Relearned, Trained, Unlearned
from natmu.records.run import History
from natmu.records.settings import FitSettings
from natmu.scores.relearn import relearn_time
from natmu.types import ForgetSet

STEPS = 60
"""Steps after which the loss counts as not coming back."""

SHOWN = 500
"""Forget samples on which the loss is measured after each step, at most, evenly spread."""

SETTINGS = FitSettings(epochs=STEPS, optimizer="sgd", lr=0.02, weight_decay=0, schedule="constant")
"""Of the fine-tuning: one step on a random batch of the forget set makes an epoch of it."""


def relearned(model: Trained | Unlearned, forget: Forget) -> Relearned:
    """How a model relearns a forget set, as a lineage."""
    return Relearned(source=model, forget=forget, settings=SETTINGS.model_dump(mode="json"), shown=SHOWN)


def relearn(model: Relearned, workspace: Workspace, work: Workplace) -> None:
    """Fine-tune a model on the forget set; the run's history has the losses."""
    compute = workspace.compute.at(model.arithmetic)
    network = workspace.load(workspace.require(model.source))
    start = time.perf_counter()
    data, forget = workspace.on_device.train, workspace.forget_set(model.forget)
    curve = relearning_curve(network, data, forget, model.source.recipe.batch_size, compute)
    history: History = [{"epoch": float(step), "loss": loss} for step, loss in enumerate(curve)]
    work.finish_curve(history, compute, seconds=time.perf_counter() - start)


def relearning_steps(curve: Sequence[float], original_loss: float) -> int:
    """Steps until the loss is back within 5 % of the original's; one more than there are if it is not back by then.

    Models that take longer are left in by this number: without them the others would look like all of their kind.
    """
    found = relearn_time(curve, original_loss)
    return STEPS + 1 if found is None else found


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
