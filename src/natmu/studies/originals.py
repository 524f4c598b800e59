"""The original of a study that was trained before: weights from elsewhere, or the run of a model."""

from __future__ import annotations

from pathlib import Path

from natmu.engine.store import Run
from natmu.errors import ModelError, SettingError
from natmu.lineage import Workspace, import_model
from natmu.lineage.importing import imported, keep_imported
from natmu.lineage.original_check import check_run
from natmu.lineage.own_training import require_trainer, resolved
from natmu.methods import SISA, Method
from natmu.models import is_pretrained_folder
from natmu.records.derived import is_original
from natmu.records.derived import original as head_of
from natmu.records.lineage import Backbone, Imported, Trained
from natmu.records.run import open_run
from natmu.records.settings import AnyTraining, HeadTraining, RetrainSettings, sharding_of
from natmu.studies.recipe import Recipe

Original = Trained | Imported


def with_resolved_training(recipe: Recipe) -> Recipe:
    """The recipe with the digest of the user's own training function, where it has one.

    Raises:
        SettingError: The function cannot be used.
    """
    return recipe if recipe.told is None else recipe.model_copy(update={"training": resolved(recipe.told)})


def given_original(recipe: Recipe, workspace: Workspace) -> Original | None:
    """The original that a recipe names, as a lineage; None where originals are trained. Nothing is written.

    Raises:
        UsageError: There is none, it is not of the recipe's data and model, or it says itself how it was trained.
    """
    if recipe.original is None:
        return None
    path = Path(recipe.original)
    if not _is_run(path):
        return imported(workspace, path, recipe.told)
    model = open_run(path).record.lineage
    if not isinstance(model, Trained | Imported) or not is_original(model):
        raise ModelError(f"original: {path} holds no original; name the run of one, or a file of weights.")
    ours, theirs = workspace.data, model.data
    alike = (ours.digests, ours.mean, ours.std) == (theirs.digests, theirs.mean, theirs.std)
    if not alike or workspace.architecture != model.architecture:
        raise ModelError(
            f"original: {path} was made with other data or another model than the recipe names; give the recipe the "
            "data (holdout included) and model of that run."
        )
    if model.recipe is None:
        assert isinstance(model, Imported), "what was trained here says how"
        return model.but(recipe=recipe.told)
    if recipe.told not in (None, model.recipe):
        raise SettingError(f"{path} says how it was trained; leave training out of the recipe.")
    require_trainer(model.recipe, workspace)
    return model


def require_recipe(original: Original | None, recipe: Recipe) -> None:
    """Refuse a study that trains models where nobody says how.

    Raises:
        SettingError: The original is from elsewhere, and the recipe does not say how it was trained.
    """
    if original is not None and original.recipe is None:
        raise SettingError(
            f"{recipe.original} was trained elsewhere, and retrained models must be trained alike: say how under "
            "training, with settings or a trainer. Only natmu search with objective: no-retrain does without."
        )


def with_original(recipe: Recipe, original: Original | None) -> Recipe:
    """The recipe as the original's own training has it.

    Retrained models start from fresh weights where nobody knows those that the original started from.
    """
    if original is None or original.recipe is None:
        return recipe
    changed: dict[str, object] = {"training": original.recipe}
    if isinstance(original, Imported) and "retrain" not in recipe.model_fields_set:
        changed["retrain"] = RetrainSettings(init="fresh")
    return recipe.model_copy(update=changed)


def keep_original(original: Original, recipe: Recipe, workspace: Workspace, *, force: bool) -> None:
    """Put the original into the store, and check it before anything is forgotten.

    Raises:
        ModelError: It does not fit the model, or does not seem to belong to the data.
    """
    assert recipe.original is not None, "it is given"
    path = Path(recipe.original)
    if not _is_run(path):
        import_model(workspace, path, original.recipe, force=force)
    else:
        run = Run(path)
        if run.record.digest == original.digest:
            workspace.store.adopt(run)
        else:
            keep_imported(original, workspace.load(run), workspace)
    check_run(workspace.require(original), workspace, None, force=force)


def originals_of(
    recipe: Recipe, workspace: Workspace, original: Original | None, backbone: Backbone | None = None
) -> dict[int, Original]:
    """The original of each training seed, which is given, trained, or a head on a backbone."""
    seeds = [seed for _, seed, _ in recipe.seeds.replicates()]
    if original is not None or backbone is None:
        return {seed: original or workspace.original(recipe.training, seed) for seed in seeds}
    data, network, at = workspace.data, workspace.architecture, backbone.arithmetic
    return {seed: head_of(data, network, at, recipe.training, seed, backbone) for seed in seeds}


def own_training(recipe: Recipe, method: Method) -> AnyTraining | None:
    """How the original of a row is trained that has one of its own; None of a row that shares the study's originals.

    Args:
        recipe: What to do.
        method: The method of the row.

    Raises:
        SettingError: The division that it asks for divides nothing, or heads are no networks that could be divided.
    """
    division = method.config.division if isinstance(method, SISA) else None
    if division is None:
        return None
    training = recipe.training
    if isinstance(training, HeadTraining):
        raise SettingError(
            "sisa: a head is not trained in shards; compare it with downdate, or leave training.head out."
        )
    theirs = sharding_of(training)
    if theirs is not None and theirs.model_copy(update={"threads": None}) == division:
        return None
    return training.model_copy(update={"sharding": division})


def _is_run(path: Path) -> bool:
    """Whether a path is meant as a run folder."""
    return path.is_dir() and not is_pretrained_folder(path)
