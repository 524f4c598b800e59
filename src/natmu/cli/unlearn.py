"""``natmu unlearn``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from natmu.cli.options import (
    BatchSize,
    Channels,
    Classes,
    ClassOrder,
    Crop,
    DataDir,
    Device,
    Force,
    Forget,
    Holdout,
    ImageSize,
    Json,
    Manifest,
    Mean,
    Out,
    Outputs,
    Precision,
    Relabel,
    Resize,
    Resume,
    Seed,
    Set,
    Std,
    SyncBatchNorm,
    TestData,
    TestFraction,
    Track,
    TrainSize,
    WithCopies,
    asked_request,
    data_settings,
    parse_settings,
    store_and_name,
)
from natmu.cli.torchrun import first_process_goes_on
from natmu.cli.training import Trainer, TrainerSet, Training, asked_training


def run(
    source: Annotated[
        Path,
        typer.Option(
            "--from",
            help="Run folder, or weights trained elsewhere: .safetensors, .pt, .pth, .ckpt, .bin or a HF folder.",
        ),
    ],
    forget: Forget = None,
    relabel: Relabel = None,
    drop_class: Annotated[
        str | None,
        typer.Option("--drop-class", metavar="NAME", help="Instead: forget a class, and take its output away."),
    ] = None,
    manifest: Manifest = None,
    with_copies: WithCopies = False,
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
    training: Training = None,
    trainer: Trainer = None,
    trainer_set: TrainerSet = None,
    data_dir: DataDir = Path("data"),
    image_size: ImageSize = None,
    resize: Resize = None,
    crop: Crop = None,
    channels: Channels = None,
    train_size: TrainSize = None,
    holdout: Holdout = False,
    test_data: TestData = None,
    test_fraction: TestFraction = None,
    classes: Classes = None,
    class_order: ClassOrder = None,
    mean: Mean = None,
    std: Std = None,
    outputs: Outputs = "logits",
    batch_size: BatchSize = None,
    forget_only: Annotated[
        bool, typer.Option("--forget-only", help="Read only samples to forget; natmu methods --without-retain.")
    ] = False,
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
    from natmu.opening import Place, Source
    from natmu.progress import showing
    from natmu.records.run import RECORD
    from natmu.report.relatives import relatives, scores_beside
    from natmu.report.trackers import known_trackers, track_run
    from natmu.types import ORIGINAL
    from natmu.verbs import Asked, unlearn_run

    trackers = known_trackers(track)
    beside = source.resolve().parent if (source / RECORD).exists() else Path("runs")
    root, name = store_and_name(out, beside)
    request = asked_request(forget, relabel, drop_class)
    asked = asked_training(training, trainer, trainer_set)
    given = parse_settings(
        settings, epochs=epochs, optimizer=optimizer, lr=lr, schedule=schedule, weight_decay=weight_decay
    )
    read = data_settings(
        source=data,
        image_size=image_size,
        resize=resize,
        crop=crop,
        channels=channels,
        train_size=train_size,
        holdout=holdout,
        test=test_data,
        test_fraction=test_fraction,
        classes=classes,
        class_order=class_order,
        mean=mean,
        std=std,
    )
    with showing():
        run = unlearn_run(
            Asked(
                request,
                method,
                given,
                batch_size,
                seed,
                split_seed,
                forget_only,
                with_copies,
                manifest,
                drop_class=drop_class is not None,
            ),
            Source(source, read, model, outputs, asked),
            Place(data_dir, root, name, device, precision, sync_batch_norm, resume),
            force=force,
        )
    original = {part: other for part, other in relatives(run).items() if part == ORIGINAL}
    print_run(run.path, run.record, as_json=as_json, original=scores_beside(run, original).get(ORIGINAL))
    first_process_goes_on()
    track_run(trackers, run.path)
