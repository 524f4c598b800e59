"""``natmu report``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import typer

from natmu.errors import UsageError
from natmu.terminal import echo, echo_document


def run(
    folder: Annotated[Path, typer.Argument(metavar="RUN_OR_STUDY", help="Folder of a study, a run or a saved result.")],
    out: Annotated[Path | None, typer.Option("--out", help="File to write; report.html in the folder if none.")] = None,
    form: Annotated[
        Literal["html", "markdown", "csv", "latex"],
        typer.Option("--format", help="html: one page that opens offline; the others: a study's tables as text."),
    ] = "html",
) -> None:
    """Write a page with tables and plots of a study, a run or a saved result.

    Or print the tables of a study for a document.
    """
    from natmu.records.disk import require_file
    from natmu.records.files import write_atomically
    from natmu.report import write_report

    if out is not None:
        require_file(out)
    if form == "html":
        echo(write_report(folder, out))
        return
    text = _written(form, folder)
    if out is None:
        echo_document(text)
    else:
        write_atomically(out, text.encode())
        echo(out)


def _written(form: Literal["markdown", "csv", "latex"], folder: Path) -> str:
    """A study's tables as text."""
    from natmu.report import csv_table, latex, markdown, read_study

    if not (folder / "table.json").exists():
        raise UsageError(
            f"--format {form} is for the tables of a study, and {folder} holds none; name a study's folder."
        )
    writers = {"markdown": markdown, "csv": csv_table, "latex": latex}
    return writers[form](read_study(folder))
