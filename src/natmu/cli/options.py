"""Options that several verbs share, in the field's words; nothing here loads PyTorch."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated, Any

import typer

from natmu.errors import SettingError

DataDir = Annotated[Path, typer.Option("--data-dir", help="Folder that holds the data sets.")]
ImageSize = Annotated[int | None, typer.Option("--image-size", min=1, help="Resize all images to this many pixels.")]
TrainSize = Annotated[
    int | None, typer.Option("--train-size", min=1, help="Keep a class-balanced random part of the training set.")
]
Holdout = Annotated[bool, typer.Option("--holdout", help="Set a fixed random fifth of the test set apart for tuning.")]
Model = Annotated[str, typer.Option("--model", help="Architecture, or package.module:factory for one of your own.")]
BatchSize = Annotated[int | None, typer.Option("--batch-size", min=1, help="Samples per step.")]
Seed = Annotated[int, typer.Option("--seed", min=0, help="Of everything random.")]
Device = Annotated[str, typer.Option("--device", help="auto, cpu, cuda or cuda:N.")]
Precision = Annotated[str, typer.Option("--precision", help="auto, fp32 or bf16.")]
SyncBatchNorm = Annotated[
    bool, typer.Option("--sync-batch-norm", help="Under torchrun: batch statistics over all processes.")
]
Out = Annotated[Path | None, typer.Option("--out", help="Run folder to write; runs/<digest> if not given.")]
Resume = Annotated[bool, typer.Option("--resume", help="Continue an interrupted run of the same settings.")]
Track = Annotated[
    list[str] | None,
    typer.Option("--track", metavar="TRACKER", help="Show the result in wandb, mlflow or tensorboard; repeatable."),
]
Force = Annotated[
    bool, typer.Option("--force", help="Go on with an original that does not seem to belong to the data.")
]
Json = Annotated[bool, typer.Option("--json", help="Print machine-readable results.")]
Set = Annotated[
    list[str] | None, typer.Option("--set", metavar="KEY=VALUE", help="Setting of the method; repeat for several.")
]


def parse_settings(pairs: list[str] | None, **flags: object) -> dict[str, Any]:
    """Settings from ``key=value`` texts; numbers, true and false mean themselves.

    Values are read as JSON, which is what reports print, and what is no JSON as YAML, which takes 1e-5 for a text.

    Args:
        pairs: The texts.
        flags: Settings that have a flag of their own; None where it was not given.

    Raises:
        SettingError: A text is not ``key=value``, or a key comes twice.
    """
    import yaml

    settings: dict[str, Any] = {name: value for name, value in flags.items() if value is not None}
    for pair in pairs or []:
        key, separator, text = pair.partition("=")
        if not separator or not key.strip():
            raise SettingError(f"--set {pair!r} is not KEY=VALUE; write for example --set lr=1e-3.")
        if key.strip() in settings:
            raise SettingError(f"--set {key.strip()} is given twice; give it once.")
        try:
            settings[key.strip()] = _value(text)
        except (yaml.YAMLError, ValueError, RecursionError):
            raise SettingError(f"--set {pair!r}: the value is not readable; quote it.") from None
    return settings


def _value(text: str) -> object:
    """A value from its text."""
    import yaml

    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        return yaml.safe_load(text)


def store_and_name(out: Path | None, default: Path = Path("runs")) -> tuple[Path, str | None]:
    """The folder of all runs and the name of this one.

    Raises:
        SettingError: The path has no name of its own.
    """
    if out is None:
        return default, None
    if not out.name or out.name.startswith("."):
        raise SettingError(f"--out {out} names no folder to write; write for example --out runs/mine.")
    return out.parent, out.name
