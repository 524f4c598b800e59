"""``natmu audit``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import typer

from natmu.bounds import LARGEST_COUNT
from natmu.cli import completing
from natmu.cli.option_groups import TrainingOptions, takes_groups
from natmu.cli.options import DataDir, Device, Json, Track
from natmu.cli.torchrun import first_process_goes_on


@takes_groups
def run(
    folder: Annotated[
        Path,
        typer.Argument(metavar="RUN", help="Run folder of an unlearned model.", autocompletion=completing.run_folders),
    ],
    *,
    level: Annotated[
        Literal["quick", "standard", "full"],
        typer.Option("--level", help="quick: 1 retrained model; standard: 8, and reruns; full: 64, and shadow models."),
    ] = "quick",
    source: Annotated[
        Path | None,
        typer.Option(
            "--from",
            help="Run folder of the original, where it is not beside RUN.",
            autocompletion=completing.run_folders,
        ),
    ] = None,
    references: Annotated[
        int | None,
        typer.Option(
            "--references", min=1, max=LARGEST_COUNT, help="Number of retrained models, in place of the level's."
        ),
    ] = None,
    offline: Annotated[
        bool, typer.Option("--offline", help="Train nothing and read no data; use only the runs that are there.")
    ] = False,
    training: TrainingOptions,
    data_dir: DataDir = Path("data"),
    device: Device = "auto",
    track: Track = None,
    force: Annotated[
        bool,
        typer.Option(
            "--force",
            help="Continue although the original does not fit the data, and replace an audit that says more.",
        ),
    ] = False,
    as_json: Json = False,
) -> None:
    """Compare an unlearned model with retrained ones.

    Missing models are trained, once for all audits that need them.
    """
    from natmu.cli.output import print_audit
    from natmu.progress import showing
    from natmu.records.audit import AUDIT_FOLDER
    from natmu.records.derived import promise_of_run
    from natmu.records.run import open_run
    from natmu.report.trackers import known_trackers, track_run
    from natmu.verbs import audit_run

    asked = training.asked()
    trackers = known_trackers(track)
    with showing():
        results, audit = audit_run(
            folder,
            level=level,
            references=references,
            data_dir=data_dir,
            device=device,
            source=source,
            offline=offline,
            training=asked,
            force=force,
        )
    promise = promise_of_run(open_run(folder).record.lineage)
    print_audit(results, audit, folder / AUDIT_FOLDER, promise, as_json=as_json)
    first_process_goes_on()
    track_run(trackers, folder)
