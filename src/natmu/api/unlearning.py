"""Unlearning a model of the user's own, in memory."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import partial
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
    refuse_unprepared,
    require_forget_only,
    steps_of_size,
    training_data,
    training_recipe,
    whole_seed,
    with_augmentation,
)
from natmu.audits.in_memory import accuracies, outputs_in_memory, private_copy
from natmu.class_outputs import classes_asked, classes_to_drop, refuse_without_outputs
from natmu.data import (
    ImageData,
    from_dataset,
    require_same_classes,
    say_what_is_forgotten,
    with_corrections,
    without_earlier_classes,
)
from natmu.engine.compute import Compute, hardware
from natmu.lineage.given_trainer import retrain_by
from natmu.lineage.original_check import checked, report_check
from natmu.lineage.own_training import Trainer
from natmu.methods import Method, Problem, Retrain, Unlearned
from natmu.methods.rate_trial import with_suitable_rate
from natmu.models import Outputs as ModelOutputs
from natmu.models import head_of, moved_outputs, require_enough, unadapted, without_outputs
from natmu.models.finite import require_finite_weights
from natmu.progress import decide, deciding, showing
from natmu.records.lineage import DroppedOutputs
from natmu.records.settings import TrainSettings, batch_size_of
from natmu.results import Summary, UnlearnResult
from natmu.types import ForgetSet


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

    Examples:
        >>> import natmu
        >>> from natmu.testing import digits, trained
        >>> model, data = trained(), digits()  # a small network, and 60 images that it has learnt
        >>> result = natmu.unlearn(model, data, [3, 14, 15], "salun", epochs=2, progress=False)
        >>> len(result.forget), result.model is model
        (3, False)
    """
    chosen, seed = chosen_method(method, settings), whole_seed(seed)
    refuse_unprepared(chosen)
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
    require_finite_weights(model)
    if initial_model is not None:
        initial_model = inputs.model(initial_model, "initial_model")
    known = training_recipe(training)
    recipe = with_augmentation(known, augment, chosen)
    with showing(progress), deciding() as decisions:
        unseen = _unseen(holdout, data)
        predicted = outputs_in_memory(model, data, None, unseen, compute)
        before = forgotten_before(already_forgotten, data, lambda: predicted.train)
        forgotten = forget_set(forget, data, lambda: predicted.train, seed, before, copies=with_copies)
        dropped = _dropped_outputs(model, data, forgotten) if drop_class else None
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
        made, told = _made(chosen, problem, trainer, train_data, data)
    found = made.model
    if dropped is not None:
        found, told = without_outputs(found, dropped.layer, dropped.classes), told | {"dropped": dropped.plain()}
    result = unadapted(found.to(next(model.parameters()).device))
    inputs = replace(inputs, dropped=() if dropped is None else dropped.classes)

    def measure() -> Summary:
        after = outputs_in_memory(inputs.model(result, "model"), resident, None, problem.holdout, compute)
        return {"original": accuracies(predicted, forgotten), "result": accuracies(after, forgotten)}

    return UnlearnResult(
        model=result,
        seconds=made.seconds,
        settings=told,
        history=problem.history,
        forget=forgotten,
        check=check,
        names=tuple(data.names[row] for row in forgotten.indices),
        decisions=tuple(decisions),
        hardware=hardware(compute),
        passes=made.passes,
        _measure=measure,
    )


def _unseen(holdout: object | None, data: ImageData) -> ImageData | None:
    """The holdout, where one is given, with the classes of the training data."""
    if holdout is None:
        return None
    unseen = from_dataset(holdout)
    require_same_classes(data.class_names, unseen.class_names, "the holdout")
    return unseen


def _dropped_outputs(model: nn.Module, data: ImageData, forgotten: ForgetSet) -> DroppedOutputs | None:
    """The outputs that go with the classes that are forgotten; which others move is said."""
    classes = classes_to_drop(forgotten)
    if not classes:
        return None
    require_enough(data.num_classes, classes)
    layer = head_of(model, num_classes=data.num_classes, image_shape=data.image_shape)
    decide(moved_outputs(data.class_names, classes))
    return DroppedOutputs(layer=layer, classes=classes)


def _made(
    method: Method, problem: Problem, trainer: Trainer | str | None, train_data: object, data: ImageData
) -> tuple[Unlearned, dict[str, Any]]:
    """What the method or the user's own training makes, and everything that was asked for."""
    told = _settings(method, problem)
    if trainer is None:
        return method(problem), told
    found, seconds, own = retrain_by(trainer, problem.model, train_data, data, problem.forget, problem.seed)
    return Unlearned(found, seconds), told | {"training": own.model_dump(), "batch_size": None}


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
