"""``natmu plan``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from natmu.cli.options import (
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
    Outputs,
    Precision,
    Relabel,
    Resize,
    Std,
    TestData,
    TestFraction,
    TrainSize,
    WithCopies,
    asked_request,
    data_settings,
)
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
    manifest: Manifest = None,
    with_copies: WithCopies = False,
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
    from natmu.opening import Place, Source
    from natmu.planning import plan_run
    from natmu.progress import showing

    beside = source.resolve().parent if source.is_dir() else Path("runs")
    request = asked_request(forget, relabel)
    asked = asked_training(training, trainer, trainer_set)
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
        plan = plan_run(
            Source(source, read, model, outputs, asked),
            Place(data_dir, beside, device=device, precision=precision),
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
