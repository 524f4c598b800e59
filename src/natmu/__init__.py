"""Machine unlearning of image classifiers: forget training samples, and measure how close that is to retraining.

``unlearn``, ``audit`` and ``train_shards`` are imported when they are first used, because they load PyTorch.
"""

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from natmu.api import AuditResult, ShadowModels, ShardedModel, UnlearnResult, audit, train_shards, unlearn

__version__ = "0.2.0"
"""The version of the package.

Examples:
    >>> import natmu
    >>> [part.isdigit() for part in natmu.__version__.split(".")]
    [True, True, True]
"""
__all__ = [
    "AuditResult",
    "ShadowModels",
    "ShardedModel",
    "UnlearnResult",
    "__version__",
    "audit",
    "train_shards",
    "unlearn",
]


def __getattr__(name: str) -> object:
    """Import the rest of the Python interface on first use."""
    if name not in __all__:
        raise AttributeError(f"module 'natmu' has no attribute {name!r}")
    return getattr(import_module("natmu.api"), name)


def __dir__() -> list[str]:
    """The interface is listed before it is imported."""
    return sorted({*globals(), *__all__})
