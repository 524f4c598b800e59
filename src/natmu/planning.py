"""What unlearning would take: retraining beside every method, before anything is forgotten."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from natmu.data import say_what_is_forgotten
from natmu.engine.store import Run, Store
from natmu.errors import UsageError
from natmu.lineage import import_model, outcome_of, problem_of
from natmu.lineage.costs import advice, retraining_seconds, seconds_of, seconds_per_sample
from natmu.lineage.original_check import check_run
from natmu.methods import METHODS, Method, NatMU, Problem, Retrain
from natmu.opening import Place, Source
from natmu.records.derived import root_of
from natmu.records.lineage import Unlearned
from natmu.records.settings import AnyTraining, in_words


@dataclass(frozen=True)
class PlannedMethod:
    """What a method would take with its default settings.

    Attributes:
        method: Its name.
        seconds: About how long; None where nobody knows, or where it cannot serve.
        fraction: Of retraining's time.
        reason: Why it cannot serve; None where it can.
    """

    method: str
    seconds: float | None = None
    fraction: float | None = None
    reason: str | None = None


@dataclass(frozen=True)
class MethodPlan:
    """Retraining beside all methods.

    Attributes:
        forget: How many samples are to be forgotten.
        retain: How many are kept.
        original: Accuracies of the original, in percent.
        retraining: Seconds of retraining, about; None where the user's own function trains, and no run tells.
        recipe: The original's recipe in a few words; None where nobody says, and retraining is by the default one.
        methods: Every method, the cheapest first; those that cannot serve last.
        advice: The sentence that says to retrain, where that is as cheap as NatMU; None where it is not.
    """

    forget: int
    retain: int
    original: dict[str, float]
    retraining: float | None
    recipe: str | None
    methods: tuple[PlannedMethod, ...]
    advice: str | None

    def plain(self) -> dict[str, Any]:
        """As plain values."""
        return asdict(self)


def plan_run(
    source: Source,
    place: Place,
    forget: str,
    *,
    copies: bool = False,
    manifest: Path | None = None,
    split_seed: int = 0,
    force: bool = False,
) -> MethodPlan:
    """What it would take to forget, from a run folder or from weights trained elsewhere.

    A few steps of training are timed where no run of the original tells; weights from elsewhere are kept as a run, as
    ``unlearn_run`` keeps them.

    Args:
        source: The model to unlearn from.
        place: Where models are kept, and the device.
        forget: The request, as text.
        copies: Whether byte-identical copies of the samples are forgotten with them.
        manifest: A table of samples for a request that names a column and no table.
        split_seed: Of a random forget set.
        force: Whether to go on with an original that does not seem to belong to the data.

    Raises:
        UsageError: Something asked for cannot be done.
    """
    opened = source.open(place)
    workspace, request = opened.workspace, opened.request(forget, manifest)
    start = opened.model or import_model(workspace, source.path, opened.recipe, force=force)
    if source.is_run:
        beside = Store(source.path.resolve().parent)
        roots = {start.digest: Run(source.path), root_of(start).digest: beside.find(root_of(start).digest)}
        for run in filter(None, roots.values()):
            workspace.store.adopt(run)
    asked = workspace.forget(request, split_seed, start, copies=copies)
    original = workspace.require(start)
    splits, forgotten = workspace.splits, workspace.forget_set(asked)
    check = check_run(original, workspace, forgotten, force=force)
    say_what_is_forgotten(forgotten, splits.train, test=splits.test, holdout=splits.holdout)
    result = outcome_of(NatMU(), start, asked, seed=0, batch_size=None, at=workspace.arithmetic)
    assert isinstance(result, Unlearned), "NatMU is no retraining"
    problem = problem_of(result, workspace)
    per_sample = seconds_per_sample(problem, original)
    retraining = retraining_seconds(problem, per_sample, original, workspace.store)
    times = per_sample, start.recipe, retraining
    rows = [_planned(method, problem, *times) for method in METHODS if method is not Retrain]
    own = seconds_of(NatMU(), problem, per_sample)
    assert own is not None, "it counts epochs"
    return MethodPlan(
        forget=len(problem.forget),
        retain=len(problem.retain_positions),
        original=dict(check.accuracies),
        retraining=retraining,
        recipe=None if opened.recipe is None else in_words(opened.recipe),
        methods=tuple(sorted(rows, key=_place)),
        advice=None if retraining is None else advice(own, retraining),
    )


def _planned(
    method: type[Method], problem: Problem, per_sample: float, recipe: AnyTraining | None, retraining: float | None
) -> PlannedMethod:
    """What one method would take, or why it cannot serve."""
    try:
        made = method()
        made.check(problem)
    except UsageError as error:
        return PlannedMethod(method.name, reason=str(error))
    seconds = seconds_of(made, problem, per_sample, recipe, retraining)
    return PlannedMethod(method.name, seconds, None if seconds is None or retraining is None else seconds / retraining)


def _place(row: PlannedMethod) -> tuple[bool, bool, float, str]:
    """Where a row stands."""
    return row.reason is not None, row.seconds is None, row.seconds or 0.0, row.method
