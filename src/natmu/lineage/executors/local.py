"""Making models on this machine: one after another, and small ones side by side.

Any number of processes may ask for the same models on one store: each takes those that no other is at work on, and
finds in the store what another has made.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

from natmu.engine import processes
from natmu.lineage.executors.outcomes import Outcome, Outcomes, make, unmet
from natmu.lineage.executors.side_by_side import groups_of, train_shards, train_together
from natmu.lineage.graph import in_order, is_ready
from natmu.lineage.workspace import Workspace
from natmu.records.lineage import AnyLineage


def make_here(
    models: Sequence[AnyLineage], workspace: Workspace, logs: Path | None = None, *, side_by_side: bool = True
) -> Iterator[tuple[AnyLineage, Outcome]]:
    """Make what is missing of models and of those that they start from.

    Args:
        models: What is wanted.
        workspace: Where they are made, and the store that they go to.
        logs: Folder of logs.
        side_by_side: Whether small models may be trained at the same time.

    Yields:
        Each model with what became of it, after its sources.
    """
    outcomes: Outcomes = {}
    waiting = processes.agree(lambda: in_order(models, workspace.has))
    groups = processes.agree(lambda: groups_of(waiting, workspace)) if side_by_side else []
    if side_by_side:
        train_shards(waiting, workspace)
    while waiting:
        undone = {model.digest for model in waiting}
        for count, group in groups:
            if all(is_ready(model, undone) for model in group):
                train_together(group, count, workspace)
        groups = [(count, group) for count, group in groups if not all(is_ready(model, undone) for model in group)]
        model = waiting.pop(processes.agree(lambda: _next(waiting, outcomes, workspace)))
        outcome = unmet(model, outcomes) or make(model, workspace, logs)
        outcomes[model.digest] = processes.agree(lambda: outcome)  # noqa: B023 - called here; all files are written then
        yield model, outcomes[model.digest]


def _next(waiting: Sequence[AnyLineage], outcomes: Outcomes, workspace: Workspace) -> int:
    """Place of the first model that can be made now; where others are at work on all, the first is waited for."""
    undone = {model.digest for model in waiting}
    for place, model in enumerate(waiting):
        if is_ready(model, undone) and (unmet(model, outcomes) or not workspace.store.busy(model.digest)):
            return place
    return 0
