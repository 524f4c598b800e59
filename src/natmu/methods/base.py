"""What every unlearning method is handed, and what it owes."""

from __future__ import annotations

import copy
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any, ClassVar, final

import numpy as np
import torch
from torch import Tensor, nn

from natmu.data.batches import Batches, Derived, Samples, plain
from natmu.data.images import ImageData
from natmu.engine import processes
from natmu.engine.checkpoint import Checkpoint
from natmu.engine.compute import Compute
from natmu.engine.loop import Watch, fit
from natmu.engine.meter import Meter
from natmu.engine.modes import batch_norms, restore_modes
from natmu.engine.snapshots import Snapshots
from natmu.engine.step import Direction, LossFunction
from natmu.errors import ForgetSetError, ModelError, ScenarioError, SettingError, TrainingError
from natmu.methods.presets import Preset, with_preset
from natmu.methods.settings import RetainSettings
from natmu.models import reinitialised
from natmu.records.run import History
from natmu.records.settings import FitSettings, TrainSettings
from natmu.types import FloatArray, ForgetSet, IntArray, Scenario, Settings, seed_for

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
        aside: Positions that belong to neither part, int64.
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
        difficulty: How hard each sample of the training data was to learn, float32 ``(N,)``, larger for harder, where
            that is known.
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
    aside: IntArray = field(default_factory=lambda: np.zeros(0, np.int64))
    difficulty: FloatArray | None = None

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
        kept[torch.from_numpy(self.aside)] = False
        return kept.nonzero().squeeze(1)

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
        """The retain set with its true labels, or the random share of it that the settings ask for."""
        positions = self.retain_positions
        if settings.retain_fraction < 1:
            count = max(1, round(settings.retain_fraction * len(positions)))
            chosen = self.rng("retain share").choice(len(positions), count, replace=False)
            positions = positions[torch.from_numpy(np.sort(chosen))]
        return plain(positions, self.labels(positions), augment=settings.augment_retain)

    def fresh(self, seed: int, needed: Collection[str] | None = None) -> nn.Module:
        """The architecture with fresh initial weights.

        Args:
            seed: All that the weights depend on.
            needed: Names of the modules whose own weights are needed; all by default.

        Raises:
            ModelError: Some needed layer cannot draw its weights anew, and nothing else is known that makes the model.
        """
        try:
            return reinitialised(self.model, seed, needed)
        except ModelError:
            if self.fresh_model is None:
                raise
            return self.fresh_model(seed)

    def frozen_copy(self) -> nn.Module:
        """A copy of the original in eval mode that nothing can train."""
        return copy.deepcopy(self.model).eval().requires_grad_(False)


