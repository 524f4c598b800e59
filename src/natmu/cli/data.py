"""``natmu data`` and ``natmu data download``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from natmu.cli import completing
from natmu.cli.options import DataDir, Json
from natmu.terminal import echo

app = typer.Typer(rich_markup_mode=None, help="List the data sets, or download one.")


@app.callback(invoke_without_command=True)
def run(context: typer.Context, as_json: Json = False) -> None:
    """List the data sets, or download one."""
    if context.invoked_subcommand is not None:
        return
    from dataclasses import asdict

    from natmu.cli.output import print_json, print_rows
    from natmu.data import sources

    rows = [asdict(source) for source in sources()]
    if as_json:
        print_json(rows)
    else:
        print_rows(rows, ["name", "description", "shape", "classes", "train", "test", "downloadable"])


@app.command()
def download(
    name: Annotated[
        str, typer.Argument(help="Name of a data set; natmu data lists them.", autocompletion=completing.data_sets)
    ],
    data_dir: DataDir = Path("data"),
    base_url: Annotated[
        str | None, typer.Option("--base-url", help="Mirror that serves the official archives.")
    ] = None,
) -> None:
    """Download a data set, check it and unpack it.

    An interrupted download continues where it stopped.
    """
    from natmu.data.downloads import download as fetch

    echo(fetch(name, data_dir, base_url))
