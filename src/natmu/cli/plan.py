"""``natmu plan``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from natmu.bounds import LARGEST_SEED
from natmu.cli import completing
from natmu.cli.option_groups import OriginalOptions, takes_groups
from natmu.cli.options import (
    Device,
    Force,
    Forget,
    Json,
    Manifest,
    Precision,
    Relabel,
    WithCopies,
    asked_request,
)


@takes_groups
def run(
    source: Annotated[
        Path,
        typer.Option(
            "--from",
            autocompletion=completing.run_folders,
            help="Run folder, or weights trained elsewhere: .safetensors, .pt, .pth, .ckpt, .bin or a HF folder.",
        ),
    ],
    *,
    forget: Forget = None,
    relabel: Relabel = None,
    manifest: Manifest = None,
    with_copies: WithCopies = False,
    original: OriginalOptions,
    split_seed: Annotated[
        int, typer.Option("--split-seed", min=0, max=LARGEST_SEED, help="Seed of a random forget set.")
    ] = 0,
    device: Device = "auto",
    precision: Precision = "auto",
    force: Force = False,
    as_json: Json = False,
) -> None:
    """Say how long retraining and every method would take here.

    Nothing is forgotten. Times are rough: those of the original's training, or of a few steps that are timed.
    """
    from natmu.cli.output import print_json, print_plan
    from natmu.opening import Place
    from natmu.planning import plan_run
    from natmu.progress import showing

    beside = source.resolve().parent if source.is_dir() else Path("runs")
    request = asked_request(forget, relabel)
    start = original.source(source)
    with showing():
        plan = plan_run(
            start,
            Place(original.reading.data_dir, beside, device=device, precision=precision),
            request,
            copies=with_copies,
            manifest=manifest,
            split_seed=split_seed,
            force=force,
        )
    if as_json:
        print_json(plan.plain())
    else:
        print_plan(plan)
