"""What a recipe asks of a search, refused where there is nothing to search."""

from __future__ import annotations

from natmu.engine import processes
from natmu.errors import SettingError
from natmu.methods import SISA, Downdate, Retrain, method_named
from natmu.records.recipe import Range, SearchSettings
from natmu.studies.recipe import MethodEntry, Recipe
from natmu.studies.search.ranges import LR


def ranges_of(number: int, entry: MethodEntry) -> dict[str, Range]:
    """What is searched of a method: what its entry says, else its learning rate.

    Raises:
        SettingError: There is nothing to search.
    """
    where = f"methods.{number}.search"
    if entry.method in (SISA.name, Downdate.name):
        raise SettingError(f"{where}: {entry.method} has nothing that a search could vary; compare it in a study.")
    if entry.method == Retrain.name:
        raise SettingError(f"{where}: {Retrain.name} is what methods are compared with; leave it out of a search.")
    if entry.grid:
        raise SettingError(f"{where}: a search takes no grid; list the values of {next(iter(entry.grid))} here.")
    if entry.search:
        return entry.search
    fields = method_named(entry.method).Config.model_fields
    if "lr" not in fields:
        raise SettingError(
            f"{where}: {entry.method} has no lr that could be searched by default; give ranges of its settings, which "
            f"are {', '.join(sorted(fields))}."
        )
    return {"lr": LR}


def require_searchable(recipe: Recipe) -> SearchSettings:
    """What a recipe says of its search.

    Raises:
        SettingError: It cannot be searched.
    """
    if recipe.features_from is not None:
        raise SettingError("A head has nothing that a search could vary; compare methods on it with natmu bench.")
    if recipe.search is None:
        raise SettingError("The recipe has no search; add for example search: {trials: 20, objective: no-retrain}.")
    if not recipe.data.holdout:
        raise SettingError("A search is scored on a holdout only, never on the test set; set data.holdout: true.")
    if not recipe.methods:
        raise SettingError("The recipe has no methods to search; name some under methods.")
    if processes.count() > 1:
        raise SettingError("natmu search does not run under torchrun; start the same command several times instead.")
    return recipe.search
