"""The runs that lie beside a run and belong to it, beside by their lineages."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path

from natmu.errors import RunError
from natmu.records.derived import decider_of, original_of, root_of
from natmu.records.files import is_there
from natmu.records.lineage import AllBut, AnyLineage, Everything, Forget, Imported, Trained, Unlearned
from natmu.records.originals import originals_of
from natmu.records.run import PREDICTIONS, RECORD, RunFolder
from natmu.records.settings import sharding_of
from natmu.scores.basic import scores
from natmu.types import ORIGINAL, RETRAINED


def run_beside(folder: Path, name: str, digest: str) -> RunFolder | None:
    """The run that a study names, in the folder that also holds the study's; None if it is not there.

    Args:
        folder: The study folder.
        name: Of the run's folder.
        digest: Of the run.

    Raises:
        RunError: The folder of that name holds another run.
    """
    run = RunFolder(folder.resolve().parent / Path(name).name)
    if not is_there(run.path / RECORD):
        return None
    if run.record.digest != digest:
        raise RunError(
            f"{run.path} holds run {run.record.digest}, and the study in {folder} names {digest}; run the study again."
        )
    return run


def relatives(run: RunFolder) -> dict[str, RunFolder]:
    """The original of a run and one model retrained without the same forget set, where they lie beside it.

    There is no original where several runs may be the one.
    """
    lineage = run.record.lineage
    if not isinstance(lineage, Trained | Unlearned):
        return {}
    others = []
    for path in sorted(run.path.resolve().parent.glob(f"*/{RECORD}")):
        other = RunFolder(path.parent)
        with suppress(RunError):  # a damaged neighbour is none of this run's business
            if other.record.digest != run.record.digest:
                others.append(other)
    decider = decider_of(lineage.forget) if isinstance(lineage, Unlearned) else _decider(lineage)
    if decider is not None and sharding_of(decider.recipe) != sharding_of(lineage.recipe):
        decider = original_of(lineage)  # in a study what is the hardest is decided by the original of other rows
    known = [other for other in others if other.record.lineage == decider] if decider is not None else []
    originals = known or ([] if _is_original(lineage) else originals_of(lineage, others))
    beside = {ORIGINAL: originals[0]} if len(originals) == 1 else {}
    if isinstance(lineage, Unlearned):
        root, forget = root_of(lineage), lineage.forget
        alike = [other for other in others if _is_retrained(other.record.lineage, root, forget)]
        beside |= {RETRAINED: alike[0]} if alike else {}
    return beside


def _is_original(lineage: Trained | Unlearned) -> bool:
    """Whether a model was trained on everything."""
    return isinstance(lineage, Trained) and isinstance(lineage.on, Everything)


def _decider(lineage: Trained) -> Trained | Imported | None:
    """The model by which it was decided what a retrained model is without."""
    return decider_of(lineage.on.forget) if isinstance(lineage.on, AllBut) else None


def scores_beside(run: RunFolder, beside: Mapping[str, RunFolder]) -> dict[str, dict[str, float]]:
    """The scores of every table of the models beside a run, on what that run forgot, from stored predictions.

    Args:
        run: Of a model that forgot something.
        beside: Other models by what they are to it.
    """
    forget = run.forget()
    return {part: scores(other.outputs().split(forget)) for part, other in beside.items() if other.has(PREDICTIONS)}


def _is_retrained(other: AnyLineage, source: Trained | Imported, forget: Forget) -> bool:
    """Whether a model was trained as a source was, without a forget set."""
    without = isinstance(other, Trained) and isinstance(other.on, AllBut) and other.on.forget == forget
    return without and _are_trained_alike(other, source)


def _are_trained_alike(model: AnyLineage, other: AnyLineage) -> bool:
    """Whether two models differ in nothing but their seeds and what they were trained on."""
    if not isinstance(model, Trained | Imported) or not isinstance(other, Trained | Imported):
        return False
    return (model.data, model.architecture, model.recipe) == (other.data, other.architecture, other.recipe)
