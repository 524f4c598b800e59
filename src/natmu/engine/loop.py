"""The one training loop: pre-training, retraining and every fine-tuning method."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from itertools import accumulate

import torch
from torch import Tensor, nn

from natmu.data.batches import Batches
from natmu.engine import processes
from natmu.engine.checkpoint import Checkpoint, below, load_optimizer, optimizer_state
from natmu.engine.compute import Compute
from natmu.engine.meter import Meter
from natmu.engine.modes import frozen_norms
from natmu.engine.passes import Counter, counter_of
from natmu.engine.schedule import lr_factor
from natmu.engine.snapshots import Snapshots
from natmu.engine.step import Direction, LossFunction, Second, Step, fastest
from natmu.engine.sync_batch_norm import synced_norms
from natmu.errors import ModelError, TrainingError
from natmu.progress import task
from natmu.records.passes import Shown
from natmu.records.run import History
from natmu.records.settings import FitSettings
from natmu.types import seed_for

KEPT = "kept/"
"""Before the names of what ``Watch.before_epoch`` remembers, in the state of an unfinished run."""

BeforeEpoch = Callable[[int, nn.Module], bool]
"""Called with the epoch that is to begin, counted from 0, and the model; whether it is to begin."""

PASSES = "passes"
"""How many samples the run has sent through models, in the state of an unfinished one."""

SECOND = "second/"
"""Before the names of the second optimiser's tensors, among what a resumed run needs."""


@dataclass(frozen=True)
class Watch:
    """What accompanies a run of the loop and does not change its weights itself.

    Attributes:
        label: Name of the work, for progress and errors.
        meter: Notes predictions during training; its accuracy goes to the history.
        checkpoint: Where an unfinished run is kept; a run that finds its state there continues from it.
        history: Filled with one row per epoch: epoch, lr, loss, accuracy (percent), seconds.
        snapshots: Keeps the model's state at the ends of the epochs that it wants.
        before_epoch: Asked before each epoch; the run ends where it says no. All processes must say the same.
        kept: What it remembers from epoch to epoch, changed in place; kept with an unfinished run.
    """

    label: str
    meter: Meter | None = None
    checkpoint: Checkpoint | None = None
    history: History | None = None
    snapshots: Snapshots | None = None
    before_epoch: BeforeEpoch | None = None
    kept: dict[str, Tensor] = field(default_factory=dict)


def fit(
    model: nn.Module,
    batches: Batches,
    loss: LossFunction,
    settings: FitSettings,
    compute: Compute,
    watch: Watch,
    after_step: Callable[[], None] | None = None,
    direction: Direction | None = None,
    in_eval: Sequence[nn.Module] = (),
    second: Second | None = None,
) -> nn.Module:
    """Train a model in place.

    Every random number depends on the seed of ``batches`` and the epoch alone, so an interrupted run that continues at
    an epoch gives the weights of one that was never interrupted.

    What is frozen stays as it is: normalisation whose parameters are all frozen is in eval mode, so that its running
    statistics stay too.

    Args:
        model: Trained in place, in training mode but for ``in_eval`` and the normalisation of frozen parts.
        batches: One pass of them is an epoch.
        loss: Loss of a model on a batch, a mean over its rows, or that and a mean over its paired rows; called inside
            autocast.
        settings: Epochs, optimiser and schedule.
        compute: Device and precision.
        watch: Progress, history, checkpoint.
        after_step: Called after each step of an optimiser, for constraints on the weights.
        direction: From the gradients of the loss's terms to the one that the optimiser follows; their sum if None.
        in_eval: Modules of the model that are in eval mode meanwhile, each by itself and without its children: those of
            a part that is to stay as it is, running statistics included.
        second: A second optimiser, and the steps that it takes.

    Raises:
        ModelError: The model has nothing to train.
        TrainingError: A loss is not finite.
    """
    compute.place(model)
    processes.same_everywhere(model.state_dict().values())
    optimizer = _optimizer(model, settings, compute)
    if second is not None:
        second = replace(second, optimizer=_optimizer(model, second.settings, compute))
    history: History = [] if watch.history is None else watch.history
    counter = counter_of(model) or Counter()
    before = counter.now()
    first = _resume(model, optimizer, second, watch, history)
    model.train()
    for module in (*in_eval, *frozen_norms(model)):
        module.training = False
    take = fastest(Step(model, loss, optimizer, compute, after_step, direction, second))
    ends = list(accumulate(map(batches.steps, range(settings.epochs)), initial=0))
    with task(watch.label, ends[-1], ends[first]) as advance:
        for epoch in range(first, settings.epochs):
            start = time.perf_counter()
            if watch.before_epoch is not None and not watch.before_epoch(epoch, model):
                break
            losses = torch.zeros(batches.steps(epoch), device=compute.device)
            with compute.private_randomness(), compute.kernels(), synced_norms(model, compute.sync_batch_norm):
                torch.manual_seed(seed_for(batches.seed, "model", epoch, *processes.own_seed()))
                for number, batch in enumerate(batches.epoch(epoch)):
                    rate = _set_rates(optimizer, settings, second, ends[epoch] + number + 1, ends[-1])
                    losses[number] = take(batch)
                    advance()
            processes.average([losses])
            processes.settle(model)
            _require_finite(losses, model, epoch, ends[epoch], _shown(settings, second), watch.label)
            history.append(_row(epoch, rate, losses, watch.meter, time.perf_counter() - start))
            if watch.snapshots is not None:
                watch.snapshots.take(epoch, model)
            if watch.checkpoint is not None:
                watch.checkpoint.save(
                    epoch + 1, model, optimizer, _extra(watch, second, counter.since(before)), history
                )
    return model


