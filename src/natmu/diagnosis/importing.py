"""Whether modules can be imported, tried in a process of its own, which a broken one may end."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Mapping, Sequence
from importlib import import_module

from natmu.errors import FAULTS, quoted

PATIENCE_S = 120.0
"""Seconds after which a module that does not come to an end counts as broken."""

MISSING = ""
"""Of a module that is not installed."""


def import_faults(modules: Sequence[str]) -> Mapping[str, str | None]:
    """What is wrong with modules: None of one that can be imported, ``MISSING``, or why it cannot be imported.

    Args:
        modules: Their names.
    """
    faults: dict[str, str | None] = {}
    while left := [name for name in modules if name not in faults]:
        command = [sys.executable, "-P", "-m", "natmu.diagnosis.importing", *left]
        try:
            done = subprocess.run(command, capture_output=True, timeout=PATIENCE_S, check=False)
            out, end = done.stdout, f"it ended Python with status {done.returncode}"
        except subprocess.TimeoutExpired as error:
            out, end = error.stdout or b"", f"it takes more than {PATIENCE_S:g} s"
        told = _told(out.decode(errors="replace"), left)
        faults |= told
        if len(told) < len(left):
            faults[left[len(told)]] = end
    return faults


def _told(out: str, names: Sequence[str]) -> dict[str, str | None]:
    """What the process said of the first of the modules, before it ended."""
    lines = [line.removeprefix(_MARK) for line in out.splitlines() if line.startswith(_MARK)]
    return dict(zip(names, map(json.loads, lines), strict=False))


_MARK = "natmu-import:"
"""Begins the lines that are ours; a module may print what it likes."""


def _try(name: str) -> str | None:
    """Import a module; what is wrong with it."""
    try:
        import_module(name)
    except ModuleNotFoundError as error:
        return MISSING if error.name == name else quoted(error)
    except FAULTS as error:
        return quoted(error)
    return None


if __name__ == "__main__":
    for module in sys.argv[1:]:
        line = json.dumps(_try(module))
        sys.stdout.write(f"\n{_MARK}{line}\n")
        sys.stdout.flush()
