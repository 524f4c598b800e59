"""Architectures of timm, torchvision and transformers, where they are installed; nothing is ever downloaded."""

from __future__ import annotations

import importlib
import json
from collections.abc import Callable, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any

from torch import nn

from natmu.errors import ModelError
from natmu.models.faults import FAULTS, quoted
from natmu.models.initial import seeded
from natmu.models.layers import ImageShape
from natmu.user_files import read_file, read_text

CONFIG = "config.json"
"""The file of a HuggingFace folder that describes the architecture."""

PACKAGES = {"timm": "timm", "torchvision": "torchvision", "hf": "transformers"}
"""The package that builds a model, by what its name begins with."""


def is_hub(name: str) -> bool:
    """Whether a model's name is one of a library, such as ``timm:resnet18``.

    >>> is_hub("timm:resnet18"), is_hub("mine.nets:build")
    (True, False)
    """
    return name.partition(":")[0] in PACKAGES


def package_of(name: str) -> Any:  # noqa: ANN401 - a module of another project
    """The library of a model.

    Args:
        name: ``timm:NAME``, ``torchvision:NAME`` or ``hf:FOLDER``.

    Raises:
        ModelError: It is not installed, or cannot be imported.
    """
    package = PACKAGES[name.partition(":")[0]]
    try:
        return importlib.import_module(package)
    except ModuleNotFoundError as error:
        if error.name != package:
            raise ModelError(f"{package} cannot be imported ({quoted(error)}): install it again.") from error
        raise ModelError(f"{name} needs {package}; install it with: pip install {package}") from None
    except FAULTS as error:
        raise ModelError(
            f"{package} cannot be imported ({quoted(error)}): install the version that fits this PyTorch."
        ) from error


def from_hub(name: str, *, num_classes: int, image_shape: ImageShape, seed: int) -> nn.Module:
    """Build a model of a library with weights drawn anew; trained ones are loaded into it from a file.

    Args:
        name: ``timm:NAME``, ``torchvision:NAME`` or ``hf:FOLDER``, a local folder with a ``config.json``.
        num_classes: Number of classes.
        image_shape: Channels, height, width.
        seed: What PyTorch's CPU generator holds meanwhile; it is put back afterwards.

    Raises:
        ModelError: The library is missing, does not know the model, or fails.
    """
    build = {"timm": _timm, "torchvision": _torchvision, "hf": _transformers}[name.partition(":")[0]]
    package = package_of(name)
    try:
        with seeded(seed):
            model: nn.Module = build(package, name.partition(":")[2], num_classes, image_shape)
    except FAULTS as error:
        raise ModelError(f"{name} cannot be built ({quoted(error)}): give a name that {package.__name__} knows.") from (
            error
        )
    return model


def _timm(timm: Any, name: str, num_classes: int, image_shape: ImageShape) -> nn.Module:  # noqa: ANN401
    """A model of timm for images of this shape; one that is built for a single size is built for theirs."""
    options: dict[str, Any] = {"num_classes": num_classes, "in_chans": image_shape[0]}
    config = timm.get_pretrained_cfg(name)
    if config is not None and config.fixed_input_size:
        options["img_size"] = image_shape[1:]
    model: nn.Module = timm.create_model(name, pretrained=False, **options)
    return model


def _torchvision(torchvision: Any, name: str, num_classes: int, _: ImageShape) -> nn.Module:  # noqa: ANN401
    """A classifier of torchvision."""
    builder: Callable[..., nn.Module] = torchvision.models.get_model_builder(name)
    # GoogLeNet and Inception warn where they are not told whether to draw their weights.
    options = {"init_weights": True} if name in ("googlenet", "inception_v3") else {}
    return builder(weights=None, num_classes=num_classes, **options)


def _transformers(transformers: Any, folder: str, num_classes: int, _: ImageShape) -> nn.Module:  # noqa: ANN401
    """An image classifier of transformers, from the configuration in a folder; no code in it is run."""
    config = transformers.AutoConfig.from_pretrained(_config_folder(folder), local_files_only=True)
    if config.num_labels != num_classes:
        config.num_labels = num_classes
    model: nn.Module = transformers.AutoModelForImageClassification.from_config(config)
    return model.float()


