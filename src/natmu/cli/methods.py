"""``natmu methods``."""

from __future__ import annotations

import typer

from natmu.cli.options import Json


def run(as_json: Json = False) -> None:
    """List the unlearning methods with their papers, scenarios and settings."""
    import json
    from importlib.resources import files

    from natmu.cli.output import print_json, print_rows

    rows = json.loads(files("natmu").joinpath("methods/catalogue.json").read_text(encoding="utf-8"))
    if as_json:
        print_json(rows)
        return
    print_rows(rows, ["name", "summary", "paper", "scenarios"])
    typer.echo("Settings and their defaults, given as --set KEY=VALUE:")
    for row in rows:
        typer.echo(f"\n{row['name']}")
        for one in row["settings"]:
            shown = f"{one['name']}={json.dumps(one['default'])}".replace('"', "")
            typer.echo(f"  {shown:26}{one['description']}")
