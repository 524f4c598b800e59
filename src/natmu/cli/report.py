"""``natmu report``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import typer

from natmu.cli import completing
from natmu.errors import UsageError
from natmu.terminal import echo, echo_document

Form = Literal["html", "markdown", "csv", "latex"]


def run(
    folder: Annotated[
        Path,
        typer.Argument(
            metavar="RUN_OR_STUDY",
            help="Folder of a study, a run or a saved result.",
            autocompletion=completing.run_folders,
        ),
    ],
    out: Annotated[
        Path | None, typer.Option("--out", help="File to write; report.html in the folder by default.")
    ] = None,
    form: Annotated[
        Form,
        typer.Option("--format", help="html: one page that opens offline; the others: a study's tables as text."),
    ] = "html",
) -> None:
    """Write a page on a study, a run or a saved result.

    Or print the tables of a study as Markdown, CSV or LaTeX.
    """
    from natmu.records.disk import require_writable_file
    from natmu.records.files import write_atomically
    from natmu.report import write_report

    if out is not None:
        _require_name(out, form)
        require_writable_file(out)
    if form == "html":
        echo(write_report(folder, out))
        return
    text = _written(form, folder)
    if out is None:
        echo_document(text)
    else:
        write_atomically(out, text.encode())
        echo(out)


ENDINGS: dict[Form, tuple[str, ...]] = {
    "html": (".html", ".htm"),
    "markdown": (".md", ".markdown", ".txt"),
    "csv": (".csv", ".txt"),
    "latex": (".tex", ".txt"),
}
"""How the names of files end that a report may replace, beside names without an ending."""


def _require_name(out: Path, form: Form) -> None:
    """Refuse to replace what is no report by its name: a recipe, weights, images.

    Raises:
        UsageError: Such a file is there.
    """
    if out.suffix and out.suffix.lower() not in ENDINGS[form] and out.is_file():
        raise UsageError(
            f"--out {out} is there, and its name does not end in {ENDINGS[form][0]}, as a report's does; it is left "
            "as it is: name another file."
        )


def _written(form: Form, folder: Path) -> str:
    """A study's tables as text."""
    from natmu.records.files import is_there
    from natmu.records.study import TABLE, open_study
    from natmu.report import csv_table, latex, read_study, study_markdown

    if not is_there(folder / TABLE):
        raise UsageError(
            f"--format {form} is for the tables of a study, and {folder} holds none; name a study's folder."
        )
    if form == "markdown":
        return study_markdown(open_study(folder))
    return {"csv": csv_table, "latex": latex}[form](read_study(folder))
