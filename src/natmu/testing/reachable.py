"""What can be reached from an object by following references."""

from __future__ import annotations

import gc
import inspect
from collections.abc import Iterable, Iterator
from types import BuiltinFunctionType, FunctionType, ModuleType
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

MOST = 200_000
"""Objects that are looked at before a walk ends."""

_ENDS = (str, bytes, int, float, complex, type(None), ModuleType, type, BuiltinFunctionType, torch.dtype, torch.device)


def reachable(roots: Iterable[object], leaves: tuple[type, ...] = (), owners: Iterable[str] = ()) -> list[object]:
    """Everything that can be reached, in no order.

    A walk ends at modules and classes. Of a function it follows closure and defaults, not all its module's globals,
    which lead everywhere; of functions of some modules the globals too that their code names.

    Args:
        roots: Where it begins; a class among them is entered, by its attributes.
        leaves: Types at whose instances it ends.
        owners: Names of modules whose functions' globals are followed.
    """
    named = set(owners)
    seen: dict[int, object] = {}
    waiting: list[object] = []
    for root in roots:
        waiting.extend(vars(root).values() if isinstance(root, type) else [root])
    while waiting and len(seen) < MOST:
        found = waiting.pop()
        if id(found) in seen or isinstance(found, _ENDS):
            continue
        seen[id(found)] = found
        if not isinstance(found, leaves):
            waiting.extend(_next(found, named))
    return list(seen.values())


def _next(found: object, owners: set[str]) -> Iterator[object]:
    """The objects that one refers to."""
    if isinstance(found, FunctionType):
        yield from (found.__closure__ or ())
        yield from (found.__defaults__ or ())
        yield from (found.__kwdefaults__ or {}).values()
        yield getattr(found, "__wrapped__", None)
        if found.__module__ in owners:
            yield from inspect.getclosurevars(found).globals.values()
    elif isinstance(found, np.ndarray):
        yield found.base
    else:
        yield from gc.get_referents(found)


def images_in(found: Iterable[object], size: int) -> set[bytes]:
    """All runs of ``size`` pixels, from a multiple of it on, in any tensor or array, the storage behind views included.

    Floating-point values are taken for pixels in ``[0, 1]``.
    """
    images: set[bytes] = set()
    for value in found:
        pixels = _pixels(value)
        if pixels is not None and len(pixels) >= size:
            whole = pixels[: len(pixels) // size * size].reshape(-1, size)
            images.update(row.tobytes() for row in whole)
    return images


def _pixels(value: object) -> npt.NDArray[np.uint8] | None:
    """All values of a tensor or array as pixels; None of anything else."""
    array: npt.NDArray[Any]
    if isinstance(value, Tensor) and value.device.type == "cpu" and value.layout == torch.strided:
        whole = torch.empty(0, dtype=value.dtype).set_(value.detach().untyped_storage())
        array = (whole.float() if whole.is_floating_point() else whole).numpy()
    elif isinstance(value, np.ndarray) and value.dtype.kind in "uif":
        array = value
    else:
        return None
    if array.dtype.kind == "f":
        array = np.rint(np.nan_to_num(array) * 255)
    return array.clip(0, 255).astype(np.uint8).ravel()
