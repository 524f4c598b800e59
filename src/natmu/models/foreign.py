"""Weights from elsewhere: safetensors files and PyTorch state dicts, read without running any code."""

from __future__ import annotations

import pickle
import struct
import warnings
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TypeGuard

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, nn

from natmu.errors import ModelError
from natmu.models.faults import FAULTS, quoted
from natmu.models.layers import Normalize

State = Mapping[str, Tensor]

WRAPPERS = ("state_dict", "model_state_dict", "model", "net")
RESEARCH = ("net.", "data_normalize.")
"""How all names in a checkpoint of the research code of NatMU begin."""


def load_weights(model: nn.Module, path: Path) -> None:
    """Copy the weights in a file into a model, whose names and shapes they must match exactly.

    Prefixes left by ``DataParallel`` (``module.``) and ``torch.compile`` (``_orig_mod.``) do not count. Neither do the
    names of the research code of NatMU, which calls the network ``net.`` and its normalisation ``data_normalize.``, in
    flat vectors.

    Normalisation constants belong to the weights that were trained with them: those in the file replace the model's.
    Where the file has none, as most checkpoints from elsewhere, the model's own are kept.

    Args:
        model: The model to fill; it is unchanged if an error is raised.
        path: A ``.safetensors`` file, or a ``.pt`` or ``.pth`` file that holds a state dict, bare or under one of the
            keys ``state_dict``, ``model_state_dict``, ``model``, ``net``.

    Raises:
        ModelError: The file is missing, damaged, of another kind, would have to run code, or does not fit the model; or
            nothing can be normalised with its constants.
    """
    given, own = _read(path), model.state_dict()
    given_names, own_names = _plain_names(given), _plain_names(own)
    missing = {own_names[name] for name in own_names.keys() - given_names.keys()}
    unexpected = {given_names[name] for name in given_names.keys() - own_names.keys()}
    shared = {own_names[name]: given[given_names[name]] for name in own_names.keys() & given_names.keys()}
    constants = _normalisation(model)
    flat = {name for name in constants & shared.keys() if shared[name].shape == (own[name].numel(),)}
    shared |= {name: shared[name].view(own[name].shape) for name in flat}
    reshaped = {
        f"{name} {tuple(tensor.shape)} where the model has {tuple(own[name].shape)}"
        for name, tensor in shared.items()
        if tensor.shape != own[name].shape
    }
    if missing == constants:
        missing = set()
    if missing or unexpected or reshaped:
        faults = (_listed(missing, "missing"), _listed(unexpected, "unexpected"), _listed(reshaped, "of another shape"))
        raise ModelError(
            f"The weights in {path} do not fit {type(model).__name__} ({'; '.join(filter(None, faults))}): give the "
            "architecture, number of classes and image size that they were trained with."
        )
    _check_constants({name: shared[name] for name in constants & shared.keys()}, path)
    model.load_state_dict({**own, **shared})


def _read(path: Path) -> State:
    """The state dict in a file."""
    if path.suffix not in (".safetensors", ".pt", ".pth"):
        raise ModelError(f"Weights are read from .safetensors, .pt and .pth files, and {path} is none of these.")
    if not path.is_file():
        raise ModelError(f"There is no file {path} to read weights from.")
    try:
        if path.suffix == ".safetensors":
            return load_file(path)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # remarks on the pickle protocol; what cannot be read is an error
            stored = torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        raise ModelError(
            f"{path} is not a plain state dict: it is damaged, or reading it would run code stored in it; where you "
            "trust it, load it yourself and save it again with torch.save(model.state_dict(), path)."
        ) from error
    except (*FAULTS, SafetensorError, struct.error) as error:
        raise ModelError(
            f"{path} cannot be read as weights ({quoted(error)}): save them again, for example with "
            "torch.save(model.state_dict(), path)."
        ) from error
    for state in (stored, *(stored.get(key) for key in WRAPPERS if isinstance(stored, Mapping))):
        if _is_state(state):
            return state
    raise ModelError(
        f"{path} holds no state dict, neither bare nor under {', '.join(WRAPPERS)}: save one with "
        "torch.save(model.state_dict(), path)."
    )


def _is_state(value: object) -> TypeGuard[State]:
    """Whether a value is names and dense tensors, and nothing else."""
    return isinstance(value, Mapping) and all(
        isinstance(name, str) and isinstance(tensor, Tensor) and tensor.layout is torch.strided and not tensor.is_meta
        for name, tensor in value.items()
    )


def _plain_names(names: Iterable[str]) -> dict[str, str]:
    """Names without what wrappers add to them, each with the name it came from."""
    plain = {name.replace("_orig_mod.", ""): name for name in names}
    if plain and all(name.startswith("module.") for name in plain):
        plain = {name.removeprefix("module."): original for name, original in plain.items()}
    if all(name.startswith(RESEARCH) for name in plain):
        ours = {_in_our_words(name): original for name, original in plain.items()}
        return ours if len(ours) == len(plain) else plain
    return plain


def _in_our_words(name: str) -> str:
    """A name of the research code of NatMU as ours."""
    return name.removeprefix("net.").replace("data_normalize.", "normalize.")


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


def _listed(names: set[str], what: str) -> str:
    """How many names there are, and the first few, or nothing."""
    if not names:
        return ""
    first = sorted(names)[:3]
    return f"{len(names)} {what}: {', '.join(first)}{', …' if len(names) > len(first) else ''}"
