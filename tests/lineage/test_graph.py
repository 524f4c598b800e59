"""The graph of models follows from their lineages alone, without any store or data."""

from __future__ import annotations

from graphlib import TopologicalSorter
from itertools import combinations

import pytest

from natmu.lineage import in_order, sources
from records import lineages

ORIGINAL = lineages.trained()
OTHER = lineages.trained(1)
HARDEST = lineages.hardest(ORIGINAL)
MODELS = {
    "original": ORIGINAL,
    "other": OTHER,
    "initial": lineages.initial(),
    "imported": lineages.imported(),
    "retrained": lineages.retrained_model(),
    "retrained without the hardest": lineages.retrained_model(1, HARDEST),
    "shadow": lineages.shadow(),
    "shadow without the hardest": lineages.shadow(1, HARDEST),
    "unlearned": lineages.unlearned(),
    "unlearned from the other, the hardest of the first": lineages.unlearned(OTHER, HARDEST),
    "unlearned from elsewhere": lineages.unlearned(lineages.imported()),
    "unlearned shadow": lineages.unlearned(lineages.shadow(1, HARDEST), HARDEST),
    "relearned": lineages.relearned(lineages.unlearned(OTHER, HARDEST), HARDEST),
    "probed": lineages.probed(lineages.imported()),
}
"""Each model, and in ``SOURCES`` the names of those that it starts from."""

SOURCES = {
    "original": [],
    "other": [],
    "initial": [],
    "imported": [],
    "retrained": [],
    "retrained without the hardest": ["original"],
    "shadow": [],
    "shadow without the hardest": ["original"],
    "unlearned": ["original"],
    "unlearned from the other, the hardest of the first": ["other", "original"],
    "unlearned from elsewhere": ["imported"],
    "unlearned shadow": ["shadow without the hardest", "original"],
    "relearned": ["unlearned from the other, the hardest of the first", "original"],
    "probed": ["imported"],
}


def nothing(model):
    """No model has been made."""
    return False


@pytest.mark.parametrize("name", MODELS)
def test_a_model_starts_from_what_its_lineage_names(name):
    assert list(sources(MODELS[name])) == [MODELS[one] for one in SOURCES[name]]


@pytest.mark.parametrize("wanted", [*combinations(MODELS, 2), tuple(MODELS), tuple(reversed(MODELS))], ids="+".join)
def test_each_model_comes_once_and_after_all_that_it_starts_from(wanted):
    order = [model.digest for model in in_order([MODELS[name] for name in wanted], nothing)]
    names = {model.digest: name for name, model in MODELS.items()}
    needed = set()

    def need(name):
        needed.add(name)
        for source in SOURCES[name]:
            need(source)

    for name in wanted:
        need(name)
    found = [names[digest] for digest in order]
    assert len(found) == len({*found})
    assert {*found} == needed
    for place, name in enumerate(found):
        assert {*SOURCES[name]} <= {*found[:place]}, name
    assert {*TopologicalSorter({name: SOURCES[name] for name in found}).static_order()} == {*found}


def test_what_is_wanted_keeps_its_order_where_nothing_else_decides():
    wanted = [lineages.trained(seed) for seed in (3, 1, 2)]
    assert in_order(wanted, nothing) == wanted
    assert in_order([*wanted, *wanted], nothing) == wanted
    assert in_order([], nothing) == []


def test_nobody_needs_the_sources_of_what_has_been_made():
    model = MODELS["relearned"]
    assert in_order([model], lambda one: one == model) == [model]
    unlearned = model.source
    found = in_order([model], lambda one: one == unlearned)
    assert found == [unlearned, ORIGINAL, model]
    assert in_order([model, OTHER], lambda one: one == unlearned) == [*found, OTHER]
