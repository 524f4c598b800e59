"""Options that several verbs share, in the field's words; nothing here loads PyTorch."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Literal

import typer

from natmu.bounds import LARGEST_COUNT, LARGEST_SEED
from natmu.cli import completing
from natmu.errors import SettingError

DataDir = Annotated[Path, typer.Option("--data-dir", help="Folder that holds the data sets.")]
ImageSize = Annotated[
    int | None, typer.Option("--image-size", min=1, help="Resize all images to squares of this many pixels.")
]
Resize = Annotated[
    int | None, typer.Option("--resize", min=1, help="Resize the shorter side of all images to this many pixels.")
]
Crop = Annotated[
    int | None,
    typer.Option("--crop", min=1, help="Cut a square of this many pixels out of the middle, after --resize."),
]
Channels = Annotated[int | None, typer.Option("--channels", help="Make all images grey (1) or RGB (3).")]
TrainSize = Annotated[
    int | None,
    typer.Option(
        "--train-size", min=1, max=LARGEST_COUNT, help="Keep a class-balanced random part of the training set."
    ),
]
Holdout = Annotated[bool, typer.Option("--holdout", help="Use a fixed random fifth of the test set for tuning alone.")]
TestData = Annotated[
    str | None,
    typer.Option("--test-data", metavar="PATH", help="Test data of the same kind as --data, where that has none."),
]
TestFraction = Annotated[
    str | None,
    typer.Option("--test-fraction", metavar="PART", help="Use this part of --data as test data, such as 20%."),
]
Classes = Annotated[
    Path | None,
    typer.Option("--classes", metavar="FILE", help="File with one class name a line, in the order of the outputs."),
]
ClassOrder = Annotated[
    str | None,
    typer.Option("--class-order", help="Order of class folders: string (1, 10, 2) or natural (1, 2, 10)."),
]
Mean = Annotated[
    str | None,
    typer.Option("--mean", metavar="R,G,B", help="Subtract these from the channels, which lie in [0, 1]."),
]
Std = Annotated[str | None, typer.Option("--std", metavar="R,G,B", help="Divide the channels by these, after --mean.")]
Outputs = Annotated[
    Literal["logits", "probabilities"],
    typer.Option("--outputs", help="What your own model returns: probabilities where it ends in a softmax."),
]
Model = Annotated[
    str | None,
    typer.Option(
        "--model",
        help="Architecture; timm:NAME, torchvision:NAME or hf:FOLDER; or package.module:factory.",
        autocompletion=completing.architectures,
    ),
]
Head = Annotated[
    Literal["ridge", "logistic"] | None,
    typer.Option("--head", help="Fit a linear head on the features of a frozen network, which can forget exactly."),
]
FeaturesFrom = Annotated[
    str | None,
    typer.Option(
        "--features-from",
        metavar="MODEL",
        help="With --head: a run, a weights file, a HuggingFace folder or package.module:factory.",
    ),
]
L2 = Annotated[
    float | None,
    typer.Option(
        "--l2", help="With --head: weight of the squared norm of its weights.  [default: 0.1 of ridge, 10 of logistic]"
    ),
]
Epsilon = Annotated[
    float | None,
    typer.Option("--epsilon", help="With --head logistic: privacy loss that removals may use up.  [default: 1]"),
]
Delta = Annotated[
    float | None,
    typer.Option("--delta", help="With --head logistic: probability with which it may be larger.  [default: 1e-05]"),
]
Noise = Annotated[
    float | None,
    typer.Option(
        "--noise", help="With --head logistic: standard deviation of the noise in its objective.  [default: 1]"
    ),
]
Forget = Annotated[
    str | None,
    typer.Option(
        "--forget",
        help="random:1%, random:500, hardest:10%, class:NAME, subclass:NAME, indices:FILE, files:LIST, "
        "where:COLUMN=VALUE, relabel:TABLE.csv or all.",
    ),
]
Relabel = Annotated[
    Path | None,
    typer.Option(
        "--relabel",
        metavar="TABLE.csv",
        help="Table of samples and their right labels: forget the wrong labels, and learn the right ones.",
    ),
]
Manifest = Annotated[
    Path | None,
    typer.Option("--manifest", metavar="TABLE.csv", help="Table of samples that where:COLUMN=VALUE looks into."),
]
WithCopies = Annotated[
    bool, typer.Option("--with-copies", help="Forget byte-identical copies in the training set too.")
]
BatchSize = Annotated[int | None, typer.Option("--batch-size", min=1, max=LARGEST_COUNT, help="Samples per step.")]
Seed = Annotated[int, typer.Option("--seed", min=0, max=LARGEST_SEED, help="Seed of everything random.")]
Device = Annotated[str, typer.Option("--device", help="auto, cpu, cuda or cuda:N.", autocompletion=completing.devices)]
Precision = Annotated[
    str,
    typer.Option(
        "--precision",
        help="fp32, bf16 or auto, which takes the faster one here.",
        autocompletion=completing.one_of("auto", "fp32", "bf16"),
    ),
]
SyncBatchNorm = Annotated[
    bool, typer.Option("--sync-batch-norm", help="Under torchrun: batch statistics over all processes.")
]
Out = Annotated[Path | None, typer.Option("--out", help="Run folder to write; runs/<digest> by default.")]
Resume = Annotated[bool, typer.Option("--resume", help="Continue an interrupted run of the same settings.")]
Track = Annotated[
    list[str] | None,
    typer.Option(
        "--track",
        metavar="TRACKER",
        help="Show the result in wandb, mlflow or tensorboard; repeatable.",
        autocompletion=completing.one_of("wandb", "mlflow", "tensorboard"),
    ),
]
Force = Annotated[bool, typer.Option("--force", help="Continue although the original does not seem to fit the data.")]
Json = Annotated[bool, typer.Option("--json", help="Print JSON.")]
Set = Annotated[
    list[str] | None, typer.Option("--set", metavar="KEY=VALUE", help="Setting of the method; repeat for several.")
]

_NOTHING = ("null", "~")
"""How a value is written that is none."""


def data_settings(*, classes: Path | None, mean: str | None, std: str | None, **values: object) -> dict[str, Any]:
    """Values for the settings of the data.

    Args:
        classes: A file of class names.
        mean: One number per channel, separated by commas.
        std: Likewise.
        values: The others by name.

    Raises:
        DataError: That file cannot be read.
        SettingError: A list of numbers is something else.
    """
    values |= {"mean": channel_numbers(mean, "--mean"), "std": channel_numbers(std, "--std")}
    if classes is None:
        return {**values, "classes": None}
    from natmu.data import read_class_names

    return {**values, "classes": read_class_names(classes)}


def asked_request(forget: str | None, relabel: Path | None, drop_class: str | None = None) -> str:
    """The request to forget, from one of several options.

    Raises:
        SettingError: None of them is given, or more than one.
    """
    given = {"": forget, "relabel:": relabel, "class:": drop_class}
    asked = [f"{kind}{value}" for kind, value in given.items() if value is not None]
    if len(asked) != 1:
        raise SettingError(
            "Say what to forget, in one way: with --forget, with --relabel TABLE.csv where labels are wrong, or with "
            "--drop-class NAME for a class and its output."
        )
    return asked[0]


def parse_settings(pairs: list[str] | None, option: str = "--set", **flags: object) -> dict[str, Any]:
    """Settings from ``key=value`` texts; numbers, true and false mean themselves.

    Values are read as JSON, which is what reports print, and what is no JSON as YAML.

    Args:
        pairs: The texts.
        option: That gave them.
        flags: Settings that have a flag of their own; None where it was not given.

    Raises:
        SettingError: A text is not ``key=value``, a key comes twice, or a value is missing or cannot be read.
    """
    from natmu.records.yaml_text import read_value

    settings: dict[str, Any] = {name: value for name, value in flags.items() if value is not None}
    for pair in pairs or []:
        key, separator, text = pair.partition("=")
        if not separator or not key.strip():
            raise SettingError(f"{option} {pair!r} is not KEY=VALUE; write for example {option} lr=1e-3.")
        if key.strip() in settings:
            raise SettingError(f"{option} {key.strip()} is given twice; give it once.")
        value = read_value(text, f"{option} {key.strip()}")
        if value is None and text.strip().lower() not in _NOTHING:
            raise SettingError(
                f"{option} {pair.strip()!r} gives no value; write one, in quotes where it begins with #, or null for "
                "none."
            )
        settings[key.strip()] = value
    return settings


def channel_numbers(text: str | None, flag: str) -> list[float] | None:
    """One number per channel, from ``0.485,0.456,0.406``.

    Args:
        text: The text; None where the flag was not given.
        flag: Its name, for the message.

    Raises:
        SettingError: It holds something else.
    """
    if text is None:
        return None
    try:
        return [float(number) for number in text.split(",")]
    except ValueError:
        raise SettingError(f"{flag} {text!r} is not a list of numbers; write for example {flag} 0.5,0.5,0.5.") from None


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
