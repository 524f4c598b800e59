"""The methods by name: ours, and those of installed packages.

A package brings methods of its own through the entry-point group ``natmu.methods``: the name of an entry is the
method's, its value is ``package.module:Class``. Nothing of such a package is imported before its method is asked for.
"""

from __future__ import annotations

import inspect
from dataclasses import dataclass
from functools import cache
from importlib.metadata import EntryPoint, entry_points

from natmu.errors import NatmuError, SettingError, hint
from natmu.methods.base import Method
from natmu.models.faults import FAULTS, quoted
from natmu.types import Settings

GROUP = "natmu.methods"
"""The entry-point group of methods."""


@dataclass(frozen=True)
class PlugIn:
    """A method that an installed package brings.

    Attributes:
        name: The method's name.
        target: Where its class is, as ``package.module:Class``.
        package: Name of the installed package.
    """

    name: str
    target: str
    package: str

    def load(self) -> type[Method]:
        """The method's class.

        Raises:
            SettingError: It cannot be imported, is no complete method, or its name is taken or not that of its entry.
        """
        what = f"Method {self.name!r} of the package {self.package}"
        mend = "mend or uninstall that package"
        if self.name in ours():
            raise SettingError(f"{what} has the name of one of natmu's own, which keeps it; {mend}.")
        others = {other.package for other in plug_ins() if other.name == self.name} - {self.package}
        if others:
            raise SettingError(
                f"{what} has the same name as one of {', '.join(sorted(others))}; uninstall one of them."
            )
        try:
            found = EntryPoint(self.name, self.target, GROUP).load()
        except (*FAULTS, NatmuError) as error:
            raise SettingError(f"{what} cannot be imported ({quoted(error)}); {mend}.") from error
        fault = _fault(found, self.target)
        if fault is not None:
            raise SettingError(f"{what} {fault}; {mend}.")
        if getattr(found, "name", None) != self.name:
            called = getattr(found, "name", None)
            raise SettingError(f"{what} calls itself {called!r}; its entry and its class need the same name; {mend}.")
        return checked_method(found)


def ours() -> dict[str, type[Method]]:
    """Our methods by name."""
    from natmu.methods import METHODS  # the list names the families, and one of them asks this module for methods

    return {method.name: method for method in METHODS}


@cache
def plug_ins() -> tuple[PlugIn, ...]:
    """The methods of installed packages, by name; none of them is imported."""
    found = (
        PlugIn(point.name, point.value, point.dist.name if point.dist is not None else "unknown")
        for point in entry_points(group=GROUP)
    )
    return tuple(sorted(found, key=lambda one: (one.name, one.package)))


def method_named(name: str) -> type[Method]:
    """The method of this name, ours or of an installed package.

    Raises:
        SettingError: There is none, which names the closest ones; or the package that brings it is broken.
    """
    known = ours()
    if name in known:
        return known[name]
    for plug_in in plug_ins():
        if plug_in.name == name:
            return plug_in.load()
    names = [*known, *(plug_in.name for plug_in in plug_ins() if plug_in.name not in known)]
    raise SettingError(f"There is no method {name!r}{hint(name, names)}; choose one of {', '.join(names)}.")


def checked_method(found: object) -> type[Method]:
    """A class that is a complete method.

    Raises:
        SettingError: It is not.
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
        return f"is no method: {called} must be a Method with a run of its own"
    config = getattr(found, "Config", None)
    if not isinstance(config, type) or not issubclass(config, Settings):
        return f"has no settings: {called} needs a Config, a class of Settings"
    if not isinstance(getattr(found, "name", None), str):
        return f"has no name: {called} needs one, a text that is its name everywhere"
    return None
