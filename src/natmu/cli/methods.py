"""``natmu methods``."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from natmu.cli import completing
from natmu.cli.options import Json
from natmu.terminal import echo


def run(
    name: Annotated[
        str | None,
        typer.Argument(metavar="[NAME]", help="Method to describe in full.", autocompletion=completing.methods),
    ] = None,
    without_retain: Annotated[
        bool, typer.Option("--without-retain", help="List only methods that read nothing but the samples to forget.")
    ] = False,
    as_json: Json = False,
) -> None:
    """List the unlearning methods, or describe one."""
    from natmu.cli.manual import in_full, listing
    from natmu.cli.output import print_json

    rows, faults = _rows()
    if without_retain:
        rows = [row for row in rows if not row["needs_retain"]]
    if name is not None:
        row = _row(name, rows)
        print_json(row) if as_json else echo(*in_full(row).split("\n"))
    elif as_json:
        print_json(rows)
    else:
        echo(*listing(rows).split("\n"))
    for fault in [] if name is not None else faults:
        echo(f"natmu: {fault}", err=True)


def _rows() -> tuple[list[dict[str, Any]], list[str]]:
    """All methods, and a sentence on each that an installed package promises and cannot give."""
    import json
    from importlib.metadata import entry_points
    from importlib.resources import files

    rows = json.loads(files("natmu").joinpath("methods/catalogue.json").read_text(encoding="utf-8"))
    if not entry_points(group="natmu.methods"):
        return rows, []
    from natmu.methods.catalogue import plug_in_catalogue  # loads PyTorch, as the package that brings a method does

    more, faults = plug_in_catalogue()
    return rows + more, faults


def _row(name: str, rows: list[dict[str, Any]]) -> dict[str, Any]:
    """The row of a method.

    Raises:
        SettingError: There is none of this name, or the package that promises it is broken.
    """
    found = {row["name"]: row for row in rows}
    if name in found:
        return found[name]
    from natmu.methods import method_named
    from natmu.methods.catalogue import row_of

    return row_of(method_named(name))
