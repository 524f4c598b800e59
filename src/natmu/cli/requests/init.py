"""``natmu requests init``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from natmu.cli import completing
from natmu.cli.option_groups import OriginalOptions, takes_groups
from natmu.cli.options import Device, Force, Precision
from natmu.errors import DataError
from natmu.terminal import echo


@takes_groups
def init(
    source: Annotated[
        Path,
        typer.Option(
            "--from",
            autocompletion=completing.run_folders,
            help="The original: a run folder, or weights trained elsewhere, .safetensors, .pt, .pth, .ckpt, .bin or a "
            "HF folder.",
        ),
    ],
    out: Annotated[Path, typer.Option("--out", help="New folder for the service.")],
    *,
    original: OriginalOptions,
    manifest: Annotated[
        Path | None,
        typer.Option("--manifest", metavar="TABLE.csv", help="Table of samples that add --where looks into."),
    ] = None,
    policy: Annotated[
        Path | None, typer.Option("--policy", metavar="FILE", help="YAML file of the policy; natmu's own by default.")
    ] = None,
    device: Device = "auto",
    precision: Precision = "auto",
    force: Force = False,
) -> None:
    """Begin a service for a deployed model.

    The folder of the service keeps the original, a list of its samples, the policy and the ledger.
    """
    from natmu.cli.requests.options import command, counted
    from natmu.progress import showing
    from natmu.requests import Service

    for flag, file in (("--manifest", manifest), ("--policy", policy)):
        if file is not None and not file.is_file():
            raise DataError(f"{flag} {file} is not a file; give the path of one.")
    with showing():
        service = Service.create(
            out,
            original.source(source),
            policy,
            manifest=manifest,
            data_dir=original.reading.data_dir,
            device=device,
            precision=precision,
            force=force,
        )
    opening = service.state.opening
    echo(f"{out} is a service for {opening.architecture}, with {counted(opening.samples, 'training sample')}.")
    echo(
        "Release 0, the original, is deployed: "
        + ", ".join(f"{name} {value:.2f}" for name, value in opening.accuracies.items())
    )
    echo(f"Keep {out} as safe as the photographs: it knows their names, and its keys make its entries.")
    echo(f"Next: {command('add', out, '--files', 'LIST', '--ticket', 'TICKET')}")
