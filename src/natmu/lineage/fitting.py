"""Backbones: networks from elsewhere, frozen, with the features of this data beside them."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from natmu.data import ImageData
from natmu.engine import processes
from natmu.engine.store import Run
from natmu.engine.workplace import Workplace
from natmu.errors import ModelError
from natmu.lineage.backbone_weights import backbone_digest, backbone_state
from natmu.lineage.features import extract
from natmu.lineage.same_weights import CONSTANTS, has_weights
from natmu.lineage.workspace import Workspace
from natmu.models import Normalize, is_pretrained_folder, load_weights, network_of, set_unit_head, unit_head_of
from natmu.models.containers import read_container
from natmu.models.foreign import MisfitError
from natmu.models.hub import stored_names
from natmu.progress import decide, decided
from natmu.records.derived import backbone_of, forget_of, root_of, title
from natmu.records.files import is_there
from natmu.records.lineage import AnyLineage, Arithmetic, Backbone, Imported, Trained, Unlearned
from natmu.records.run import RECORD, open_run
from natmu.records.settings import DataSettings, sharding_of
from natmu.types import Outputs, Part


def import_backbone(workspace: Workspace, source: Path | nn.Module | None, origin: str | None = None) -> Backbone:
    """A frozen network as a run in the store, with the rows of the features of all data beside it.

    Images are run through it once, un-augmented, in fp32. Its last layer has an output for each class of this data,
    whatever it had before.

    Args:
        workspace: The data, and the architecture of the network with a head on features.
        source: A run folder, a file of weights or a HuggingFace folder; a network of that architecture; None for the
            weights that the architecture is built with.
        origin: Where it comes from, in words; what the source says if None.

    Raises:
        ModelError: It does not fit, was trained on this data, or cannot carry a head.
        TrainingError: A feature is not finite.
    """
    assert workspace.unit_head, "its architecture has a head on features"
    if workspace.remaining is not None:
        raise ModelError("Some of the data is gone; extract features while all of it is there.")
    network, told = _network(workspace, source)
    model = Backbone(
        data=workspace.data,
        architecture=workspace.architecture,
        arithmetic=Arithmetic(precision="fp32", processes=workspace.arithmetic.processes),
        weights=backbone_digest(network),
        origin=origin or told,
    )
    workspace.store.obtain(model, lambda work: _make(model, network, workspace, work), resume=workspace.resume)
    return model


def say_normalisation(network: nn.Module, settings: DataSettings) -> None:
    """Say how images are normalised for a backbone: by what it was trained with, where that is known."""
    own = [layer for layer in network.modules() if isinstance(layer, Normalize)]
    if own:
        mean, std = (
            ",".join(f"{value:.3g}" for value in part.flatten().tolist()) for part in (own[0].mean, own[0].std)
        )
        decide(f"The backbone normalises images itself, by mean {mean} and deviation {std}.")
    elif settings.mean is None:
        decide("Images are given to the backbone as they are, in [0, 1]; say what it expects with --mean and --std.")


def _make(model: Backbone, network: nn.Module, workspace: Workspace, work: Workplace) -> None:
    """Extract the features, and keep them with the network."""
    compute, splits = workspace.compute.at(model.arithmetic), workspace.on_device
    start = time.perf_counter()
    extract(network, splits, compute, work.folder)
    seconds = time.perf_counter() - start
    holdout = None if splits.holdout is None else _nothing_said(splits.holdout)
    outputs = Outputs(_nothing_said(splits.train), _nothing_said(splits.test), holdout)
    noted = tuple(dict.fromkeys([*workspace.decisions, *decided()]))
    work.finish(network, outputs, compute, seconds=seconds, scores={}, history=[], decisions=noted)


def _nothing_said(data: ImageData) -> Part:
    """The predictions of a head that is zero."""
    fine = None if data.fine is None else np.asarray(data.fine.labels)
    return Part(np.zeros((len(data), data.num_classes), np.float32), np.asarray(data.labels.cpu()), fine)


def _network(workspace: Workspace, source: Path | nn.Module | None) -> tuple[nn.Module, str]:
    """The network with a head that is zero, and where it comes from."""
    network = workspace.build(0)
    if source is None:
        state, origin = _built_state(network, workspace), workspace.model
    elif isinstance(source, nn.Module):
        state, origin = network_of(source).state_dict(), type(network_of(source)).__name__
    elif source.is_dir() and not is_pretrained_folder(source):
        state, origin = _state_of_run(Run(open_run(source).path), workspace)
    else:
        state, origin = _state_in_file(network, source, workspace), source.resolve().name
    _fill(network, state, origin)
    if not isinstance(source, Path) or not source.is_dir() or is_pretrained_folder(source):
        processes.agree(lambda: _refuse_known(network, origin, workspace))
        decide(
            f"Nobody said what the backbone from {origin} was trained on. The guarantee holds only if it was not "
            "trained on the samples of this data."
        )
    say_normalisation(network, workspace.settings)
    _, head = unit_head_of(network)
    set_unit_head(network, np.zeros(head.weight.shape), np.zeros(len(head.weight)))
    return network, origin


def _fill(network: nn.Module, state: Mapping[str, Tensor], origin: str) -> None:
    """Put weights into a backbone; those of the source's own last layer are left out."""
    own = backbone_state(network)
    misfits = [name for name, value in own.items() if name not in state or state[name].shape != value.shape]
    if misfits:
        raise ModelError(
            f"The weights of {origin} do not fit this architecture and images of this size, as at {misfits[0]}. Give "
            "the architecture that they were trained with, and images of their size (--image-size, --channels)."
        )
    network_of(network).load_state_dict({name: state[name] for name in own}, strict=False)


