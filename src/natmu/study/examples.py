"""A few hybrids as arrays, for the picture of a study."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from natmu.data.batches import render
from natmu.methods import NatMU, Problem
from natmu.records.files import write_atomically
from natmu.study.jobs import Original
from natmu.types import ForgetSet

EXAMPLES = 4


def store_hybrids(original: Original, forget: ForgetSet, method: NatMU, seed: int, folder: Path) -> None:
    """Write ``hybrids.npz``: forget images, masks, partners and hybrids of a few forget samples, one rank each.

    Args:
        original: The model that chooses the classes.
        forget: The forget set.
        method: NatMU with its settings.
        seed: The unlearning seed, so that the partners are those of the run.
        folder: Where to write.
    """
    data, compute = original.bench.on_device.train, original.bench.compute
    problem = Problem(original.model(), data, forget, original.bench.training, compute, seed)
    hybrids = method.preview(problem)
    blend = hybrids.blend
    assert blend is not None
    count = min(EXAMPLES, len(forget))
    ranks = method.config.n
    spread = torch.linspace(0, len(forget) - 1, count).round().long()
    rows = spread * ranks + torch.arange(count) % ranks
    names = data.class_names
    arrays = {
        "forget": _pixels(data.take(blend.others[rows])),
        "partner": _pixels(data.take(hybrids.positions[rows])),
        "mask": blend.weights[blend.masks[rows]].numpy(),
        "hybrid": _pixels(render(data, hybrids, rows).mul(255).round().to(torch.uint8)),
        "forget_names": np.array([names[int(label)] for label in data.labels[blend.others[rows]]]),
        "partner_names": np.array([names[int(label)] for label in hybrids.labels[rows]]),
    }
    content = io.BytesIO()
    np.savez(content, **arrays)  # type: ignore[arg-type]
    write_atomically(folder / "hybrids.npz", content.getvalue())


def _pixels(images_BCHW: Tensor) -> npt.NDArray[np.uint8]:
    """Grey images as ``(B, H, W)``, colour images as ``(B, H, W, 3)``."""
    pixels: npt.NDArray[np.uint8] = images_BCHW.cpu().permute(0, 2, 3, 1).contiguous().numpy()
    return pixels[..., 0] if pixels.shape[-1] == 1 else pixels
