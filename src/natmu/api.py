"""The Python interface: unlearning and auditing models of the user's own, in memory."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
from torch import nn

from natmu.arguments import (
    Indices,
    chosen_method,
    forget_set,
    forgotten_before,
    listed_models,
    require_model,
    steps_of_size,
    training_recipe,
    whole_seed,
)
from natmu.audits.in_memory import ShadowModels, measured_scores, outputs_in_memory, private_copy, shadow_margins
from natmu.data import (
    from_dataset,
    without_earlier_classes,
)
from natmu.engine.compute import Compute
from natmu.errors import SettingError
from natmu.lineage.original_check import checked, report_check
from natmu.methods import Method, Problem, Retrain
from natmu.methods.rate_trial import with_suitable_rate
from natmu.progress import showing
from natmu.records.run import History
from natmu.records.settings import TrainSettings
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
from natmu.scores.original_check import OriginalCheck
from natmu.scores.verdict import Verdict
from natmu.types import ForgetSet, Predictions

__all__ = ["AuditResult", "ShadowModels", "UnlearnResult", "audit", "unlearn"]


@dataclass(frozen=True)
class UnlearnResult:
    """What ``unlearn`` returns.

    Attributes:
        model: The unlearned model, on the device of the original; it shares nothing with the original.
        seconds: Wall time of unlearning.
        settings: Method, its complete settings, forget set, seed and precision, as plain values; ``training`` is the
            recipe of a retrained model, None for other methods.
        history: One row per epoch.
        forget: The forget set.
        check: What was found out about the original, its accuracies among it.
    """

    model: nn.Module
    seconds: float
    settings: dict[str, Any]
    history: History
    forget: ForgetSet
    check: OriginalCheck


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
    initial_model: nn.Module | None = None,
    batch_size: int | None = None,
    seed: int = 0,
    device: str = "auto",
    precision: str = "auto",
    progress: bool = True,
    force: bool = False,
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
        training: How the original was trained, for retraining. Where nobody says so, a short trial chooses the
            learning rate of a method whose ``lr`` is not given: its default suits models trained from scratch.
        initial_model: The original before training, for retraining with ``init="original"``.
        batch_size: Samples per step, where the method's settings do not say; 128 if None.
        seed: Of everything random.
        device: ``auto``, ``cpu``, ``cuda`` or ``cuda:N``.
        precision: ``auto``, ``fp32`` or ``bf16``.
        progress: Whether to show progress on standard error.
        force: Whether to go on with a model that does not seem to belong to the data.
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
    with showing(progress):
        unseen = None if holdout is None else from_dataset(holdout)
        outputs = outputs_in_memory(model, data, None, unseen, compute)
        before = forgotten_before(already_forgotten, data, lambda: outputs.train)
        forgotten = forget_set(forget, data, lambda: outputs.train, seed, before)
        check = checked(private_copy(model, compute), outputs, forgotten, data, compute)
        report_check(check, force=force or isinstance(chosen, Retrain))
        problem = Problem(
            model=model,
            data=data.to(compute.device),
            forget=forgotten,
            training=recipe,
            compute=compute,
            seed=seed,
            batch_size=steps_of_size(chosen, batch_size),
            initial_model=None if initial_model is None else partial(private_copy, initial_model, compute),
            holdout=without_earlier_classes(unseen, forgotten),
        )
        chosen, _ = with_suitable_rate(chosen, problem, None if training is None else recipe, settings)
        done = chosen(problem)
    home = next(model.parameters()).device
    return UnlearnResult(
        done.model.to(home), done.seconds, _settings(chosen, problem), problem.history, forgotten, check
    )


def audit(
    model: nn.Module,
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
    level: Level | None = None,
    seed: int = 0,
    device: str = "auto",
    precision: str = "auto",
    progress: bool = True,
    force: bool = False,
) -> AuditResult:
    """Score a model, and measure how close it comes to models retrained without the forget set.

    Args:
        model: The model to judge; none of the models is changed.
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
        level: ``quick``, ``standard`` or ``full``; by default the highest that the given models allow.
        seed: Of a forget set that is drawn at random, of subsamples and bootstrap draws.
        device: ``auto``, ``cpu``, ``cuda`` or ``cuda:N``.
        precision: ``auto``, ``fp32`` or ``bf16``.
        progress: Whether to show progress on standard error.
        force: Whether to go on with an original that does not seem to belong to the data.

    Raises:
        UsageError: Something asked for cannot be done; the message says what to do.
    """
    compute, seed = Compute.choose(device, precision), whole_seed(seed)
    train, test = from_dataset(train_data), from_dataset(test_data)
    references, unlearned = listed_models(retrained, "retrained"), listed_models(unlearned, "unlearned")
    originals, again = listed_models(originals, "originals"), listed_models(again, "again")
    if not isinstance(shadows, ShadowModels | None):
        raise SettingError(f"shadows must be natmu.ShadowModels, not {type(shadows).__name__}.")
    level = level or _level(references, shadows)
    if level not in LEVELS:
        raise SettingError(f"There is no level {level!r}; choose one of {', '.join(LEVELS)}.")
    given = {"model": [model], "retrained": references, "unlearned": unlearned, "originals": originals, "again": again}
    given |= {"original": [] if original is None else [original]}
    given |= {"initial_model": [] if initial_model is None else [initial_model]}
    given |= {} if shadows is None else {"shadows": [*shadows.trained, *shadows.unlearned]}
    for name, models in given.items():
        for one in models:
            require_model(one, name, train, test)
    with showing(progress):
        judge = model if original is None else original
        judged = outputs_in_memory(judge, train, test, None, compute)
        earlier = forgotten_before(already_forgotten, train, lambda: judged.train)
        forgotten = forget_set(forget, train, lambda: judged.train, seed, earlier)
        if original is not None:
            report_check(checked(private_copy(original, compute), judged, forgotten, train, compute), force=force)

        def predictions(one: nn.Module) -> Predictions:
            return outputs_in_memory(one, train, test, None, compute).split(forgotten)

        before = None if original is None else judged.split(forgotten)
        panel = Panel(
            model=judged.split(forgotten) if original is None else predictions(model),
            retrained=[predictions(one) for one in references],
            original=before,
            initial_forget=None if initial_model is None else predictions(initial_model).forget,
            unlearned=[predictions(one) for one in unlearned],
            originals=[*([] if before is None else [before]), *(predictions(one) for one in originals)],
            again=[predictions(one) for one in again],
            shadows=None if shadows is None else shadow_margins(shadows, train, test, forgotten, compute),
            measured={}
            if level == "quick"
            else measured_scores(model, references, original, before, train, forgotten, compute),
        )
        found = examine(panel, level, seed, scores)
    means = {name: float(np.mean(values)) for name, values in found.retrained.items() if values}
    return AuditResult(
        scores=found.scores,
        retrained=mean_scores([basic_scores(one) for one in panel.retrained]) | means if references else None,
        original=None if original is None else found.original,
        avg_gap=found.scores.get("avg_gap"),
        verdicts=found.verdicts,
        verdict=found.sentence,
        missing=found.missing,
    )


def _level(retrained: Sequence[nn.Module], shadows: ShadowModels | None) -> Level:
    """The highest level that the given models allow."""
    if len(retrained) < 2:
        return "quick"
    return "standard" if shadows is None else "full"


def _settings(method: Method, problem: Problem) -> dict[str, Any]:
    """Everything that was asked for, as plain values."""
    retraining, forget = isinstance(method, Retrain), problem.forget
    return {
        "method": method.name,
        "settings": method.config.model_dump(),
        "forget": {"request": forget.request, "digest": forget.digest, "count": len(forget)},
        "forgotten_before": len(forget.before),
        "training": problem.training.model_dump() if retraining else None,
        "batch_size": problem.training.batch_size if retraining else problem.batch_size,
        "seed": problem.seed,
        **problem.compute.arithmetic.plain(),
    }