def _built_state(network: nn.Module, workspace: Workspace) -> Mapping[str, Tensor]:
    """The weights that an architecture is built with, where these are not drawn at random."""
    state, other = backbone_state(network), backbone_state(workspace.build(1))
    if any(not torch.equal(value, other[name]) for name, value in state.items()):
        raise ModelError(
            f"{workspace.model} draws its weights at random, and nothing is ever downloaded. Name a file of trained "
            f"weights, as in --features-from FILE --model {workspace.model}, or a factory of your own that loads them."
        )
    return state


def _state_of_run(run: Run, workspace: Workspace) -> tuple[Mapping[str, Tensor], str]:
    """The weights of a run, and which run it is."""
    lineage = run.record.lineage
    backbone = lineage if isinstance(lineage, Backbone) else _below(lineage)
    if backbone is not None:
        if backbone.data.digests != workspace.data.digests:
            raise ModelError(f"{run.path} holds a head on a backbone from {backbone.origin}; name that one itself.")
        return run.weights(), backbone.origin
    if not isinstance(lineage, Trained | Imported | Unlearned):
        raise ModelError(f"{run.path} holds no trained model; name the run of an original or of an unlearned model.")
    if sharding_of(lineage.recipe) is not None:
        raise ModelError(f"{run.path} holds several models, one for each shard; name a run of a single one.")
    _refuse_same_data(lineage, str(run.path), workspace)
    forget, data = forget_of(lineage), Path(lineage.data.source).name
    forgotten = "" if forget is None else f", which has forgotten {forget.request.text}"
    return run.weights(), f"run {lineage.digest} ({title(root_of(lineage))} on {data}{forgotten})"


def _below(lineage: AnyLineage) -> Backbone | None:
    """The backbone below a head."""
    return backbone_of(root_of(lineage)) if isinstance(lineage, Trained | Imported | Unlearned) else None


def _refuse_same_data(lineage: AnyLineage, what: str, workspace: Workspace) -> None:
    """Refuse a backbone that was trained on this data, in whatever form, or on a part of it."""
    own, theirs = workspace.data, lineage.data
    seen = theirs.digests.train in (own.digests.train, own.digests.test, own.digests.holdout)
    if seen or theirs.source == own.source or _same_place(theirs.source, own.source):
        raise ModelError(
            f"{what} was trained on {theirs.source}, which is this data or another part of it. So the features would "
            "know the samples that the head is to forget. Take a backbone that was trained on other data."
        )


def _same_place(first: str, second: str) -> bool:
    """Whether two sources of data are one path."""
    there = Path(first).exists() and Path(second).exists()
    return there and Path(first).resolve() == Path(second).resolve()


def _refuse_known(network: nn.Module, origin: str, workspace: Workspace) -> None:
    """Refuse weights that a run in the store has which was trained on this data."""
    state = backbone_state(network)
    for run in workspace.store.all():
        lineage = run.record.lineage
        trained = isinstance(lineage, Trained | Imported | Unlearned) and _below(lineage) is None
        if trained and has_weights(run, state, CONSTANTS):
            _refuse_same_data(lineage, f"{origin}, which holds the weights of {run.path},", workspace)


def _state_in_file(network: nn.Module, path: Path, workspace: Workspace) -> Mapping[str, Tensor]:
    """The weights in a file or a HuggingFace folder, with however many classes they have."""
    if is_there(path.resolve().parent / RECORD):
        raise ModelError(f"{path} is a file of a run; name its folder, which knows what it was trained on.")
    if not path.exists():
        raise ModelError(f"There are no weights at {path}; name a run folder, a .safetensors or a .pt file.")
    fault: MisfitError | None = None
    for count in dict.fromkeys([workspace.splits.train.num_classes, *_numbers_of_classes(network, path)]):
        plain = workspace.plain(0, count)
        try:
            load_weights(plain, path)
        except MisfitError as error:
            fault = fault or error
        else:
            return network_of(plain).state_dict()
    assert fault is not None, "one number was tried at least"
    raise fault


def _numbers_of_classes(network: nn.Module, path: Path) -> Iterator[int]:
    """Numbers of rows that the last layer may have in a file."""
    name, head = unit_head_of(network)
    own = f"{name}.weight"
    names = {own, stored_names(network_of(network)).get(own, own)}
    for state in read_container(path).states.values():
        for key, value in state.items():
            if value.dim() == 2 and value.shape[1] == head.in_features and key.endswith(tuple(names)):
                yield len(value)
