"""``natmu export``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import typer

from natmu.cli import completing
from natmu.terminal import echo


def run(
    folder: Annotated[
        Path, typer.Argument(metavar="RUN", help="Run folder of a model.", autocompletion=completing.run_folders)
    ],
    out: Annotated[Path, typer.Option("--out", help="File to write: .pt, .pth, .ckpt, .bin or .safetensors.")],
    like: Annotated[
        Path | None,
        typer.Option("--like", help="File or HuggingFace folder of the original; write the same form."),
    ] = None,
    copies: Annotated[
        Literal["drop", "keep"] | None,
        typer.Option("--copies", help="Keep or drop other weights in that file, such as averages over training."),
    ] = None,
    force: Annotated[bool, typer.Option("--force", help="Replace what is there.")] = False,
) -> None:
    """Write a run's model as a file for other programs.

    Without --like, it is a state dict with the names of your own model. Heads and models in shards are loaded in their
    own way, which is printed.
    """
    from natmu.engine.store import Run
    from natmu.lineage.exporting import export_run
    from natmu.progress import showing
    from natmu.records.run import open_run

    with showing():
        export_run(Run(open_run(folder).path), out, like=like, copies=copies, force=force)
    echo(f"wrote {out}")
