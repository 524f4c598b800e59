"""What was asked for, in words."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

Facts = list[tuple[str, str]]


def asked(recipe: Mapping[str, Any], score_on: str) -> Facts:
    """A study's recipe as terms and sentences.

    Args:
        recipe: As ``table.json`` has it.
        score_on: ``test`` or ``holdout``.
    """
    seeds = recipe["seeds"]
    replicates = max(len(seeds[kind]) for kind in ("split", "training", "unlearning"))
    names = [_method(entry) for entry in recipe["methods"]]
    level = recipe["audit"]
    return [
        ("Data", data(recipe["data"])),
        ("Model", str(recipe["model"])),
        ("Training", training(recipe["training"])),
        ("Forget sets", "; ".join(f"{spec} ({forget_set(spec)})" for spec in recipe["forget"])),
        ("Methods", "; ".join(names) if names else "none besides retraining"),
        ("Retraining", f"on the retain set alone, from {_start(recipe['retrain'])}"),
        (
            "Seeds",
            f"{count(replicates, 'replicate')}; of the forget sets {listed(seeds['split'])}, of training "
            f"{listed(seeds['training'])}, of unlearning {listed(seeds['unlearning'])}",
        ),
        ("Scored on", "the test set" if score_on == "test" else "a holdout; nothing here has seen the test set"),
        ("Audit", f"level {level}, of each method's first replicate" if level else "none asked for"),
    ]


def asked_of_run(spec: Mapping[str, Any]) -> Facts:
    """The spec of one run as terms and sentences."""
    original = spec.get("original", spec)
    facts = [("Data", data(original["data"])), ("Model", str(original["model"]))]
    facts += [("Training", training(original["training"]))] if "training" in original else []
    if spec["kind"] == "unlearn":
        forget = spec["forget"]
        facts += [
            ("Forget set", f"{forget['spec']}: {forget_set(forget['spec'])}, {count(forget['count'], 'sample')}"),
            ("Method", f"{spec['method']}{_settings(spec['settings'])}"),
            ("Batch size", str(spec["batch_size"])),
        ]
    return [*facts, ("Seed", str(spec.get("seed", "none")))]


def data(asked_for: Mapping[str, Any]) -> str:
    """Which data."""
    size, pixels = asked_for["train_size"], asked_for["image_size"]
    parts = [str(asked_for["source"])]
    parts += [f"{size:,} training images, balanced by class"] if size else []
    parts += [f"resized to {pixels} pixels"] if pixels else []
    parts += ["a fifth of the test set held out for tuning"] if asked_for["holdout"] else []
    return ", ".join(parts)


def training(settings: Mapping[str, Any]) -> str:
    """How originals were trained."""
    return (
        f"{count(settings['epochs'], 'epoch')} of {settings['optimizer']}, learning rate {settings['lr']:g} "
        f"({settings['schedule']}), weight decay {settings['weight_decay']:g}, batches of {settings['batch_size']}, "
        f"{'with' if settings['augment'] else 'without'} augmentation"
    )


def forget_set(spec: str) -> str:
    """What a forget spec means."""
    kind, _, rest = spec.partition(":")
    amount, _, criterion = rest.partition(":")
    amount = amount.removesuffix("%") + " % of the training set" if amount.endswith("%") else f"{amount} samples"
    if kind == "hardest":
        return f"the hardest {amount}{f' by {criterion}' if criterion else ''}"
    words = {
        "random": f"{amount}, drawn at random",
        "class": f"all of class {rest}",
        "subclass": f"all of sub-class {rest}",
        "indices": f"the samples listed in {rest}",
    }
    return words.get(kind, "as given")


def count(number: int, what: str) -> str:
    """A number and its noun."""
    return f"{number:,} {what}{'' if number == 1 else 's'}"


def listed(values: Sequence[Any]) -> str:
    """Values in a row; runs of many are cut."""
    shown = [str(value) for value in values]
    return ", ".join(shown if len(shown) <= 12 else [*shown[:10], "…", shown[-1]])


def _method(entry: Mapping[str, Any]) -> str:
    """One method of a recipe with what was set."""
    label = entry["label"]
    name = entry["method"] if label in (None, entry["method"]) else f"{label} ({entry['method']})"
    grid = "".join(f", {key} one of {listed(values)}" for key, values in entry["grid"].items())
    return f"{name}{_settings(entry['settings'])}{grid}"


def _settings(settings: Mapping[str, Any]) -> str:
    """Settings behind a method's name."""
    return " with " + ", ".join(f"{key}={value}" for key, value in settings.items()) if settings else ""


def _start(retrain: Mapping[str, Any]) -> str:
    """From which weights retraining starts."""
    return "the original's initial weights" if retrain.get("init") == "original" else "fresh initial weights"
