"""The study of ``natmu demo``: its recipe, and the list of the wrong labels that it forgets."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from natmu.data.digits import load_digits, with_wrong_labels
from natmu.engine.store import Store
from natmu.records.files import write_atomically
from natmu.records.forgetting import parse_forget
from natmu.studies.recipe import Recipe, read_recipe

WRONG_LABELS = "wrong-labels.csv"
"""Of the demo's study folder, the images with wrong labels and their true ones."""


def demo_recipe() -> Recipe:
    """The recipe of ``natmu demo``, which names the list of wrong labels without its folder."""
    return read_recipe(Path(__file__).with_name("demo.yaml"))


def with_listed_labels(recipe: Recipe, out: Path) -> Recipe:
    """Write the list of wrong labels into the study's folder, and name it there in the recipe.

    Args:
        recipe: That of the demo.
        out: Folder of all runs.

    Raises:
        UsageError: The folder cannot be written.
    """
    Store(out).require_writable(recipe.name)
    labels, true = (train.labels.numpy() for train, _ in (with_wrong_labels(), load_digits()))
    rows = [f"{position},{true[position]}" for position in np.flatnonzero(labels != true)]
    path = out / recipe.name / WRONG_LABELS
    write_atomically(path, "\n".join(["index,label", *rows, ""]).encode())
    listed = parse_forget(f"indices:{path}")
    forget = tuple(listed if request.file == Path(WRONG_LABELS) else request for request in recipe.forget)
    return recipe.model_copy(update={"forget": forget})
