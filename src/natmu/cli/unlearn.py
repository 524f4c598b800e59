"""``natmu unlearn``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from natmu.cli.options import (
    BatchSize,
    DataDir,
    Device,
    Force,
    Holdout,
    ImageSize,
    Json,
    Out,
    Precision,
    Resume,
    Seed,
    Set,
    SyncBatchNorm,
    Track,
    TrainSize,
    parse_settings,
    store_and_name,
)
from natmu.cli.torchrun import first_process_goes_on


def run(
    source: Annotated[
        Path,
        typer.Option(
            "--from", help="Run folder of an original or an unlearned model, or a .safetensors, .pt or .pth file."
        ),
    ],
    forget: Annotated[
        str,
        typer.Option("--forget", help="random:1%, random:500, hardest:10%, class:NAME, subclass:NAME or indices:FILE."),
    ],
    method: Annotated[str, typer.Option("--method", help="Unlearning method; natmu methods lists them.")] = "natmu",
    epochs: Annotated[int | None, typer.Option("--epochs", help="Passes over the data.")] = None,
    optimizer: Annotated[str | None, typer.Option("--optimizer", help="sgd, adam or adamw.")] = None,
    lr: Annotated[float | None, typer.Option("--lr", help="Base learning rate.")] = None,
    schedule: Annotated[str | None, typer.Option("--schedule", help="constant, cosine or step.")] = None,
    weight_decay: Annotated[float | None, typer.Option("--weight-decay", help="Weight decay.")] = None,
    settings: Set = None,
    data: Annotated[
        str | None, typer.Option("--data", help="With a weights file: its data. With a run: where its data lies now.")
    ] = None,
    model: Annotated[str | None, typer.Option("--model", help="With a weights file: its architecture.")] = None,
    data_dir: DataDir = Path("data"),
    image_size: ImageSize = None,
    train_size: TrainSize = None,
    holdout: Holdout = False,
    batch_size: BatchSize = None,
    seed: Seed = 0,
    split_seed: Annotated[
        int | None, typer.Option("--split-seed", min=0, help="Of a random forget set; that of --seed if not given.")
    ] = None,
    device: Device = "auto",
    precision: Precision = "auto",
    sync_batch_norm: SyncBatchNorm = False,
    out: Out = None,
    resume: Resume = False,
    track: Track = None,
    force: Force = False,
    as_json: Json = False,
) -> None:
    """Forget training samples, and keep the model in a run folder.

    What is not given keeps the method's default; natmu methods lists every setting.
    """
    from natmu.cli.output import print_run
    from natmu.progress import showing
    from natmu.report.trackers import known_trackers, track_run
    from natmu.verbs import Asked, Place, unlearn_run

    trackers = known_trackers(track)
    beside = source.resolve().parent if source.is_dir() else Path("runs")
    root, name = store_and_name(out, beside)
    given = parse_settings(
        settings, epochs=epochs, optimizer=optimizer, lr=lr, schedule=schedule, weight_decay=weight_decay
    )
    with showing():
        run = unlearn_run(
            Asked(forget, method, given, batch_size, seed, split_seed),
            source=source,
            data={"source": data, "image_size": image_size, "train_size": train_size, "holdout": holdout},
            model=model,
            place=Place(data_dir, root, name, device, precision, sync_batch_norm, resume),
            force=force,
        )
    print_run(run.path, run.record, as_json=as_json)
    first_process_goes_on()
    track_run(trackers, run.path)
