"""What every unlearning method is handed, and what it owes."""

from __future__ import annotations

import copy
import time
from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any, ClassVar, Literal, final

import numpy as np
import torch
from pydantic import Field
from torch import Tensor, nn

from natmu.data.batches import Batches, Samples, plain
from natmu.data.images import ImageData
from natmu.engine import processes
from natmu.engine.checkpoint import Checkpoint, History
from natmu.engine.compute import Compute
from natmu.engine.loop import Watch, fit
from natmu.engine.meter import Meter
from natmu.engine.schedule import Schedule
from natmu.engine.settings import FitSettings, TrainSettings
from natmu.engine.step import LossFunction
from natmu.errors import ForgetSetError, ModelError, ScenarioError, SettingError, TrainingError
from natmu.models import reinitialised
from natmu.types import ForgetSet, Scenario, Settings, seed_for

EVERY_SCENARIO: tuple[Scenario, ...] = ("random", "hardest", "class", "subclass", "indices")


@dataclass(frozen=True)
class Paper:
    """Where a method was published."""

    title: str
    authors: str
    year: int
    url: str


@dataclass(frozen=True)
class Problem:
    """A request to forget. It holds no test data, so that no method can look at any.

    Attributes:
        model: The original model.
        data: The training data, retain and forget part together.
        forget: Which of them to forget.
        training: The recipe that the original was trained with.
        compute: Device and precision.
        seed: Of everything random in the method.
        batch_size: Samples per step.
        initial_model: Makes the model with the original's initial weights, where they are known.
        fresh_model: Makes the architecture with the initial weights of a seed, where that is known; for models that
            cannot be re-initialised layer by layer.
        holdout: Samples never trained on, apart from the test set, where there are any.
        checkpoint: Where an unfinished run is kept.
        history: Filled with one row per epoch.
    """

    model: nn.Module
    data: ImageData
    forget: ForgetSet
    training: TrainSettings
    compute: Compute
    seed: int = 0
    batch_size: int = 128
    initial_model: Callable[[], nn.Module] | None = None
    fresh_model: Callable[[int], nn.Module] | None = None
    holdout: ImageData | None = None
    checkpoint: Checkpoint | None = None
    history: History = field(default_factory=list)

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
        kept[self.forget_positions] = False
        return kept.nonzero().squeeze(1)

    def labels(self, positions: Tensor) -> Tensor:
        """The true labels at these positions."""
        return self.data.labels[positions]

    def rng(self, *purpose: str | int) -> np.random.Generator:
        """A source of random numbers for one purpose."""
        return np.random.default_rng(seed_for(self.seed, *purpose))

    def retain_samples(self, settings: FineTuneSettings) -> Samples:
        """The retain set with its true labels, or the random share of it that the settings ask for."""
        positions = self.retain_positions
        if settings.retain_fraction < 1:
            count = max(1, round(settings.retain_fraction * len(positions)))
            chosen = self.rng("retain share").choice(len(positions), count, replace=False)
            positions = positions[torch.from_numpy(np.sort(chosen))]
        return plain(positions, self.labels(positions), augment=settings.augment_retain)

    def fresh(self, seed: int) -> nn.Module:
        """The architecture with fresh initial weights.

        Raises:
            ModelError: Some layer cannot draw its weights anew, and nothing else is known that makes the model.
        """
        try:
            return reinitialised(self.model, seed)
        except ModelError:
            if self.fresh_model is None:
                raise
            return self.fresh_model(seed)

    def frozen_copy(self) -> nn.Module:
        """A copy of the original in eval mode that nothing can train."""
        return copy.deepcopy(self.model).eval().requires_grad_(False)


class FineTuneSettings(FitSettings):
    """Settings that all fine-tuning methods share; the defaults are those of the research code of NatMU."""

    epochs: int = Field(5, ge=1, le=100_000, description="passes over the derived data set")
    optimizer: Literal["sgd", "adam", "adamw"] = Field("adamw", description="update rule")
    schedule: Schedule = Field("cosine", description="course of the learning rate")
    augment_retain: bool = Field(False, description="random crop and flip of retain images")
    retain_fraction: float = Field(1, gt=0, le=1, description="random share of the retain set to fine-tune on")


