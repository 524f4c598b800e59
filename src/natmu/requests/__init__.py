"""Deletion requests of a deployed model: a service folder with its ledger, its models and its evidence."""

from natmu.requests.service import Service

__all__ = ["Service"]
