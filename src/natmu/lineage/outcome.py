"""The lineage of what a method makes of a model."""

from __future__ import annotations

from natmu.errors import SettingError
from natmu.methods import SISA, Method, Retrain
from natmu.methods.retraining import UNTOLD
from natmu.records.derived import division_of, knows_initial_weights, retrained, root_of
from natmu.records.lineage import Arithmetic, DroppedOutputs, Forget, Imported, Referenced, Trained, Unlearned
from natmu.records.settings import AnyTraining, OwnTraining, batch_size_of, sharding_of


def outcome_of(
    method: Method,
    source: Trained | Imported | Unlearned | Referenced,
    forget: Forget,
    *,
    seed: int,
    batch_size: int | None,
    at: Arithmetic,
    dropped: DroppedOutputs | None = None,
) -> Trained | Unlearned:
    """The model that a method makes of another one.

    Args:
        method: The method with its settings; retraining gives a model that is trained like the original.
        source: The original, or a model that has forgotten something already.
        forget: What is forgotten, after what the source forgot.
        seed: Of the method.
        batch_size: Samples per step, where the method's settings do not say; the original's if None. Retraining has
            the original's.
        at: Arithmetic of the method.
        dropped: The outputs that the model loses afterwards; none of a retrained one.

    Raises:
        SettingError: Retraining is to start where the original did, and nobody knows where that was, or nobody says
            how the original was trained; sisa is to have another division than the original, or its shards are to be
            trained in another precision than before.
    """
    if isinstance(method, Retrain):
        fresh, root = method.config.init == "fresh", root_of(source)
        if root.recipe is None:
            raise SettingError(UNTOLD)
        if not fresh and not knows_initial_weights(root) and not isinstance(root.recipe, OwnTraining):
            raise SettingError("retrain: the original's initial weights are not known; set init=fresh.")
        return retrained(root, forget, at, seed, fresh=fresh)
    if isinstance(method, SISA):
        method = _undivided(method, root_of(source).recipe)
    if method.needs_shards and division_of(source) is not None and (known := root_of(source).arithmetic) != at:
        raise SettingError(
            f"{method.name} trains shards in the precision of the original, {known.precision}; leave --precision out."
        )
    return Unlearned(
        source=source,
        forget=forget,
        method=method.name,
        settings=method.config.model_dump(mode="json"),
        batch_size=method.batch_size or batch_size or batch_size_of(source.recipe),
        seed=seed,
        arithmetic=at,
        dropped=dropped,
    )


def _undivided(method: SISA, recipe: AnyTraining | None) -> SISA:
    """The method without a division of its own, which must be the original's: one model has one lineage."""
    theirs, asked = sharding_of(recipe), method.config.model_dump(exclude_none=True)
    if theirs is not None and any(getattr(theirs, name) != value for name, value in asked.items()):
        raise SettingError(
            f"sisa: the original was trained in {theirs.in_words}, combined by {theirs.combine}, and no other division "
            f"can be had of it; leave {', '.join(asked)} out."
        )
    return SISA()
