"""The methods by name: ours, and those of installed packages.

A package brings methods of its own through the entry-point group ``natmu.methods``: the name of an entry is the
method's, its value is ``package.module:Class``. Nothing of such a package is imported before its method is asked for.
"""

from __future__ import annotations

import inspect
from functools import cache

from natmu import plugins
from natmu.errors import SettingError, hint
from natmu.methods.base import Method
from natmu.plugins import PlugIn
from natmu.types import Settings

GROUP = "natmu.methods"
"""The entry-point group of methods."""


def ours() -> dict[str, type[Method]]:
    """Our methods by name."""
    from natmu.methods import METHODS  # the list names the families, and one of them asks this module for methods

    return {method.name: method for method in METHODS}


@cache
def plug_ins() -> tuple[PlugIn, ...]:
    """The methods of installed packages, by name; none of them is imported."""
    return plugins.plug_ins(GROUP)


def load_plug_in(plug_in: PlugIn) -> type[Method]:
    """The class of a method that an installed package brings.

    Raises:
        SettingError: It cannot be imported, is no complete method, or its name is taken or not that of its entry.
    """

    def fault(loaded: object) -> str | None:
        return _fault(loaded, plug_in.target) or plug_in.misnamed(loaded, "class")

    return checked_method(plug_in.load("Method", ours(), fault))


def method_named(name: str) -> type[Method]:
    """The method of this name, ours or of an installed package.

    Raises:
        SettingError: There is none, which names the closest ones; or the package that brings it is broken.

    Examples:
        >>> method_named("salun") is SalUn
        True
    """
    known = ours()
    if name in known:
        return known[name]
    for plug_in in plug_ins():
        if plug_in.name == name:
            return load_plug_in(plug_in)
    names = [*known, *(plug_in.name for plug_in in plug_ins() if plug_in.name not in known)]
    raise SettingError(f"There is no method {name!r}{hint(name, names)}; choose one of {', '.join(names)}.")


def checked_method(found: object) -> type[Method]:
    """A class that is a complete method.

    Raises:
        SettingError: It is not.

    Examples:
        >>> checked_method(SalUn) is SalUn
        True
    """
    fault = _fault(found, getattr(found, "__name__", "it"))
    if fault is not None:
        called = f"{found.__name__}" if isinstance(found, type) else f"{found!r:.60}"
        raise SettingError(f"method={called} {fault}; or give the name of a method, as natmu methods lists them.")
    assert isinstance(found, type), "it was checked"
    return found


def _fault(found: object, called: str) -> str | None:
    """What an object lacks to be a method."""
    if not isinstance(found, type) or not issubclass(found, Method) or inspect.isabstract(found):
        return f"is not a method: {called} must be a Method with a run of its own"
    config = getattr(found, "Config", None)
    if not isinstance(config, type) or not issubclass(config, Settings):
        return f"has no settings: {called} needs a Config, a class of Settings"
    if not isinstance(getattr(found, "name", None), str):
        return f"has no name: {called} needs one, a text that is its name everywhere"
    return None
