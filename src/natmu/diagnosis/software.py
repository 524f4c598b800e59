"""The installation: versions, optional extras, and what installed packages bring."""

from __future__ import annotations

import platform
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from importlib import metadata

from natmu import __version__
from natmu.diagnosis.finding import Finding
from natmu.diagnosis.importing import MISSING

SHOWN = ("torch", "numpy", "scipy", "scikit-learn")
"""Packages whose versions are told."""


@dataclass(frozen=True)
class Extra:
    """Packages that natmu uses where they are installed.

    Attributes:
        name: What it is called.
        modules: What has to be imported.
        purpose: What it is for.
        packages: What pip installs.
    """

    name: str
    modules: tuple[str, ...]
    purpose: str
    packages: str


def _extra(name: str, purpose: str, *modules: str) -> Extra:
    return Extra(name, modules, purpose, f"'natmu[{name}]'")


def _library(name: str) -> Extra:
    return Extra(name, (name,), f"models named {'hf' if name == 'transformers' else name}:NAME", name)


EXTRAS = (
    _extra("search", "natmu search", "optuna"),
    _extra("track", "--track", "wandb", "mlflow", "sqlalchemy", "alembic", "tensorboard"),
    _extra("ray", "studies on a cluster", "ray"),
    _extra("sign", "signed evidence of deletion requests", "cryptography"),
    _extra("figures", "the figure of benchmarks/pareto.py", "matplotlib"),
    _extra("testing", "tests of methods and scores of your own", "pytest"),
    *map(_library, ("timm", "torchvision", "transformers")),
)
"""All of them; natmu needs none."""


def extra_finding(extra: Extra, faults: Mapping[str, str | None]) -> Finding:
    """Whether an extra can be used.

    Args:
        extra: The extra.
        faults: What is wrong with each of its modules; see ``import_faults``.
    """
    subject = f"extra {extra.name}"
    broken = [f"{module} ({faults[module]})" for module in extra.modules if faults[module]]
    missing = [module for module in extra.modules if faults[module] == MISSING]
    if broken:
        remedy = f"Install it again: pip install --force-reinstall {extra.packages}."
        if any("torchvision" in fault for fault in broken):  # timm imports it
            remedy = (
                "Install the torchvision that fits this PyTorch, from where that came; https://pytorch.org lists both."
            )
        return Finding(subject, "wrong", f"Installed, and cannot be imported: {', '.join(broken)}.", remedy)
    if not missing:
        return Finding(subject, "good", f"Installed, for {extra.purpose}.")
    part = "" if len(missing) == len(extra.modules) else f" as a whole ({', '.join(missing)} missing)"
    remedy = f"To have it: pip install {extra.packages}."
    return Finding(subject, "note", f"Not installed{part}; for {extra.purpose}.", remedy)


def version_findings(required: Sequence[str], installed: Callable[[str], str | None]) -> list[Finding]:
    """Packages that are too old; those that natmu cannot do without are missed as well.

    Args:
        required: What natmu requires, as ``numpy>=1.26`` or ``ray>=2.60; extra == "ray"``.
        installed: The version of a package; None where it is missing.
    """
    findings = []
    for line in dict.fromkeys(required):
        found = _REQUIREMENT.match(line)
        if found is None or 'extra == "dev"' in line:
            continue
        name, least, optional = found["name"], found["least"], "extra ==" in line
        version = installed(name)
        if version is None and optional:
            continue
        if version is None or _numbers(version) < _numbers(least):
            text = f"{name} is missing." if version is None else f"{name} {version} is older than {least}."
            findings.append(Finding("versions", "wrong", text, f"pip install '{name}>={least}'"))
    return findings


_REQUIREMENT = re.compile(r"(?P<name>[\w.-]+)(\[[^]]*\])?\s*>=\s*(?P<least>\d[\w.]*)")


def _numbers(version: str) -> list[int]:
    """The numbers that a version begins with; letters, as of a pre-release, end them."""
    numbers = re.match(r"\d+(\.\d+)*", version)
    return [] if numbers is None else list(map(int, numbers[0].split(".")))


def installation_finding(recorded: str | None) -> Finding:
    """The versions that decide numbers, and whether pip knows this one of natmu.

    Args:
        recorded: Version of natmu that pip has installed; None where it has none.
    """
    told = {"natmu": __version__, "Python": platform.python_version()}
    told |= {name: version for name in SHOWN if (version := installed_version(name)) is not None}
    text = f"{', '.join(f'{name} {version}' for name, version in told.items())}, on {platform.system()}."
    if recorded == __version__:
        return Finding("versions", "good", text)
    what = "pip has not installed natmu" if recorded is None else f"pip has installed natmu {recorded}"
    remedy = "Install it again: pip install natmu, or pip install -e . in a clone."
    return Finding("versions", "note", f"{text} {what}, and another copy of it runs.", remedy)


def installed_version(name: str) -> str | None:
    """The version of an installed package; None where it is missing."""
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return None


def requirements() -> list[str]:
    """What the installed natmu requires; nothing where pip has not installed it."""
    try:
        return metadata.requires("natmu") or []
    except metadata.PackageNotFoundError:
        return []


def plug_in_findings(names: Sequence[str], faults: Sequence[str]) -> list[Finding]:
    """What installed packages bring.

    Args:
        names: Methods and scores that can be used.
        faults: A sentence on each that cannot.
    """
    good = [Finding("plug-ins", "good", f"Installed packages bring {', '.join(names)}.")] if names else []
    return good + [Finding("plug-ins", "wrong", *_parts(sentence)) for sentence in faults]


def _parts(sentence: str) -> tuple[str, str]:
    text, _, remedy = sentence.rstrip(".").partition("; ")
    return f"{text}.", f"{remedy[:1].upper()}{remedy[1:]}." if remedy else "Correct or uninstall that package."
