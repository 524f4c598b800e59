"""The Python interface: unlearning and auditing models of the user's own, in memory."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from torch import nn

from natmu.arguments import (
    Indices,
    chosen_method,
    forget_set,
    forgotten_before,
    listed_models,
    refuse_beside_trainer,
    refuse_with_trainer,
    require_model,
    same_forgotten,
    steps_of_size,
    training_recipe,
    whole_seed,
)
from natmu.audits.by_trainer import trained_for_audit
from natmu.audits.in_memory import (
    ReferenceModels,
    ShadowModels,
    measured_scores,
    private_copy,
    shadow_margins,
)
from natmu.data import (
    from_dataset,
    without_earlier_classes,
)
from natmu.engine.compute import Compute
from natmu.engine.predict import part_of
from natmu.errors import SettingError
from natmu.lineage.given_trainer import retrain_by
from natmu.lineage.own_training import Trainer
from natmu.methods import Method, Problem, Retrain
from natmu.progress import showing
from natmu.records.run import History
from natmu.records.settings import TrainSettings, batch_size_of
from natmu.scores import (
    LEVELS,
    Level,
    Panel,
    Score,
    examine,
    mean_scores,
)
from natmu.scores import (
    scores as basic_scores,
)
from natmu.scores.verdict import Verdict
from natmu.types import ForgetSet, Outputs, Predictions

__all__ = ["AuditResult", "ShadowModels", "UnlearnResult", "audit", "unlearn"]


@dataclass(frozen=True)
class UnlearnResult:
    """What ``unlearn`` returns.

    Attributes:
        model: The unlearned model, on the device of the original; it shares nothing with the original.
        seconds: Wall time of unlearning.
        settings: Method, its complete settings, forget set, seed and precision, as plain values; ``training`` is the
            recipe of a retrained model, natmu's or that of the user's own function, None for other methods.
        history: One row per epoch.
        forget: The forget set.
    """

    model: nn.Module
    seconds: float
    settings: dict[str, Any]
    history: History
    forget: ForgetSet


@dataclass(frozen=True)
class AuditResult:
    """What ``audit`` returns; ``natmu.scores.catalogue`` says what each score is, and in which unit.

    Attributes:
        scores: Of the audited model.
        retrained: Mean scores of the retrained models; None where none was given.
        original: Scores of the original model; None where none was given.
        avg_gap: Distance of the audited model to the retrained ones; None where none was given.
        verdicts: For each score that retrained models have too, what may be said of it.
        verdict: What may be said of all of them together, in a sentence.
        missing: For each score that there is not, a sentence that says what it lacks.
    """

    scores: dict[str, float]
    retrained: dict[str, float] | None
    original: dict[str, float] | None
    avg_gap: float | None
    verdicts: dict[str, Verdict]
    verdict: str
    missing: dict[str, str]


def unlearn(
    model: nn.Module,
    train_data: object,
    forget: str | Indices | ForgetSet,
    method: str | type[Method] | Method = "natmu",
    *,
    already_forgotten: str | Indices | ForgetSet | None = None,
    holdout: object | None = None,
    training: TrainSettings | Mapping[str, Any] | None = None,
    trainer: Trainer | str | None = None,
    initial_model: nn.Module | None = None,
    batch_size: int | None = None,
    seed: int = 0,
    device: str = "auto",
    precision: str = "auto",
    progress: bool = True,
    **settings: Any,  # noqa: ANN401 - checked by the method's Config
) -> UnlearnResult:
    """Forget training samples.

    Args:
        model: The trained model; takes images in ``[0, 1]`` and returns logits ``(B, C)``. It is not changed.
        train_data: What it was trained on: any map-style data set of (image, label), an ``(images, labels)`` pair of
            arrays, or ``ImageData``.
        forget: Positions of the samples to forget in ``train_data``, or a forget request such as ``"random:1%"`` or
            ``"class:3"``, or the ``forget`` of an earlier result. A request that draws at random draws another set with
            every seed, so models that are to be compared need the latter.
        method: Name of a method, which ``natmu methods`` lists, a class of ``natmu.methods`` or of your own, or an
            object of one, which has its settings.
        already_forgotten: What ``model`` has forgotten before: best the ``forget`` of the result that it came from,
            which also knows what was forgotten before that; or positions, or a request that draws nothing. None of it
            is trained on again.
        holdout: Labelled images never trained on, apart from any test set, for methods that tune on them.
        training: How the original was trained, for retraining in natmu's loop.
        trainer: Your own training, for retraining: ``train(samples, seed)`` gets ``train_data`` without what is
            forgotten, as a ``torch.utils.data.Subset``, and returns the trained model.
        initial_model: The original before training, for retraining with ``init="original"``.
        batch_size: Samples per step, where the method's settings do not say; 128 if None.
        seed: Of everything random.
        device: ``auto``, ``cpu``, ``cuda`` or ``cuda:N``.
        precision: ``auto``, ``fp32`` or ``bf16``.
        progress: Whether to show progress on standard error.
        settings: Settings of the method, such as ``lr=1e-3``.

    Raises:
        UsageError: Something asked for cannot be done; the message says what to do.
        TrainingError: The loss is no longer finite.
    """
    chosen, seed = chosen_method(method, settings), whole_seed(seed)
    compute = Compute.choose(device, precision)
    data = from_dataset(train_data)
    require_model(model, "model", data)
    if initial_model is not None:
        require_model(initial_model, "initial_model", data)
    recipe = training_recipe(training)
    if trainer is not None:
        refuse_beside_trainer(chosen, training)
    with showing(progress):
        before = forgotten_before(already_forgotten, data, model, compute)
        forgotten = forget_set(forget, data, model, compute, seed, before)
        problem = Problem(
            model=model,
            data=data.to(compute.device),
            forget=forgotten,
            training=recipe,
            compute=compute,
            seed=seed,
            batch_size=steps_of_size(chosen, batch_size),
            initial_model=None if initial_model is None else partial(private_copy, initial_model, compute),
            holdout=None if holdout is None else without_earlier_classes(from_dataset(holdout), forgotten),
        )
        if trainer is not None:
            trained, seconds, own = retrain_by(trainer, model, train_data, data, forgotten, seed)
            told = _settings(chosen, problem) | {"training": own.model_dump(), "batch_size": None}
            return UnlearnResult(trained, seconds, told, [], forgotten)
        done = chosen(problem)
    home = next(model.parameters()).device
    return UnlearnResult(done.model.to(home), done.seconds, _settings(chosen, problem), problem.history, forgotten)


def audit(
    model: nn.Module | UnlearnResult,
    train_data: object,
    test_data: object,
    forget: str | Indices | ForgetSet,
    *,
    already_forgotten: str | Indices | ForgetSet | None = None,
    retrained: nn.Module | Sequence[nn.Module] = (),
    original: nn.Module | None = None,
    initial_model: nn.Module | None = None,
    unlearned: Sequence[nn.Module] = (),
    originals: Sequence[nn.Module] = (),
    again: Sequence[nn.Module] = (),
    shadows: ShadowModels | None = None,
    scores: Sequence[Score] = (),
    trainer: Trainer | str | None = None,
    references: int | None = None,
    folder: Path | str | None = None,
    level: Level | None = None,
    seed: int = 0,
    device: str = "auto",
    precision: str = "auto",
    progress: bool = True,
) -> AuditResult:
    """Score a model, and measure how close it comes to models retrained without the forget set.

    Args:
        model: The model to judge, or the result of ``unlearn``; none of the models is changed.
        train_data: What the original was trained on, forget set included.
        test_data: Samples that no model has seen.
        forget: What all given models were unlearned or retrained without, best the ``forget`` of the result of
            ``unlearn``; a request that draws at random needs the same seed.
        already_forgotten: What was forgotten before, as ``unlearn`` takes it; a ``forget`` of its result knows it.
        retrained: Model or models trained without the forget set. A verdict needs two, the level standard eight.
        original: The model before unlearning; needed for ``hardest:…:loss``.
        initial_model: The original before training, or any untrained model of its architecture.
        unlearned: What the same method made of other originals.
        originals: Those other originals.
        again: What the same method made of the same original with other seeds.
        shadows: Shadow models.
        scores: Scores of your own, beside those of natmu and of installed packages.
        trainer: Your own training, as ``unlearn`` takes it, in place of given models: it trains the references and, for
            a result, other originals on which its method is repeated.
        references: With a trainer, how many retrained models, if not as many as the level has.
        folder: With a trainer, where the models are kept; the same call goes on where it was stopped.
        level: ``quick``, ``standard`` or ``full``; by default ``standard`` with a trainer, and else the highest that
            the given models allow.
        seed: Of a forget set that is drawn at random, of subsamples and bootstrap draws.
        device: ``auto``, ``cpu``, ``cuda`` or ``cuda:N``.
        precision: ``auto``, ``fp32`` or ``bf16``.
        progress: Whether to show progress on standard error.

    Raises:
        UsageError: Something asked for cannot be done; the message says what to do.
    """
    compute, seed = Compute.choose(device, precision), whole_seed(seed)
    train, test = from_dataset(train_data), from_dataset(test_data)
    result, model = (model, model.model) if isinstance(model, UnlearnResult) else (None, model)
    given = ReferenceModels(
        listed_models(retrained, "retrained"),
        initial_model,
        listed_models(originals, "originals"),
        listed_models(unlearned, "unlearned"),
        listed_models(again, "again"),
        shadows,
    )
    if not isinstance(shadows, ShadowModels | None):
        raise SettingError(f"shadows must be natmu.ShadowModels, not {type(shadows).__name__}.")
    refuse_with_trainer(given, trainer, {"references": references, "folder": folder})
    level = level or ("standard" if trainer is not None else _level(given))
    if level not in LEVELS:
        raise SettingError(f"There is no level {level!r}; choose one of {', '.join(LEVELS)}.")
    named = {"model": [model], "original": [] if original is None else [original], **given.by_name()}
    for name, models in named.items():
        for one in models:
            require_model(one, name, train, test)
    with showing(progress):
        judge = model if original is None else original
        earlier = forgotten_before(already_forgotten, train, judge, compute)
        forgotten = forget_set(forget, train, judge, compute, seed, earlier)
        if trainer is not None:
            given = trained_for_audit(
                trainer,
                judge,
                ((train_data, train), (test_data, test)),
                forgotten,
                None if result is None else same_forgotten(result.settings, forgotten),
                original=original is not None,
                level=level,
                references=references,
                compute=compute,
                folder=None if folder is None else Path(folder),
            )

        def predictions(judged: nn.Module) -> Predictions:
            private = private_copy(judged, compute)
            return Outputs(part_of(private, train, compute), part_of(private, test, compute)).split(forgotten)

        before = None if original is None else predictions(original)
        panel = Panel(
            model=predictions(model),
            retrained=[predictions(one) for one in given.retrained],
            original=before,
            initial_forget=None if given.initial is None else predictions(given.initial).forget,
            unlearned=[predictions(one) for one in given.unlearned],
            originals=[*([] if before is None else [before]), *(predictions(one) for one in given.originals)],
            again=[predictions(one) for one in given.again],
            shadows=None if given.shadows is None else shadow_margins(given.shadows, train, test, forgotten, compute),
            measured={}
            if level == "quick"
            else measured_scores(model, given.retrained, original, before, train, forgotten, compute),
        )
        found = examine(panel, level, seed, scores)
    means = {name: float(np.mean(values)) for name, values in found.retrained.items() if values}
    return AuditResult(
        scores=found.scores,
        retrained=mean_scores([basic_scores(one) for one in panel.retrained]) | means if given.retrained else None,
        original=None if original is None else found.original,
        avg_gap=found.scores.get("avg_gap"),
        verdicts=found.verdicts,
        verdict=found.sentence,
        missing=found.missing,
    )


def _level(given: ReferenceModels) -> Level:
    """The highest level that the given models allow."""
    if len(given.retrained) < 2:
        return "quick"
    return "standard" if given.shadows is None else "full"


def _settings(method: Method, problem: Problem) -> dict[str, Any]:
    """Everything that was asked for, as plain values."""
    retraining, forget = isinstance(method, Retrain), problem.forget
    return {
        "method": method.name,
        "settings": method.config.model_dump(),
        "forget": {"request": forget.request, "digest": forget.digest, "count": len(forget)},
        "forgotten_before": len(forget.before),
        "training": problem.training.model_dump() if retraining and problem.training else None,
        "batch_size": batch_size_of(problem.training) if retraining else problem.batch_size,
        "seed": problem.seed,
        **problem.compute.arithmetic.plain(),
    }
