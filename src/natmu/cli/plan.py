"""``natmu plan``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from natmu.cli.options import DataDir, Device, Force, Holdout, ImageSize, Json, Precision, TrainSize


def run(
    source: Annotated[
        Path,
        typer.Option(
            "--from", help="Run folder of an original or an unlearned model, or a .safetensors, .pt or .pth file."
        ),
    ],
    forget: Annotated[str, typer.Option("--forget", help="What is to be forgotten, as natmu unlearn takes it.")],
    data: Annotated[
        str | None, typer.Option("--data", help="With a weights file: its data. With a run: where its data lies now.")
    ] = None,
    model: Annotated[str | None, typer.Option("--model", help="With a weights file: its architecture.")] = None,
    data_dir: DataDir = Path("data"),
    image_size: ImageSize = None,
    train_size: TrainSize = None,
    holdout: Holdout = False,
    split_seed: Annotated[int, typer.Option("--split-seed", min=0, help="Of a random forget set.")] = 0,
    device: Device = "auto",
    precision: Precision = "auto",
    force: Force = False,
    as_json: Json = False,
) -> None:
    """Say what retraining would take here, beside every method with its default settings.

    Nothing is forgotten. Times are rough: those of the original's training, or of a few steps that are timed.
    """
    from natmu.cli.output import print_json, print_plan
    from natmu.planning import plan_run
    from natmu.progress import showing
    from natmu.verbs import Place

    beside = source.resolve().parent if source.is_dir() else Path("runs")
    with showing():
        plan = plan_run(
            source=source,
            forget=forget,
            data={"source": data, "image_size": image_size, "train_size": train_size, "holdout": holdout},
            model=model,
            place=Place(data_dir, beside, device=device, precision=precision),
            split_seed=split_seed,
            force=force,
        )
    if as_json:
        print_json(plan.plain())
    else:
        print_plan(plan)
