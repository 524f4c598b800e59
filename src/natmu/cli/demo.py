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
    """Forget wrong labels and a class, and compare with retraining.

    Uses handwritten digits: no download, about a minute. Its settings were chosen by hand: it ranks no methods.
    """
    start = time.perf_counter()
    from natmu.cli.output import print_json, print_stories
    from natmu.records.study import open_study
    from natmu.report import has_failures, illustrate, write_report, write_summary
    from natmu.report.demo import stories_of
    from natmu.studies import demo_recipe, run_recipe, with_listed_labels

    recipe = with_listed_labels(demo_recipe(), out)
    folder = run_recipe(recipe, data_dir=Path("data"), out=out, device=device)
    first_process_goes_on()
    written, stories = [*illustrate(folder), write_report(folder)], stories_of(folder)
    summary = write_summary(folder, time.perf_counter() - start, stories)
    if as_json:
        print_json(json.loads(summary.read_text()))
    else:
        print_stories(stories)
        for path in [summary, *written]:
            echo(path)
    study = open_study(folder)
    if has_failures(study.table, study.audits):
        raise typer.Exit(1)
