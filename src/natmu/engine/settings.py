"""Settings of every run of the training loop."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from natmu.engine.schedule import Schedule
from natmu.types import Settings


class FitSettings(Settings):
    """What one run of the loop needs to know."""

    epochs: int = Field(ge=1, le=100_000, description="passes over the data")
    optimizer: Literal["sgd", "adam", "adamw"] = Field(description="update rule")
    lr: float = Field(gt=0, le=100, description="base learning rate")
    momentum: float = Field(0.9, ge=0, lt=1, description="momentum of SGD; the others ignore it")
    weight_decay: float = Field(ge=0, le=1, description="weight decay, decoupled for adamw")
    schedule: Schedule = Field(description="course of the learning rate")
    warmup_epochs: float = Field(0, ge=0, le=100_000, description="epochs of linear warm-up")


class TrainSettings(FitSettings):
    """How a model is trained from its initial weights; the defaults are those of the research code.

    Source:
        He et al., Towards Natural Machine Unlearning, 2024, https://arxiv.org/abs/2405.15495, and its research code.
    """

    epochs: int = Field(100, ge=1, le=100_000, description="passes over the data")
    optimizer: Literal["sgd", "adam", "adamw"] = Field("sgd", description="update rule")
    lr: float = Field(0.1, gt=0, le=100, description="base learning rate")
    weight_decay: float = Field(5e-4, ge=0, le=1, description="weight decay, decoupled for adamw")
    schedule: Schedule = Field("step", description="course of the learning rate")
    warmup_epochs: float = Field(2, ge=0, le=100_000, description="epochs of linear warm-up")
    batch_size: int = Field(128, ge=1, description="samples per step")
    augment: bool = Field(True, description="random crop and horizontal flip")