def fine_tune(
    method: Method,
    problem: Problem,
    samples: Derived,
    loss: LossFunction | None = None,
    after_step: Callable[[], None] | None = None,
    *,
    paired: Samples | None = None,
    paired_every: int = 1,
    direction: Direction | None = None,
    in_eval: Sequence[nn.Module] = (),
    settings: FitSettings | None = None,
    snapshots: Snapshots | None = None,
) -> nn.Module:
    """Fine-tune the problem's model in place on a derived data set.

    Where a pass, or what is paired with it, is a single row, batch normalisation keeps its running statistics and
    normalises with them: those of one sample would be a poor guess for all others, and of single values there are none.

    Args:
        method: Names the work and gives its settings.
        problem: Of which the model is trained; a stage of it, where a method has several runs of the loop.
        samples: The rows of every epoch, or of each.
        loss: Loss of a model on a batch; cross-entropy if None.
        after_step: Called after each step of the optimiser, for constraints on the weights.
        paired: Rows of a second derived data set that steps get beside their own, as ``batch.paired``.
        paired_every: Every how many steps they do.
        direction: From the gradients of the loss's terms to the one that the optimiser follows; their sum if None.
        in_eval: Modules of the model that are in eval mode meanwhile, each by itself and without its children.
        settings: Settings of the run, where they are not the method's own.
        snapshots: Keeps the model's state at the ends of the epochs that it wants.

    Raises:
        ModelError: The model has nothing to train.
        TrainingError: A loss is not finite.
    """
    compute = problem.compute
    batches = Batches(
        problem.data,
        samples,
        batch_size=problem.batch_size,
        seed=problem.seed,
        device=compute.device,
        share=processes.share(),
        paired=paired,
        paired_every=paired_every,
    )
    meter = Meter(len(problem.data), compute.device)
    history: History = []
    watch = Watch(method.name, meter, problem.checkpoint, history, snapshots)
    loss = loss or meter.cross_entropy
    chosen = settings or method.config
    if 1 in {*map(batches.rows, range(chosen.epochs)), None if paired is None else len(paired)}:
        in_eval = [*in_eval, *batch_norms(problem.model)]
    model = fit(problem.model, batches, loss, chosen, compute, watch, after_step, direction, in_eval)
    done = len(problem.history)
    problem.history.extend(row | {"epoch": row["epoch"] + done} for row in history)
    return model


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

    The docstring of a method tells its users all there is to know: a line that sums it up, its rule, and the sections
    ``When to use``, ``Cost``, ``Decisions`` (what its paper leaves open, and what was done) and ``References``.

    Args:
        settings: Values for the method's ``Config``; ``preset`` names published ones, which others beside it override.

    Attributes:
        name: Its name everywhere.
        paper: Where it was published.
        scenarios: The kinds of forget set that it serves.
        needs_labels: Whether it reads the labels of the samples.
        needs_retain: Whether it reads samples that are not to be forgotten.
        stochastic: Whether another seed gives other weights.
        presets: Published settings, by the name of their source.

    Raises:
        SettingError: A setting or a preset is unknown, or a setting is out of its range.
    """

    name: ClassVar[str]
    paper: ClassVar[Paper | None] = None
    scenarios: ClassVar[tuple[Scenario, ...]] = EVERY_SCENARIO
    needs_labels: ClassVar[bool] = True
    needs_retain: ClassVar[bool] = True
    stochastic: ClassVar[bool] = True
    presets: ClassVar[Mapping[str, Preset]] = {}
    Config: ClassVar[type[Settings]]

    def __init__(self, **settings: Any) -> None:  # noqa: ANN401 - checked by Config
        self.config: Any = self.configured(settings)

    @final
    @classmethod
    def configured(cls, settings: Mapping[str, Any]) -> Settings:
        """The method's complete settings, from those that are given.

        Raises:
            SettingError: A setting or a preset is unknown, or a setting is out of its range.
        """
        return cls.Config.parse(with_preset(cls.name, cls.presets, settings), where=cls.name)

    @abstractmethod
    def run(self, problem: Problem) -> nn.Module:
        """Unlearn; ``problem.model`` is a private copy that may be trained in place and returned."""

    @final
    def __call__(self, problem: Problem) -> Unlearned:
        """Check the problem, run on a copy of the model, time it, and restore modes and gradient flags.

        Raises:
            ForgetSetError: The forget set is empty or leaves nothing to retain.
            UsageError: The method cannot serve this kind of forget set, this model or these settings.
            TrainingError: A loss or a weight is no longer finite.
        """
        self._check_counts(problem)
        self.check(problem)
        problem = replace(problem, batch_size=self.batch_size or problem.batch_size)
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
        restore_modes(model, problem.model)
        return Unlearned(model, seconds)

    @property
    def batch_size(self) -> int | None:
        """Samples per step where the method's settings say so; the problem's if None."""
        return getattr(self.config, "batch_size", None)

    def check(self, problem: Problem) -> None:
        """Refuse what cannot be done, before anything is trained; methods add to it what they need.

        Called for every forget set of a study before its original is trained, with a model of the same architecture.

        Raises:
            UsageError: One sentence that names the setting, the model or the forget set, and what is needed.
        """
        if problem.forget.scenario not in self.scenarios:
            served = ", ".join(self.scenarios)
            raise ScenarioError(f"{self.name} serves {served} forget sets, not {problem.forget.scenario}.")
        if not any(True for _ in problem.model.parameters()):
            raise ModelError("The model has no weights; name the trained model to unlearn from.")

    def _check_counts(self, problem: Problem) -> None:
        if len(problem.forget) == 0:
            raise ForgetSetError("The forget set is empty; name at least one training sample.")
        if len(problem.retain_positions) == 0:
            raise ForgetSetError("The forget set is the whole training set; a model that forgets all is a fresh one.")
