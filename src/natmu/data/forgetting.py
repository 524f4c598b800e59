"""Forget sets: what requests mean for a data set."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
from torch import Tensor

from natmu.data.images import ImageData
from natmu.data.indices import check_indices, read_index_file
from natmu.data.naming import class_members, subclass_members
from natmu.data.sampling import balanced_draw
from natmu.errors import ForgetSetError
from natmu.records.forgetting import ForgetRequest
from natmu.types import FloatArray, ForgetSet, IntArray, Scenario, seed_for


def resolve_forget(
    request: ForgetRequest,
    data: ImageData,
    *,
    seed: int,
    difficulty: Mapping[str, FloatArray] | None = None,
) -> ForgetSet:
    """Find the training samples that a request means.

    Args:
        request: The request.
        data: The training data.
        seed: Decides what ``random`` draws.
        difficulty: By criterion, a number per training sample ``(N,)``, larger for harder; only ``hardest`` needs it.
            Of equally hard samples the first are taken.

    Raises:
        ForgetSetError: The request does not fit the data, or leaves nothing to forget or nothing to retain.
    """
    classes: tuple[int, ...] = ()
    if request.kind == "class":
        indices, classes = class_members(request.names, data)
    elif request.kind == "subclass":
        indices, classes = subclass_members(request.names, data)
    elif request.file is not None:
        indices = read_index_file(request.file, len(data))
    else:
        indices = _drawn(request, data, seed, difficulty or {})
    return _forget_set(indices, data, request.text, request.kind, classes)


def forget_from_indices(indices: Sequence[int] | npt.NDArray[Any] | Tensor, data: ImageData) -> ForgetSet:
    """The forget set of these positions in the training data, in any order.

    Args:
        indices: Integers ``(F,)``.
        data: The training data.

    Raises:
        ForgetSetError: They are none, not integers, negative, out of range or repeated, or leave nothing to retain.
    """
    checked = check_indices(indices, len(data), "The indices to forget")
    digest = ForgetSet(checked, "", "indices").digest
    return _forget_set(checked, data, f"indices:{digest}", "indices", ())


def _drawn(request: ForgetRequest, data: ImageData, seed: int, difficulty: Mapping[str, FloatArray]) -> IntArray:
    """A part of the data, at random or by difficulty."""
    count = request.amount.of(len(data)) if request.amount else 0
    if not 0 < count < len(data):
        raise ForgetSetError(
            f"{request.text!r} means {count} of {len(data)} training samples; at least one must be forgotten and at "
            "least one retained."
        )
    if request.kind == "random":
        return balanced_draw(data.labels.numpy(), count, np.random.default_rng(seed_for(seed, "forget")))
    values = _difficulty(request, len(data), difficulty)
    return np.sort(np.argsort(-values, kind="stable")[:count]).astype(np.int64)


def _difficulty(request: ForgetRequest, total: int, difficulty: Mapping[str, FloatArray]) -> FloatArray:
    """The checked difficulty that a request needs."""
    if request.criterion not in difficulty:
        raise ForgetSetError(
            f"{request.text!r} needs the {request.criterion} of every training sample, which is recorded while the "
            "original model trains; train the original on this data with natmu first, or write "
            f"{request.text.removesuffix(':confidence')}:loss to go by the loss at the end."
        )
    values = np.asarray(difficulty[request.criterion], np.float32)
    if values.shape != (total,) or not np.isfinite(values).all():
        raise ForgetSetError(
            f"{request.text!r} needs one finite difficulty for each of {total} training samples, not {values.shape}; "
            "train the original on this very data."
        )
    return values


def _forget_set(
    indices: IntArray, data: ImageData, request: str, scenario: Scenario, classes: tuple[int, ...]
) -> ForgetSet:
    """A forget set that leaves something to retain."""
    if not len(indices):
        raise ForgetSetError(f"{request!r} means no training sample; there must be one at least.")
    if len(indices) >= len(data):
        raise ForgetSetError(f"{request!r} means all {len(data)} training samples; at least one must be retained.")
    return ForgetSet(indices, request, scenario, classes)
