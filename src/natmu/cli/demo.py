"""``natmu demo``."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Annotated

import typer

from natmu.cli.options import Device, Json
from natmu.cli.torchrun import first_process_goes_on
from natmu.terminal import echo


def run(
    out: Annotated[Path, typer.Option("--out", help="Folder of all runs.")] = Path("runs"),
    device: Device = "auto",
    as_json: Json = False,
) -> None:
    """Forget handwritten digits, and compare with retraining.

    Needs no download, and takes a minute on two idle cores.
    """
    start = time.perf_counter()
    from natmu.cli.output import print_json, print_study
    from natmu.records.study import open_study
    from natmu.report import has_failures, illustrate, read_study, write_report, write_summary
    from natmu.studies import demo_recipe, run_recipe

    folder = run_recipe(demo_recipe(), data_dir=Path("data"), out=out, device=device)
    first_process_goes_on()
    written = [*illustrate(folder), write_report(folder)]
    summary = write_summary(folder, time.perf_counter() - start)
    study = read_study(folder)
    if as_json:
        print_json(json.loads(summary.read_text()))
    else:
        print_study(study, as_json=False)
        for path in [summary, *written]:
            echo(path)
    if has_failures(study, open_study(folder).audits):
        raise typer.Exit(1)
