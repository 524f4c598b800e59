"""What unlearning would take: retraining beside every method, before anything is forgotten."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from natmu.engine.store import Run, Store
from natmu.errors import UsageError
from natmu.lineage import import_model, outcome_of, problem_of
from natmu.lineage.costs import advice, retraining_seconds, seconds_of, seconds_per_sample
from natmu.lineage.original_check import check_run
from natmu.methods import METHODS, Method, NatMU, Problem, Retrain
from natmu.records.derived import root_of
from natmu.records.forgetting import parse_forget
from natmu.records.lineage import Imported, Unlearned
from natmu.verbs import Place, opened


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
        retraining: Seconds of retraining, about.
        recipe: Whether that is by the original's own recipe; if not, by the default one.
        methods: Every method, the cheapest first; those that cannot serve last.
        advice: The sentence that says to retrain, where that is as cheap as NatMU; None where it is not.
    """

    forget: int
    retain: int
    original: dict[str, float]
    retraining: float
    recipe: bool
    methods: tuple[PlannedMethod, ...]
    advice: str | None

    def plain(self) -> dict[str, Any]:
        """As plain values."""
        return asdict(self)


def plan_run(
    *,
    source: Path,
    forget: str,
    data: Mapping[str, Any],
    model: str | None,
    place: Place,
    split_seed: int = 0,
    force: bool = False,
) -> MethodPlan:
    """What it would take to forget, from a run folder or from weights trained elsewhere.

    A few steps of training are timed where no run of the original tells; weights from elsewhere are kept as a run, as
    ``unlearn_run`` keeps them.

    Args:
        source: As ``unlearn_run``.
        forget: The request, as text.
        data: As ``unlearn_run``.
        model: As ``unlearn_run``.
        place: Where models are kept, and the device.
        split_seed: Of a random forget set.
        force: Whether to go on with an original that does not seem to belong to the data.

    Raises:
        UsageError: Something asked for cannot be done.
    """
    request = parse_forget(forget)
    start, workspace, _, recipe = opened(source, data, model, place)
    start = start or import_model(workspace, source, recipe, force=force)
    if source.is_dir():
        beside = Store(source.resolve().parent)
        roots = {start.digest: Run(source), root_of(start).digest: beside.find(root_of(start).digest)}
        for run in filter(None, roots.values()):
            workspace.store.adopt(run)
    asked = workspace.forget(request, split_seed, start)
    original = workspace.require(start)
    check = check_run(original, workspace, workspace.forget_set(asked), force=force)
    result = outcome_of(NatMU(), start, asked, seed=0, batch_size=None, at=workspace.arithmetic)
    assert isinstance(result, Unlearned), "NatMU is no retraining"
    problem = problem_of(result, workspace)
    per_sample = seconds_per_sample(problem, original)
    retraining = retraining_seconds(problem, per_sample)
    rows = [_planned(method, problem, per_sample, retraining) for method in METHODS if method is not Retrain]
    own = seconds_of(NatMU(), problem, per_sample)
    assert own is not None, "it counts epochs"
    return MethodPlan(
        forget=len(problem.forget),
        retain=len(problem.retain_positions),
        original=dict(check.accuracies),
        retraining=retraining,
        recipe=not isinstance(root_of(start), Imported),
        methods=tuple(sorted(rows, key=_place)),
        advice=advice(own, retraining),
    )


def _planned(method: type[Method], problem: Problem, per_sample: float, retraining: float) -> PlannedMethod:
    """What one method would take, or why it cannot serve."""
    try:
        made = method()
        made.check(problem)
    except UsageError as error:
        return PlannedMethod(method.name, reason=str(error))
    seconds = seconds_of(made, problem, per_sample)
    return PlannedMethod(method.name, seconds, None if seconds is None else seconds / retraining)


def _place(row: PlannedMethod) -> tuple[bool, bool, float, str]:
    """Where a row stands."""
    return row.reason is not None, row.seconds is None, row.seconds or 0.0, row.method
