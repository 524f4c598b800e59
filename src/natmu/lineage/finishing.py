"""What is kept of every model that is made: its weights, its logits and its scores."""

from __future__ import annotations

import numpy as np
import torch
from torch import nn

from natmu.engine.compute import Compute
from natmu.engine.predict import outputs_of, part_of
from natmu.engine.workplace import Workplace
from natmu.lineage.heads import FittedHead
from natmu.lineage.model_samples import ModelSamples
from natmu.lineage.workspace import Workspace
from natmu.progress import decided
from natmu.records.derived import classes_without_output
from natmu.records.lineage import (
    AnyLineage,
    Initial,
)
from natmu.records.passes import Passes
from natmu.records.run import History
from natmu.scores import accuracy, scores
from natmu.types import ForgetSet, Outputs


def finish(
    network: nn.Module,
    workspace: Workspace,
    work: Workplace,
    compute: Compute,
    samples: ModelSamples | None = None,
    seconds: float = 0.0,
    history: History | None = None,
    confidence: torch.Tensor | None = None,
    outputs: Outputs | None = None,
    fitted: FittedHead | None = None,
    passes: Passes | None = None,
) -> None:
    """Keep a model, its logits and its scores: of a shadow model those of the pool, of others those of all data.

    The logits are computed unless they are given.
    """
    pool, forget = (None, None) if samples is None else (samples.pool, samples.whole)
    if pool is None:
        made = outputs
        if fitted is not None:
            made = workspace.predicted(fitted.outputs())
        made = made or workspace.predicted(outputs_of(network, workspace.on_device, compute))
        outputs = made.without_outputs(classes_without_output(work.lineage))
        scored = scores_of(work.lineage, outputs, forget)
    elif fitted is not None:
        outputs, scored = fitted.outputs(), {}
    else:
        logits = part_of(network, pool.data.subset(pool.positions), compute)
        outputs, scored = Outputs(logits, logits.take(np.zeros(0, np.int64))), {}
    decisions = [*workspace.decisions, *decided()]
    if fitted is not None:
        fitted.write(work.folder)
        decisions += fitted.noted
    noted = history or []
    total = max(seconds, sum(row["seconds"] for row in noted))  # with the epochs before an interruption
    work.finish(
        network,
        outputs,
        compute,
        seconds=total,
        scores=scored,
        history=noted,
        confidence=confidence,
        forget=forget,
        decisions=tuple(dict.fromkeys(decisions)),
        passes=passes,
    )


def scores_of(model: AnyLineage, outputs: Outputs, forget: ForgetSet | None) -> dict[str, float]:
    """The scores of every table, or accuracies where no forget set is known."""
    if forget is not None:
        return scores(outputs.split(forget))
    if isinstance(model, Initial):
        return {}
    parts = {"train_acc": outputs.train, "test_acc": outputs.test, "holdout_acc": outputs.holdout}
    return {name: accuracy(part) for name, part in parts.items() if part is not None and len(part)}
