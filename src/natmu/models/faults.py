"""What code and files that are not ours may raise, and how an error of ours quotes it."""

from natmu.errors import FAULTS, quoted

__all__ = ["FAULTS", "quoted"]
