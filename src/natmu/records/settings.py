"""Settings that determine models: of the training loop, of training, of the data."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Literal

from pydantic import Discriminator, Field, JsonValue, Tag

from natmu.records.digests import Digest
from natmu.types import CHOICE, Settings

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


class OwnTraining(Settings):
    """How the user's own function trains a model: ``train(samples, seed, **arguments)`` returns it.

    What the function makes is determined by its name, its source file, the arguments, the samples and the seed.
    """

    trainer: str = Field(pattern="^[^:]+:[^:]+$", description="function, as package.module:function")
    arguments: dict[str, JsonValue] = Field(default_factory=dict, description="what it gets beside samples and seed")
    source: Digest | None = Field(None, description="digest of the file that defines it; natmu fills it in")


def _kind_of_training(value: object) -> str:
    """Which of the two kinds of recipe a value is."""
    own = isinstance(value, OwnTraining) or (isinstance(value, Mapping) and "trainer" in value)
    return f"{CHOICE}own" if own else f"{CHOICE}ours"


Training = Annotated[
    Annotated[TrainSettings, Tag(f"{CHOICE}ours")] | Annotated[OwnTraining, Tag(f"{CHOICE}own")],
    Discriminator(_kind_of_training),
]
"""How models are trained: in natmu's loop, or by the user's own function."""


def training_of(values: Mapping[str, Any]) -> TrainSettings | OwnTraining:
    """A recipe of either kind from plain values; that of the user's own function has the key ``trainer``.

    Raises:
        SettingError: A value is unknown or out of its range.
    """
    return (OwnTraining if "trainer" in values else TrainSettings).parse(values, "training")


def batch_size_of(recipe: TrainSettings | OwnTraining | None) -> int:
    """Samples per step of a recipe; natmu's default of 128 where it does not say."""
    return (recipe if isinstance(recipe, TrainSettings) else TrainSettings()).batch_size


def in_words(recipe: TrainSettings | OwnTraining | None) -> str:
    """A recipe in a few words."""
    if recipe is None:
        return "elsewhere, nobody says how"
    if isinstance(recipe, OwnTraining):
        arguments = ", ".join(f"{name}={value}" for name, value in recipe.arguments.items())
        return f"by {recipe.trainer}{f' with {arguments}' if arguments else ''}"
    return (
        f"{recipe.epochs:,} epoch{'' if recipe.epochs == 1 else 's'} of {recipe.optimizer}, learning rate "
        f"{recipe.lr:g} ({recipe.schedule}), weight decay {recipe.weight_decay:g}, batches of {recipe.batch_size}, "
        f"{'with' if recipe.augment else 'without'} augmentation"
    )


class DataSettings(Settings):
    """Which data; where it lies on disk is said when it is read."""

    source: str = Field(min_length=1, description="name of a data set, or a path")
    image_size: int | None = Field(None, ge=1, le=4096, description="resize all images to this many pixels")
    train_size: int | None = Field(None, ge=1, description="keep a class-balanced random part of the training set")
    holdout: bool = Field(False, description="set a fixed random fifth of the test set apart for tuning")


class RetrainSettings(Settings):
    """How models are trained again without a forget set."""

    init: Literal["original", "fresh"] = Field(
        "original", description="initial weights: those the original started from, or fresh ones from the seed"
    )