def fine_tune(
    method: Method,
    problem: Problem,
    samples: Samples | Callable[[int], Samples],
    loss: LossFunction | None = None,
    after_step: Callable[[], None] | None = None,
) -> nn.Module:
    """Fine-tune the problem's model in place on a derived data set, with cross-entropy unless another loss is given."""
    compute = problem.compute
    batches = Batches(
        problem.data,
        samples,
        batch_size=problem.batch_size,
        seed=problem.seed,
        device=compute.device,
        share=processes.share(),
    )
    meter = Meter(len(problem.data), compute.device)
    watch = Watch(method.name, meter, problem.checkpoint, problem.history)
    return fit(problem.model, batches, loss or meter.cross_entropy, method.config, compute, watch, after_step)


@dataclass(frozen=True)
class Unlearned:
    """What a method returns.

    Attributes:
        model: The unlearned model, on the compute device.
        seconds: Wall time that it took.
    """

    model: nn.Module
    seconds: float


class Method(ABC):
    """An unlearning method: a name, settings, and one function from a problem to a model.

    Args:
        settings: Values for the method's ``Config``.

    Raises:
        SettingError: A setting is unknown or out of its range.
    """

    name: ClassVar[str]
    paper: ClassVar[Paper | None] = None
    scenarios: ClassVar[tuple[Scenario, ...]] = EVERY_SCENARIO
    Config: ClassVar[type[Settings]]

    def __init__(self, **settings: Any) -> None:  # noqa: ANN401 - checked by Config
        self.config: Any = self.Config.parse(settings, where=self.name)

    @abstractmethod
    def run(self, problem: Problem) -> nn.Module:
        """Unlearn; ``problem.model`` is a private copy that may be trained in place and returned."""

    @final
    def __call__(self, problem: Problem) -> Unlearned:
        """Check the problem, run on a copy of the model, time it, and restore modes and gradient flags.

        Raises:
            ForgetSetError: The forget set is empty or leaves nothing to retain.
            ScenarioError: The method cannot serve this kind of forget set.
            TrainingError: A loss or a weight is no longer finite.
        """
        self._check(problem)
        device = problem.compute.device
        start = time.perf_counter()
        private = replace(problem, model=problem.compute.place(copy.deepcopy(problem.model)))
        with problem.compute.private_randomness():
            torch.manual_seed(seed_for(problem.seed, self.name))
            model = self.run(private)
        if device.type == "cuda":
            torch.cuda.synchronize(device)
        seconds = time.perf_counter() - start
        if not all(bool(torch.isfinite(weight).all()) for weight in model.parameters()):
            raise TrainingError(f"{self.name}: a weight is not finite after unlearning; try a lower lr.")
        _restore(model, problem.model)
        return Unlearned(model, seconds)

    def _check(self, problem: Problem) -> None:
        count = len(problem.forget)
        if count == 0:
            raise ForgetSetError("The forget set is empty; name at least one training sample.")
        if count >= len(problem.data):
            raise ForgetSetError("The forget set is the whole training set; a model that forgets all is a fresh one.")
        if problem.forget.scenario not in self.scenarios:
            served = ", ".join(self.scenarios)
            raise ScenarioError(f"{self.name} serves {served} forget sets, not {problem.forget.scenario}.")
        if not any(True for _ in problem.model.parameters()):
            raise ModelError("The model has no weights; name the trained model to unlearn from.")


def _restore(model: nn.Module, original: nn.Module) -> None:
    """Give each module its mode, and each parameter its gradient flag, of the original."""
    modes = {name: module.training for name, module in original.named_modules()}
    for name, module in model.named_modules():
        module.training = modes.get(name, original.training)
    flags = {name: parameter.requires_grad for name, parameter in original.named_parameters()}
    for name, parameter in model.named_parameters():
        parameter.requires_grad_(flags.get(name, True))
        parameter.grad = None
