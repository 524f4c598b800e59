"""Unlearning and auditing one model of the user's own: the Python interface."""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from torch import Tensor, nn

from natmu.data import ImageData, forget_from_indices, from_dataset, parse_forget, resolve_forget
from natmu.engine.compute import Compute
from natmu.engine.predict import part_of
from natmu.lineage.workspace import sample_losses
from natmu.methods import Method, Problem, Retrain, method_named
from natmu.models import check_fit
from natmu.progress import showing
from natmu.records.run import History
from natmu.records.settings import TrainSettings
from natmu.scores import Panel, examine, mean_scores, scores
from natmu.scores.verdict import Verdict
from natmu.types import FloatArray, ForgetSet, IntArray, Outputs, Predictions

Indices = Sequence[int] | IntArray | Tensor


@dataclass(frozen=True)
class UnlearnResult:
    """What ``unlearn`` returns.

    Attributes:
        model: The unlearned model, on the device of the original; it shares nothing with the original.
        seconds: Wall time of unlearning.
        spec: Method, its complete settings, forget set, seed and precision, as plain values; ``training`` is the
            recipe of a retrained model, None for other methods.
        history: One row per epoch.
        forget: The forget set.
    """

    model: nn.Module
    seconds: float
    spec: dict[str, Any]
    history: History
    forget: ForgetSet


