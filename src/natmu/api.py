"""The Python interface: unlearning and auditing models of the user's own, in memory."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

from torch import Tensor, nn

from natmu.arguments import (
    Inputs,
    RightLabels,
    Samples,
    chosen_method,
    forget_set,
    forgotten_before,
    refuse_beside_trainer,
    refuse_with_trainer,
    require_forget_only,
    same_forgotten,
    steps_of_size,
    training_data,
    training_recipe,
    whole_seed,
    with_augmentation,
)
from natmu.audits.by_trainer import trained_for_audit
from natmu.audits.compared import ALIKE_WITHOUT
from natmu.audits.in_memory import (
    ReferenceModels,
    ShadowModels,
    accuracies,
    measured_scores,
    outputs_in_memory,
    private_copy,
    shadow_margins,
)
from natmu.class_outputs import classes_asked, classes_to_drop, refuse_without_outputs
from natmu.data import (
    from_dataset,
    require_same_classes,
    say_what_is_forgotten,
    with_corrections,
    without_earlier_classes,
)
from natmu.data.kinds import of_one_kind
from natmu.engine.compute import Compute, hardware
from natmu.errors import SettingError
from natmu.lineage.given_trainer import retrain_by
from natmu.lineage.original_check import checked, report_check
from natmu.lineage.own_training import Trainer
from natmu.methods import Method, Problem, Retrain
from natmu.methods.rate_trial import with_suitable_rate
from natmu.models import Outputs as ModelOutputs
from natmu.models import WithoutOutputs, head_of, moved_outputs, require_enough, unadapted, without_outputs
from natmu.progress import decide, deciding, showing
from natmu.records.settings import TrainSettings, batch_size_of
from natmu.results import AuditResult, Summary, UnlearnResult, audit_result
from natmu.scores import (
    LEVELS,
    Level,
    Panel,
    Score,
    examine,
)
from natmu.scores.verdict import ENOUGH
from natmu.types import ForgetSet, Predictions

__all__ = ["AuditResult", "ShadowModels", "UnlearnResult", "audit", "unlearn"]


def unlearn(
    model: nn.Module,
    train_data: object,
    forget: str | Samples | RightLabels | ForgetSet,
    method: str | type[Method] | Method = "natmu",
    *,
    forget_only: bool = False,
    already_forgotten: str | Samples | ForgetSet | None = None,
    with_copies: bool = False,
    drop_class: bool = False,
    holdout: object | None = None,
    training: TrainSettings | Mapping[str, Any] | None = None,
    trainer: Trainer | str | None = None,
    augment: Callable[[Tensor], Tensor] | str | None = None,
    initial_model: nn.Module | None = None,
    batch_size: int | None = None,
    outputs: ModelOutputs = "logits",
    mean: Sequence[float] | None = None,
    std: Sequence[float] | None = None,
    seed: int = 0,
    device: str = "auto",
    precision: str = "auto",
    progress: bool = True,
    force: bool = False,
    **settings: Any,  # noqa: ANN401 - checked by the method's Config
) -> UnlearnResult:
    """Forget training samples.

    Args:
        model: The trained model; takes images and returns logits ``(B, C)``, or holds them in what it returns. It is
            not changed.
        train_data: What it was trained on, or the part of that which is left: any map-style data set of (image, label),
            an ``(images, labels)`` pair of arrays, or ``ImageData``. Images of 8 bits are divided by 255; floats are
            handed to the model as they are.
        forget: Positions of the samples to forget in ``train_data``, or their names, or a mask that is true for them,
            or a forget request such as ``"random:1%"`` or ``"class:3"``, ``"all"`` where ``train_data`` holds nothing
            else, or the ``forget`` of an earlier result. A
            request that draws at random draws another set with every seed, so models that are to be compared need the
            latter. A mapping from names or positions to right labels, such as ``{17: "cat"}``, is of samples whose
            labels are wrong: the pairs in ``train_data`` are forgotten, and the same images kept with these labels.
        method: Name of a method, which ``natmu methods`` lists, a class of ``natmu.methods`` or of your own, or an
            object of one, which has its settings.
        forget_only: Read nothing but the forget set: methods that read samples that are kept are refused.
        already_forgotten: What ``model`` has forgotten before: best the ``forget`` of the result that it came from,
            which also knows what was forgotten before that; or positions, or a request that draws nothing. None of it
            is trained on again.
        with_copies: Whether byte-identical copies of the samples in ``train_data`` are forgotten too.
        drop_class: Whether the classes that are forgotten lose their outputs too. The result's model then has one
            output less for each of them, in its own class: the last layer, a linear one or a 1x1 convolution, lost
            rows.
        holdout: Labelled images never trained on, apart from any test set, for methods that tune on them.
        training: How the original was trained, for retraining in natmu's loop. Where nobody says so, a short trial
            chooses the learning rate of a method whose ``lr`` is not given: its default suits models trained from
            scratch.
        trainer: Your own training, for retraining: ``train(samples, seed)`` gets ``train_data`` without what is
            forgotten, as a ``torch.utils.data.Subset``, and returns the trained model.
        augment: Your own augmentation in place of random crop and flip, wherever the method augments: a function from
            float32 images ``(B, C, H, W)``, as the model is given them and on its device, to images of the same shape,
            or its name as ``package.module:function``. Its random numbers must come from ``torch``.
        initial_model: The original before training, for retraining with ``init="original"``.
        batch_size: Samples per step, where the method's settings do not say; 128 if None.
        outputs: ``probabilities`` where the model ends in a softmax or a sigmoid.
        mean: With ``std``, normalisation of images in front of the model, one number per channel; none by default.
        std: Likewise.
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
    if forget_only:
        require_forget_only(chosen)
    compute = Compute.choose(device, precision)
    if trainer is not None:
        refuse_beside_trainer(chosen, training)
    with showing(progress):
        data = training_data(train_data, model)
    inputs = Inputs([data], outputs, mean, std, classes_asked(already_forgotten, data))
    model = inputs.model(model, "model")
    refuse_without_outputs(model)
    if initial_model is not None:
        initial_model = inputs.model(initial_model, "initial_model")
    known = training_recipe(training)
    recipe = with_augmentation(known, augment, chosen)
    with showing(progress), deciding() as decisions:
        unseen = None if holdout is None else from_dataset(holdout)
        if unseen is not None:
            require_same_classes(data.class_names, unseen.class_names, "the holdout")
        predicted = outputs_in_memory(model, data, None, unseen, compute)
        before = forgotten_before(already_forgotten, data, lambda: predicted.train)
        forgotten = forget_set(forget, data, lambda: predicted.train, seed, before, copies=with_copies)
        layer, dropped = None, classes_to_drop(forgotten) if drop_class else ()
        if dropped:
            require_enough(data.num_classes, dropped)
            layer = head_of(model, num_classes=data.num_classes, image_shape=data.image_shape)
            decide(moved_outputs(data.class_names, dropped))
        check = checked(private_copy(model, compute), predicted, forgotten, data, compute)
        report_check(check, force=force or isinstance(chosen, Retrain))
        say_what_is_forgotten(forgotten, data, holdout=unseen)
        resident = data.to(compute.device)
        problem = Problem(
            model=model,
            data=with_corrections(resident, forgotten),
            forget=forgotten,
            training=recipe,
            compute=compute,
            seed=seed,
            batch_size=steps_of_size(chosen, batch_size),
            initial_model=None if initial_model is None else partial(private_copy, initial_model, compute),
            holdout=without_earlier_classes(unseen, forgotten),
        )
        chosen, _ = with_suitable_rate(chosen, problem, known, settings, forget_only=forget_only)
        told = _settings(chosen, problem)
        if trainer is not None:
            found, seconds, own = retrain_by(trainer, model, train_data, data, forgotten, seed)
            told |= {"training": own.model_dump(), "batch_size": None}
        else:
            done = chosen(problem)
            found, seconds = done.model, done.seconds
    if layer is not None:
        found, told = (
            without_outputs(found, layer, dropped),
            told | {"dropped": {"layer": layer, "classes": list(dropped)}},
        )
    home = next(model.parameters()).device
    result = unadapted(found.to(home))
    inputs = replace(inputs, dropped=dropped)

    def measure() -> Summary:
        after = outputs_in_memory(inputs.model(result, "model"), resident, None, problem.holdout, compute)
        return {"original": accuracies(predicted, forgotten), "result": accuracies(after, forgotten)}

    return UnlearnResult(
        model=result,
        seconds=seconds,
        settings=told,
        history=problem.history,
        forget=forgotten,
        check=check,
        names=tuple(data.names[row] for row in forgotten.indices),
        decisions=tuple(decisions),
        hardware=hardware(compute),
        _measure=measure,
    )


