"""What a service keeps for heads on features: rows that are erased with their samples, and what is told of a head."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from natmu.errors import RunError
from natmu.records.derived import backbone_of, noise_is_secret
from natmu.records.disk import sync
from natmu.records.files import file_digest, write_atomically
from natmu.records.guarantees import DOWNDATE, HeadFacts
from natmu.records.heads import FEATURES, HEAD, FeatureRows, read_features, read_head, write_features
from natmu.records.lineage import Imported, Trained, Unlearned
from natmu.records.run import RECORD, RunFolder, content_of
from natmu.records.settings import HeadTraining, LogisticTraining
from natmu.requests.state import State
from natmu.types import IntArray

if TYPE_CHECKING:
    from natmu.heads.logistic import LogisticHead

ERASING = "features.erasing"
"""Holds the digest of the features without the erased rows, until the record of their run names it."""


def head_facts(original: Trained | Imported, run: RunFolder) -> HeadFacts | None:
    """What the ledger tells of a head; None of any other model, and of what another method made of a head.

    Args:
        original: The original of the service.
        run: The model.
    """
    backbone, recipe = backbone_of(original), original.recipe
    if backbone is None or not isinstance(recipe, HeadTraining) or not run.has(HEAD):
        return None
    known: dict[str, object] = {"kind": recipe.head, "backbone": backbone.weights, "origin": backbone.origin}
    if isinstance(recipe, LogisticTraining):
        head = _logistic(run)
        known |= {"epsilon": recipe.epsilon, "delta": recipe.delta, "spent": float(head.spent)}
        known |= {"budget": float(head.budget), "removed": int(head.removed), "secret": noise_is_secret(original)}
    return HeadFacts.model_validate(known)


def outdated_heads(runs: Mapping[str, RunFolder]) -> tuple[str, ...]:
    """Logistic heads whose state holds the weights of a fit on samples that were taken out since.

    The state of a ridge head holds exact sums, in which nothing of such samples is left.

    Args:
        runs: All runs of the service.

    Returns:
        Their digests, sorted.
    """
    found = []
    for digest, run in sorted(runs.items()):
        lineage = run.record.lineage
        if isinstance(lineage, Trained | Unlearned) and isinstance(lineage.recipe, LogisticTraining) and run.has(HEAD):
            found += [digest] if _logistic(run).removed else []
    return tuple(found)


def _logistic(run: RunFolder) -> LogisticHead:
    """The head of a run."""
    from natmu.heads.logistic import LogisticHead  # loads SciPy

    return LogisticHead.from_state(content_of(run.verified(HEAD), read_head))


def why_refit(run: RunFolder, state: State) -> str | None:
    """Why nothing can be taken out of the head of the deployed model, a sentence; None where it can be.

    Two releases that took different samples out of one fit of a logistic head have one noise, and comparing them shows
    more than either. That happens after a rollback, so the head is fitted again then.

    Args:
        run: The model.
        state: Of the ledger.
    """
    lineage = run.record.lineage
    if not run.has(HEAD):
        if isinstance(lineage, Unlearned) and lineage.method != DOWNDATE:
            return f"{lineage.method} has changed it since its last fit."
        return "A purge deleted its state."
    if not isinstance(lineage, Trained | Unlearned) or not isinstance(lineage.recipe, LogisticTraining):
        return None
    for release in state.releases.values():
        tried = release.tried
        if tried is None or tried.source is None or tried.head is None:
            continue
        if tried.source.weights == state.deployed.model.weights and tried.head.removed:
            return (
                f"Release {release.release} took samples out of the fit that release {state.current} has, and so used "
                "its noise."
            )
    return None


def erase_rows(runs: Mapping[str, RunFolder], rows: Mapping[str, IntArray]) -> int:
    """Overwrite the stored features of samples with zeros, in every run that holds any.

    No row that stands for a sample is zero, as it ends with a constant. A head that should have such rows taken out is
    fitted again on what is left.

    Args:
        runs: All runs of the service.
        rows: By part, positions of the samples.

    Returns:
        How many rows were erased.

    Raises:
        RunError: A file cannot be read or written.
    """
    return sum(_erased(run, rows) for run in runs.values() if run.has(FEATURES))


def _erased(run: RunFolder, rows: Mapping[str, IntArray]) -> int:
    path = run.verified(FEATURES)
    features = content_of(path, read_features)
    parts = {"train": features.train, "test": features.test, "holdout": features.holdout}
    count = 0
    for name, part in parts.items():
        if part is not None:
            gone = rows.get(name, np.zeros(0, np.int64))
            count += int(part[gone].any(axis=1).sum())
            part[gone] = 0
    if not count:
        return 0
    partial = path.with_name(f".{FEATURES}.{os.getpid()}")
    try:
        write_features(FeatureRows(features.train, features.test, features.holdout), partial)
        sync(partial)
        write_atomically(run.path / ERASING, file_digest(partial).encode())
        partial.replace(path)
        sync(path.parent)
    except OSError as error:
        raise RunError(
            f"Cannot write {path} ({error.strerror}); make room or repair it, and run this again."
        ) from error
    _settle(run)
    return count


def finish_erasing(models: Path) -> None:
    """Let the records of runs name the features that they hold, where a process was killed before it said so."""
    for path in models.glob(f"*/{ERASING}"):
        _settle(RunFolder(path.parent))


def _settle(run: RunFolder) -> None:
    """Name the features as they are now in the record, if they are those without the erased rows."""
    noted, record = run.path / ERASING, RunFolder(run.path).record
    digest = file_digest(run.path / FEATURES)
    if digest == noted.read_text("utf-8"):
        record.model_copy(update={"files": record.files | {FEATURES: digest}}).write(run.path / RECORD)
    for left in (noted, *run.path.glob(f".{FEATURES}.*")):
        left.unlink(missing_ok=True)
