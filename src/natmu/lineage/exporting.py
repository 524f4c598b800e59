"""A run's model as a file that loads where the original was loaded."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

from natmu.engine.store import Run
from natmu.errors import ModelError, UsageError
from natmu.lineage.same_weights import is_ancestor
from natmu.models import is_pretrained_folder, shards_in, weights_files
from natmu.models.containers import Container, State, is_state, read_container, shard_names, weights_file
from natmu.models.exporting import Copies, exported, write_container
from natmu.models.factory import from_factory
from natmu.models.foreign import MisfitError, find_weights
from natmu.models.hub import from_hub, is_hub, stored_names
from natmu.progress import say
from natmu.records.derived import classes_without_output, division_of, root_of
from natmu.records.digests import digest_of
from natmu.records.disk import (
    is_stream,
    make_folder,
    partial_of,
    replace_folder,
    require_writable_file,
    require_writable_folder,
)
from natmu.records.files import file_digest
from natmu.records.lineage import DroppedOutputs, Imported, Probed, Relearned, Trained, Unlearned

DESCRIPTIONS = (".json", ".md", ".txt")
"""Files of a HuggingFace folder that hold no weights and are copied with it."""

OF_UNIT_HEAD = (
    "The last layer expects features of length 1. Replace it by a natmu.models.UnitLinear before you load these "
    "weights: a plain linear layer gives other predictions."
)
"""How to use a model whose last layer is none of PyTorch's elsewhere."""

OF_SHARDS = (
    "{out}: the models of {count} shards; what begins with members.K. is the model of shard K, by the names of your "
    "own model. natmu.models.load_ensemble(path, build, {combine!r}) makes one module of them, where build() returns "
    "your model with any weights."
)
"""How to use a model of shards elsewhere."""


def weights_digest(path: Path) -> str:
    """Digest of a file of weights, or of all of those of a HuggingFace folder.

    Raises:
        ModelError: The folder holds none.
        RunError: A file cannot be read.
    """
    digests = [file_digest(file) for file in weights_files(path)]
    return digests[0] if len(digests) == 1 else digest_of({"files": digests})


def export_run(run: Run, out: Path, *, like: Path | None = None, copies: Copies | None = None, force: bool) -> None:
    """Write the model of a run, complete or not at all.

    Args:
        run: The run.
        out: The file to write; a folder where ``like`` is a HuggingFace folder.
        like: What the original's weights came from; a plain state dict by the names of the user's model if None.
        copies: What becomes of entries of ``like`` that hold the original's weights once more.
        force: Whether to replace what is there.

    Raises:
        UsageError: The run holds no model, ``out`` is taken, or ``like`` does not hold this model's weights.
    """
    lineage = run.record.lineage
    _require_possible(run, out, like, force=force)
    weights: State = run.weights()
    for sentence in run.record.decisions if classes_without_output(lineage) else ():
        say(sentence)
    if like is not None:
        container, sentences = _shaped_like(like, run, weights, copies)
        if like.is_dir():
            _write_folder(container, like, out)
        else:
            write_container(container.content, out, container.metadata)
        for sentence in sentences:
            say(f"{out}: {sentence}")
        return
    if lineage.architecture.unit_head:
        say(OF_UNIT_HEAD)
    write_container(weights, out)
    if (sharding := division_of(lineage)) is not None:
        say(OF_SHARDS.format(out=out, count=len(shards_in(weights)), combine=sharding.combine))


def _require_possible(run: Run, out: Path, like: Path | None, *, force: bool) -> None:
    """Refuse what can be seen to be impossible before anything is read; raises as ``export_run``."""
    lineage = run.record.lineage
    if isinstance(lineage, Relearned | Probed):
        raise ModelError(f"{run.path} holds no model; name the run of one.")
    if like is None or not like.is_dir():
        require_writable_file(out)
    else:
        require_writable_folder(out.parent)
    if out.exists() and not is_stream(out) and not force:
        raise UsageError(f"{out} is there already; choose another --out, or replace it with --force.")
    if like is None:
        return
    if lineage.architecture.unit_head:
        raise ModelError(
            f"The last layer of {run.path} expects features of length 1, so {like}, whose last layer is plain, "
            "would give other predictions with its weights. Export without --like, and give the network a "
            "natmu.models.UnitLinear as its last layer."
        )
    if division_of(lineage) is not None:
        raise ModelError("A model of shards is several, which no file of one model can hold; export without --like.")
    if not like.exists():
        raise UsageError(f"There is no {like}; give the file that the original came from, or leave --like out.")
    if like.is_dir():
        if isinstance(lineage, Unlearned) and lineage.dropped is not None:
            raise ModelError(
                f"The configuration in {like} gives an output to every class, and this model has lost some; export "
                "without --like."
            )
    elif (like.suffix == ".safetensors") != (out.suffix == ".safetensors"):
        raise ModelError(f"{like} and {out} are files of different kinds; let --out end in {like.suffix}.")


