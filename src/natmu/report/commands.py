"""The commands that compute a run again: the same lineage, and so the same digest."""

from __future__ import annotations

import json
import shlex
from collections.abc import Sequence

from natmu.records.audit import audit_of
from natmu.records.derived import decider_of, forget_of, original_of, rests_on_reference, root_of
from natmu.records.lineage import (
    AllBut,
    AnyLineage,
    Arithmetic,
    Forget,
    Imported,
    Referenced,
    Trained,
    Unlearned,
)
from natmu.records.run import DIGEST, RunFolder
from natmu.records.settings import (
    AnyTraining,
    HeadTraining,
    LogisticTraining,
    OwnTraining,
    TrainSettings,
    sharding_of,
)

WEIGHTS = "WEIGHTS"
"""Stands for the file of a model that was trained elsewhere."""

BACKBONE = "BACKBONE"
"""Stands for where the backbone of a head lies."""

SECRET = "SEED"
"""Stands for the seed of the noise of a head, which nobody may learn from a page."""

CLASSES = "CLASSES.txt"
"""Stands for a file of class names in the order that the record tells."""


def commands_of(run: RunFolder, original: RunFolder | None) -> list[str]:
    """The commands that compute a run again, with the data in the folder ``data``.

    Args:
        run: The run.
        original: That of its original, where it is known.

    Returns:
        One command for each run that leads there, and one for its audit if it was audited; none for a model of a
        service of deletion requests, nor of a study's row with an original of its own and a forget set that another
        original decides: the service and the study alone can make them.
    """
    lineage = run.record.lineage
    if rests_on_reference(lineage) or _decided_elsewhere(lineage):
        return []
    commands: list[list[str]] = []
    if isinstance(lineage, Trained | Unlearned) and forget_of(lineage) is not None:
        first = _some_original(lineage, original)
        commands += [_train(first, _name(original, first.digest))] if isinstance(first, Trained) else []
        source = _source(first, original)
        for model in _sequence(lineage):
            name = _name(run if model == lineage else None, model.digest)
            commands.append(_unlearn(model, first, source, name))
            source = f"runs/{name}"
    elif isinstance(lineage, Trained):
        commands += [_train(lineage, _name(run, lineage.digest))]
    return [shlex.join(command) for command in [*commands, *_audit(run)]]


def _decided_elsewhere(lineage: AnyLineage) -> bool:
    """Whether another original than its own decides what a model has forgotten."""
    forget = forget_of(lineage)
    decider = None if forget is None else decider_of(forget)
    return decider is not None and sharding_of(decider.recipe) != sharding_of(getattr(lineage, "recipe", None))


def _some_original(lineage: Trained | Unlearned, original: RunFolder | None) -> Trained | Imported:
    """The original; where the sequence began with retraining, the known one or one of the same seed."""
    known, root = None if original is None else original.record.lineage, root_of(lineage)
    forget = forget_of(root)
    if forget is not None and decider_of(forget) is None and isinstance(known, Trained | Imported):
        return known
    return original_of(lineage)


def _sequence(lineage: Trained | Unlearned) -> list[Trained | Unlearned]:
    """The models that were made one after the other, each without more than the one before, up to this one."""
    if isinstance(lineage, Unlearned):
        source = lineage.source
        assert not isinstance(source, Referenced), "such a sequence has no commands"
        earlier = [] if isinstance(source, Imported) or forget_of(source) is None else _sequence(source)
        return [*earlier, lineage]
    assert isinstance(lineage.on, AllBut), "an original has no sequence"
    after = lineage.on.forget.after
    return [*([] if after is None else _sequence(lineage.but(on=AllBut(forget=after)))), lineage]


def launched(processes: int, words: Sequence[str]) -> list[str]:
    """A command as it is started in several processes."""
    if processes == 1:
        return ["natmu", *words]
    return ["torchrun", f"--nproc-per-node={processes}", "--standalone", "-m", "natmu", *words]


def _name(run: RunFolder | None, digest: str) -> str:
    """The name of a run's folder."""
    return digest if run is None else run.path.resolve().name


def _source(source: object, original: RunFolder | None) -> str:
    """What a model is unlearned from; one that was made elsewhere has no command, so its weights must be at hand."""
    if isinstance(source, Imported):
        return WEIGHTS
    if original is None:
        return f"runs/{source.digest}" if isinstance(source, Trained) else WEIGHTS
    return f"runs/{original.path.resolve().name}"


