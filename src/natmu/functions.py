"""Functions of the user's own, by the text ``package.module:function``."""

from __future__ import annotations

import hashlib
import inspect
import pkgutil
import re
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from natmu.errors import FAULTS, SettingError, UsageError, importable, quoted

_NAME = re.compile(r"[^\W\d]\w*(\.[^\W\d]\w*)*:[^\W\d]\w*(\.[^\W\d]\w*)*")


def is_function_name(text: str) -> bool:
    """Whether a text is written as ``package.module:function``.

    >>> is_function_name("mine.data:load"), is_function_name("C:/data"), is_function_name("cifar10")
    (True, False, False)
    """
    return _NAME.fullmatch(text) is not None


def function_named(name: str, error: type[UsageError] = SettingError) -> Callable[..., Any]:
    """Import a function; its module is looked for in the current directory and then where Python looks.

    Args:
        name: ``package.module:function``.
        error: What is raised.

    Raises:
        UsageError: It cannot be imported, or is not callable.
    """
    try:
        with current_directory_first():
            found = pkgutil.resolve_name(name)
    except FAULTS as fault:
        raise error(
            f"{name} cannot be imported ({quoted(fault)}); write {importable(name)}, with the module in "
            "the current directory or installed."
        ) from fault
    if not callable(found):
        raise error(f"{name} is a {type(found).__name__}, not a function; name one.")
    return found  # type: ignore[no-any-return]


def source_digest(function: Callable[..., Any]) -> str:
    """Hexadecimal digest of the file that defines a function; where there is none, of nothing."""
    inner = inspect.unwrap(function)
    inner = inner if hasattr(inner, "__module__") else type(inner)
    file = getattr(sys.modules.get(inner.__module__), "__file__", None)
    return hashlib.blake2b(Path(file).read_bytes() if file else b"", digest_size=16).hexdigest()


@contextmanager
def current_directory_first() -> Iterator[None]:
    """Let modules in the current directory be imported, as ``python -m`` does."""
    here = str(Path.cwd())
    sys.path.insert(0, here)
    try:
        yield
    finally:
        sys.path.remove(here)
