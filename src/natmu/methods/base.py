"""What every unlearning method owes, and the run of the loop that most of them are."""

from __future__ import annotations

import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, ClassVar, final

import torch
from torch import Tensor, nn

from natmu.data.batches import Batches, Derived, Samples
from natmu.engine import processes
from natmu.engine.half import require_single, rounded_as
from natmu.engine.loop import BeforeEpoch, Watch, fit, load_optimizers
from natmu.engine.meter import Meter
from natmu.engine.modes import batch_norms, restore_modes
from natmu.engine.passes import Counter, counter_of, detached
from natmu.engine.reach import require_learning
from natmu.engine.snapshots import Snapshots
from natmu.engine.step import Direction, LossFunction, Second
from natmu.errors import ForgetSetError, ModelError, ScenarioError, TrainingError
from natmu.machine import exit_of
from natmu.methods.presets import Preset, with_preset
from natmu.methods.private import passes_of, private_problem
from natmu.methods.problem import Problem
from natmu.models.finite import require_finite_weights
from natmu.progress import decide, say
from natmu.records.passes import Passes
from natmu.records.run import History
from natmu.records.settings import FitSettings, TrainSettings, flips_alternate, own_augmentation
from natmu.types import Scenario, Settings, seed_for

EVERY_SCENARIO: tuple[Scenario, ...] = ("random", "hardest", "class", "subclass", "indices")


@dataclass(frozen=True)
class Paper:
    """Where a method was published.

    Examples:
        >>> NatMU.paper.title
        'Towards Natural Machine Unlearning'
    """

    title: str
    authors: str
    year: int
    url: str


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
    before_epoch: BeforeEpoch | None = None,
    kept: dict[str, Tensor] | None = None,
    second: Second | None = None,
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
        before_epoch: Called with the number of each epoch and the model before it begins, to prepare what the loss
            reads; the run ends where it returns False.
        kept: Tensors that ``before_epoch`` changes in place, which a resumed run needs.
        second: A second optimiser, and the steps that it takes.

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
        augmentation=own_augmentation(problem.training),
        alternate=flips_alternate(problem.training),
    )
    meter = Meter(len(problem.data), compute.device)
    history: History = []
    watch = Watch(method.name, meter, problem.checkpoint, history, snapshots, before_epoch, kept or {})
    loss = loss or meter.cross_entropy
    chosen = settings or method.config
    if 1 in {*map(batches.rows, range(chosen.epochs)), None if paired is None else len(paired)}:
        in_eval = [*in_eval, *batch_norms(problem.model)]
    model = fit(problem.model, batches, loss, chosen, compute, watch, after_step, direction, in_eval, second)
    done = len(problem.history)
    problem.history.extend(row | {"epoch": row["epoch"] + done} for row in history)
    return model


