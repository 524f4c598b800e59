"""Settings that determine models: of the training loop, of training, of the data."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Mapping
from typing import Annotated, Any, Literal

from pydantic import (
    BeforeValidator,
    Discriminator,
    Field,
    JsonValue,
    PrivateAttr,
    Tag,
    field_validator,
    model_validator,
)

from natmu.bounds import LARGEST_COUNT, MOST_THREADS
from natmu.errors import SettingError
from natmu.explaining import CHOICE
from natmu.functions import function_named, is_function_name, source_digest
from natmu.records.digests import Digest
from natmu.types import Settings

Schedule = Literal["constant", "cosine", "linear", "step"]
ClassOrder = Literal["string", "natural"]


def _fraction(value: object) -> object:
    """A fraction, which may be written in per cent, such as ``20%``."""
    text = value.strip() if isinstance(value, str) else ""
    try:
        return float(text.removesuffix("%")) / 100 if text.endswith("%") else float(text) if text else value
    except ValueError:
        return value


Fraction = Annotated[float, BeforeValidator(_fraction, json_schema_input_type=float | str)]
"""A number between 0 and 1 as a field, where it may be written in per cent."""


class FitSettings(Settings):
    """What one run of the loop needs to know."""

    epochs: int = Field(ge=1, le=100_000, description="passes over the data")
    optimizer: Literal["sgd", "adam", "adamw"] = Field(description="update rule")
    lr: float = Field(gt=0, le=100, description="base learning rate")
    momentum: float = Field(0.9, ge=0, lt=1, description="momentum of SGD; the others ignore it")
    weight_decay: float = Field(ge=0, le=1, description="weight decay, decoupled for adamw")
    schedule: Schedule = Field(description="learning-rate schedule")
    warmup_epochs: float = Field(0, ge=0, le=100_000, description="epochs of linear warm-up")


AUGMENT = {True: "default", "flip": "flip", False: "none"}
"""Names of natmu's own augmentations and of none."""


class OwnAugmentation(Settings):
    """The user's own augmentation: a function from a batch on the device to such a batch.

    What it makes is determined by its name, its source file, the batch and the state of PyTorch's generators.
    """

    function: str = Field(min_length=1, description="function, as package.module:function")
    source: Digest = Field(description="digest of the file that defines it")
    _given: Callable[..., Any] | None = PrivateAttr(None)

    @classmethod
    def of(cls, function: Callable[..., Any]) -> OwnAugmentation:
        """A function that is at hand, and need not be found by its name."""
        inner = function if hasattr(function, "__qualname__") else type(function)
        own = cls(function=f"{inner.__module__}:{inner.__qualname__}", source=source_digest(function))
        own._given = function
        return own

    def found(self) -> Callable[..., Any]:
        """The function.

        Raises:
            SettingError: It cannot be imported, or its file has changed.
        """
        function = self._given or function_named(self.function)
        if source_digest(function) != self.source:
            raise SettingError(
                f"The file that defines {self.function} has changed since it was first used; restore it."
            )
        return function


class Sharding(Settings):
    """How training is divided so that samples can be forgotten exactly by training a part of it again.

    Where a sample belongs is decided by its name, so that other samples may go. Where samples have no names but their
    positions, as those of arrays, whoever deletes rows and trains anew gets another division; requests to natmu do not
    move any.

    Source:
        Bourtoule et al., Machine Unlearning, 2021, https://arxiv.org/abs/1912.03817 (SISA).
    """

    shards: int = Field(1, ge=1, le=1000, description="parts of the training data, each with a model of its own")
    slices: int = Field(1, ge=1, le=100, description="parts of each shard, which its model learns one after another")
    combine: Literal["probabilities", "logits", "votes"] = Field(
        "probabilities", description="what of the shards' models is averaged: probabilities, logits or votes"
    )
    threads: int | None = Field(
        None, ge=1, le=MOST_THREADS, description="threads that train each shard; natmu fills it in"
    )

    @model_validator(mode="after")
    def _divides(self) -> Sharding:
        if self.shards * self.slices < 2:
            raise ValueError("one shard of one slice is no division; raise shards or slices, or leave sharding out")
        return self

    @property
    def in_words(self) -> str:
        """Its numbers, as in ``3 shards of 1 slice``."""
        shards, slices = ("" if count == 1 else "s" for count in (self.shards, self.slices))
        return f"{self.shards} shard{shards} of {self.slices} slice{slices}"