def _shaped_like(like: Path, run: Run, weights: State, copies: Copies | None) -> tuple[Container, list[str]]:
    """What ``like`` holds with the weights of the run in it, and what is to be said of that; raises as ``exported``."""
    lineage = run.record.lineage
    rows: dict[str, list[int]] = {}
    if isinstance(lineage, Unlearned) and lineage.dropped is not None:
        weights, rows = _with_all_rows(weights, lineage.dropped)
    root = root_of(lineage) if isinstance(lineage, Trained | Imported | Unlearned) else lineage
    ours = root.architecture.source is None  # whose normalisation other files lack
    constants = {name for name in weights if name in ("normalize.mean", "normalize.std")} if ours else set()
    names = {name: name for name in weights}
    try:
        container, sentences = exported(weights, like, copies, constants, rows)
    except MisfitError:
        stored = {} if ours else _stored_names(root.architecture.name, run)
        if stored.keys() != weights.keys():
            raise
        renamed, names = {stored[name]: kept for name, kept in rows.items()}, stored
        container, sentences = exported({stored[name]: weights[name] for name in weights}, like, copies, rows=renamed)
    if isinstance(root, Imported) and weights_digest(like) != root.weights:
        whole = {stored: weights[name] for name, stored in names.items()}
        found = find_weights(whole, read_container(like), "this run", constants)
        state = {name: found.tensor(names[name]) for name in names if names[name] in found.match.pairs}
        if not is_ancestor(state, run):
            say(f"{like} is not the file that the original of {run.path} came from.")
    return container, sentences


def _with_all_rows(weights: State, dropped: DroppedOutputs) -> tuple[State, dict[str, list[int]]]:
    """Weights with zeros in the rows that were dropped, as the original's file has them, and which rows are there."""
    whole, rows = dict(weights), {}
    for part in ("weight", "bias"):
        name = f"{dropped.layer}.{part}".lstrip(".")
        if name in weights:
            short = weights[name]
            count = len(short) + len(dropped.classes)
            rows[name] = [row for row in range(count) if row not in dropped.classes]
            whole[name] = short.new_zeros(count, *short.shape[1:])
            whole[name][rows[name]] = short
    return whole, rows


def _stored_names(architecture: str, run: Run) -> dict[str, str]:
    """The names that files of a model have, by those of its state dict, where they are others."""
    num_classes = run.outputs().train.logits.shape[1]
    if not is_hub(architecture):
        return stored_names(from_factory(architecture, num_classes=num_classes, seed=0))
    if not architecture.startswith("hf:"):
        return {}
    any_shape = (3, 32, 32)  # a configuration says itself which images it is for
    return stored_names(from_hub(architecture, num_classes=num_classes, image_shape=any_shape, seed=0))


def _write_folder(container: Container, like: Path, out: Path) -> None:
    """Write a HuggingFace folder: the weights in files of the same names, and the descriptions beside them."""
    if out.exists() and not is_pretrained_folder(out):
        raise UsageError(f"{out} is not the folder of a model and is not replaced; choose another --out.")
    index = weights_file(like)
    out = Path(os.path.realpath(out))
    partial = partial_of(out)
    shutil.rmtree(partial, ignore_errors=True)
    make_folder(partial)
    try:
        left_out = []
        written = {file.name for file in weights_files(like)}
        for file in sorted(like.iterdir()):
            if file.suffix in DESCRIPTIONS and file.is_file() and (file == index or not _is_index(file)):
                shutil.copyfile(file, partial / file.name)
            elif file.name not in written:
                left_out.append(file.name)
        state = container.content
        assert is_state(state), "the weights of a folder are one state dict"
        for name, tensors in _split(state, index).items():
            write_container(tensors, partial / name, container.metadata or {"format": "pt"})
        replace_folder(partial, out)
    finally:
        shutil.rmtree(partial, ignore_errors=True)
    if left_out:
        say(f"{out}: {', '.join(left_out)} of {like} are left out; they may hold the original's weights.")


def _split(state: State, index: Path) -> dict[str, dict[str, object]]:
    """The weights by the file that they stand in."""
    if not _is_index(index):
        return {index.name: dict(state)}
    files = shard_names(index)
    return {file: {name: state[name] for name, at in files.items() if at == file} for file in set(files.values())}


def _is_index(file: Path) -> bool:
    """Whether a file says which weights stand in which other file."""
    return file.name.endswith(".index.json")