def load_optimizers() -> None:
    """Let PyTorch load what it loads with its first optimiser: this takes seconds that belong to no model's time."""
    torch.optim.SGD([torch.zeros(1)], lr=0.0)


def _optimizer(model: nn.Module, settings: FitSettings, compute: Compute) -> torch.optim.Optimizer:
    """The optimiser over everything that requires a gradient, fused into one kernel."""
    parameters = [parameter for parameter in model.parameters() if parameter.requires_grad]
    if not parameters:
        raise ModelError("The model has no parameter that requires a gradient; unfreeze what may be trained.")
    kind = compute.device.type
    fused = kind in ("cpu", "cuda") and all(parameter.is_floating_point() for parameter in parameters)
    lr = torch.tensor(settings.lr, device=compute.device) if compute.records else settings.lr
    if settings.optimizer == "sgd":
        return torch.optim.SGD(
            parameters, lr, momentum=settings.momentum, weight_decay=settings.weight_decay, fused=fused
        )
    rule = torch.optim.AdamW if settings.optimizer == "adamw" else torch.optim.Adam
    return rule(parameters, lr, weight_decay=settings.weight_decay, fused=fused, capturable=compute.records)


def _set_rates(
    optimizer: torch.optim.Optimizer, settings: FitSettings, second: Second | None, step: int, steps: int
) -> float:
    """Set the learning rates of a step, counted from 1, of all the steps of the run; returns the first optimiser's."""
    if second is not None and second.optimizer is not None:
        _set_rate(second.optimizer, second.settings, step, steps)
    return _set_rate(optimizer, settings, step, steps)


def _set_rate(optimizer: torch.optim.Optimizer, settings: FitSettings, step: int, steps: int) -> float:
    """Set one optimiser's learning rate; returns it."""
    warmup = settings.warmup_epochs * steps / settings.epochs
    rate = settings.lr * lr_factor(settings.schedule, step, steps, warmup)
    for group in optimizer.param_groups:
        if isinstance(group["lr"], Tensor):
            group["lr"].fill_(rate)
        else:
            group["lr"] = rate
    return rate


def _resume(
    model: nn.Module, optimizer: torch.optim.Optimizer, second: Second | None, watch: Watch, history: History
) -> int:
    """Continue from the checkpoint if there is one; the number of epochs already done."""
    saved = None if watch.checkpoint is None else watch.checkpoint.load(model, optimizer)
    if saved is None:
        return 0
    epochs, extra, rows = saved
    history.extend(rows)
    if watch.meter is not None:
        watch.meter.load(extra)
    if watch.snapshots is not None:
        watch.snapshots.load(extra)
    for name, value in watch.kept.items():
        value.copy_(extra[f"{KEPT}{name}"])
    if (counter := counter_of(model)) is not None:
        trained, forward = extra[PASSES].tolist()
        counter.add(Shown(trained=trained, forward=forward))
    if second is not None and second.optimizer is not None:
        load_optimizer(second.optimizer, below(extra, SECOND))
    return epochs


def _extra(watch: Watch, second: Second | None, shown: Shown) -> dict[str, Tensor]:
    """What a resumed run needs beside model and first optimiser."""
    meter = watch.meter.state() if watch.meter else {}
    kept = {f"{KEPT}{name}": value for name, value in watch.kept.items()}
    theirs = {} if second is None or second.optimizer is None else optimizer_state(second.optimizer)
    snapshots = watch.snapshots.state() if watch.snapshots else {}
    passes = {PASSES: torch.tensor([shown.trained, shown.forward])}
    return passes | meter | kept | snapshots | {f"{SECOND}{name}": tensor for name, tensor in theirs.items()}


def _shown(settings: FitSettings, second: Second | None) -> str:
    """The settings for an error."""
    shown = ", ".join(f"{name}={value}" for name, value in settings.model_dump().items())
    return shown if second is None else f"{shown}; of the second optimiser: {_shown(second.settings, None)}"


def _require_finite(losses: Tensor, model: nn.Module, epoch: int, before: int, shown: str, label: str) -> None:
    """Stop a run whose loss or weights are NaN or infinite; looked at once an epoch, so that no step waits.

    The last step of an epoch can break weights after a loss that was finite; such a model must not be kept.
    """
    broken = (~torch.isfinite(losses)).nonzero()
    remedy = "try a lower lr"
    if len(broken) and before + int(broken[0]) == 0:
        fault = "the loss is not finite at step 1"
        remedy = "no weight had changed yet, so the model at the start, its data or a setting is at fault"
    elif len(broken):
        fault = f"the loss is not finite at step {before + int(broken[0]) + 1}"
    elif not bool(torch.stack([value.isfinite().all() for value in model.state_dict().values()]).all()):
        fault = f"a weight is not finite after step {before + len(losses)}"
    else:
        return
    raise TrainingError(f"{label}: {fault} (epoch {epoch + 1}); {remedy}. Settings: {shown}.")


def _row(epoch: int, rate: float, losses: Tensor, meter: Meter | None, seconds: float) -> dict[str, float]:
    """One row of the history."""
    row = {"epoch": float(epoch + 1), "lr": rate, "loss": float(losses.mean()), "seconds": round(seconds, 4)}
    accuracy = None if meter is None else meter.close_epoch()
    return row if accuracy is None else row | {"accuracy": round(accuracy, 4)}
