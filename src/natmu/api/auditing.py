"""Auditing a model of the user's own, in memory."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from torch import nn

from natmu.arguments import (
    Inputs,
    RightLabels,
    Samples,
    forget_set,
    forgotten_before,
    refuse_with_trainer,
    same_forgotten,
    training_data,
    whole_seed,
)
from natmu.audits.by_trainer import trained_for_audit
from natmu.audits.compared import ALIKE_WITHOUT
from natmu.audits.in_memory import (
    ReferenceModels,
    ShadowModels,
    measured_scores,
    outputs_in_memory,
    private_copy,
    shadow_margins,
)
from natmu.class_outputs import classes_asked
from natmu.data import ImageData, from_dataset, require_same_classes, say_what_is_forgotten
from natmu.data.kinds import of_one_kind
from natmu.engine.compute import Compute
from natmu.errors import SettingError
from natmu.lineage.original_check import checked, report_check
from natmu.lineage.own_training import Trainer
from natmu.models import Outputs as ModelOutputs
from natmu.models import WithoutOutputs
from natmu.progress import decide, deciding, showing
from natmu.results import AuditResult, UnlearnResult, audit_result
from natmu.scores import LEVELS, Level, Panel, Score, examine
from natmu.scores.verdict import ENOUGH
from natmu.types import ForgetSet, Outputs, Predictions


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

    Examples:
        >>> import natmu
        >>> from natmu.testing import digits, trained
        >>> train, test = digits(), digits(60)
        >>> result = natmu.unlearn(trained(), train, [3, 14, 15], "salun", epochs=2, progress=False)
        >>> audit = natmu.audit(result, train, test, result.forget, original=trained(), progress=False)
        >>> sorted(audit.original.keys() & {"forget_acc", "retain_acc", "test_acc"})
        ['forget_acc', 'retain_acc', 'test_acc']
        >>> audit.original["forget_acc"]  # the original knows all three
        100.0
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
    level, noted = _level(level, given, trainer)
    with showing(progress), deciding() as decisions:
        for sentence in [*noted, *([ALIKE_WITHOUT] if dropped else ())]:
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
        case = _Case(train, test, forgotten, dropped, compute)
        panel = _panel(case, model, original, judged, given, level)
        found = examine(panel, level, seed, scores)
        for sentence in found.poor_baseline:
            decide(sentence)
    return audit_result(found, panel, forgotten, level, seed, decisions)


def _level(level: Level | None, given: ReferenceModels, trainer: Trainer | str | None) -> tuple[Level, tuple[str, ...]]:
    """The level of an audit, and what is said of it where the given models decide."""
    noted: tuple[str, ...] = ()
    if level is None and trainer is not None:
        level = "standard"
    elif level is None:
        level = _highest_level(given)
        noted = (f"The audit has the level {level}, the highest that the given models allow.",)
    if level not in LEVELS:
        raise SettingError(f"There is no level {level!r}; choose one of {', '.join(LEVELS)}.")
    return level, noted


def _highest_level(given: ReferenceModels) -> Level:
    """The highest level that the given models allow."""
    if len(given.retrained) < 2:
        return "quick"
    return "standard" if given.shadows is None else "full"


@dataclass(frozen=True)
class _Case:
    """What all models of an audit are judged on."""

    train: ImageData
    test: ImageData
    forgotten: ForgetSet
    dropped: tuple[int, ...]
    compute: Compute

    def predictions(self, model: nn.Module) -> Predictions:
        """What a model says of the parts that scores compare."""
        return self.divided(outputs_in_memory(model, self.train, self.test, None, self.compute))

    def divided(self, outputs: Outputs) -> Predictions:
        """The same of a model whose predictions are known."""
        return outputs.without_outputs(self.dropped).split(self.forgotten)


def _panel(
    case: _Case, model: nn.Module, original: nn.Module | None, judged: Outputs, given: ReferenceModels, level: Level
) -> Panel:
    """The predictions of all models of an audit.

    Args:
        case: What they are judged on.
        model: The model that is judged.
        original: The model before unlearning, if it is given.
        judged: The predictions of the original, or of the model where there is none.
        given: What the model is compared with.
        level: How much is asked for.
    """
    before = None if original is None else case.divided(judged)
    train, test, forgotten, compute = case.train, case.test, case.forgotten, case.compute
    return Panel(
        model=case.divided(judged) if original is None else case.predictions(model),
        retrained=[case.predictions(one) for one in given.retrained],
        original=before,
        initial_forget=None if given.initial is None else case.predictions(given.initial).forget,
        unlearned=[case.predictions(one) for one in given.unlearned],
        originals=[*([] if before is None else [before]), *(case.predictions(one) for one in given.originals)],
        again=[case.predictions(one) for one in given.again],
        shadows=None
        if given.shadows is None
        else shadow_margins(given.shadows, train, test, forgotten, compute, case.dropped),
        measured={}
        if level == "quick"
        else measured_scores(model, given.retrained, original, before, train, forgotten, compute),
    )
