"""How results are printed."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer
from rich.console import Console
from rich.table import Table
from rich.text import Text

if TYPE_CHECKING:
    from natmu.types import Record


def print_json(value: object) -> None:
    """Print a value as JSON."""
    typer.echo(json.dumps(value, indent=1, allow_nan=False))


def print_run(path: Path, record: Record, *, as_json: bool) -> None:
    """Print a run: its folder, its scores, its cost."""
    if as_json:
        print_json({"run": str(path)} | asdict(record))
        return
    found = "  ".join(f"{name} {value:.2f}" for name, value in record.scores.items())
    typer.echo(
        f"{path}\n{found}\n{record.seconds:.1f} s on {record.hardware['device']}, {record.hardware['precision']}"
    )


def print_study(study: Mapping[str, Any], *, as_json: bool) -> None:
    """Print the tables of a study."""
    if as_json:
        print_json(study)
    else:
        from natmu.report import print_tables

        print_tables(study, Console(highlight=False))


def print_audit(study: Mapping[str, Any], folder: Path, *, as_json: bool) -> None:
    """Print an audit: the table of the study that it makes, every score with its verdict, and where it was written."""
    if as_json:
        print_json(study)
        return
    from natmu.report import print_scores, print_tables

    console = Console(highlight=False)
    print_tables(study, console)
    print_scores(study["audit"], console)
    typer.echo(f"{folder / 'audit.json'}, {folder / 'samples.csv'}")


def print_rows(rows: Sequence[Mapping[str, Any]], columns: Sequence[str]) -> None:
    """Print rows as a table of the named columns."""
    table = Table(show_lines=True)
    for column in columns:
        table.add_column(column, overflow="fold")
    for row in rows:
        table.add_row(*(Text(_shown(row[column])) for column in columns))
    Console(highlight=False).print(table)


def _shown(value: object) -> str:
    """A cell's text."""
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, list | tuple):
        return " x ".join(map(str, value)) if all(isinstance(one, int) for one in value) else ", ".join(map(str, value))
    if isinstance(value, int):
        return f"{value:,}"
    if isinstance(value, Mapping):
        return f"{value['authors']} {value['year']}, {value['url']}"
    return "" if value is None else str(value)
