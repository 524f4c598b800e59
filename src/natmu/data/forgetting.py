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
from natmu.records.forgetting import ALL, ForgetRequest
from natmu.types import BoolArray, FloatArray, ForgetSet, IntArray, positions_digest, seed_for


def resolve_forget(
    request: ForgetRequest,
    data: ImageData,
    *,
    seed: int,
    difficulty: Mapping[str, FloatArray] | None = None,
    after: ForgetSet | None = None,
) -> ForgetSet:
    """Find the training samples that a request means.

    What was forgotten before is no longer there: a part of the training set is a part of what is left of it, and a
    class is those of its samples that are left.

    Args:
        request: The request.
        data: The training data.
        seed: Decides what ``random`` draws.
        difficulty: By criterion, a number per training sample ``(N,)``, larger for harder; only ``hardest`` needs it.
            Of equally hard samples the first are taken.
        after: What was forgotten before.

    Raises:
        ForgetSetError: The request does not fit the data, or leaves nothing to forget; or nothing to retain, unless it
            is ``all``.
    """
    classes: tuple[int, ...] = ()
    left = np.arange(len(data)) if after is None else np.setdiff1d(np.arange(len(data)), after.left_out)
    if request.kind == "class":
        indices, classes = class_members(request.names, data)
        indices = np.intersect1d(indices, left)
    elif request.kind == "subclass":
        indices, classes = subclass_members(request.names, data)
        indices = np.intersect1d(indices, left)
    elif request.file is not None:
        indices = read_index_file(request.file, len(data))
    elif request.text == ALL:
        indices = left
    else:
        indices = _drawn(request, data, left, seed, difficulty or {})
    return _forget_set(ForgetSet(indices, request.text, request.kind, classes), data, after)


def forget_from_indices(
    indices: Sequence[int] | npt.NDArray[Any] | Tensor, data: ImageData, after: ForgetSet | None = None
) -> ForgetSet:
    """The forget set of these positions in the training data, in any order.

    Args:
        indices: Integers ``(F,)``.
        data: The training data.
        after: What was forgotten before.

    Raises:
        ForgetSetError: They are none, not integers, negative, out of range, repeated or forgotten before, or leave
            nothing to retain.
    """
    checked = check_indices(indices, len(data), "The indices to forget")
    return _forget_set(ForgetSet(checked, f"indices:{positions_digest(checked)}", "indices"), data, after)


def forget_after(forget: ForgetSet, data: ImageData, after: ForgetSet | None) -> ForgetSet:
    """A known forget set, as it follows what was forgotten before.

    Args:
        forget: The forget set; what it says of earlier ones stays if nothing is given.
        data: The training data.
        after: What was forgotten before.

    Raises:
        ForgetSetError: It does not fit the data, names samples that were forgotten before, or leaves nothing to retain.
    """
    check_indices(forget.indices, len(data), "The indices to forget")
    if len(forget.before):
        check_indices(forget.before, len(data), "The indices that were forgotten before")
    return _forget_set(forget, data, after)


def unseen_rows(test: ImageData, forget: ForgetSet) -> IntArray:
    """Rows of the test data that are like the forget set: of its classes, if it has any, and of none forgotten before.

    Args:
        test: The test data.
        forget: The forget set.
    """
    own, others = _divided(test, forget)
    return np.flatnonzero(own if forget.class_wise else others).astype(np.int64)


def without_earlier_classes(holdout: ImageData | None, forget: ForgetSet) -> ImageData | None:
    """A holdout without the samples of classes that were forgotten before: nobody must learn to answer with those.

    Args:
        holdout: The holdout, where there is one.
        forget: What is forgotten now.
    """
    if holdout is None:
        return None
    own, others = _divided(holdout, forget)
    return holdout if (own | others).all() else holdout.subset(np.flatnonzero(own | others))


def _divided(unseen: ImageData, forget: ForgetSet) -> tuple[BoolArray, BoolArray]:
    """Unseen samples of classes that are forgotten as a whole, and of classes that never were."""
    fine = None if unseen.fine is None else unseen.fine.labels.cpu().numpy()
    return forget.divides(unseen.labels.cpu().numpy(), fine)


def _drawn(
    request: ForgetRequest, data: ImageData, left: IntArray, seed: int, difficulty: Mapping[str, FloatArray]
) -> IntArray:
    """A part of what is left of the data, at random or by difficulty."""
    count = request.amount.of(len(left)) if request.amount else 0
    if not 0 < count < len(left):
        raise ForgetSetError(
            f"{request.text!r} means {count} of {len(left)} training samples; at least one must be forgotten and at "
            "least one retained."
        )
    if request.kind == "random":
        labels = data.labels.numpy()[left]
        return left[balanced_draw(labels, count, np.random.default_rng(seed_for(seed, "forget")))]
    values = _difficulty(request, len(data), difficulty)[left]
    return np.sort(left[np.argsort(-values, kind="stable")[:count]]).astype(np.int64)


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


def _require_something_of_each_class(forget: ForgetSet, data: ImageData) -> None:
    """Refuse a request for several classes of which one is gone.

    Raises:
        ForgetSetError: It is.
    """
    labelling = data.fine if forget.scenario == "subclass" else None
    labels, names = (data.labels, data.class_names) if labelling is None else (labelling.labels, labelling.names)
    left = labels.cpu().numpy()[forget.indices]
    gone = [str(names[label]) for label in forget.classes if label not in left] if len(forget.before) else []
    if gone:
        raise ForgetSetError(
            f"{forget.request!r} names {', '.join(gone)}, of which nothing is left that was not forgotten before; "
            "leave it out."
        )


def _forget_set(forget: ForgetSet, data: ImageData, after: ForgetSet | None) -> ForgetSet:
    """A forget set that follows another one, shares nothing with it and leaves something to retain."""
    if not len(forget):
        left = "" if after is None else " that was not forgotten before"
        raise ForgetSetError(f"{forget.request!r} means no training sample{left}; there must be one at least.")
    following = forget.after(after)
    _require_something_of_each_class(following, data)
    again = np.intersect1d(following.indices, following.before)
    if len(again):
        raise ForgetSetError(
            f"{forget.request!r} names {len(again)} of the samples that were forgotten before, such as that at "
            f"position {again[0]}; leave them out."
        )
    if len(following.left_out) >= len(data) and forget.request != ALL:
        raise ForgetSetError(
            f"{forget.request!r} means all {len(data) - len(following.before)} training samples; at least one must be "
            f"retained. Where no other sample is left, write {ALL}, and choose a method that does without."
        )
    return following
