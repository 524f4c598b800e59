"""Which run holds the original of a model, where the model itself does not say.

An unlearned model names its original. A retrained one does not, because any original that is trained alike may stand
beside it; but one of them is the user's, and others were trained by audits to compare with.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import TypeVar

from natmu.records.derived import decider_of, is_original, original_of, root_of
from natmu.records.lineage import AllBut, AnyLineage, Imported, Trained, Unlearned
from natmu.records.run import DIGEST, RunFolder

_Folder = TypeVar("_Folder", bound=RunFolder)


def originals_of(model: Trained | Unlearned, runs: Iterable[_Folder]) -> list[_Folder]:
    """The runs that may hold the original of a model.

    Args:
        model: An unlearned or a retrained model.
        runs: Runs to choose from.

    Returns:
        The run that the model names, or that of its own seed. Where the sequence began with retraining, those that the
        user brought from elsewhere or named come before those that an audit made and called by their digests. One run
        is sure, several are not.
    """
    wanted = original_of(model)
    fitting = [run for run in runs if run.record.lineage == wanted or is_like_original(run.record.lineage, model)]
    brought = [run for run in fitting if isinstance(run.record.lineage, Imported)]
    told = [
        run for run in brought if isinstance(run.record.lineage, Imported) and run.record.lineage.recipe is not None
    ]
    named = told or brought or [run for run in fitting if not DIGEST.fullmatch(run.path.name)]
    exact = [run for run in named or fitting if run.record.lineage == wanted]
    return exact or named or fitting


def is_like_original(other: AnyLineage, model: Trained | Unlearned) -> bool:
    """Whether a model is an original that may stand beside a sequence whose root was retrained; of any seed."""
    root = root_of(model)
    if not isinstance(root, Trained) or not isinstance(root.on, AllBut) or decider_of(root.on.forget) is not None:
        return False
    if not isinstance(other, Trained | Imported) or not is_original(other):
        return False
    alike = other.recipe == root.recipe or (isinstance(other, Imported) and other.recipe is None)
    return alike and (other.data, other.architecture) == (root.data, root.architecture)
