"""What a classifier returns: where its logits stand, and whether they are logits at all."""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn.parameter import is_lazy

from natmu.errors import ModelError
from natmu.models.faults import FAULTS, quoted
from natmu.models.initial import seeded
from natmu.models.layers import ImageShape

RESHAPING = ("Squeeze", "Unsqueeze", "View", "ReshapeAlias", "UnsafeView", "Select", "Slice", "Clone", "ToCopy")
"""Operations of autograd that leave numbers as they are."""


@dataclass(frozen=True)
class Reading:
    """Where in a model's outputs the logits stand.

    Attributes:
        key: Their key where the outputs are a mapping.
        place: Their place where the outputs are a tuple or a list.
        plain: Whether the outputs are the logits, in eval and in training mode.
    """

    key: str | None = None
    place: int | None = None
    plain: bool = False


def logits_in(output: object, reading: Reading) -> Tensor:
    """The logits in one output of a model whose outputs are read so.

    Raises:
        ModelError: This output is of another form than those that were read before.
    """
    if isinstance(output, Tensor):
        return output
    logits = getattr(output, "logits", None)
    if isinstance(logits, Tensor):
        return logits
    if isinstance(output, Mapping) and reading.key in output:
        return _tensor(output[reading.key])
    if isinstance(output, Sequence) and reading.place is not None and reading.place < len(output):
        return _tensor(output[reading.place])
    raise ModelError(f"The model now returns {type(output).__name__}, as it did not at first; return logits alone.")


def _tensor(value: object) -> Tensor:
    """A value that was a tensor when the outputs were read."""
    if not isinstance(value, Tensor):
        raise ModelError(f"The model now returns {type(value).__name__} in place of logits; return logits alone.")
    return value


def check_kind(model: nn.Module) -> None:
    """Refuse modules that cannot be trained like others.

    Raises:
        ModelError: The model is TorchScript, or has parameters without a shape.
    """
    what = type(model).__name__
    if any(isinstance(module, torch.jit.ScriptModule) for module in model.modules()):
        raise ModelError(
            f"{what} holds TorchScript, which cannot be copied and trained like a model in Python; give the model that "
            "it was made of, with load_state_dict(scripted.state_dict())."
        )
    if any(is_lazy(parameter) for parameter in model.parameters()):
        raise ModelError(f"{what} has lazy layers without a shape: run it once on a batch before handing it over.")


def reading_of(
    model: nn.Module, *, num_classes: int, image_shape: ImageShape, probabilities: bool
) -> tuple[Reading, bool]:
    """Where the logits stand in what a model returns, and whether it is one number for two classes.

    Args:
        model: The model; copies of it are run on a grey image and one of noise.
        num_classes: Number of classes.
        image_shape: Channels, height, width.
        probabilities: Whether its numbers are said to be probabilities.

    Raises:
        ModelError: It fails on these images, its logits cannot be told, or its numbers are not what they should be.
    """
    shapes = [(2, num_classes), *([(2, 1), (2,)] if num_classes == 2 else [])]
    in_eval, in_training = (_output(model, image_shape, training=training) for training in (False, True))
    reading = _joined(model, _read(model, in_eval, shapes), _read(model, in_training, shapes))
    numbers = logits_in(in_eval, reading)
    binary = tuple(numbers.shape) != (2, num_classes)
    check_numbers(type(model).__name__, numbers, binary=binary, probabilities=probabilities)
    return reading, binary


def _output(model: nn.Module, image_shape: ImageShape, *, training: bool) -> object:
    """What a copy of the model, its weights in float32, returns for two images."""
    what = type(model).__name__
    device = next((parameter.device for parameter in model.parameters()), torch.device("cpu"))
    noise = torch.rand(image_shape, generator=torch.Generator().manual_seed(0))
    images = torch.stack([torch.full(image_shape, 0.5), noise]).to(device).requires_grad_()
    try:
        with seeded(0), torch.enable_grad():
            return copy.deepcopy(model).float().train(training)(images)
    except FAULTS as error:
        mode = " in training mode" if training else ""
        raise ModelError(
            f"{what} failed{mode} on a batch of shape {tuple(images.shape)} ({quoted(error)}): it must accept the "
            f"images of this data set; {_advice(model, image_shape)}."
        ) from error


def _advice(model: nn.Module, image_shape: ImageShape) -> str:
    """What to change where a model does not take images of this shape."""
    channels = next((m.in_channels for m in model.modules() if isinstance(m, nn.Conv2d)), image_shape[0])
    if channels == image_shape[0]:
        return "give them the size that it was trained with, with --image-size, or --resize and --crop"
    if channels in (1, 3):
        return f"its first convolution takes {channels} channels and these have {image_shape[0]}: --channels {channels}"
    return f"its first convolution takes {channels} channels, and these have {image_shape[0]}"