def _train(lineage: Trained, name: str) -> list[str]:
    """The command of an original model."""
    words, recipe, seed = ["train", *_data(lineage)], lineage.recipe, str(lineage.seed)
    if isinstance(recipe, HeadTraining):
        words += ["--features-from", BACKBONE]
        seed = SECRET if isinstance(recipe, LogisticTraining) else seed
    if isinstance(recipe, OwnTraining) or sharding_of(recipe) is not None:  # whose threads no flag says
        return _whole([*words, *_training(recipe)], seed, lineage.arithmetic, name)
    for setting, value in recipe.model_dump(exclude={"augment", "sharding"}).items():
        words += [f"--{setting.replace('_', '-')}", str(value)]
    words += ["--augment", recipe.augment_name] if isinstance(recipe, TrainSettings) else []
    return _whole(words, seed, lineage.arithmetic, name)


def _unlearn(lineage: Trained | Unlearned, first: Trained | Imported, source: str, name: str) -> list[str]:
    """The command of an unlearned or retrained model; a weights file says nothing of its data, as the original does."""
    forget = forget_of(lineage)
    assert forget is not None, "it has forgotten something"
    told = [*_data(first), *_training(first.recipe)] if source == WEIGHTS else []
    dropped = isinstance(lineage, Unlearned) and lineage.dropped is not None
    words = ["unlearn", "--from", source, *told, *_forget(forget, dropped=dropped), "--method"]
    if isinstance(lineage, Unlearned):
        words += [lineage.method]
        for setting, value in lineage.settings.items():
            words += ["--set", f"{setting}={json.dumps(value)}"]
        words += ["--batch-size", str(lineage.batch_size)]
    else:
        words += ["retrain", "--set", f"init={'fresh' if lineage.reset else 'original'}"]
    secret = isinstance(lineage, Trained) and isinstance(lineage.recipe, LogisticTraining)
    return _whole(words, SECRET if secret else str(lineage.seed), lineage.arithmetic, name)


def _audit(run: RunFolder) -> list[list[str]]:
    """The command of an audit; of one that was not made, that of the level standard."""
    lineage, folder = run.record.lineage, audit_of(run)
    if folder is None and not isinstance(lineage, Unlearned):
        return []
    words = ["audit", f"runs/{run.path.resolve().name}"]
    if folder is None:
        words += ["--level", "standard"]
    else:
        words += ["--level", folder.audit.level, "--references", str(folder.audit.references)]
        words += _training(folder.audit.training)
    return [launched(lineage.arithmetic.processes, words)]


def _data(lineage: Trained | Imported) -> list[str]:
    """The flags that name data and architecture."""
    data = lineage.data
    words = ["--data", data.source, "--model", lineage.architecture.name]
    flags = {
        "--image-size": data.image_size,
        "--resize": data.resize,
        "--crop": data.crop,
        "--channels": data.channels,
        "--train-size": data.train_size,
        "--test-data": data.test,
        "--test-fraction": data.test_fraction,
        "--classes": data.classes and CLASSES,
        "--class-order": data.class_order,
    }
    for flag, value in flags.items():
        words += [flag, str(value)] if value else []
    return [*words, *(["--holdout"] if data.holdout else [])]


def _training(recipe: AnyTraining | None) -> list[str]:
    """The flag that says how a model was trained, where that is known."""
    return [] if recipe is None else ["--training", json.dumps(recipe.model_dump(mode="json"))]


def _forget(forget: Forget, *, dropped: bool) -> list[str]:
    """The flags that name what is forgotten, and whether its outputs went too."""
    drawn = [] if forget.seed is None else ["--split-seed", str(forget.seed)]
    asked = ["--forget", forget.request.text]
    if dropped:
        asked = ["--drop-class", forget.request.text.partition(":")[2]]
    return [*asked, *drawn, *(["--with-copies"] if forget.copies else [])]


def _whole(words: Sequence[str], seed: str, arithmetic: Arithmetic, name: str) -> list[str]:
    """A command with what every one ends with."""
    last = ["--seed", seed, "--precision", arithmetic.precision]
    last += ["--sync-batch-norm"] if arithmetic.sync_batch_norm else []
    last += [] if DIGEST.fullmatch(name) else ["--out", f"runs/{name}"]
    return launched(arithmetic.processes, [*words, *last])
