"""Machine unlearning of image classifiers: forget training samples, and measure how close that is to retraining.

``unlearn`` and ``audit`` are imported when they are first used, because they load PyTorch.
"""

import sys
from importlib import import_module
from types import ModuleType
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from natmu.study import AuditResult, UnlearnResult, audit, unlearn

__version__ = "0.1.0"
__all__ = ["AuditResult", "UnlearnResult", "__version__", "audit", "unlearn"]


class _Package(ModuleType):
    """The package; ``natmu.audit`` is the function, whether or not the subpackage of that name has been imported.

    What the subpackage holds is reached by ``from natmu.audit import …``.
    """

    @property
    def audit(self) -> object:
        """The function ``audit``."""
        return import_module("natmu.study").audit

    @audit.setter
    def audit(self, subpackage: object) -> None:
        """Ignore the import system, which binds each subpackage to its parent."""

    def __dir__(self) -> list[str]:
        """The interface is listed before it is imported."""
        return sorted({*super().__dir__(), *__all__})

    def __getattr__(self, name: str) -> object:
        """Import the rest of the Python interface on first use."""
        if name not in __all__:
            raise AttributeError(f"module 'natmu' has no attribute {name!r}")
        return getattr(import_module("natmu.study"), name)


sys.modules[__name__].__class__ = _Package
