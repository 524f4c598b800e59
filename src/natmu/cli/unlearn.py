"""``natmu unlearn``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from natmu.bounds import LARGEST_SEED
from natmu.cli import completing
from natmu.cli.option_groups import OriginalOptions, takes_groups
from natmu.cli.options import (
    BatchSize,
    Device,
    Force,
    Forget,
    Json,
    Manifest,
    Out,
    Precision,
    Relabel,
    Resume,
    Seed,
    Set,
    SyncBatchNorm,
    Track,
    WithCopies,
    asked_request,
    parse_settings,
    store_and_name,
)
from natmu.cli.torchrun import first_process_goes_on


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
    drop_class: Annotated[
        str | None,
        typer.Option("--drop-class", metavar="NAME", help="Forget a class and remove its output; replaces --forget."),
    ] = None,
    manifest: Manifest = None,
    with_copies: WithCopies = False,
    method: Annotated[
        str,
        typer.Option(
            "--method", help="Unlearning method; natmu methods lists them.", autocompletion=completing.methods
        ),
    ] = "natmu",
    epochs: Annotated[int | None, typer.Option("--epochs", help="Passes over the data.")] = None,
    optimizer: Annotated[
        str | None,
        typer.Option(
            "--optimizer", help="sgd, adam or adamw.", autocompletion=completing.one_of("sgd", "adam", "adamw")
        ),
    ] = None,
    lr: Annotated[float | None, typer.Option("--lr", help="Base learning rate.")] = None,
    schedule: Annotated[
        str | None,
        typer.Option(
            "--schedule",
            help="constant, cosine or step.",
            autocompletion=completing.one_of("constant", "cosine", "step"),
        ),
    ] = None,
    weight_decay: Annotated[float | None, typer.Option("--weight-decay", help="Weight decay.")] = None,
    settings: Set = None,
    original: OriginalOptions,
    batch_size: BatchSize = None,
    forget_only: Annotated[
        bool,
        typer.Option(
            "--forget-only",
            help="Read only the samples to forget; natmu methods --without-retain lists methods for that.",
        ),
    ] = False,
    seed: Seed = 0,
    split_seed: Annotated[
        int | None,
        typer.Option(
            "--split-seed", min=0, max=LARGEST_SEED, help="Seed of a random forget set; that of --seed by default."
        ),
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
    """Forget training samples, and keep the new model in a run folder.

    Settings that are not given are the method's defaults; natmu methods NAME lists them.
    """
    from natmu.cli.output import print_run
    from natmu.opening import Place
    from natmu.progress import showing
    from natmu.records.files import is_there
    from natmu.records.run import RECORD
    from natmu.report.relatives import relatives, scores_beside
    from natmu.report.trackers import known_trackers, track_run
    from natmu.types import ORIGINAL
    from natmu.verbs import Asked, unlearn_run

    trackers = known_trackers(track)
    beside = source.resolve().parent if is_there(source / RECORD) else Path("runs")
    root, name = store_and_name(out, beside)
    request = asked_request(forget, relabel, drop_class)
    given = parse_settings(
        settings, epochs=epochs, optimizer=optimizer, lr=lr, schedule=schedule, weight_decay=weight_decay
    )
    start = original.source(source)
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
            start,
            Place(original.reading.data_dir, root, name, device, precision, sync_batch_norm, resume),
            force=force,
        )
    first = {part: other for part, other in relatives(run).items() if part == ORIGINAL}
    print_run(run.path, run.record, as_json=as_json, original=scores_beside(run, first).get(ORIGINAL))
    first_process_goes_on()
    track_run(trackers, run.path)
