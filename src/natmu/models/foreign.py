"""Weights from elsewhere, put into a model."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from torch import Tensor, nn

from natmu.errors import ModelError
from natmu.models.adapters import network_of
from natmu.models.containers import Container, Place, State, read_container
from natmu.models.hub import stored_names
from natmu.models.layers import Normalize
from natmu.models.matching import Match, matches
from natmu.progress import say


class MisfitError(ModelError):
    """The weights in a file are not those of a model."""


@dataclass(frozen=True)
class Found:
    """The weights of a model in a file.

    Attributes:
        container: The file.
        place: Where the state dict stands in it.
        match: Which of its names stands for which of the model's.
        others: Where other state dicts stand that would fit.
    """

    container: Container
    place: Place
    match: Match
    others: tuple[Place, ...] = ()

    @property
    def state(self) -> State:
        """The state dict."""
        return self.container.states[self.place]

    def tensor(self, name: str) -> Tensor:
        """The tensor in the file that stands for a name of the model."""
        return self.state[self.match.pairs[name]]


def load_weights(model: nn.Module, path: Path) -> None:
    """Copy the weights in a file into a model, whose names and shapes they must match exactly.

    See ``natmu.models.matching.matches`` for the names, and ``find_weights`` for the places.

    Normalisation constants belong to the weights that were trained with them: those in the file replace the model's.
    Where the file has none, as most checkpoints from elsewhere, the model's own are kept. Counters of batches, which
    old files lack, are kept too. Weights in another precision are cast, which is said.

    Args:
        model: The model to fill; it is unchanged if an error is raised.
        path: A file of weights or a HuggingFace folder.

    Raises:
        ModelError: The file is missing, damaged, of another kind, would have to run code, or does not fit the model; or
            nothing can be normalised with its constants.

    Examples:
        >>> from pathlib import Path
        >>> from safetensors.torch import save_file
        >>> from torch import nn
        >>> first, second = nn.Linear(4, 2), nn.Linear(4, 2)
        >>> save_file(first.state_dict(), "weights.safetensors")
        >>> load_weights(second, Path("weights.safetensors"))
        >>> bool((first.weight == second.weight).all())
        True
    """
    network = network_of(model)
    own, constants = network.state_dict(), _normalisation(network)
    container, stored = read_container(path), stored_names(network)
    try:
        found = find_weights(own, container, type(network).__name__, constants)
        names = {name: name for name in own}
    except MisfitError:
        if not stored:
            raise
        found, names = (
            find_weights({stored[name]: own[name] for name in own}, container, type(network).__name__),
            stored,
        )
    _check_counters(network, found.match, path)
    shared = {name: found.tensor(other) for name, other in names.items() if other in found.match.pairs}
    shared = {name: tensor.view(own[name].shape) for name, tensor in shared.items()}
    _check_constants({name: shared[name] for name in constants & shared.keys()}, path)
    cast = {str(tensor.dtype).removeprefix("torch.") for name, tensor in shared.items() if _is_cast(tensor, own[name])}
    if found.others:
        others = ", ".join(".".join(place) for place in found.others)
        say(f"{path}: the weights under {'.'.join(found.place)} are taken, and not those under {others}.")
    beside = found.match.beside - {"n_averaged"}
    if beside:
        say(f"{path} also holds {_listed(beside, 'tensors')}; they are not taken.")
    if cast:
        say(f"The weights in {path} are {', '.join(sorted(cast))}; they are computed with in float32.")
    network.load_state_dict({**own, **shared})


def find_weights(
    own: Mapping[str, Tensor], container: Container, what: str, constants: Collection[str] = frozenset()
) -> Found:
    """Where in a file the weights of a model are.

    Of several state dicts that fit, the one under a usual key is taken.

    Args:
        own: The model's state dict.
        container: The file.
        what: Name of the architecture, for messages.
        constants: Names of the model that the file may lack as a whole; they may be flat vectors there.

    Raises:
        MisfitError: No state dict in the file fits.
        ModelError: One fits in several ways.
    """
    fitting: list[Found] = []
    faults: list[str] = []
    for place, state in container.states.items():
        found = [Found(container, place, match) for match in matches(own, state, constants)]
        problems = [_faults(one, own, constants) for one in found]
        if len(found) > 1 and not all(problems):
            prefixes = ", ".join(sorted(min(one.match.pairs.values(), key=len) for one in found))
            raise ModelError(
                f"{container.path} holds these weights several times ({prefixes}): save those that you use, and only "
                "those, with torch.save(model.state_dict(), path)."
            )
        fitting += [one for one, problem in zip(found, problems, strict=True) if not problem]
        faults += problems
    if not fitting:
        raise MisfitError(
            f"The weights in {container.path} do not fit {what} ({faults[0]}): give the architecture, number of "
            "classes and image size that they were trained with."
        )
    return replace(fitting[0], others=tuple(one.place for one in fitting[1:]))


def _faults(found: Found, own: Mapping[str, Tensor], constants: Collection[str]) -> str:
    """Why the weights found do not fit, in a few words; empty where they do."""
    match = found.match
    reshaped = {
        f"{name} {tuple(found.tensor(name).shape)} where the model has {tuple(own[name].shape)}"
        for name in match.pairs
        if found.tensor(name).shape != own[name].shape
        and not (name in constants and found.tensor(name).shape == (own[name].numel(),))
    }
    retyped = {
        f"{name} ({found.tensor(name).dtype})"
        for name in match.pairs
        if not _can_stand_for(found.tensor(name), own[name])
    }
    incomplete = not match.complete(constants)
    return "; ".join(
        filter(
            None,
            (
                _listed(match.missing, "missing") if incomplete else "",
                _listed(match.unexpected, "unexpected") if incomplete else "",
                _listed(reshaped, "of another shape"),
                _listed(retyped, "of another type"),
            ),
        )
    )


def _can_stand_for(given: Tensor, own: Tensor) -> bool:
    """Whether the numbers of a file are of the kind of the model's; cast counters are whole still."""
    if own.is_complex() or own.dtype is torch.bool:
        return given.dtype == own.dtype
    if given.is_complex() or given.dtype is torch.bool:
        return False
    return given.is_floating_point() if own.is_floating_point() else _is_whole(given)


