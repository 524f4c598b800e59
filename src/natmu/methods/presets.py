"""Published settings of methods, by the name of their source."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from natmu.errors import SettingError, hint

PRESET = "preset"
"""The key among a method's settings that names a preset."""


@dataclass(frozen=True)
class Preset:
    """Settings with which a method was published.

    Attributes:
        settings: What its source says; all else stays at the method's own defaults.
        source: Where they stand: a paper's table, or a project with its file; and for which data and network.

    Examples:
        >>> published = Preset({"lr": 1e-3}, "Table 4, ResNet18 on CIFAR-10")
        >>> published.settings["lr"]
        0.001
    """

    settings: Mapping[str, Any]
    source: str


def with_preset(method: str, presets: Mapping[str, Preset], settings: Mapping[str, Any]) -> dict[str, Any]:
    """Settings in which the named preset is replaced by what it stands for; what is given beside it wins.

    Args:
        method: Name of the method.
        presets: Its presets by name.
        settings: As given, with or without the key ``preset``.

    Raises:
        SettingError: The method has no such preset.
    """
    given = dict(settings)
    name = given.pop(PRESET, None)
    if name is None:
        return given
    if not isinstance(name, str) or name not in presets:
        known = f"choose one of {', '.join(presets)}" if presets else "the method has none, so leave it out"
        close = hint(name, presets) if isinstance(name, str) else ""
        raise SettingError(f"{method}: there is no preset {name!r}{close}; {known}.")
    return {**presets[name].settings, **given}
