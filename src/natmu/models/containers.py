"""Files of weights, whole: the state dicts in them, and what else they hold, read without running any code."""

from __future__ import annotations

import argparse
import pickle
import re
import struct
import warnings
import zipfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, TypeGuard

import torch
from safetensors import SafetensorError
from torch import Tensor

from natmu.errors import ModelError
from natmu.models.faults import FAULTS, quoted
from natmu.models.hub import is_pretrained_folder, read_json
from natmu.records.tensors import read_tensors
from natmu.user_files import pointer_fault, require_file

State = Mapping[str, Tensor]
Place = tuple[str, ...]
"""The keys under which something stands in nested mappings."""

SUFFIXES = (".safetensors", ".pt", ".pth", ".tar", ".ckpt", ".bin")
WRAPPERS = ("state_dict", "model_state_dict", "model", "net")
DEEPEST = 3
"""How many mappings lie around a state dict at most."""

PRETRAINED = ("model.safetensors", "model.safetensors.index.json", "pytorch_model.bin", "pytorch_model.bin.index.json")
"""Names of the weights in a HuggingFace folder, the one that transformers prefers first."""


@dataclass(frozen=True)
class Container:
    """The content of a file of weights.

    Attributes:
        path: The file, or the HuggingFace folder.
        content: What it holds: a state dict, or mappings around one or several.
        metadata: Of a safetensors file.
    """

    path: Path
    content: object
    metadata: Mapping[str, str] | None = None

    @cached_property
    def states(self) -> dict[Place, State]:
        """Every state dict in it, by its place; those under the usual keys first, then those that lie least deep."""
        found = dict(_states(self.content, ()))

        def order(place: Place) -> tuple[int, int]:
            usual = WRAPPERS.index(place[0]) if len(place) == 1 and place[0] in WRAPPERS else len(WRAPPERS)
            return (len(place) > 0) * (1 + usual), len(place)

        return {place: found[place] for place in sorted(found, key=order)}


def read_container(path: Path) -> Container:
    """Read a file of weights, or those of a HuggingFace folder.

    Raises:
        ModelError: It is missing, damaged, of another kind, would have to run code, or holds no state dict.
    """
    file = weights_file(path) if path.is_dir() else path
    if file.name.endswith(".index.json"):
        container = Container(path, _shards(file))
    elif file.suffix not in SUFFIXES:
        raise ModelError(f"Weights are read from {', '.join(SUFFIXES)} files, and {path} is none of these.")
    elif not file.exists() and not file.is_symlink():
        raise ModelError(f"There is no file {path} to read weights from.")
    else:
        content, metadata = _read(file)
        container = Container(path, content, metadata)
    _refuse_quantised(container)
    if not container.states:
        raise ModelError(
            f"{path} holds no state dict, neither bare nor under {', '.join(WRAPPERS)} or another key: save one with "
            "torch.save(model.state_dict(), path)."
        )
    return container


def _refuse_quantised(container: Container) -> None:
    """Refuse numbers of eight bits or fewer that mean nothing without their scales."""
    for state in container.states.values():
        for name, tensor in state.items():
            if tensor.is_quantized or (tensor.is_floating_point() and tensor.element_size() < 2):
                raise ModelError(
                    f"{container.path} holds quantised weights ({name} is {str(tensor.dtype).removeprefix('torch.')}): "
                    "save the model as it was before that, in float32, float16 or bfloat16."
                )


def weights_file(folder: Path) -> Path:
    """The weights in a HuggingFace folder: the file, or the index of several.

    Raises:
        ModelError: There are none.
    """
    for name in PRETRAINED if is_pretrained_folder(folder) else ():
        if (folder / name).is_file():
            return folder / name
    raise ModelError(
        f"{folder} holds no weights: name a file, or a folder with config.json and {PRETRAINED[0]} or {PRETRAINED[2]}."
    )


def weights_files(path: Path) -> list[Path]:
    """All files that weights are read from: one, or the shards of a HuggingFace folder.

    Examples:
        >>> from pathlib import Path
        >>> [file.name for file in weights_files(Path("model.safetensors"))]
        ['model.safetensors']
    """
    file = weights_file(path) if path.is_dir() else path
    if not file.name.endswith(".index.json"):
        return [file]
    return [file, *(file.parent / name for name in sorted(set(shard_names(file).values())))]


