"""What the search that chose a study's settings took."""

from __future__ import annotations

from pathlib import Path

from natmu.errors import RunError
from natmu.progress import say
from natmu.records.files import is_there
from natmu.records.search import SEARCH, SearchFolder
from natmu.studies.recipe import Recipe


def searched_in(folder: Path, recipe: Recipe) -> dict[str, float]:
    """Passes over the training set of all trials of each method whose settings a search in this folder chose.

    Args:
        folder: Of the study; ``natmu search`` writes into the folder of the study of the same name.
        recipe: Of the study. Settings that are not the best of a search, and those that a grid varies, were not chosen
            by it.

    Returns:
        By the label of the method; those are left out of which it is not known.
    """
    if not is_there(folder / SEARCH):
        return {}
    try:
        methods = {method.label: method for method in SearchFolder(folder).search.methods}
    except RunError as error:
        say(f"What the search took is not known: {error}")
        return {}
    chosen = {}
    for entry in recipe.methods:
        label = entry.label or entry.method
        method = methods.get(label)
        best = None if method is None or method.method != entry.method else method.best
        if method is None or best is None or method.passes is None or entry.grid:
            continue
        if entry.settings == best.settings:
            chosen[label] = method.passes
    return chosen
