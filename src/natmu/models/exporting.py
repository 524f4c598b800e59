"""Weights written as the file that they came from was: the same container, names, types and further entries."""

from __future__ import annotations

import copy
import io
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import torch
from safetensors.torch import save
from torch import Tensor, nn

from natmu.errors import ModelError
from natmu.models.containers import SUFFIXES, Container, Place, State, read_container
from natmu.models.foreign import Found, find_weights
from natmu.records.files import write_atomically
from natmu.records.tensors import packed

Copies = Literal["drop", "keep"]


@dataclass(frozen=True)
class Entry:
    """Something in a container beside the weights that were found.

    Attributes:
        name: What it is called.
        places: Where it stands.
        value: What it is; a list of tensors where it stands in several places.
    """

    name: str
    places: tuple[Place, ...]
    value: object


def exported(
    weights: State,
    like: Path,
    copies: Copies | None,
    constants: Collection[str] = (),
    rows: Mapping[str, Sequence[int]] | None = None,
) -> tuple[Container, list[str]]:
    """The content of a file with other weights in it.

    Args:
        weights: A state dict by the names of the user's model.
        like: The file that the original's weights came from, or a HuggingFace folder.
        copies: What becomes of entries that hold the original's weights once more.
        constants: Names in ``weights`` that the file may lack as a whole.
        rows: Names in ``weights`` of which the model has lost rows, and which rows are written.

    Returns:
        What is to be written, and sentences on what stands in it beside the weights.

    Raises:
        ModelError: The file cannot be read, does not hold these weights, or holds others beside them and nobody says
            what is to become of those.
    """
    container = read_container(like)
    found = find_weights(weights, container, "this run", constants)
    content = with_value(container.content, found.place, _filled(found, weights, rows or {}))
    sentences = []
    for entry in _entries(found):
        if is_optimizer(entry.value):
            sentences.append(f"{entry.name} is kept; it comes from training with the forgotten samples.")
        elif not _holds_weights(entry.value, weights):
            continue
        elif copies is None:
            raise ModelError(
                f"{like} also holds {entry.name}, which has the shapes of the original's weights and may know what was "
                "forgotten. Say --copies drop to leave it out, or --copies keep."
            )
        elif copies == "drop":
            for place in entry.places:
                content = without(content, place)
            sentences.append(f"{entry.name} is left out; it has the shapes of the original's weights.")
        else:
            sentences.append(f"{entry.name} is kept; it has the shapes of the original's weights.")
    return Container(like, content, container.metadata), sentences


def write_container(content: object, path: Path, metadata: Mapping[str, str] | None = None) -> None:
    """Write a file of weights, complete or not at all.

    Args:
        content: A state dict for a ``.safetensors`` file; anything that PyTorch can save for the others.
        path: The file.
        metadata: Of a ``.safetensors`` file.

    Raises:
        ModelError: The name ends in something else.
        RunError: It cannot be written.
    """
    if path.suffix not in SUFFIXES:
        raise ModelError(f"Weights are written to {', '.join(SUFFIXES)} files, and {path} is none of these.")
    if path.suffix == ".safetensors":
        assert isinstance(content, Mapping), "it was read from such a file, or is a state dict"
        plain = {name: tensor.detach().contiguous().clone() for name, tensor in content.items()}
        write_atomically(path, packed(save, plain, metadata))
        return
    buffer = io.BytesIO()
    torch.save(content, buffer)
    write_atomically(path, buffer.getvalue())


def is_optimizer(value: object) -> bool:
    """Whether a value is the state of an optimiser, or a list of such states."""
    if isinstance(value, list | tuple):
        return bool(value) and all(map(is_optimizer, value))
    return isinstance(value, Mapping) and {"state", "param_groups"} <= value.keys()


def with_value(content: Any, place: Place, value: object) -> object:  # noqa: ANN401 - whatever a file holds
    """Nested mappings with another value in one place; copies on the way there, of the same classes."""
    if not place:
        return value
    changed = copy.copy(content)
    changed[place[0]] = with_value(content[place[0]], place[1:], value)
    return changed


def without(content: Any, place: Place) -> object:  # noqa: ANN401 - whatever a file holds
    """Nested mappings without one entry; copies on the way there, of the same classes."""
    changed = copy.copy(content)
    if len(place) == 1:
        del changed[place[0]]
    else:
        changed[place[0]] = without(content[place[0]], place[1:])
    return changed


def _filled(found: Found, weights: State, rows: Mapping[str, Sequence[int]]) -> object:
    """The state dict that was found with other weights, in its class, order and types."""
    names = {given: name for name, given in found.match.pairs.items()}
    filled: Any = copy.copy(found.state)  # with the attributes of an OrderedDict, such as the versions of modules
    made: dict[tuple[int, torch.Size], Tensor] = {}
    for given, old in found.state.items():
        if given in names:
            key = old.data_ptr(), old.shape
            if old.numel() == 0 or key not in made:
                whole = _as(weights[names[given]], old, given)
                kept = rows.get(names[given])
                made[key] = whole if kept is None else _rows_of(whole, kept)
            filled[given] = made[key]  # one tensor where the file has one under several names
    return filled


def _as(new: Tensor, old: Tensor, name: str) -> Tensor:
    """A tensor in the shape, type and class of the one that it replaces."""
    cast = new.detach().reshape(old.shape).to(old.dtype).clone()
    if cast.is_floating_point() and not bool(cast.isfinite().all()):
        raise ModelError(f"{name} does not fit into {old.dtype}: export without --like, which keeps float32.")
    return nn.Parameter(cast, old.requires_grad) if isinstance(old, nn.Parameter) else cast


def _rows_of(tensor: Tensor, rows: Sequence[int]) -> Tensor:
    """Some rows of a tensor, in its class."""
    kept = tensor.detach()[list(rows)].clone()
    return nn.Parameter(kept, tensor.requires_grad) if isinstance(tensor, nn.Parameter) else kept


def _entries(found: Found) -> Iterator[Entry]:
    """What stands in the container beside the weights, at each level of the way to them."""
    level: Any = found.container.content
    for depth, key in enumerate(found.place):
        for other, value in level.items():
            if other != key:
                place = (*found.place[:depth], other)
                yield Entry(".".join(map(str, place)), (place,), value)
        level = level[key]
    groups: dict[str, list[str]] = {}
    for name in sorted(found.match.beside):
        groups.setdefault(name.partition(".")[0], []).append(name)
    for group, names in groups.items():
        places = tuple((*found.place, name) for name in names)
        yield Entry(".".join((*found.place, group)), places, [found.state[name] for name in names])


def _holds_weights(value: object, weights: State) -> bool:
    """Whether a value holds a matrix or a kernel of the shape of one of the weights."""
    shapes = {tensor.shape for tensor in weights.values() if tensor.dim() > 1}
    return any(tensor.shape in shapes and tensor.is_floating_point() for tensor in _tensors(value))


def _tensors(value: object) -> Iterator[Tensor]:
    """All tensors in nested mappings, lists and namespaces."""
    if isinstance(value, Tensor):
        yield value
    inner: Iterable[object] = ()
    if isinstance(value, Mapping):
        inner = value.values()
    elif isinstance(value, list | tuple | set):
        inner = value
    elif hasattr(value, "__dict__") and not isinstance(value, Tensor):
        inner = vars(value).values()
    for part in inner:
        yield from _tensors(part)
