"""``natmu audit``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from natmu.cli.options import DataDir, Device, Json


def run(
    folder: Annotated[Path, typer.Argument(metavar="RUN", help="Run folder of an unlearned model.")],
    source: Annotated[
        Path | None, typer.Option("--from", help="Run folder of the original, if it does not lie beside RUN.")
    ] = None,
    references: Annotated[int, typer.Option("--references", min=1, help="Retrained models to compare with.")] = 1,
    data_dir: DataDir = Path("data"),
    device: Device = "auto",
    as_json: Json = False,
) -> None:
    """Compare an unlearned model with its original and with retrained ones; missing references are trained once."""
    from natmu.cli.output import print_study
    from natmu.engine.progress import showing
    from natmu.study.workbench import audit_run

    with showing():
        study = audit_run(folder, data_dir, references, device, source)
    print_study(study, as_json=as_json)