def _config_folder(folder: str) -> str:
    """The folder, which holds a configuration; a name alone would be looked up on the internet.

    Raises:
        ModelError: It holds none.
    """
    if not (Path(folder) / CONFIG).is_file():
        raise ModelError(f"hf:{folder} is no local folder with a {CONFIG}; give the one that save_pretrained wrote.")
    return folder


def check_class_order(name: str, class_names: Sequence[str]) -> None:
    """Refuse data whose classes are those of a HuggingFace folder in another order.

    Args:
        name: Of an architecture; any other than ``hf:FOLDER`` passes.
        class_names: Of the data, in the order of the model's outputs.

    Raises:
        ModelError: The order is another one.

    Examples:
        >>> check_class_order("small_cnn", ("cat", "dog"))  # only a HuggingFace folder has an order of its own
    """
    kind, _, folder = name.partition(":")
    if kind != "hf" or not (Path(folder) / CONFIG).is_file():
        return
    labels = read_json(Path(folder) / CONFIG).get("id2label") or {}
    theirs = [str(labels[key]) for key in sorted(labels, key=int)]
    if theirs != list(class_names) and sorted(theirs) == sorted(class_names):
        place = next(i for i, label in enumerate(theirs) if label != class_names[i])
        raise ModelError(
            f"Class {place} of {name} is {theirs[place]!r} and that of the data {class_names[place]!r}: give the "
            f"classes of the data in the order of id2label in {CONFIG}, with --classes FILE."
        )


def hub_source(name: str) -> bytes:
    """What decides a library's architecture beyond its name: the library's version, and the folder's configuration.

    Args:
        name: A name that ``from_hub`` has accepted.

    Raises:
        ModelError: The configuration cannot be read.
    """
    kind, _, rest = name.partition(":")
    known = f"{PACKAGES[kind]} {version(PACKAGES[kind])}".encode()
    if kind != "hf":
        return known
    path = Path(rest) / CONFIG
    try:
        return known + read_file(path)
    except OSError as error:
        raise ModelError(f"{path} cannot be read ({error.strerror or error}): save the model again.") from error


def read_json(path: Path) -> dict[str, Any]:
    """A JSON object in a file of a HuggingFace folder.

    Raises:
        ModelError: It cannot be read.
    """
    try:
        content = json.loads(read_text(path))
    except (OSError, ValueError) as error:
        raise ModelError(f"{path} cannot be read ({quoted(error)}): save the model again.") from error
    if not isinstance(content, dict):
        raise ModelError(f"{path} holds no JSON object: save the model again.")
    return content


def is_pretrained_folder(path: Path) -> bool:
    """Whether a folder is one that ``save_pretrained`` of transformers wrote.

    Examples:
        >>> from pathlib import Path
        >>> is_pretrained_folder(Path())
        False
    """
    return (path / CONFIG).is_file()


def stored_names(model: nn.Module) -> dict[str, str]:
    """For each name in a model's state dict, the one that files of it have; transformers renames some as it saves.

    Args:
        model: Any model.

    Returns:
        Nothing for a model that is not of transformers, or whose files hold tensors that it does not.
    """
    if not any(kind.__module__.startswith("transformers.") for kind in type(model).__mro__):
        return {}
    try:
        revert = importlib.import_module("transformers.core_model_loading").revert_weight_conversion
    except (ImportError, AttributeError):  # releases before 5 rename nothing
        return {}
    own = model.state_dict()
    stored = {(tensor.data_ptr(), tensor.shape): name for name, tensor in revert(model, dict(own)).items()}
    names = {name: stored.get((tensor.data_ptr(), tensor.shape)) for name, tensor in own.items()}
    known = {name: other for name, other in names.items() if other is not None}
    return known if len(set(known.values())) == len(own) else {}
