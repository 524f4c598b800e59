"""Studies: recipes, the jobs that they expand to, the table that comes out; and the Python interface for one model."""

from natmu.study.bench import run_recipe
from natmu.study.forecasting import Forecast, forecast
from natmu.study.recipe import Recipe, demo_recipe, read_recipe
from natmu.study.search import run_search
from natmu.study.single import AuditResult, UnlearnResult, audit, unlearn

__all__ = [
    "AuditResult",
    "Forecast",
    "Recipe",
    "UnlearnResult",
    "audit",
    "demo_recipe",
    "forecast",
    "read_recipe",
    "run_recipe",
    "run_search",
    "unlearn",
]
