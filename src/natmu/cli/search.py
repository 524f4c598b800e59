"""``natmu search``."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

import typer

from natmu.cli.options import DataDir, Device, Force, Json
from natmu.terminal import echo


def run(
    recipe: Annotated[Path, typer.Argument(metavar="RECIPE", help="YAML file with the key search.")],
    data_dir: DataDir = Path("data"),
    out: Annotated[Path, typer.Option("--out", help="Folder of all runs, the same for all workers.")] = Path("runs"),
    storage: Annotated[
        str | None,
        typer.Option("--storage", metavar="URL", help="Database of the trials; a file in the study by default."),
    ] = None,
    device: Device = "auto",
    force: Force = False,
    as_json: Json = False,
) -> None:
    """Search for the best settings of methods, on the holdout.

    Several workers may run the same command at once; the same command continues an interrupted search.
    """
    from natmu.cli.output import print_json
    from natmu.studies import read_recipe, run_search
    from natmu.studies.table import LOGS

    folder = run_search(read_recipe(recipe), data_dir=data_dir, out=out, device=device, storage=storage, force=force)
    found = json.loads((folder / "search.json").read_text(encoding="utf-8"))
    if as_json:
        print_json(found)
    else:
        _print(found, folder)
    if all(method["best"] is None for method in found["methods"]):
        logs = folder / LOGS / "search"
        echo(f"natmu: All trials failed; {folder / 'trials.csv'} says why, and {logs} has the details.", err=True)
        raise typer.Exit(1)


def _print(found: Mapping[str, Any], folder: Path) -> None:
    """Print the best trials and the files."""
    from natmu.cli.output import print_rows

    objective = found["objective"]
    for text, noise in found["noise"].items():
        original = found["original"][text]["value"]
        echo(f"{text}: {objective} of the original {original:.2f}, noise {noise['value']:.2f}")
    print_rows([_row(method, objective) for method in found["methods"]], ("method", objective, "settings", "trials"))
    echo(*(folder / name for name in ("search.json", "trials.csv", "best.yaml")))


def _row(method: Mapping[str, Any], objective: str) -> dict[str, Any]:
    """A method's best trial as a row of the table."""
    failed = f", {method['failed']} failed" if method["failed"] else ""
    row = {"method": method["label"], "trials": f"{method['trials']}{failed}"}
    best = method["best"]
    if best is None:
        return row | {objective: None, "settings": None}
    terms = ", ".join(f"{name} {value:.1f}" for name, value in best["terms"].items())
    lost = f"; loses {best['lost']:.1f} points of retain accuracy beyond the noise, as all trials do"
    value = f"{best['value']:.2f} ({terms}{lost if best['lost'] else ''})"
    settings = ", ".join(f"{name}={_shown(value)}" for name, value in best["searched"].items())
    return row | {objective: value, "settings": settings}


def _shown(value: object) -> str:
    return f"{value:.4g}" if isinstance(value, float) else json.dumps(value)
