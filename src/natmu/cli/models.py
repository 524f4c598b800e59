"""``natmu models``."""

from __future__ import annotations

from natmu.cli.options import Json


def run(as_json: Json = False) -> None:
    """List the architectures with their parameter counts."""
    from dataclasses import asdict

    from natmu.cli.output import print_json, print_rows
    from natmu.models import models

    rows = [asdict(model) for model in models()]
    if as_json:
        print_json(rows)
    else:
        print_rows(rows, ["name", "description", "parameters", "min_size", "paper"])
