"""``natmu methods``."""

from __future__ import annotations

from natmu.cli.options import Json


def run(as_json: Json = False) -> None:
    """List the unlearning methods with their papers, scenarios and settings."""
    from natmu.cli.output import print_json, print_rows
    from natmu.methods import catalogue

    rows = catalogue()
    if as_json:
        print_json(rows)
    else:
        for row in rows:
            row["settings"] = "\n".join(f"{one['name']}={one['default']}" for one in row["settings"])
        print_rows(rows, ["name", "summary", "paper", "scenarios", "settings"])
