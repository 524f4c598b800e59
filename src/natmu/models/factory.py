"""Models of the user's own, from a ``package.module:factory`` on the command line."""

from __future__ import annotations

import hashlib
import inspect
import pkgutil
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from torch import nn

from natmu.errors import ModelError, importable
from natmu.functions import current_directory_first
from natmu.models.faults import FAULTS, quoted
from natmu.models.hub import hub_source, is_hub
from natmu.models.initial import seeded


def from_factory(name: str, *, num_classes: int, seed: int) -> nn.Module:
    """Build a user's model.

    The module is looked for in the current directory and then where Python looks. The factory is called as
    ``factory(num_classes=…)`` if its signature accepts that, else without arguments.

    Args:
        name: ``package.module:factory``.
        num_classes: Number of classes.
        seed: What PyTorch's CPU generator holds while the factory runs; it is put back afterwards.

    Raises:
        ModelError: The factory cannot be found, fails, or makes no model.
    """
    with seeded(seed), current_directory_first():
        try:
            factory = pkgutil.resolve_name(name)
        except FAULTS as error:
            raise ModelError(
                f"Model {name!r} cannot be imported ({quoted(error)}): write {importable(name, 'factory')}, with the "
                "module in the current directory or installed."
            ) from error
        try:
            model = _call(factory, num_classes)
        except FAULTS as error:
            raise ModelError(
                f"{name} failed ({quoted(error)}): it is called with num_classes={num_classes} if it accepts that, "
                "else without arguments."
            ) from error
    if not isinstance(model, nn.Module):
        raise ModelError(f"{name} returned {type(model).__name__}: it must return a torch.nn.Module.")
    return model


def source_digest(name: str) -> str:
    """Hexadecimal digest of what defines a model that is not ours: another file or version, another architecture.

    Args:
        name: ``package.module:factory`` or the name of a library's model, which ``build_model`` has accepted.

    Examples:
        >>> len(source_digest("natmu.testing.problems:small_net"))
        32
    """
    if is_hub(name):
        return hashlib.blake2b(hub_source(name), digest_size=16).hexdigest()
    with current_directory_first():
        factory = inspect.unwrap(pkgutil.resolve_name(name))
    module = sys.modules[getattr(factory, "__module__", None) or name.partition(":")[0]]
    file = getattr(module, "__file__", None)
    return hashlib.blake2b(Path(file).read_bytes() if file else b"", digest_size=16).hexdigest()


def _call(factory: Callable[..., Any], num_classes: int) -> object:
    """Call a factory with the number of classes if it accepts that."""
    try:
        inspect.signature(factory).bind(num_classes=num_classes)
    except (TypeError, ValueError):
        return factory()
    return factory(num_classes=num_classes)