SHARDING = Field(None, description="division into shards and slices, for exact unlearning by sisa; none by default")


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
    batch_size: int = Field(128, ge=1, le=LARGEST_COUNT, description="samples per step")
    augment: bool | Literal["flip"] | OwnAugmentation = Field(
        True,
        description="default (random crop and horizontal flip), flip (mirrored in every second epoch), none, or "
        "package.module:function of your own",
    )
    sharding: Sharding | None = SHARDING

    @field_validator("augment", mode="before")
    @classmethod
    def _read_augment(cls, value: object) -> object:
        return _augmentation_of(value)

    @property
    def augment_name(self) -> str:
        """``default``, ``flip``, ``none``, or the name of the user's own function."""
        return self.augment.function if isinstance(self.augment, OwnAugmentation) else AUGMENT[self.augment]


def own_augmentation(recipe: object) -> Callable[..., Any] | None:
    """The user's own augmentation, where a recipe has one.

    Raises:
        SettingError: It cannot be imported, or its file has changed.
    """
    augment = recipe.augment if isinstance(recipe, TrainSettings) else False
    return augment.found() if isinstance(augment, OwnAugmentation) else None


def flips_alternate(recipe: object) -> bool:
    """Whether augmented images are mirrored in every second epoch, in place of random crop and flip."""
    return isinstance(recipe, TrainSettings) and recipe.augment == "flip"


def _augmentation_of(value: object) -> object:
    """What ``augment`` may be: a truth value, a name, the user's own function or its name."""
    if isinstance(value, bool | OwnAugmentation | Mapping):
        return value
    for setting, name in AUGMENT.items():
        if isinstance(value, str) and value == name:
            return setting
    if isinstance(value, str) and is_function_name(value):
        try:
            return OwnAugmentation(function=value, source=source_digest(function_named(value)))
        except SettingError as error:
            raise ValueError(str(error)) from None
    if callable(value):
        return OwnAugmentation.of(value)
    raise ValueError("write true (default), flip, false (none), or package.module:function")


class OwnTraining(Settings):
    """How the user's own function trains a model: ``train(samples, seed, **arguments)`` returns it.

    What the function makes is determined by its name, its source file, the arguments, the samples and the seed.
    """

    trainer: str = Field(description="function, as package.module:function")
    arguments: dict[str, JsonValue] = Field(default_factory=dict, description="what it gets beside samples and seed")
    source: Digest | None = Field(None, description="digest of the file that defines it; natmu fills it in")
    sharding: Sharding | None = SHARDING

    @field_validator("trainer")
    @classmethod
    def _trainer_is_a_function(cls, value: str) -> str:
        if not re.fullmatch("[^:]+:[^:]+", value):
            raise ValueError("write it as package.module:function")
        return value


class HeadTraining(Settings):
    """How a linear head is fitted on the features of a frozen backbone; samples are the rows of the features."""

    head: Literal["ridge", "logistic"] = Field(description="kind of head")
    l2: float = Field(gt=0, description="weight of the squared norm of the head's weights, beside a sum over samples")


class RidgeTraining(HeadTraining):
    """Ridge regression on one-hot labels."""

    head: Literal["ridge"] = Field("ridge", description="kind of head")
    l2: float = Field(0.1, gt=0, description="weight of the squared norm of the head's weights")


class LogisticTraining(HeadTraining):
    """Logistic regression of each class against the rest, with noise that hides what removals leave.

    With the defaults about 70 of 1,000, 180 of 10,000 and 300 to 500 of 50,000 samples can be removed before a refit
    (``benchmarks/heads_budget.py``: made-up features, 64 and 512 of them, 3 draws). The noise costs about a point of
    accuracy or less where there are 15 samples or more for each feature, and 21 points where there are two. A noise of
    3 allows about twice as many removals and costs less than half a point where there are 100 samples for each feature.

    Source:
        Guo et al., Certified Data Removal from Machine Learning Models, 2020, https://arxiv.org/abs/1911.03030.
    """

    head: Literal["logistic"] = Field("logistic", description="kind of head")
    l2: float = Field(10.0, gt=0, description="weight of half the squared norm of each class's weights")
    epsilon: float = Field(1.0, gt=0, le=100, description="privacy loss that removals may use up together")
    delta: float = Field(1e-5, gt=0, lt=1, description="probability with which it may be larger")
    noise: float = Field(1.0, gt=0, description="standard deviation of the random linear term of the objective")


_KINDS: dict[str, type[TrainSettings | OwnTraining | RidgeTraining | LogisticTraining]] = {
    "ours": TrainSettings,
    "own": OwnTraining,
    "ridge": RidgeTraining,
    "logistic": LogisticTraining,
}


def _kind_of_training(value: object) -> str:
    """Which kind of recipe a value is."""
    for name, kind in _KINDS.items():
        if isinstance(value, kind):
            return CHOICE + name
    if not isinstance(value, Mapping):
        return f"{CHOICE}ours"
    if "head" in value:
        return f"{CHOICE}logistic" if value["head"] == "logistic" else f"{CHOICE}ridge"
    return f"{CHOICE}own" if "trainer" in value else f"{CHOICE}ours"


