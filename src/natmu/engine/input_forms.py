"""Other forms of the same images, to find out whether a model was trained on one of them."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from natmu.data.images import ImageData
from natmu.data.inputs import inputs
from natmu.engine.compute import Compute
from natmu.engine.modes import evaluating
from natmu.models.layers import Normalize
from natmu.types import IntArray

SAMPLES = 256
"""Samples that are tried, at most."""

IMAGENET = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
"""Means and deviations of ImageNet's images in ``[0, 1]``, which most pretrained weights were trained with."""


@torch.inference_mode()
def predicted_by_form(
    model: nn.Module, data: ImageData, positions: Tensor, compute: Compute
) -> tuple[IntArray, dict[str, IntArray]]:
    """The predicted classes of some images as they are, and in every other form that they may have had in training.

    Args:
        model: On the device; takes images as ``data`` has them. Forms take the place of its normalisation layer, where
            it has one of ours.
        data: Source of the images.
        positions: int64 ``(M,)``, a few of its samples.
        compute: Device and precision.

    Returns:
        int64 ``(M,)`` as they are, and by the name of each form.
    """
    taken = data.take(positions).to(compute.device)
    bytes_in = taken.dtype == torch.uint8
    images = inputs(taken)
    with evaluating(model), compute.kernels(), compute.autocast():

        def predicted(form: Tensor) -> IntArray:
            classes: IntArray = model(form).argmax(1).cpu().numpy()
            return classes

        forms = _forms(model, images, scaled=bytes_in)
        return predicted(images), {name: predicted(form) for name, form in forms.items()}


def _forms(model: nn.Module, images: Tensor, *, scaled: bool) -> dict[str, Tensor]:
    """What to hand to the model so that its weights see each form.

    Args:
        model: Whose first normalisation layer of ours is undone.
        images: float32 ``(M, C, H, W)``.
        scaled: Whether they are in ``[0, 1]``; the forms of others are not known.
    """
    forms = {"colour order (blue, green, red)": images.flip(1)} if images.shape[1] == 3 else {}
    if not scaled:
        return forms
    layer = next((module for module in model.modules() if isinstance(module, Normalize)), None)
    count = images.shape[1]
    known = {"normalisation by mean 0.5 and std 0.5": ((0.5,) * count, (0.5,) * count)}
    known["pixels of 0 to 255"] = (0.0,) * count, (1 / 255,) * count
    if count == 3:
        known["normalisation of ImageNet"] = IMAGENET
    normalised = {}
    for name, values in known.items():
        mean, std = (torch.tensor(numbers, device=images.device).view(1, -1, 1, 1) for numbers in values)
        normalised[f"{name} ({_flags(*values)})"] = (images - mean) / std
    if layer is None:
        std, mean = torch.std_mean(images, (0, 2, 3), keepdim=True)
        normalised["normalisation (the data's own mean and std)"] = (images - mean) / std.clamp_min(1e-6)
        return forms | normalised
    normalised["no normalisation"] = images
    return forms | {name: form * layer.std + layer.mean for name, form in normalised.items()}


def _flags(mean: Sequence[float], std: Sequence[float]) -> str:
    """How a user asks for a normalisation.

    >>> _flags((0.5,), (0.25,))
    '--mean 0.5 --std 0.25, in Python mean=[0.5], std=[0.25]'
    """
    means, stds = ([f"{value:g}" for value in values] for values in (mean, std))
    in_python = f"mean=[{', '.join(means)}], std=[{', '.join(stds)}]"
    return f"--mean {','.join(means)} --std {','.join(stds)}, in Python {in_python}"
