"""DualOptim: forget steps with an optimiser of their own, for methods that take them apart from retain steps."""

from __future__ import annotations

from collections.abc import Container
from typing import Any

from pydantic import Field

from natmu.engine.step import Direction, LossFunction, Second
from natmu.methods.presets import Preset
from natmu.records.settings import FitSettings
from natmu.types import Settings


class DualOptimSettings(Settings):
    """Settings of methods that know DualOptim.

    Retain steps are taken by the method's own optimiser, and forget steps by an AdamW over the same weights, with its
    own moments and its own rate. Neither continues the other's momentum. The gradients of forget steps change in length
    by orders of magnitude while a set is forgotten; the length of the steps does not depend on it.

    References:
        DualOptim: Enhancing Efficacy and Stability in Machine Unlearning with Dual Optimizers (Xuyang Zhong, Haochen
        Luo, Chen Liu, 2025), https://arxiv.org/abs/2504.15827
    """

    forget_lr: float | None = Field(
        None,
        gt=0,
        le=100,
        description="learning rate of a second AdamW for forget steps (DualOptim); one optimiser for all steps if none",
    )
    forget_weight_decay: float = Field(0.05, ge=0, le=1, description="weight decay of the second AdamW")


def _published(file: str, **settings: Any) -> Preset:  # noqa: ANN401 - checked by the method
    """Settings of the authors' code for one method.

    The rate of forget steps, which they search, is the one that they fix for retain steps with AdamW.
    """
    shared = {"optimizer": "sgd", "lr": 0.01, "momentum": 0.9, "weight_decay": 5e-4, "forget_lr": 1e-4}
    source = (
        f"CityU-MLO/DualOptim, ImageClassification/unlearn/{file}, for CIFAR-10 and ResNet-18; it searches forget_lr"
        f"{'' if 'augment_forget' in settings else ', and its code augments forget images too'}"
    )
    return Preset(shared | {"forget_weight_decay": 0.05, "augment_retain": True} | settings, source)


EPOCHS = {"epochs": 10, "batch_size": 256, "schedule": "constant"}
SALUN = {"dual-optim": _published("RL.py", **EPOCHS, threshold=0.5, relabel="any")}
SCRUB = {"dual-optim": _published("scrub.py", **EPOCHS, max_steps=10, temperature=1.0, alpha=0.5, gamma=1.0)}
SFRON = {"dual-optim": _published("sfron.py", schedule="cosine", batch_size=256, augment_forget=True)}
"""Presets of the methods that know DualOptim."""


def second_optimizer(
    config: DualOptimSettings,
    run: FitSettings,
    *,
    epochs: Container[int] = (),
    loss: LossFunction | None = None,
    direction: Direction | None = None,
) -> Second | None:
    """The optimiser of forget steps, where the settings ask for one.

    Args:
        config: Of the method.
        run: Settings of the run of the loop, whose schedule both optimisers follow.
        epochs: Epochs of the run that go over the forget set.
        loss: Of paired forget rows, where steps have them.
        direction: What it follows.
    """
    if config.forget_lr is None:
        return None
    own = {"optimizer": "adamw", "lr": config.forget_lr, "weight_decay": config.forget_weight_decay}
    fit = {name: getattr(run, name) for name in ("epochs", "schedule", "warmup_epochs")}
    return Second(FitSettings(**own, **fit), epochs, loss, direction)
