"""Which samples are still exposed: the forget samples one by one, and the retain samples whose exposure rose."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from natmu.scores.exposed import exposed_by_rmia
from natmu.scores.panel import Panel
from natmu.scores.population import unseen_part
from natmu.scores.rmia import share_reached
from natmu.scores.signals import loss, margin
from natmu.scores.verdict import ENOUGH
from natmu.types import FloatArray, IntArray

RISEN = 100
"""Retain samples that are listed at most."""

COLUMNS = (
    "index",
    "name",
    "part",
    "class",
    "difficulty",
    "loss",
    "margin",
    "margin_retrained",
    "rmia",
    "exposure",
    "rank",
)
"""Of the table of samples, in its order; names are not known here."""


def exposed_samples(
    panel: Panel, forget: IntArray, retain: IntArray, difficulty: FloatArray | None
) -> list[dict[str, Any]]:
    """One row per forget sample, the most exposed first, then the retain samples whose exposure rose most.

    The exposure of a forget sample is its margin under the unlearned model less the mean margin under retrained models:
    how much surer the model is of it than models that never saw it. Their order is that of RMIA where it is known,
    which weighs this against unseen samples, and of the exposure otherwise, or of the margin where no retrained model
    is there. A retain sample belongs to all of these
    models, so its exposure is the rise of its margin over that under the original.

    Args:
        panel: The models' predictions.
        forget: Positions of the forget samples in the training data, in the order of the predictions.
        retain: Likewise of the retain samples.
        difficulty: How hard each sample of the training data was to learn, larger for harder; None where unknown.

    Returns:
        Rows with ``COLUMNS``: position, ``forget`` or ``retain``, label, difficulty, loss in nats, margins in nats,
        RMIA score of 0 to 1, exposure in nats, rank from 1 on within its part; None where a number is not known.

    Examples:
        >>> import numpy as np
        >>> from natmu.testing.panels import panel_of
        >>> panel = panel_of(0)  # made-up predictions of an unlearned model, and of all that it is compared with
        >>> rows = exposed_samples(panel, np.arange(60), np.arange(60, 360), None)
        >>> sum(row["part"] == "forget" for row in rows)
        60
    """
    judges = panel.retrained[:ENOUGH]
    model = margin(panel.model.forget)
    without = np.mean([margin(one.forget) for one in judges], axis=0) if judges else None
    weighed = len(judges) > 1 and len(unseen_part(panel.model))
    ratios = exposed_by_rmia(panel.model, judges) if weighed else None
    exposure = model if without is None else model - without
    order = np.argsort(-exposure if ratios is None else -ratios[0], kind="stable")
    rmia = None if ratios is None else share_reached(*ratios)
    rows = _rows("forget", forget, order, panel.model.forget.labels, difficulty, loss(panel.model.forget), model)
    for row, place in zip(rows, order, strict=True):
        if without is not None:
            row |= {"margin_retrained": float(without[place]), "exposure": float(exposure[place])}
        row |= {} if rmia is None else {"rmia": float(rmia[place])}
    return rows + _risen(panel, retain, difficulty)


def _risen(panel: Panel, retain: IntArray, difficulty: FloatArray | None) -> list[dict[str, Any]]:
    """The retain samples of which the unlearned model is surer than the original was."""
    if panel.original is None:
        return []
    model = margin(panel.model.retain)
    rise = model - margin(panel.original.retain)
    order = np.argsort(-rise, kind="stable")[:RISEN]
    order = order[rise[order] > 0]
    part = panel.model.retain
    rows = _rows("retain", retain, order, part.labels, difficulty, loss(part), model)
    judges = panel.retrained[:ENOUGH]
    without = np.mean([margin(one.retain.take(order)) for one in judges], axis=0) if judges else None
    for number, (row, place) in enumerate(zip(rows, order, strict=True)):
        row |= {"margin_retrained": None if without is None else float(without[number])}
        row |= {"exposure": float(rise[place])}
    return rows


def _rows(
    part: str,
    positions: IntArray,
    order: npt.NDArray[Any],
    labels: IntArray,
    difficulty: FloatArray | None,
    losses: npt.NDArray[np.float64],
    margins: npt.NDArray[np.float64],
) -> list[dict[str, Any]]:
    """What all rows have, in the given order."""
    blank = dict.fromkeys(COLUMNS)
    return [
        blank
        | {
            "index": int(positions[place]),
            "part": part,
            "class": int(labels[place]),
            "difficulty": None if difficulty is None else float(difficulty[positions[place]]),
            "loss": float(losses[place]),
            "margin": float(margins[place]),
            "rank": rank,
        }
        for rank, place in enumerate(order, start=1)
    ]
