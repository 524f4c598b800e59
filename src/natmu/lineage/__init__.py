"""How models come about: what determines each of them, the graph that they form, and executors that make them."""

from natmu.lineage.dropping import dropped_outputs
from natmu.lineage.graph import in_order, sources
from natmu.lineage.importing import import_model
from natmu.lineage.making import obtain
from natmu.lineage.outcome import outcome_of
from natmu.lineage.unlearning import problem_of
from natmu.lineage.workspace import Workspace

__all__ = ["Workspace", "dropped_outputs", "import_model", "in_order", "obtain", "outcome_of", "problem_of", "sources"]