@dataclass(frozen=True)
class Unlearned:
    """What a method returns.

    Attributes:
        model: The unlearned model, on the compute device.
        seconds: Wall time that it took.
        passes: What it sent through models; None where nobody can tell.

    Examples:
        >>> from natmu.testing import problem_for
        >>> unlearned = FineTune(epochs=1)(problem_for("random"))
        >>> unlearned.passes.request.trained  # all samples but the 12 to forget, once
        48
    """

    model: nn.Module
    seconds: float
    passes: Passes | None = None


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
        needs_retain: Whether it reads samples that are not to be forgotten; ``reads_retain`` says so of an object.
        needs_holdout: Whether it reads samples never trained on.
        reads_forget: Whether it reads the samples that are to be forgotten, which may be gone where it does not.
        stochastic: Whether another seed gives other weights.
        needs_shards: Whether it serves only models that were trained in shards.
        needs_head: Whether it serves only heads that were fitted on features.
        presets: Published settings, by the name of their source.

    Raises:
        SettingError: A setting or a preset is unknown, or a setting is out of its range.

    Examples:
        >>> from natmu.testing import problem_for
        >>> from natmu.types import Settings
        >>> class Shrink(Method):
        ...     name = "shrink"
        ...
        ...     class Config(Settings):
        ...         factor: float = 0.5
        ...
        ...     def run(self, problem):
        ...         for weight in problem.model.parameters():
        ...             weight.data *= self.config.factor
        ...         return problem.model
        >>> problem = problem_for("random")
        >>> shrunk = Shrink(factor=0.0)(problem).model  # a copy: problem.model stays as it is
        >>> any(bool(weight.any()) for weight in shrunk.parameters())
        False
    """

    name: ClassVar[str]
    paper: ClassVar[Paper | None] = None
    scenarios: ClassVar[tuple[Scenario, ...]] = EVERY_SCENARIO
    needs_labels: ClassVar[bool] = True
    needs_retain: ClassVar[bool] = True
    needs_holdout: ClassVar[bool] = False
    reads_forget: ClassVar[bool] = True
    stochastic: ClassVar[bool] = True
    needs_shards: ClassVar[bool] = False
    needs_head: ClassVar[bool] = False
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
        """Check the problem, run on a copy of the model, time and count it, and restore modes and gradient flags.

        A model in half precision is unlearned in single precision, and rounded at the end.

        Raises:
            ForgetSetError: The forget set is empty, or leaves nothing to retain and the method reads retained samples.
            UsageError: The method cannot serve this kind of forget set, this model or these settings.
            TrainingError: A loss or a weight is no longer finite.
        """
        self._check_counts(problem)
        require_single(problem.model, problem.data.image_shape, problem.compute)
        self.check(problem)
        require_finite_weights(problem.model)
        if self.learns:
            data = problem.data
            require_learning(problem.model, data.image_shape, data.num_classes, problem.compute)
        problem = replace(problem, batch_size=self.batch_size or problem.batch_size)
        device = problem.compute.device
        if isinstance(self.config, FitSettings):
            load_optimizers()
        start = time.perf_counter()
        outer = counter_of(problem.model)  # of a method that this one is a part of
        counter = outer or Counter()
        before = counter.now()
        private = private_problem(problem, counter)
        with problem.compute.private_randomness():
            torch.manual_seed(seed_for(problem.seed, self.name))
            try:
                model = self.run(private)
            except SystemExit as error:  # of a model or a method that is not ours
                raise exit_of(error) from error
        if device.type == "cuda":
            torch.cuda.synchronize(device)
        rounded_as(model, problem.model)
        seconds = time.perf_counter() - start
        if not all(bool(torch.isfinite(weight).all()) for weight in model.parameters()):
            raise TrainingError(f"{self.name}: a weight is not finite after unlearning; try a lower lr.")
        restore_modes(model, problem.model)
        if outer is None:
            detached(model)
        self._tell_of_few(problem)
        self._tell_of_augmentation(problem)
        return Unlearned(model, seconds, passes_of(problem, counter.since(before), sharded=self.needs_shards))

    @property
    def batch_size(self) -> int | None:
        """Samples per step where the method's settings say so; the problem's if None."""
        return getattr(self.config, "batch_size", None)

    @property
    def learns(self) -> bool:
        """Whether the model as a whole has to have gradients; not where shards or a head have their own way."""
        return not (self.needs_shards or self.needs_head)

    @property
    def reads_retain(self) -> bool:
        """Whether it reads samples that are not to be forgotten, with the settings that it has."""
        return self.needs_retain

    def check(self, problem: Problem) -> None:
        """Refuse what cannot be done, before anything is trained; methods add to it what they need.

        Called for every forget set of a study before its original is trained, with a model of the same architecture.

        Raises:
            UsageError: One sentence that names the setting, the model or the forget set, and what is needed.
        """
        self._check_counts(problem)
        if problem.forget.scenario not in self.scenarios:
            served = ", ".join(self.scenarios)
            raise ScenarioError(f"{self.name} serves {served} forget sets, not {problem.forget.scenario}.")
        if not any(True for _ in problem.model.parameters()):
            raise ModelError("The model has no weights; name the trained model to unlearn from.")

    def _check_counts(self, problem: Problem) -> None:
        if len(problem.forget) + problem.gone == 0:
            raise ForgetSetError("The forget set is empty; name at least one training sample.")
        if self.reads_retain and len(problem.retain_positions) == 0:
            raise ForgetSetError(f"{self.name} reads samples that are kept, and there are none; {without_retain()}")

    def _tell_of_few(self, problem: Problem) -> None:
        """Say what to look at where less is kept than forgotten."""
        kept, forgotten = len(problem.retain_positions), len(problem.forget)
        if self.reads_retain and kept < forgotten:
            say(
                f"{self.name}: {kept} samples were kept and {forgotten} forgotten; the model may have lost accuracy on "
                "others, which a test set shows"
            )

    def _tell_of_augmentation(self, problem: Problem) -> None:
        """Say where a default augments images, and the original was trained on images as they are."""
        as_they_are = isinstance(problem.training, TrainSettings) and problem.training.augment is False
        for part in ("retain", "forget"):
            name = f"augment_{part}"
            if as_they_are and getattr(self.config, name, False) and name not in self.config.model_fields_set:
                decide(
                    f"{self.name} crops and flips {part} images, and the original was trained without; if the model "
                    f"loses accuracy, set {name}=false"
                )


def without_retain() -> str:
    """A sentence on the methods that do without samples that are kept."""
    from natmu.methods.registry import ours  # which reads this module

    *names, last = [name for name, method in ours().items() if not method.needs_retain]
    return f"{', '.join(names)} and {last} need none."