def _read(model: nn.Module, output: object, shapes: list[tuple[int, ...]]) -> Reading:
    """Where the logits stand in one output."""

    def fits(value: object) -> bool:
        return isinstance(value, Tensor) and tuple(value.shape) in shapes

    if fits(output):
        return Reading(plain=True)
    if fits(getattr(output, "logits", None)):
        return Reading()
    if isinstance(output, Mapping):
        found = [key for key, value in output.items() if fits(value)]
        if "logits" in found or len(found) == 1:
            return Reading(key="logits" if "logits" in found else found[0])
    elif isinstance(output, tuple | list):
        places = [place for place, value in enumerate(output) if fits(value)]
        # A model that is trained with auxiliary classifiers returns their logits after its own.
        if places and (len(places) == 1 or places[0] == 0):
            return Reading(place=places[0])
    raise ModelError(
        f"{type(model).__name__} returns {_described(output)} for two images: it must return a tensor of logits of "
        f"shape {shapes[0]}, one per class, or name it logits; {_remedy(output, shapes[0][1])}."
    )


def _described(output: object) -> str:
    """An output in a few words."""
    if isinstance(output, Tensor):
        return f"shape {tuple(output.shape)}"
    parts = output.values() if isinstance(output, Mapping) else output if isinstance(output, tuple | list) else ()
    shapes = [str(tuple(part.shape)) for part in parts if isinstance(part, Tensor)]
    return type(output).__name__ + (f" of shapes {', '.join(shapes)}" if shapes else "")


def _remedy(output: object, num_classes: int) -> str:
    """What to do where no logits are found."""
    if isinstance(output, Tensor) and output.dim() == 2:
        return f"build it with {num_classes} outputs, or give the data of its {output.shape[1]} classes"
    return "return the logits alone"


def _joined(model: nn.Module, in_eval: Reading, in_training: Reading) -> Reading:
    """One reading for both modes."""
    for name in ("key", "place"):
        one, other = getattr(in_eval, name), getattr(in_training, name)
        if None not in (one, other) and one != other:
            raise ModelError(
                f"{type(model).__name__} returns its logits as {one!r} in eval mode and as {other!r} in training mode: "
                "return the logits alone, or name them logits."
            )
    return Reading(
        key=in_eval.key if in_training.key is None else in_training.key,
        place=in_eval.place if in_training.place is None else in_training.place,
        plain=in_eval.plain and in_training.plain,
    )


def check_numbers(what: str, numbers: Tensor, *, binary: bool, probabilities: bool) -> None:
    """Refuse probabilities where logits should be, the reverse, and classes that can never be predicted.

    Args:
        what: Name of the model.
        numbers: ``(B, C)``, or ``(B, 1)`` or ``(B,)`` of one number for two classes, of several different images.
        binary: Whether it is one number.
        probabilities: Whether they are said to be probabilities.

    Raises:
        ModelError: They are not what they should be.
    """
    never = (numbers == -torch.inf).any(0).reshape(-1).nonzero().flatten().tolist()
    if never and not probabilities:
        raise ModelError(
            f"{what} returns -inf for class {never[0]}, whose loss is then infinite. Mask a class with a large "
            "negative number, such as -1e4, or leave it out of the model."
        )
    ends_in_sigmoid = _ending(numbers).startswith("Sigmoid")
    sums = numbers.detach().float().sum(-1)
    found = ends_in_sigmoid if binary else bool((numbers >= 0).all() and (sums - 1).abs().max() < 1e-3)
    if found and not probabilities:
        raise ModelError(
            f"{what} returns probabilities, and natmu expects logits. Remove its last softmax or sigmoid, or give "
            "outputs='probabilities' (--outputs probabilities)."
        )
    if ends_in_sigmoid and not binary:
        raise ModelError(
            f"{what} ends in a sigmoid for each class. natmu serves classifiers whose classes exclude each other; if "
            "they do, remove the sigmoid."
        )
    if probabilities and not (found or (binary and bool(((numbers >= 0) & (numbers <= 1)).all()))):
        raise ModelError(f"{what} does not return probabilities; leave outputs='probabilities' out.")


def _ending(numbers: Tensor) -> str:
    """The operation that the numbers come from, by autograd's name; empty where none is known."""
    node = numbers.grad_fn
    while node is not None and node.name().startswith(RESHAPING) and node.next_functions:
        node = node.next_functions[0][0]
    return "" if node is None else node.name()
