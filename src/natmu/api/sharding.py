"""Training in shards from Python, so that samples can be forgotten exactly."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal

import numpy as np
from torch import nn

from natmu.arguments import Inputs, Samples, forget_set, training_data, whole_seed
from natmu.audits.in_memory import outputs_in_memory
from natmu.data import ImageData, say_what_is_forgotten
from natmu.engine.compute import Compute
from natmu.errors import SettingError
from natmu.lineage.given_shards import GivenShards
from natmu.lineage.given_trainer import recipe_of
from natmu.lineage.own_training import Trainer
from natmu.progress import showing
from natmu.records.names import SampleNames
from natmu.records.settings import OwnTraining, Sharding, TrainSettings
from natmu.types import ForgetSet

Combine = Literal["probabilities", "logits", "votes"]


@dataclass(frozen=True, eq=False)
class ShardedModel:
    """A model that was trained in shards, and can forget exactly.

    Attributes:
        model: The shards' models as one classifier, ``natmu.models.Ensemble``, in evaluation mode.
        seconds: Wall time of what was trained.
        retrained: By number of each shard that was trained for it, from 0, which of its slices were, from 1. What was
            found in the store is not there.
        forgotten: What it has forgotten of the data that was given, after what it forgot before; None of a model of all
            of that. ``natmu.audit`` takes it.

    Examples:
        >>> import natmu
        >>> from natmu.testing import digits, small_net
        >>> recipe = {"epochs": 1, "warmup_epochs": 0, "batch_size": 16}
        >>> model = small_net((1, 8, 8), 10)
        >>> sharded = natmu.train_shards(digits(), recipe, model=model, shards=3, store="shards", progress=False)
        >>> without = sharded.forget([3])
        >>> len(without.retrained)  # the one shard that held the sample
        1
    """

    model: nn.Module
    seconds: float
    retrained: Mapping[int, tuple[int, ...]]
    forgotten: ForgetSet | None
    _shards: GivenShards = field(repr=False)
    _progress: bool = field(repr=False)

    def forget(self, samples: str | Samples | ForgetSet, *, seed: int = 0) -> ShardedModel:
        """The model that never had some samples, nor those that this one has forgotten.

        Each shard that holds one of them is trained again, from the slice of the earliest on. The weights are, bit for
        bit, those of a training of the same shards that never had the forgotten samples. This model stays as it is.

        Args:
            samples: Positions in the data that was given to ``train_shards``, or names, or a mask, or a forget request,
                as ``unlearn`` takes them.
            seed: Of a request that draws at random.

        Raises:
            UsageError: Something asked for cannot be done; the message says what to do.
            TrainingError: A loss is no longer finite, or the trainer fails.
        """
        if isinstance(samples, Mapping):
            raise SettingError("Shards cannot learn right labels yet; give the samples to forget without labels.")
        shards, compute = self._shards, self._shards.workspace.compute
        data = shards.given
        with showing(self._progress):

            def predicted() -> Any:  # noqa: ANN401 - a part of the predictions
                return outputs_in_memory(self.model, data, None, None, compute).train

            forgotten = forget_set(samples, data, predicted, whole_seed(seed), self.forgotten)
            say_what_is_forgotten(forgotten, data)
            return _sharded(shards, forgotten, progress=self._progress)

    def purge(self) -> int:
        """Delete from the store all models that knew what this model has forgotten, and all others but this one.

        This model stays, with the stages that later requests go back to. None of them was trained on the forgotten
        samples; predictions on these may be among theirs, by position. Requests and ``train_shards`` go on from
        here. Older models cannot be had again: delete them where else you keep them.

        Returns:
            How many were deleted.

        Raises:
            UsageError: The store does not hold this model any more.
            RunError: One cannot be deleted.
        """
        return self._shards.purge(np.zeros(0, np.int64) if self.forgotten is None else self.forgotten.left_out)


def train_shards(
    train_data: object,
    trainer: Trainer | str | TrainSettings | Mapping[str, Any],
    *,
    model: nn.Module,
    shards: int,
    slices: int = 1,
    combine: Combine = "probabilities",
    store: Path | str,
    names: Sequence[str] | None = None,
    seed: int = 0,
    device: str = "auto",
    precision: str = "auto",
    progress: bool = True,
) -> ShardedModel:
    """Train one model on each shard of the data, so that samples can be forgotten exactly (SISA).

    A keyed hash of each sample's name decides which shard and slice it is in, so that nothing moves when others go.
    What was trained lies in ``store``, and the same call finds it there. Called with the data without some of the
    samples, it gives the model that never had them: only their shards are trained again.

    Args:
        train_data: As for ``unlearn``.
        trainer: Your own training, ``train(samples, seed)``, as ``unlearn`` takes it; it is called for one shard after
            the other, and must be a function at the top of a file. With several slices it is called for each of them,
            and must take a keyword ``start``: the model of the slices before, None at first. Or the settings of
            natmu's own training, such as ``{"epochs": 30, "lr": 0.05}``.
        model: A model of the architecture, trained or not; it is not changed. Its initial weights are drawn anew.
        shards: Parts of the data, each with a model of its own.
        slices: Parts of each shard, which its model learns one after another; a model is kept after each.
        combine: What is averaged: ``probabilities``, ``logits``, or ``votes``.
        store: The folder of the shards of this one training.
        names: One name per sample, by which it is known again. Needed where you delete rows from arrays later: without,
            arrays call their samples by position, and whoever deletes a row calls all others otherwise. Folders of
            images bring names, those of their files.
        seed: Of everything random.
        device: ``auto``, ``cpu``, ``cuda`` or ``cuda:N``.
        precision: ``auto``, ``fp32`` or ``bf16``.
        progress: Whether to show progress on standard error.

    Source:
        Bourtoule et al., Machine Unlearning, 2021, https://arxiv.org/abs/1912.03817.

    Raises:
        UsageError: Something asked for cannot be done; the message says what to do.
        TrainingError: A loss is no longer finite, or the trainer fails.

    Examples:
        >>> import natmu
        >>> from natmu.testing import digits, small_net
        >>> recipe = {"epochs": 1, "warmup_epochs": 0, "batch_size": 16}
        >>> model = small_net((1, 8, 8), 10)
        >>> sharded = natmu.train_shards(digits(), recipe, model=model, shards=3, store="shards", progress=False)
        >>> sorted(sharded.retrained)  # every shard was trained
        [0, 1, 2]
    """
    sharding = Sharding.parse({"shards": shards, "slices": slices, "combine": combine}, "sharding")
    recipe, function = _recipe(trainer, sharding)
    compute, seed = Compute.choose(device, precision), whole_seed(seed)
    with showing(progress):
        data = _named(training_data(train_data, model), names)
        network = Inputs([data]).model(model, "model")
        found = GivenShards.open(Path(store), network, train_data, data, recipe, function, seed, compute)
        return _sharded(found, None, progress=progress)


def _sharded(shards: GivenShards, forgotten: ForgetSet | None, *, progress: bool) -> ShardedModel:
    """The model without what is forgotten."""
    start = time.perf_counter()
    model, retrained = shards.without(np.zeros(0, np.int64) if forgotten is None else forgotten.left_out)
    return ShardedModel(model, time.perf_counter() - start, retrained, forgotten, shards, progress)


def _recipe(trainer: object, sharding: Sharding) -> tuple[TrainSettings | OwnTraining, Callable[..., Any] | None]:
    """How the shards are trained, and the function that does it where one was handed over."""
    if isinstance(trainer, TrainSettings | Mapping):
        settings = trainer if isinstance(trainer, TrainSettings) else TrainSettings.parse(trainer, "trainer")
        if settings.sharding is not None:
            raise SettingError(
                "The settings of trainer say sharding, which shards=… and slices=… do here; leave it out."
            )
        return settings.model_copy(update={"sharding": sharding}), None
    own, function = recipe_of(trainer, kept=True)
    return own.model_copy(update={"sharding": sharding}), function


def _named(data: ImageData, names: object) -> ImageData:
    """The data with the names that were given for its samples, each of which must be another."""
    if names is None:
        return data
    if isinstance(names, str) or not isinstance(names, Sequence | np.ndarray):
        raise SettingError(f"names must be one text for each of {len(data)} samples, not {type(names).__name__}.")
    texts = [str(name) for name in names]
    if len(texts) != len(data):
        raise SettingError(f"There are {len(texts)} names for {len(data)} samples; give one for each.")
    return replace(data, names=SampleNames.of_source(len(texts), texts))
