"""What installed packages bring through entry points: known by name, and imported only when it is asked for."""

from __future__ import annotations

from collections.abc import Callable, Container
from dataclasses import dataclass
from importlib import metadata

from natmu.errors import FAULTS, NatmuError, SettingError, quoted

MEND = "correct or uninstall that package"


@dataclass(frozen=True)
class PlugIn:
    """An object that an installed package brings.

    Attributes:
        group: The entry-point group, such as ``natmu.methods``.
        name: The object's name, which is that of its entry.
        target: Where it is, as ``package.module:object``.
        package: Name of the installed package.
        rivals: Other packages that bring an object of the same name, in alphabetical order.
    """

    group: str
    name: str
    target: str
    package: str
    rivals: tuple[str, ...] = ()

    def load(self, kind: str, ours: Container[str], fault: Callable[[object], str | None]) -> object:
        """Import the object.

        Args:
            kind: What it is, such as ``Method``; errors begin with it.
            ours: Names that natmu's own have.
            fault: What an imported object lacks, as the rest of a sentence about it; None if it lacks nothing.

        Raises:
            SettingError: Its name is taken, it cannot be imported, or it lacks something.
        """
        what = f"{kind} {self.name!r} of the package {self.package}"
        if self.name in ours:
            raise SettingError(f"{what} has the name of one of natmu's own, which keeps it; {MEND}.")
        if self.rivals:
            raise SettingError(f"{what} has the same name as one of {', '.join(self.rivals)}; uninstall one of them.")
        try:
            loaded: object = metadata.EntryPoint(self.name, self.target, self.group).load()
        except (*FAULTS, NatmuError) as error:
            raise SettingError(f"{what} cannot be imported ({quoted(error)}); {MEND}.") from error
        if (lack := fault(loaded)) is not None:
            raise SettingError(f"{what} {lack}; {MEND}.")
        return loaded

    def misnamed(self, loaded: object, place: str) -> str | None:
        """A fault: the object has another name than its entry.

        Args:
            loaded: The object.
            place: Where its name stands, such as its class.
        """
        called = getattr(loaded, "name", None)
        return None if called == self.name else f"calls itself {called!r}; its entry and its {place} need the same name"


def plug_ins(group: str) -> tuple[PlugIn, ...]:
    """What installed packages bring in an entry-point group, by name; nothing is imported."""
    entries = [
        (point.name, point.value, point.dist.name if point.dist is not None else "unknown")
        for point in metadata.entry_points(group=group)
    ]
    found = []
    for name, target, package in entries:
        rivals = {other for called, _, other in entries if called == name} - {package}
        found.append(PlugIn(group, name, target, package, tuple(sorted(rivals))))
    return tuple(sorted(found, key=lambda plug_in: (plug_in.name, plug_in.package)))