def audit(
    model: nn.Module | UnlearnResult,
    train_data: object,
    test_data: object,
    forget: str | Samples | RightLabels | ForgetSet,
    *,
    already_forgotten: str | Samples | ForgetSet | None = None,
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
    outputs: ModelOutputs = "logits",
    mean: Sequence[float] | None = None,
    std: Sequence[float] | None = None,
    seed: int = 0,
    device: str = "auto",
    precision: str = "auto",
    progress: bool = True,
    force: bool = False,
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
        outputs: What all given models return, as for ``unlearn``.
        mean: Normalisation in front of all of them, as for ``unlearn``.
        std: Likewise.
        seed: Of a forget set that is drawn at random, of subsamples and bootstrap draws.
        device: ``auto``, ``cpu``, ``cuda`` or ``cuda:N``.
        precision: ``auto``, ``fp32`` or ``bf16``.
        progress: Whether to show progress on standard error.
        force: Whether to go on with an original that does not seem to belong to the data.

    Raises:
        UsageError: Something asked for cannot be done; the message says what to do.
    """
    compute, seed = Compute.choose(device, precision), whole_seed(seed)
    result, model = (model, model.model) if isinstance(model, UnlearnResult) else (None, model)
    with showing(progress):
        train, test = of_one_kind([training_data(train_data, model), from_dataset(test_data)], "the data")
    require_same_classes(train.class_names, test.class_names, "the test data")
    if not isinstance(shadows, ShadowModels | None):
        raise SettingError(f"shadows must be natmu.ShadowModels, not {type(shadows).__name__}.")
    inputs = Inputs([train, test], outputs, mean, std, classes_asked(forget, train))
    model = inputs.model(model, "model")
    dropped = model.classes if isinstance(model, WithoutOutputs) else ()
    inputs = replace(inputs, dropped=dropped)
    original = None if original is None else inputs.model(original, "original")
    given = ReferenceModels(
        inputs.models(retrained, "retrained"),
        None if initial_model is None else inputs.model(initial_model, "initial_model"),
        inputs.models(originals, "originals"),
        inputs.models(unlearned, "unlearned"),
        inputs.models(again, "again"),
        None if shadows is None else inputs.shadows(shadows),
    )
    refuse_with_trainer(given, trainer, {"references": references, "folder": folder})
    if dropped and trainer is not None and original is None:
        raise SettingError("The model has lost an output; give original=… too, so that the trainer's models have all.")
    noted = []
    if level is None:
        level = "standard" if trainer is not None else _level(given)
        noted = [f"The audit has the level {level}, the highest that the given models allow."]
    if level not in LEVELS:
        raise SettingError(f"There is no level {level!r}; choose one of {', '.join(LEVELS)}.")
    with showing(progress), deciding() as decisions:
        for sentence in [*(noted if trainer is None else ()), *([ALIKE_WITHOUT] if dropped else ())]:
            decide(sentence)
        judge = model if original is None else original
        judged = outputs_in_memory(judge, train, test, None, compute)
        earlier = forgotten_before(already_forgotten, train, lambda: judged.train)
        forgotten = forget_set(forget, train, lambda: judged.train, seed, earlier)
        told = None if result is None else same_forgotten(result.settings, forgotten)
        if original is not None:
            report_check(checked(private_copy(original, compute), judged, forgotten, train, compute), force=force)
        say_what_is_forgotten(forgotten, train, test=test)
        if trainer is not None:
            given = trained_for_audit(
                trainer,
                judge,
                ((train_data, train), (test_data, test)),
                forgotten,
                told,
                original=original is not None,
                level=level,
                references=references,
                compute=compute,
                folder=None if folder is None else Path(folder),
            )
        if len(given.retrained) > ENOUGH:
            decide(f"The first {ENOUGH} of {len(given.retrained)} retrained models are what scores are compared with.")

        def predictions(one: nn.Module) -> Predictions:
            return outputs_in_memory(one, train, test, None, compute).without_outputs(dropped).split(forgotten)

        judged = judged.without_outputs(dropped)
        before = None if original is None else judged.split(forgotten)
        panel = Panel(
            model=judged.split(forgotten) if original is None else predictions(model),
            retrained=[predictions(one) for one in given.retrained],
            original=before,
            initial_forget=None if given.initial is None else predictions(given.initial).forget,
            unlearned=[predictions(one) for one in given.unlearned],
            originals=[*([] if before is None else [before]), *(predictions(one) for one in given.originals)],
            again=[predictions(one) for one in given.again],
            shadows=None
            if given.shadows is None
            else shadow_margins(given.shadows, train, test, forgotten, compute, dropped),
            measured={}
            if level == "quick"
            else measured_scores(model, given.retrained, original, before, train, forgotten, compute),
        )
        found = examine(panel, level, seed, scores)
    return audit_result(found, panel, forgotten, level, seed, decisions)


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
        **_augmentation(problem.training),
        "batch_size": batch_size_of(problem.training) if retraining else problem.batch_size,
        "seed": problem.seed,
        **problem.compute.arithmetic.plain(),
    }


def _augmentation(recipe: TrainSettings | None) -> dict[str, str]:
    """The user's own augmentation by its name, where there is one."""
    return {} if recipe is None or isinstance(recipe.augment, bool) else {"augment": recipe.augment_name}