def _is_whole(values: Tensor) -> bool:
    """Whether all values are whole numbers."""
    return not values.is_floating_point() or bool((values == values.round()).all())


def _is_cast(given: Tensor, own: Tensor) -> bool:
    """Whether a tensor of the file changes its precision in the model."""
    return own.is_floating_point() and given.dtype != own.dtype


def _check_counters(model: nn.Module, match: Match, path: Path) -> None:
    """Refuse missing counters where running statistics depend on them."""
    for name, module in model.named_modules():
        if isinstance(module, nn.modules.batchnorm._NormBase) and module.momentum is None:
            counter = f"{name}.num_batches_tracked".lstrip(".")
            if counter in match.missing:
                raise ModelError(
                    f"The weights in {path} lack {counter}, which this layer needs, as it has no momentum: save them "
                    "with a newer PyTorch."
                )


def _normalisation(model: nn.Module) -> set[str]:
    """The names of a model's normalisation constants."""
    layers = (name for name, module in model.named_modules() if isinstance(module, Normalize))
    return {f"{layer}.{constant}" for layer in layers for constant in ("mean", "std")}


def _check_constants(constants: State, path: Path) -> None:
    """Refuse constants that images cannot be normalised with."""
    for name, values in sorted(constants.items()):
        if not values.isfinite().all() or (name.endswith("std") and (values <= 0).any()):
            raise ModelError(
                f"The weights in {path} come with {name} = {values.flatten().tolist()}, but normalisation constants "
                "must be finite and deviations positive: mend the file, or save the weights without their "
                "normalisation, and that of the data is taken."
            )


def _listed(names: Collection[str], what: str) -> str:
    """How many names there are, and the first few, or nothing."""
    if not names:
        return ""
    first = sorted(names)[:3]
    return f"{len(names)} {what}: {', '.join(first)}{', …' if len(names) > len(first) else ''}"
