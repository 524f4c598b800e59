"""``natmu models``."""

from __future__ import annotations

from natmu.cli.options import Json


def run(as_json: Json = False) -> None:
    """List the architectures with their parameter counts."""
    import json
    from importlib.resources import files

    from natmu.cli.output import print_json, print_rows

    rows = json.loads(files("natmu").joinpath("models/catalogue.json").read_text(encoding="utf-8"))
    if as_json:
        print_json(rows)
    else:
        print_rows(rows, ["name", "description", "parameters", "min_size", "paper"])