@dataclass(frozen=True)
class AuditResult:
    """What ``audit`` returns; ``natmu.scores.catalogue`` says what each score is, and in which unit.

    Attributes:
        scores: Of the audited model.
        retrained: Mean scores of the retrained models; None where none was given.
        original: Scores of the original model, None where none was given.
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
    method: str = "natmu",
    *,
    holdout: object | None = None,
    training: TrainSettings | Mapping[str, Any] | None = None,
    initial_model: nn.Module | None = None,
    batch_size: int = 128,
    seed: int = 0,
    device: str = "auto",
    precision: str = "auto",
    progress: bool = True,
    **settings: Any,  # noqa: ANN401 - checked by the method's Config
) -> UnlearnResult:
    """Forget training samples.

    Args:
        model: The trained model; takes images in ``[0, 1]`` and answers with logits ``(B, C)``. It is not changed.
        train_data: What it was trained on: any map-style data set of (image, label), an ``(images, labels)`` pair of
            arrays, or ``ImageData``.
        forget: Positions of the samples to forget in ``train_data``, or a spec such as ``"random:1%"`` or
            ``"class:3"``.
        method: Name of the method; ``natmu methods`` lists them.
        holdout: Labelled images never trained on, apart from any test set, for methods that tune on them.
        training: How the original was trained, for ``method="retrain"``.
        initial_model: The original before training, for ``method="retrain"`` with ``init="original"``.
        batch_size: Samples per step.
        seed: Of everything random.
        device: ``auto``, ``cpu``, ``cuda`` or ``cuda:N``.
        precision: ``auto``, ``fp32`` or ``bf16``.
        progress: Whether to show progress on standard error.
        settings: Settings of the method, such as ``lr=1e-3``.

    Raises:
        UsageError: Something asked for cannot be done; the message says what to do.
        TrainingError: The loss is no longer finite.
    """
    chosen = method_named(method)(**settings)
    compute = Compute.choose(device, precision)
    data = from_dataset(train_data)
    check_fit(model, num_classes=data.num_classes, image_shape=data.image_shape)
    recipe = training if isinstance(training, TrainSettings) else TrainSettings.parse(training or {}, "training")
    with showing(progress):
        forgotten = _forget_set(forget, data, model, compute, seed)
        problem = Problem(
            model=model,
            data=data.to(compute.device),
            forget=forgotten,
            training=recipe,
            compute=compute,
            seed=seed,
            batch_size=batch_size,
            initial_model=None if initial_model is None else _copier(initial_model, compute),
            holdout=None if holdout is None else from_dataset(holdout),
        )
        done = chosen(problem)
    home = next(model.parameters()).device
    return UnlearnResult(done.model.to(home), done.seconds, _spec(chosen, problem), problem.history, forgotten)


def audit(
    model: nn.Module,
    train_data: object,
    test_data: object,
    forget: str | Indices | ForgetSet,
    *,
    retrained: nn.Module | Sequence[nn.Module] = (),
    original: nn.Module | None = None,
    seed: int = 0,
    device: str = "auto",
    precision: str = "auto",
    progress: bool = True,
) -> AuditResult:
    """Score a model, and measure how close it comes to models retrained without the forget set.

    Args:
        model: The model to judge; none of the models is changed.
        train_data: What the original was trained on, forget set included.
        test_data: Samples that no model has seen.
        forget: The same as for ``unlearn``; a spec that draws at random needs the same seed.
        retrained: Model or models trained without the forget set; with several, their mean scores are the reference.
        original: The model before unlearning; needed for ``hardest:…:loss``.
        seed: Of a forget set that is drawn at random.
        device: ``auto``, ``cpu``, ``cuda`` or ``cuda:N``.
        precision: ``auto``, ``fp32`` or ``bf16``.
        progress: Whether to show progress on standard error.

    Raises:
        UsageError: Something asked for cannot be done; the message says what to do.
    """
    compute = Compute.choose(device, precision)
    train, test = from_dataset(train_data), from_dataset(test_data)
    references = [retrained] if isinstance(retrained, nn.Module) else list(retrained)
    for one in (model, *references, *([] if original is None else [original])):
        check_fit(one, num_classes=train.num_classes, image_shape=train.image_shape)
        check_fit(one, num_classes=train.num_classes, image_shape=test.image_shape)
    with showing(progress):
        forgotten = _forget_set(forget, train, model if original is None else original, compute, seed)

        def answers(judged: nn.Module) -> Predictions:
            private = compute.place(copy.deepcopy(judged))
            return Outputs(part_of(private, train, compute), part_of(private, test, compute)).split(forgotten)

        panel = Panel(answers(model), list(map(answers, references)), None if original is None else answers(original))
        found = examine(panel, "standard" if len(references) > 1 else "quick", seed)
    means = {name: float(np.mean(values)) for name, values in found.retrained.items()}
    return AuditResult(
        scores=found.scores,
        retrained=mean_scores([scores(one) for one in panel.retrained]) | means if references else None,
        original=None if original is None else found.original,
        avg_gap=found.scores.get("avg_gap"),
        verdicts=found.verdicts,
        verdict=found.sentence,
        missing=found.missing,
    )


def _spec(method: Method, problem: Problem) -> dict[str, Any]:
    """Everything that was asked for, as plain values."""
    retraining = isinstance(method, Retrain)
    return {
        "method": method.name,
        "settings": method.config.model_dump(),
        "forget": {"request": problem.forget.request, "digest": problem.forget.digest, "count": len(problem.forget)},
        "training": problem.training.model_dump() if retraining else None,
        "batch_size": problem.training.batch_size if retraining else problem.batch_size,
        "seed": problem.seed,
        **problem.compute.arithmetic.plain(),
    }


def _forget_set(
    forget: str | Indices | ForgetSet, data: ImageData, original: nn.Module, compute: Compute, seed: int
) -> ForgetSet:
    """The forget set in any of the forms that a user may give."""
    if isinstance(forget, ForgetSet):
        forget_from_indices(forget.indices, data)  # refuses what does not fit this data
        return forget
    if not isinstance(forget, str):
        return forget_from_indices(forget, data)
    request = parse_forget(forget)
    hardness: dict[str, FloatArray] = {}
    if request.kind == "hardest" and request.criterion == "loss":
        answers = part_of(compute.place(copy.deepcopy(original)), data, compute)
        hardness["loss"] = sample_losses(answers.logits, np.asarray(data.labels))
    return resolve_forget(request, data, seed=seed, hardness=hardness)


def _copier(model: nn.Module, compute: Compute) -> Callable[[], nn.Module]:
    """A function that makes a private copy of a model on the device."""
    return lambda: compute.place(copy.deepcopy(model))
