"""``natmu doctor``."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from natmu.cli.options import DataDir, Device, Json, Precision
from natmu.terminal import echo

if TYPE_CHECKING:
    from natmu.diagnosis.finding import Diagnosis


def run(
    *,
    data_dir: DataDir = Path("data"),
    out: Annotated[Path, typer.Option("--out", help="Folder that holds the runs.")] = Path("runs"),
    device: Device = "auto",
    precision: Precision = "auto",
    as_json: Json = False,
) -> None:
    """Check this machine, the installation, the data and the runs.

    Says what is wrong and what to do; it repairs nothing. The exit status is 0 if all is well, and 1 if something is
    wrong.
    """
    from natmu.cli.output import print_json
    from natmu.diagnosis.diagnosing import diagnose

    diagnosis = diagnose(data_dir, out, device, precision)
    if as_json:
        print_json(diagnosis.plain())
    else:
        _print(diagnosis)
    if diagnosis.wrong:
        raise typer.Exit(1)


def _print(diagnosis: Diagnosis) -> None:
    """Print a line on each thing, below it what to do, and at the end whether all is well."""
    width = max(len(finding.subject) for finding in diagnosis.findings)
    for finding in diagnosis.findings:
        mark = {"good": "ok   ", "note": "note ", "wrong": "WRONG"}[finding.state]
        echo(f"{mark} {finding.subject.ljust(width)}  {finding.text}")
        if finding.remedy:
            echo(f"{' ' * (len(mark) + width + 3)}{finding.remedy}")
    things = "thing is" if diagnosis.wrong == 1 else "things are"
    echo("All is well." if not diagnosis.wrong else f"{diagnosis.wrong} {things} wrong; see WRONG above.")
