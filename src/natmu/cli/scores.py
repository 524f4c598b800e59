"""``natmu scores``."""

from __future__ import annotations

from typing import Annotated

import typer

from natmu.cli.options import Json


def run(
    name: Annotated[str | None, typer.Argument(metavar="[NAME]", help="Tell all about one score.")] = None,
    as_json: Json = False,
) -> None:
    """List the scores, or tell all about one."""
    import json
    from importlib.resources import files

    from natmu.cli.output import print_json
    from natmu.cli.score_manual import in_full, listing
    from natmu.errors import SettingError, hint

    # Stored, because the package that has the catalogue loads scikit-learn.
    rows = json.loads(files("natmu").joinpath("scores/catalogue/scores.json").read_text(encoding="utf-8"))
    found = {row["name"]: row for row in rows}
    if name is None:
        print_json(rows) if as_json else typer.echo(listing(rows))
    elif name in found:
        print_json(found[name]) if as_json else typer.echo(in_full(found[name]))
    else:
        raise SettingError(f"There is no score {name!r}{hint(name, found)}; natmu scores lists all of them.")
