"""A study or a run as one HTML file that needs nothing else: scripts, styles, pictures and data are in it."""

from __future__ import annotations

import base64
import hashlib
import json
from collections.abc import Iterator, Mapping
from importlib.metadata import version
from importlib.resources import files
from pathlib import Path
from typing import Any

from markupsafe import Markup
from plotly.offline import get_plotlyjs

from natmu.errors import UsageError
from natmu.records.audit import AUDIT, AUDIT_FOLDER
from natmu.records.disk import sweep
from natmu.records.files import is_there, write_atomically
from natmu.records.result import RESULT
from natmu.records.run import RECORD
from natmu.records.search import BEST, SEARCH
from natmu.records.study import TABLE
from natmu.report.figures import Figure
from natmu.report.html import templates
from natmu.report.result_page import result_page
from natmu.report.run_page import run_page
from natmu.report.study_page import study_page
from natmu.report.views import Comparison, Plot


def write_report(folder: Path, out: Path | None = None) -> Path:
    """Write the report of a study, of a run or of a saved result.

    Args:
        folder: A study folder, a run folder, or what ``save`` of a result in Python wrote.
        out: The file; ``report.html`` in the folder if None. It appears whole or not at all.

    Returns:
        The file.

    Raises:
        UsageError: The folder is none of them.
        RunError: Something stored cannot be read, or the file cannot be written.
    """
    if is_there(folder / TABLE):
        content = study_page(folder)
    elif is_there(folder / RECORD):
        content = run_page(folder)
    elif is_there(folder / RESULT) or is_there(folder / AUDIT_FOLDER / AUDIT):
        content = result_page(folder)
    elif is_there(folder / SEARCH):
        best = folder / BEST
        raise UsageError(f"{folder} holds a search and no study yet; run natmu bench {best} to make it one.")
    else:
        raise UsageError(f"{folder} holds neither {TABLE} nor {RECORD}; name the folder of a study or of a run.")
    for left in (folder, folder / AUDIT_FOLDER):
        sweep(left)
    path = folder / "report.html" if out is None else out
    write_atomically(path, render(content).encode())
    return path


def render(content: Mapping[str, Any]) -> str:
    """The page as text.

    Args:
        content: As ``study_page`` or ``run_page`` return it.
    """
    scripts = [get_plotlyjs(), _asset("report.js")]
    template = templates().get_template(f"{content['kind']}.html")
    return template.render(
        **content,
        version=version("natmu"),
        figures=embedded({plot.key: plot.figure for plot in plots_of(content)}),
        scripts=[Markup(script) for script in scripts],
        style=Markup(_asset("report.css")),
        policy=_policy(scripts),
    )


def plots_of(content: Mapping[str, Any]) -> Iterator[Plot]:
    """All plots of a page."""
    for scenario in content.get("scenarios", []):
        yield from [scenario.scatter] if scenario.scatter else []
        yield from scenario.bars
        for replicate in scenario.replicates:
            yield from _compared(replicate.comparison)
    yield from _compared(content.get("comparison"))
    yield from content.get("curves", [])


def embedded(figures: Mapping[str, Figure]) -> Markup:
    """Figures as JSON that can stand in a script element: nothing in it ends the element or opens a comment."""
    text = json.dumps(figures, separators=(",", ":"), allow_nan=False)
    for character in "<>&\u2028\u2029":
        text = text.replace(character, f"\\u{ord(character):04x}")
    return Markup(text)


def _compared(found: Comparison | None) -> Iterator[Plot]:
    """The plots of a comparison."""
    if found is not None:
        yield from (*found.margins, *found.rocs, *found.curves)


def _asset(name: str) -> str:
    """A script or style of the page."""
    return files("natmu.report").joinpath(f"templates/{name}").read_text(encoding="utf-8")


def _policy(scripts: list[str]) -> str:
    """Only these scripts run, and nothing is fetched; Plotly writes styles of its own."""
    hashes = [base64.b64encode(hashlib.sha256(script.encode()).digest()).decode() for script in scripts]
    allowed = " ".join(f"'sha256-{one}'" for one in hashes)
    return (
        f"default-src 'none'; script-src {allowed}; style-src 'unsafe-inline'; img-src data: blob:; "
        "base-uri 'none'; form-action 'none'"
    )
