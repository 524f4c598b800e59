"""What a study knows of the search that chose its settings."""

import pytest
from tests.records import folders

from natmu.records.search import SEARCH
from natmu.studies.recipe import Recipe
from natmu.studies.searched import searched_in


def recipe(**entry):
    plain = folders.a_recipe(methods=[entry]).model_dump(mode="json")
    return Recipe.parse(plain | {"methods": [{"method": "natmu"} | entry]})


@pytest.mark.parametrize(
    ("entry", "expected"),
    [
        ({"settings": {"lr": 0.02}}, {"natmu": 6.5}),
        ({"settings": {"lr": 0.03}}, {}),  # somebody else chose it
        ({"settings": {}, "grid": {"lr": [0.02]}}, {}),
        ({"label": "mine", "settings": {"lr": 0.02}}, {}),
        ({"method": "salun", "label": "natmu", "settings": {"lr": 0.02}}, {}),
    ],
)
def test_only_settings_that_the_search_found_have_its_cost(tmp_path, entry, expected):
    folders.make_search(tmp_path)
    assert searched_in(tmp_path, recipe(**entry)) == expected


def test_without_a_search_that_can_be_read_nothing_is_known(tmp_path):
    assert searched_in(tmp_path, recipe(settings={"lr": 0.02})) == {}
    (tmp_path / SEARCH).write_text("{")
    assert searched_in(tmp_path, recipe(settings={"lr": 0.02})) == {}
