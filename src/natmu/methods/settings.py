"""Settings that families of methods share."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from natmu.bounds import LARGEST_COUNT
from natmu.records.settings import FitSettings, Schedule
from natmu.types import Settings

BATCH_SIZE = "samples per step; those of the original's training if none"
"""What the setting of that name is."""


class RetainSettings(Settings):
    """Settings of all methods that train on retain images."""

    augment_retain: bool = Field(False, description="random crop and flip of retain images")
    retain_fraction: float = Field(1, gt=0, le=1, description="random share of the retain set to fine-tune on")


class ForgetSettings(Settings):
    """Settings of methods whose code augments forget images too."""

    augment_forget: bool = Field(True, description="random crop and flip of forget images")


class StepSettings(FitSettings):
    """What fine-tuning methods need to know beyond a run of the loop."""

    batch_size: int | None = Field(None, ge=1, le=LARGEST_COUNT, description=BATCH_SIZE)


class FineTuneSettings(StepSettings, RetainSettings):
    """Settings that fine-tuning methods share; the defaults are those of the research code of NatMU.

    Examples:
        >>> FineTuneSettings(epochs=2, lr=0.01, weight_decay=0).optimizer
        'adamw'
    """

    epochs: int = Field(5, ge=1, le=100_000, description="passes over the derived data set")
    optimizer: Literal["sgd", "adam", "adamw"] = Field("adamw", description="update rule")
    schedule: Schedule = Field("cosine", description="learning-rate schedule")


class SGDSettings(StepSettings):
    """Settings of methods that most research code runs with SGD at a constant rate."""

    epochs: int = Field(10, ge=1, le=100_000, description="passes over the derived data set")
    optimizer: Literal["sgd", "adam", "adamw"] = Field("sgd", description="update rule")
    lr: float = Field(0.01, gt=0, le=100, description="base learning rate")
    weight_decay: float = Field(5e-4, ge=0, le=1, description="weight decay, decoupled for adamw")
    schedule: Schedule = Field("constant", description="learning-rate schedule")


class SGDRetainSettings(SGDSettings, RetainSettings):
    """The same for methods that train on retain images."""