Training = Annotated[
    Annotated[TrainSettings, Tag(f"{CHOICE}ours")]
    | Annotated[OwnTraining, Tag(f"{CHOICE}own")]
    | Annotated[RidgeTraining, Tag(f"{CHOICE}ridge")]
    | Annotated[LogisticTraining, Tag(f"{CHOICE}logistic")],
    Discriminator(_kind_of_training),
]
"""How models are trained: in natmu's loop, by the user's own function, or as a head on features."""

AnyTraining = TrainSettings | OwnTraining | RidgeTraining | LogisticTraining
"""Any of these, as a type."""


def training_of(values: Mapping[str, Any]) -> AnyTraining:
    """A recipe of any kind from plain values; that of the user's own function has the key ``trainer``, heads ``head``.

    Raises:
        SettingError: A value is unknown or out of its range.
    """
    return _KINDS[_kind_of_training(values).removeprefix(CHOICE)].parse(values, "training")


def sharding_of(recipe: AnyTraining | None) -> Sharding | None:
    """How the training data is divided; None where it is not."""
    return recipe.sharding if isinstance(recipe, TrainSettings | OwnTraining) else None


def batch_size_of(recipe: AnyTraining | None) -> int:
    """Samples per step of a recipe; natmu's default of 128 where it does not say."""
    return (recipe if isinstance(recipe, TrainSettings) else TrainSettings()).batch_size


def in_words(recipe: AnyTraining | None) -> str:
    """A recipe in a few words."""
    if recipe is None:
        return "elsewhere, nobody says how"
    if isinstance(recipe, HeadTraining):
        return f"a {recipe.head} head on frozen features, l2 {recipe.l2:g}"
    sharding = recipe.sharding
    divided = "" if sharding is None else f", in {sharding.in_words}"
    if isinstance(recipe, OwnTraining):
        arguments = ", ".join(f"{name}={value}" for name, value in recipe.arguments.items())
        return f"by {recipe.trainer}{f' with {arguments}' if arguments else ''}{divided}"
    ours = {"default": "with augmentation", "flip": "with alternating flips", "none": "without augmentation"}
    return (
        f"{recipe.epochs:,} epoch{'' if recipe.epochs == 1 else 's'} of {recipe.optimizer}, learning rate "
        f"{recipe.lr:g} ({recipe.schedule}), weight decay {recipe.weight_decay:g}, batches of {recipe.batch_size}, "
        f"{ours.get(recipe.augment_name, f'augmentation by {recipe.augment_name}')}{divided}"
    )


class DataSettings(Settings):
    """Which data; where it lies on disk is said when it is read."""

    source: str = Field(min_length=1, description="name of a data set, a path, or package.module:function")
    image_size: int | None = Field(None, ge=1, le=4096, description="resize all images to this many pixels")
    resize: int | None = Field(None, ge=1, le=4096, description="resize the shorter side to this many pixels")
    crop: int | None = Field(None, ge=1, le=4096, description="then cut a square of this side out of the middle")
    channels: Literal[1, 3] | None = Field(None, description="make all images grey (1) or RGB (3)")
    train_size: int | None = Field(
        None, ge=1, le=LARGEST_COUNT, description="keep a class-balanced random part of the training set"
    )
    holdout: bool = Field(False, description="set a fixed random fifth of the test set apart for tuning")
    mean: tuple[float, ...] | None = Field(
        None, description="what is subtracted from each channel before the model; the data's own or none if not given"
    )
    std: tuple[float, ...] | None = Field(None, description="what each channel is divided by after that; with mean")
    test: str | None = Field(None, min_length=1, description="path of the test data, where the source has none")
    test_fraction: Fraction | None = Field(
        None, gt=0, lt=1, description="set this part of a source without test data apart as its test set, such as 20%"
    )
    classes: tuple[str, ...] | None = Field(
        None, min_length=2, description="class names in the order of the model's outputs"
    )
    class_order: ClassOrder | None = Field(
        None, description="order of class folders: string (1, 10, 2), as ImageFolder has it, or natural (1, 2, 10)"
    )

    @model_validator(mode="after")
    def _normalises_or_not(self) -> DataSettings:
        mean, std = self.mean, self.std
        if mean is None and std is None:
            return self
        if mean is None or std is None or len(mean) != len(std) or not mean:
            raise ValueError("give mean and std together, one number of each per channel")
        if not all(map(math.isfinite, (*mean, *std))) or min(std) <= 0:
            raise ValueError("mean must be finite, and std finite and above 0")
        return self


class RetrainSettings(Settings):
    """How models are trained again without a forget set."""

    init: Literal["original", "fresh"] = Field(
        "original", description="initial weights: those the original started from, or fresh ones from the seed"
    )
