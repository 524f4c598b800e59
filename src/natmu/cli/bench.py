"""``natmu bench``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from natmu.cli.option_groups import TrainingOptions, takes_groups
from natmu.cli.options import DataDir, Device, Force, Json, Track
from natmu.cli.torchrun import first_process_goes_on
from natmu.terminal import echo


@takes_groups
def run(
    recipe: Annotated[Path, typer.Argument(metavar="RECIPE", help="YAML file; recipes/ holds those of the paper.")],
    *,
    data_dir: DataDir = Path("data"),
    out: Annotated[Path, typer.Option("--out", help="Folder of all runs.")] = Path("runs"),
    device: Device = "auto",
    executor: Annotated[
        str | None, typer.Option("--executor", help="local, or ray for a cluster; replaces the recipe's.")
    ] = None,
    training: TrainingOptions,
    dry_run: Annotated[
        bool,
        typer.Option(
            "--dry-run", help="Train nothing; print which models are there, and about how long the rest takes."
        ),
    ] = False,
    track: Track = None,
    force: Force = False,
    as_json: Json = False,
) -> None:
    """Run the study that a recipe describes, and print its table.

    The same command continues an interrupted run.
    """
    from natmu.cli.output import print_forecast, print_study
    from natmu.console import Console
    from natmu.records.settings import training_of
    from natmu.records.study import open_study
    from natmu.report import has_failures, illustrate, print_conclusions, read_study, write_report
    from natmu.report.trackers import known_trackers, track_study
    from natmu.studies import forecast, read_recipe, run_recipe

    trackers = known_trackers(track)
    asked = read_recipe(recipe)
    if executor is not None:
        asked = asked.model_copy(update={"executor": asked.executor.at(executor)})
    told = training.asked()
    if told is not None:
        asked = asked.model_copy(update={"training": training_of(told)})
    if dry_run:
        print_forecast(forecast(asked, data_dir=data_dir, out=out, device=device), as_json=as_json)
        return
    folder = run_recipe(asked, data_dir=data_dir, out=out, device=device, force=force)
    first_process_goes_on()
    written = [*illustrate(folder), write_report(folder)]
    study = read_study(folder)
    print_study(study, as_json=as_json)
    if not as_json:
        print_conclusions(open_study(folder), Console())
        echo("", *written)
    track_study(trackers, folder)
    if has_failures(study, open_study(folder).audits):
        raise typer.Exit(1)
