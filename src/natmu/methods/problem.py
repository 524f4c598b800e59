"""What an unlearning method is handed."""

from __future__ import annotations

import copy
from collections.abc import Callable, Collection
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Protocol

import numpy as np
import torch
from torch import Tensor, nn

from natmu.data.batches import Samples, plain
from natmu.data.images import ImageData
from natmu.engine.checkpoint import Checkpoint
from natmu.engine.compute import Compute
from natmu.engine.reach import reached
from natmu.errors import ModelError, SettingError
from natmu.methods.settings import RetainSettings
from natmu.models import reinitialised, reset_head
from natmu.records.run import History
from natmu.records.settings import TrainSettings
from natmu.types import FloatArray, ForgetSet, IntArray, seed_for


class Sharded(Protocol):
    """A model that was trained in shards, with the stages that it can go back to."""

    def retrained(self, left_out: IntArray) -> tuple[nn.Module, History]:
        """The model that never had some samples: each affected shard is trained again from its last clean stage.

        Args:
            left_out: Positions of all that is left out, int64, in the training data of the problem.

        Returns:
            The model, and one row per epoch of what was trained again.
        """

    def work(self, left_out: IntArray) -> float:
        """Samples times epochs that would be trained again.

        Args:
            left_out: As for ``retrained``.
        """


class Fitted(Protocol):
    """A model whose last layer is a head that was fitted on features, with what is needed to take samples out of it."""

    def downdated(self, forget: IntArray, left_out: IntArray, *, refit: bool = False) -> nn.Module:
        """The model with a head that samples were taken out of; fitted again where that cannot be done any more.

        Args:
            forget: Positions of the samples, int64, in the training data of the problem.
            left_out: Positions of all that is left out, these and those forgotten before.
            refit: Whether to fit the head again in any case.
        """


@dataclass(frozen=True)
class Problem:
    """A request to forget. It holds no test data, so that no method can look at any.

    Attributes:
        model: The original model, or one that has forgotten something already.
        data: The training data, retain and forget part together.
        forget: Which of them to forget, and which were forgotten before: those belong to neither part.
        aside: Further positions that belong to neither part, int64.
        training: The recipe that the original was trained with, where natmu's loop trained it; None where nobody says.
        compute: Device and precision.
        seed: Of everything random in the method.
        batch_size: Samples per step.
        initial_model: Makes the model with the original's initial weights, where they are known.
        fresh_model: Makes the architecture with the initial weights of a seed, where that is known; for models that
            cannot be re-initialised layer by layer.
        holdout: Samples never trained on, apart from the test set, where there are any.
        checkpoint: Where an unfinished run is kept.
        history: Filled with one row per epoch.
        difficulty: How hard each sample of the training data was to learn, float32 ``(N,)``, larger for harder, where
            that is known.
        sharded: The shards that the model was trained in; None where it was not.
        fitted: The head that was fitted on features; None where the model was trained otherwise.
        gone: How many samples to forget are not in the data any more, so that ``forget`` lacks them.

    Examples:
        >>> from natmu.testing import problem_for
        >>> problem = problem_for("random")
        >>> len(problem.data), len(problem.forget_positions), len(problem.retain_positions)
        (60, 12, 48)
    """

    model: nn.Module
    data: ImageData
    forget: ForgetSet
    training: TrainSettings | None
    compute: Compute
    seed: int = 0
    batch_size: int = 128
    initial_model: Callable[[], nn.Module] | None = None
    fresh_model: Callable[[int], nn.Module] | None = None
    holdout: ImageData | None = None
    checkpoint: Checkpoint | None = None
    history: History = field(default_factory=list)
    aside: IntArray = field(default_factory=lambda: np.zeros(0, np.int64))
    difficulty: FloatArray | None = None
    sharded: Sharded | None = None
    fitted: Fitted | None = None
    gone: int = 0

    def __post_init__(self) -> None:
        if not isinstance(self.batch_size, int) or self.batch_size < 1:
            raise SettingError(f"batch_size must be a whole number of at least 1, not {self.batch_size!r}.")

    @cached_property
    def forget_positions(self) -> Tensor:
        """Positions of the forget set in the training data, int64 ``(F,)``."""
        return torch.tensor(self.forget.indices)

    @cached_property
    def retain_positions(self) -> Tensor:
        """Positions of the retain set in the training data, int64 ``(R,)``."""
        kept = torch.ones(len(self.data), dtype=torch.bool)
        kept[torch.from_numpy(self.forget.left_out)] = False
        kept[torch.from_numpy(self.aside)] = False
        return kept.nonzero().squeeze(1)

    @cached_property
    def classes(self) -> IntArray:
        """The classes that a sample may be taught, sorted, int64: after an earlier request those that are left."""
        if not len(self.forget.before):
            return np.arange(self.data.num_classes)
        return np.unique(np.delete(self.data.labels.cpu().numpy(), self.forget.before))

    @cached_property
    def reached(self) -> set[int]:
        """The ``id`` of each of the model's parameters that its logits depend on."""
        return reached(self.model, self.data.image_shape, self.compute)

    def labels(self, positions: Tensor) -> Tensor:
        """The true labels at these positions."""
        return self.data.labels[positions]

    def rng(self, *purpose: str | int) -> np.random.Generator:
        """A source of random numbers for one purpose."""
        return np.random.default_rng(seed_for(self.seed, *purpose))

    def stage(self, name: str) -> Problem:
        """The same problem for one of several runs of the loop that follow each other on the same model."""
        checkpoint = None if self.checkpoint is None else self.checkpoint.stage(name)
        return replace(self, seed=seed_for(self.seed, "stage", name), checkpoint=checkpoint)

    def forget_samples(self, *, augment: bool = False) -> Samples:
        """The forget set with its true labels."""
        return plain(self.forget_positions, self.labels(self.forget_positions), augment=augment)

    def retain_samples(self, settings: RetainSettings) -> Samples:
        """The retain set with its true labels, or the random fraction of it that the settings ask for."""
        positions = self.retain_positions
        if settings.retain_fraction < 1:
            count = max(1, round(settings.retain_fraction * len(positions)))
            chosen = self.rng("retain share").choice(len(positions), count, replace=False)
            positions = positions[torch.from_numpy(np.sort(chosen))]
        return plain(positions, self.labels(positions), augment=settings.augment_retain)

    def fresh(self, seed: int, needed: Collection[str] | None = None) -> nn.Module:
        """The architecture with fresh initial weights; frozen parts stay as they are.

        A weight that no layer can draw anew, such as a class token, is that of another build of the architecture where
        one can be made, or else that of the model before training where it is known.

        Args:
            seed: All that the weights depend on.
            needed: Names of the modules whose own weights are needed; all by default.

        Raises:
            ModelError: Some needed layer cannot draw its weights anew, and nothing else is known that makes the model.
        """
        try:
            return reinitialised(self.model, seed, needed)
        except ModelError:
            if self.fresh_model is not None:
                return self.fresh_model(seed)
            if self.initial_model is None:
                raise
            return reinitialised(self.model, seed, needed, self.initial_model())

    def reset_head(self) -> None:
        """Draw the weight of the model's head anew, in place.

        Raises:
            ModelError: There is no linear layer that gives the logits, or its weight is computed from others.
        """
        reset_head(self.model, seed_for(self.seed, "head"), self.data.num_classes, self.reached)

    def frozen_copy(self) -> nn.Module:
        """A copy of the original in eval mode that nothing can train."""
        return copy.deepcopy(self.model).eval().requires_grad_(False)