def is_state(value: object) -> TypeGuard[State]:
    """Whether a value is names and dense tensors, and nothing else."""
    return isinstance(value, Mapping) and all(
        isinstance(name, str) and isinstance(tensor, Tensor) and tensor.layout is torch.strided and not tensor.is_meta
        for name, tensor in value.items()
    )


def _states(value: object, place: Place) -> Iterator[tuple[Place, State]]:
    """Every state dict in nested mappings; an empty mapping is one only where it is all there is."""
    if is_state(value):
        if value or not place:
            yield place, value
    elif isinstance(value, Mapping) and len(place) < DEEPEST:
        for key, inner in value.items():
            if isinstance(key, str) and isinstance(inner, Mapping):
                yield from _states(inner, (*place, key))


def shard_names(index: Path) -> dict[str, str]:
    """The file that each tensor stands in, by an index; all of them lie in its folder.

    Raises:
        ModelError: The index does not say so.
    """
    files = read_json(index).get("weight_map", {})
    if not isinstance(files, Mapping) or not files or any(Path(str(name)).name != name for name in files.values()):
        raise ModelError(f"{index} does not name the files that hold the weights: save the model again.")
    return dict(files)


def _shards(index: Path) -> dict[str, Tensor]:
    """The weights of several files as one state dict."""
    state: dict[str, Tensor] = {}
    for name in sorted(set(shard_names(index).values())):
        content, _ = _read(index.parent / name)
        if not is_state(content):
            raise ModelError(f"{index.parent / name} holds no state dict: save the model again.")
        state |= content
    return state


def _read(path: Path) -> tuple[Any, Mapping[str, str] | None]:
    """The content of one file, and the metadata of a safetensors file."""
    try:
        require_file(path)
        if (fault := pointer_fault(path)) is not None:
            raise ModelError(fault)
        if path.suffix == ".safetensors":
            content, metadata = read_tensors(path, "pt")
            return content, metadata or None
        with warnings.catch_warnings(), torch.serialization.safe_globals([argparse.Namespace]):
            # A namespace holds attributes and runs nothing; much research code keeps its arguments in one.
            warnings.simplefilter("ignore")  # remarks on the pickle protocol; what cannot be read is an error
            return torch.load(path, map_location="cpu", weights_only=True), None
    except pickle.UnpicklingError as error:
        named = re.search(r"GLOBAL ([\w.]+)", str(error))
        what = f", as it holds {named[1]}" if named else ""
        raise ModelError(
            f"{path} is not a plain state dict: it is damaged, or reading it would run code stored in it{what}; where "
            "you trust it, load it yourself and save it again with torch.save(model.state_dict(), path)."
        ) from error
    except (*FAULTS, SafetensorError, struct.error) as error:
        if isinstance(error, OSError) and error.filename:
            raise ModelError(f"{path} cannot be read as weights: {error.strerror or error}.") from error
        if _ends_early(path, error):
            raise ModelError(
                f"{path} is incomplete or damaged, {path.stat().st_size:,} bytes as it is; copy or download it again."
            ) from error
        raise ModelError(
            f"{path} cannot be read as weights ({quoted(error)}): save them again, for example with "
            "torch.save(model.state_dict(), path)."
        ) from error


def _ends_early(path: Path, error: BaseException) -> bool:
    """Whether a file of weights that could not be read lacks its end, where a zip archive has its index."""
    if not path.is_file():
        return False
    if path.suffix == ".safetensors":
        return path.stat().st_size == 0 or re.search(r"incomplete|invalid header length", str(error)) is not None
    with path.open("rb") as stream:
        is_archive = stream.read(2) == b"PK"
    return not _is_zip(path) if is_archive else "EOF" in f"{type(error).__name__}: {error}"


def _is_zip(path: Path) -> bool:
    """Whether a file is a whole zip archive; the standard library raises on some that are damaged at their end."""
    try:
        return zipfile.is_zipfile(path)
    except zipfile.BadZipFile:
        return False
