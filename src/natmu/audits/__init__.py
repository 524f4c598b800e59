"""Audits: which models a model is compared with, and what is written beside its run."""

from natmu.audits.auditing import obtain_models, recipe_of_references, write
from natmu.audits.compared import RunAudit
from natmu.audits.models import NUMBERS, AuditModels

__all__ = ["NUMBERS", "AuditModels", "RunAudit", "obtain_models", "recipe_of_references", "write"]
