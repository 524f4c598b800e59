"""``natmu scores``."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from natmu.cli import completing
from natmu.cli.options import Json
from natmu.terminal import echo


def run(
    name: Annotated[
        str | None,
        typer.Argument(metavar="[NAME]", help="Score to describe in full.", autocompletion=completing.scores),
    ] = None,
    as_json: Json = False,
) -> None:
    """List the scores, or describe one."""
    from natmu.cli.output import print_json
    from natmu.cli.score_manual import in_full, listing
    from natmu.errors import SettingError, hint

    rows, faults = _rows()
    found = {row["name"]: row for row in rows}
    if name is None:
        print_json(rows) if as_json else echo(*listing(rows).split("\n"))
    elif name in found:
        print_json(found[name]) if as_json else echo(*in_full(found[name]).split("\n"))
    else:
        broken = [fault for fault in faults if fault.startswith(f"Score {name!r} ")]
        known = f"There is no score {name!r}{hint(name, found)}; natmu scores lists all of them."
        raise SettingError(broken[0] if broken else known)
    for fault in [] if name is not None else faults:
        echo(f"natmu: {fault}", err=True)


def _rows() -> tuple[list[dict[str, Any]], list[str]]:
    """All scores, and a sentence on each that an installed package promises and cannot give."""
    import json
    from importlib.metadata import entry_points
    from importlib.resources import files

    rows = json.loads(files("natmu").joinpath("scores/catalogue/scores.json").read_text(encoding="utf-8"))
    if not entry_points(group="natmu.scores"):
        return rows, []
    from natmu.scores.registry import plug_in_catalogue  # loads what computes, as the package of a score does

    more, faults = plug_in_catalogue()
    return rows + more, faults
