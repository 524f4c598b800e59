"""Studies: recipes, the models that they want, the table that comes out; and the search of settings."""

from natmu.studies.bench import run_recipe
from natmu.studies.demo import demo_recipe, with_listed_labels
from natmu.studies.forecasting import Forecast, forecast
from natmu.studies.recipe import Recipe, read_recipe
from natmu.studies.search.search import run_search

__all__ = [
    "Forecast",
    "Recipe",
    "demo_recipe",
    "forecast",
    "read_recipe",
    "run_recipe",
    "run_search",
    "with_listed_labels",
]
