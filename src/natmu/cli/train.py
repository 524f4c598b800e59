"""``natmu train``."""

from __future__ import annotations

from typing import Annotated

import typer

from natmu.cli import completing
from natmu.cli.option_groups import DataOptions, HeadOptions, TrainingOptions, takes_groups
from natmu.cli.options import (
    Device,
    Json,
    Model,
    Out,
    Precision,
    Resume,
    Seed,
    SyncBatchNorm,
    Track,
    store_and_name,
)
from natmu.cli.torchrun import first_process_goes_on
from natmu.cli.training import with_sharding, without_flags


@takes_groups
def run(
    data: Annotated[
        str,
        typer.Option(
            "--data",
            help="Name of a data set, a path, or package.module:function; natmu data lists the names.",
            autocompletion=completing.data_sets,
        ),
    ],
    context: typer.Context,
    *,
    model: Model = None,
    training: TrainingOptions,
    heads: HeadOptions,
    reading: DataOptions,
    epochs: Annotated[int, typer.Option("--epochs", help="Passes over the data.")] = 100,
    optimizer: Annotated[
        str,
        typer.Option(
            "--optimizer", help="sgd, adam or adamw.", autocompletion=completing.one_of("sgd", "adam", "adamw")
        ),
    ] = "sgd",
    lr: Annotated[float, typer.Option("--lr", help="Base learning rate.")] = 0.1,
    momentum: Annotated[float, typer.Option("--momentum", help="Momentum of SGD.")] = 0.9,
    schedule: Annotated[
        str,
        typer.Option(
            "--schedule",
            help="constant, cosine or step.",
            autocompletion=completing.one_of("constant", "cosine", "step"),
        ),
    ] = "step",
    warmup_epochs: Annotated[float, typer.Option("--warmup-epochs", help="Epochs of linear warm-up.")] = 2,
    weight_decay: Annotated[float, typer.Option("--weight-decay", help="Weight decay.")] = 5e-4,
    batch_size: Annotated[int, typer.Option("--batch-size", help="Samples per step.")] = 128,
    augment: Annotated[
        str,
        typer.Option(
            "--augment",
            help="default (random crop and horizontal flip), flip (mirrored in every second epoch), none, or "
            "package.module:function.",
        ),
    ] = "default",
    shards: Annotated[
        int | None,
        typer.Option(
            "--shards", help="Number of parts of the data, each with a model of its own; sisa then forgets exactly."
        ),
    ] = None,
    slices: Annotated[
        int | None,
        typer.Option("--slices", help="Number of parts of each shard, which its model learns one after another."),
    ] = None,
    combine: Annotated[
        str | None,
        typer.Option("--combine", help="What is averaged over the shards' models: probabilities, logits or votes."),
    ] = None,
    seed: Seed = 0,
    device: Device = "auto",
    precision: Precision = "auto",
    sync_batch_norm: SyncBatchNorm = False,
    out: Out = None,
    resume: Resume = False,
    track: Track = None,
    as_json: Json = False,
) -> None:
    """Train an original model, and keep it in a run folder."""
    from natmu.cli.output import print_run
    from natmu.opening import Place
    from natmu.progress import showing
    from natmu.report.trackers import known_trackers, track_run
    from natmu.verbs import train_run

    trackers = known_trackers(track)
    root, name = store_and_name(out)
    flags = {
        "epochs": epochs,
        "optimizer": optimizer,
        "lr": lr,
        "momentum": momentum,
        "schedule": schedule,
        "warmup_epochs": warmup_epochs,
        "weight_decay": weight_decay,
        "batch_size": batch_size,
        "augment": augment,
    }
    asked = without_flags(context, flags, heads.asked(training.asked()))
    asked = with_sharding(asked, shards, slices, combine)
    source = context.get_parameter_source("seed")
    with showing():
        run = train_run(
            data=reading.settings(data),
            model=model,
            training=asked,
            seed=None if source is None or source.name == "DEFAULT" else seed,
            place=Place(reading.data_dir, root, name, device, precision, sync_batch_norm, resume),
            outputs=reading.outputs,
            features_from=heads.features_from,
        )
    print_run(run.path, run.record, as_json=as_json)
    first_process_goes_on()
    track_run(trackers, run.path)
