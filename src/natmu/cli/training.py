"""The options that say how models are trained, shared by the verbs that train or compare with trained models."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

import typer

from natmu.cli.options import parse_settings
from natmu.errors import SettingError

Training = Annotated[
    str | None,
    typer.Option("--training", metavar="FILE", help="YAML or JSON file of training settings, or the settings as {…}."),
]
Trainer = Annotated[
    str | None,
    typer.Option("--trainer", metavar="FUNCTION", help="Your own training: package.module:train(samples, seed)."),
]
TrainerSet = Annotated[
    list[str] | None,
    typer.Option("--trainer-set", metavar="KEY=VALUE", help="Argument of --trainer; repeat for several."),
]


def asked_training(training: str | None, trainer: str | None, pairs: list[str] | None) -> dict[str, Any] | None:
    """How models are trained, as plain values; None where nothing says it.

    Args:
        training: Of ``--training``.
        trainer: Of ``--trainer``.
        pairs: Of ``--trainer-set``.

    Raises:
        SettingError: The options do not go together, or the file cannot be read.
    """
    if pairs and trainer is None:
        raise SettingError("--trainer-set gives arguments to a trainer; name it with --trainer.")
    if training is not None and trainer is not None:
        raise SettingError("--training and --trainer both say how models are trained; give one of them.")
    if trainer is not None:
        return {"trainer": trainer, "arguments": parse_settings(pairs, option="--trainer-set")}
    return None if training is None else _read(training)


def without_flags(context: typer.Context, flags: Mapping[str, Any], asked: dict[str, Any] | None) -> Mapping[str, Any]:
    """How models are trained, where it can be said with flags too: in one way only.

    Args:
        context: Of the command, which knows what was given.
        flags: Training settings by name, given or not.
        asked: What ``asked_training`` found.

    Raises:
        SettingError: It is said in both ways.
    """
    if asked is None:
        return flags
    sources = {name: context.get_parameter_source(name) for name in flags}
    given = [name for name, source in sources.items() if source is not None and source.name != "DEFAULT"]
    if given:
        flag = f"--{given[0].replace('_', '-')}"
        raise SettingError(
            f"{flag} is a setting of natmu's own training; leave it out with --training, --trainer and --head."
        )
    return asked


def with_sharding(
    asked: Mapping[str, Any], shards: int | None, slices: int | None, combine: str | None
) -> Mapping[str, Any]:
    """How models are trained, with the division into shards that flags give, beside any way to say the rest.

    Args:
        asked: Training settings of any kind.
        shards: Of ``--shards``.
        slices: Of ``--slices``.
        combine: Of ``--combine``.

    Raises:
        SettingError: The division is said in both ways.
    """
    flags = {"shards": shards, "slices": slices, "combine": combine}
    given = {name: value for name, value in flags.items() if value is not None}
    if given and asked.get("sharding") is not None:
        raise SettingError(f"--training says sharding too; leave --{next(iter(given))} out.")
    return {**asked, "sharding": given} if given else asked


def _read(training: str) -> dict[str, Any]:
    """The settings in a file, or in the text itself."""
    from natmu.records.yaml_text import is_mapping, read_yaml, read_yaml_file

    inline = training.lstrip().startswith("{")
    where = "--training" if inline else training
    try:
        values = read_yaml(training, where) if inline else read_yaml_file(Path(training))
    except OSError as error:
        raise SettingError(f"--training {training} cannot be read: {error.strerror or error}.") from None
    if not is_mapping(values):
        raise SettingError(f"{where} holds no training settings; write lines such as epochs: 100.")
    return dict(values)
