"""Settings that determine models: of the training loop, of training, of the data."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from natmu.types import Settings

Schedule = Literal["constant", "cosine", "step"]


class FitSettings(Settings):
    """What one run of the loop needs to know."""

    epochs: int = Field(ge=1, le=100_000, description="passes over the data")
    optimizer: Literal["sgd", "adam", "adamw"] = Field(description="update rule")
    lr: float = Field(gt=0, le=100, description="base learning rate")
    momentum: float = Field(0.9, ge=0, lt=1, description="momentum of SGD; the others ignore it")
    weight_decay: float = Field(ge=0, le=1, description="weight decay, decoupled for adamw")
    schedule: Schedule = Field(description="learning-rate schedule")
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
    schedule: Schedule = Field("step", description="learning-rate schedule")
    warmup_epochs: float = Field(2, ge=0, le=100_000, description="epochs of linear warm-up")
    batch_size: int = Field(128, ge=1, description="samples per step")
    augment: bool = Field(True, description="random crop and horizontal flip")


class DataSettings(Settings):
    """Which data; where it lies on disk is said when it is read."""

    source: str = Field(min_length=1, description="name of a data set, or a path")
    image_size: int | None = Field(None, ge=1, le=4096, description="resize all images to this many pixels")
    resize: int | None = Field(None, ge=1, le=4096, description="resize the shorter side to this many pixels")
    crop: int | None = Field(None, ge=1, le=4096, description="then cut a square of this side out of the middle")
    channels: Literal[1, 3] | None = Field(None, description="make all images grey (1) or RGB (3)")
    train_size: int | None = Field(None, ge=1, description="keep a class-balanced random part of the training set")
    holdout: bool = Field(False, description="set a fixed random fifth of the test set apart for tuning")


class RetrainSettings(Settings):
    """How models are trained again without a forget set."""

    init: Literal["original", "fresh"] = Field(
        "original", description="initial weights: those the original started from, or fresh ones from the seed"
    )
