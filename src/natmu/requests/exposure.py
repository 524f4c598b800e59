"""What the original and the deployed model say of each sample of a request, by name: personal data."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from natmu.records.census import Census
from natmu.records.evidence import EvidenceSample
from natmu.records.ledger import DeployedModel
from natmu.records.run import PREDICTIONS, RunFolder
from natmu.records.service import MODELS
from natmu.requests.state import State
from natmu.scores.signals import confidence
from natmu.types import IntArray


def samples_of_request(folder: Path, census: Census, state: State, request: int) -> tuple[EvidenceSample, ...]:
    """The training samples of a request with the probability of their class, from stored predictions.

    Args:
        folder: Of the service.
        census: Its list of samples.
        state: What its ledger says.
        request: Number of the request.

    Raises:
        RunError: The list of samples or stored predictions cannot be read, or belong to another service.
    """
    rows = census.rows(state.requests[request].entry.samples)
    before = _confidences(folder, state.opening.original, rows)
    after = _confidences(folder, state.deployed.model, rows)
    labels = census.train.labels[rows].tolist()
    return tuple(
        EvidenceSample(name=name, label=census.class_names[label], before=first, after=now)
        for name, label, first, now in zip(census.train.names.at(rows), labels, before, after, strict=True)
    )


def _confidences(folder: Path, model: DeployedModel, rows: IntArray) -> list[float | None]:
    """Probability that a model gives the true class of training samples; None of those it has no prediction of."""
    run = RunFolder(folder / MODELS / model.run)
    if not run.has(PREDICTIONS):
        return [None] * len(rows)
    outputs = run.outputs()
    positions = outputs.positions
    there = np.isin(rows, positions)
    values = confidence(outputs.train.take(np.searchsorted(positions, rows[there])))
    found = dict(zip(rows[there].tolist(), np.clip(values, 0, 1).tolist(), strict=True))
    return [found.get(row) for row in rows.tolist()]
