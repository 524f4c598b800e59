"""Forget sets: what requests mean for a data set."""

from __future__ import annotations

import os
from collections.abc import Collection, Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
from torch import Tensor

from natmu.data.images import ImageData, Labelling
from natmu.data.relabelling import given_corrections, listed_corrections
from natmu.data.sampling import balanced_draw
from natmu.data.twins import copies_of, copies_told, with_copies
from natmu.errors import ForgetSetError, some
from natmu.progress import say
from natmu.records.forgetting import ALL, ForgetRequest
from natmu.samples.classes import ClassLabels, class_members, subclass_members
from natmu.samples.indices import check_indices
from natmu.samples.listed import listed_rows
from natmu.samples.lookup import rows_named
from natmu.types import BoolArray, FloatArray, ForgetSet, IntArray, positions_digest, seed_for

_CLASSES_SHOWN, _NAMES_SHOWN = 6, 4


def resolve_forget(
    request: ForgetRequest,
    data: ImageData,
    *,
    seed: int,
    difficulty: Mapping[str, FloatArray] | None = None,
    after: ForgetSet | None = None,
    copies: bool = False,
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
        copies: Whether byte-identical copies of the samples are meant too.

    Raises:
        ForgetSetError: The request does not fit the data, or leaves nothing to forget; or nothing to retain, unless it
            is ``all``.

    Examples:
        >>> from natmu.testing import digits
        >>> data = digits()  # 60 images of ten classes

        >>> len(resolve_forget(parse_forget("random:10%"), data, seed=0))
        6
    """
    if request.relabels and request.file is not None:
        forget = _corrected(listed_corrections(request.file, data), request.text, data, after)
        return with_copies(forget, data) if copies else forget
    classes: tuple[int, ...] = ()
    left = np.arange(len(data)) if after is None else np.setdiff1d(np.arange(len(data)), after.left_out)
    if request.kind in ("class", "subclass"):
        members = class_members if request.kind == "class" else subclass_members
        own = ClassLabels(data.labels.cpu().numpy(), data.class_names)
        indices, classes = members(request.names, own, fine=_labels(data.fine), coarse=_labels(data.coarse))
        indices = np.intersect1d(indices, left)
    elif request.file is not None:
        indices = listed_rows(request, data.sample_names)
    elif request.text == ALL:
        indices = left
    else:
        indices = _drawn(request, data, left, seed, difficulty or {})
    forget = _forget_set(ForgetSet(indices, request.text, request.kind, classes), data, after)
    return with_copies(forget, data) if copies else forget


def forget_from_indices(
    samples: Sequence[int] | Sequence[str] | npt.NDArray[Any] | Tensor, data: ImageData, after: ForgetSet | None = None
) -> ForgetSet:
    """The forget set of these samples of the training data, in any order.

    Args:
        samples: Positions ``(F,)``, names ``(F,)``, or a mask, bool ``(N,)``.
        data: The training data.
        after: What was forgotten before.

    Raises:
        ForgetSetError: They are none, neither integers nor names nor a mask, negative, out of range, unknown, repeated
            or forgotten before, or leave nothing to retain.

    Examples:
        >>> from natmu.testing import digits
        >>> data = digits()  # 60 images of ten classes

        >>> forget_from_indices([14, 3], data).indices.tolist()
        [3, 14]
    """
    if isinstance(samples, Tensor):
        samples = samples.detach().cpu().numpy()
    listed = samples.tolist() if isinstance(samples, np.ndarray) and samples.dtype.kind in "US" else samples
    texts = [item for item in listed if isinstance(item, str | os.PathLike)] if isinstance(listed, Collection) else []
    names = [os.fspath(text) for text in texts]
    if names and len(names) == len(listed):
        rows = rows_named(names, data.sample_names, "The samples to forget hold")
    else:
        rows = check_indices(listed, len(data), "The indices to forget")
    return _forget_set(ForgetSet(rows, f"indices:{positions_digest(rows)}", "indices"), data, after)


def forget_relabelled(labels: Mapping[object, object], data: ImageData, after: ForgetSet | None = None) -> ForgetSet:
    """The forget set of samples with wrong labels, which are kept with the right ones.

    Args:
        labels: The right label, a class name or number, by name or position of the sample.
        data: The training data.
        after: What was forgotten before.

    Raises:
        ForgetSetError: An entry is no correction of a training sample, or of one that was forgotten before.

    Examples:
        >>> from natmu.testing import digits
        >>> data = digits()  # 60 images of ten classes
        >>> forget = forget_relabelled({3: "8"}, data)  # sample 3 is said to be an 8

        >>> forget.indices.tolist()
        [3]
    """
    corrections = given_corrections(labels, data)
    known = ForgetSet(corrections[:, 0], "", "indices", corrections=corrections)
    return _corrected(corrections, f"relabel:{known.digest}", data, after)


def forget_after(forget: ForgetSet, data: ImageData, after: ForgetSet | None) -> ForgetSet:
    """A known forget set, as it follows what was forgotten before.

    Args:
        forget: The forget set; what it says of earlier ones stays if nothing is given.
        data: The training data.
        after: What was forgotten before.

    Raises:
        ForgetSetError: It does not fit the data, names samples that were forgotten before, or leaves nothing to retain.

    Examples:
        >>> from natmu.testing import digits
        >>> data = digits()  # 60 images of ten classes

        >>> first = forget_from_indices([3, 14], data)
        >>> second = forget_after(forget_from_indices([15], data), data, first)
        >>> second.indices.tolist(), second.left_out.tolist()
        ([15], [3, 14, 15])
    """
    check_indices(forget.indices, len(data), "The indices to forget")
    if (forget.corrections[:, 1] >= data.num_classes).any():
        raise ForgetSetError(f"A right label is not a class; there are {data.num_classes} classes.")
    if len(forget.before):
        check_indices(forget.before, len(data), "The indices that were forgotten before")
    return _forget_set(forget, data, after)


def say_what_is_forgotten(forget: ForgetSet, train: ImageData, **unseen: ImageData | None) -> None:
    """Leave a line on what a request means that names samples or classes, and one on copies that are left, if any are.

    Args:
        forget: The forget set.
        train: The training data.
        unseen: Other parts of the data by name, such as ``test``.

    Examples:
        >>> from natmu.testing import digits
        >>> data = digits()  # 60 images of ten classes

        >>> say_what_is_forgotten(forget_from_indices([3], data), data)
    """
    if forget.scenario not in ("random", "hardest"):
        say(chosen(forget, train))
    told = copies_told(copies_of(forget, train, **unseen), train, **unseen)
    if told is not None:
        say(told)


def chosen(forget: ForgetSet, data: ImageData) -> str:
    """Which samples a forget set holds, in a line for the terminal: how many, of which classes, the first names.

    Args:
        forget: The forget set.
        data: The training data.
    """
    counts = np.bincount(data.labels.numpy()[forget.indices], minlength=data.num_classes)
    largest = np.argsort(-counts, kind="stable")[: min(int((counts > 0).sum()), _CLASSES_SHOWN)]
    classes = ", ".join(f"{data.class_names[label]} ({counts[label]})" for label in largest)
    shown = data.sample_names.at(forget.indices[:_NAMES_SHOWN])
    if forget.corrected is not None:
        right = [data.class_names[label] for label in forget.corrected[:_NAMES_SHOWN]]
        shown = tuple(f"{name} (right: {label})" for name, label in zip(shown, right, strict=True))
    names = ", ".join(shown)
    more = ", …" if int((counts > 0).sum()) > _CLASSES_SHOWN else ""
    rest = ", …" if len(forget) > _NAMES_SHOWN else ""
    # A list from Python has no text of its own, only the digest of its positions.
    listed = forget.request == f"indices:{forget.digest}"
    meant = f"{'The forget set is' if listed else f'{forget.request} means'} {len(forget)} of {len(data)}"
    return f"{meant} training samples, of {classes}{more}: {names}{rest}"


def unseen_rows(test: ImageData, forget: ForgetSet) -> IntArray:
    """Rows of the test data that are like the forget set: of its classes, if it has any, and of none forgotten before.

    Args:
        test: The test data.
        forget: The forget set.

    Examples:
        >>> from natmu.testing import digits
        >>> train, test = digits(), digits(60)
        >>> threes = unseen_rows(test, resolve_forget(parse_forget("class:3"), train, seed=0))
        >>> set(test.labels[threes].tolist())
        {3}
    """
    own, others = _divided(test, forget)
    return np.flatnonzero(own if forget.class_wise else others).astype(np.int64)


def without_earlier_classes(holdout: ImageData | None, forget: ForgetSet) -> ImageData | None:
    """A holdout without the samples of classes that were forgotten before: nobody must learn to answer with those.

    Args:
        holdout: The holdout, where there is one.
        forget: What is forgotten now.

    Examples:
        >>> from natmu.testing import digits
        >>> train, holdout = digits(), digits(60)
        >>> earlier = resolve_forget(parse_forget("class:3"), train, seed=0)
        >>> forget = forget_after(forget_from_indices([15], train), train, earlier)
        >>> 3 in without_earlier_classes(holdout, forget).labels
        False
    """
    if holdout is None:
        return None
    own, others = _divided(holdout, forget)
    return holdout if (own | others).all() else holdout.subset(np.flatnonzero(own | others))


def holds_kept_classes(unseen: ImageData, forget: ForgetSet) -> bool:
    """Whether an unseen sample is of a class that was never forgotten as a whole.

    Examples:
        >>> from natmu.testing import digits
        >>> data = digits()  # 60 images of ten classes

        >>> holds_kept_classes(data, forget_from_indices([3], data))
        True
    """
    return bool(_divided(unseen, forget)[1].any())


def _divided(unseen: ImageData, forget: ForgetSet) -> tuple[BoolArray, BoolArray]:
    """Unseen samples of classes that are forgotten as a whole, and of classes that never were."""
    fine = None if unseen.fine is None else unseen.fine.labels.cpu().numpy()
    return forget.divides(unseen.labels.cpu().numpy(), fine)


def _labels(labelling: Labelling | None) -> ClassLabels | None:
    """A second labelling of the samples, without tensors."""
    return None if labelling is None else ClassLabels(labelling.labels.cpu().numpy(), labelling.names)


def _corrected(corrections: IntArray, request: str, data: ImageData, after: ForgetSet | None) -> ForgetSet:
    """The forget set of these corrections; none of them is to a class that was forgotten before."""
    forget = ForgetSet(corrections[:, 0], request, "indices", corrections=corrections)
    following = _forget_set(forget, data, after)
    gone = np.intersect1d(corrections[:, 1], following.classes_before)
    if len(gone):
        raise ForgetSetError(
            f"{request!r} corrects labels to {data.class_names[gone[0]]!r}, a class that was forgotten before; forget "
            "these samples without a right label."
        )
    return following


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
            f"{request.text!r} needs the {request.criterion} of every training sample, which natmu records while it "
            "trains the original. Train the original on this data with natmu first, or write "
            f"{request.text.removesuffix(':confidence')}:loss to use the loss at the end."
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
            f"{forget.request!r} names {some(gone, 10)}, but earlier requests have forgotten all of it; leave it out."
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
        relabelled = again[0] in following.corrections[:, 0]
        called = data.sample_names.at(again[:1])[0]
        which = f"that at position {called}" if data.sample_names.listing.texts is None else called
        raise ForgetSetError(
            f"{forget.request!r} names {len(again)} of the samples that were forgotten before, such as {which}; "
            "leave them out"
            f"{', or forget it from the original, because it is kept with its right label' if relabelled else ''}."
        )
    if len(following.left_out) >= len(data) and forget.request != ALL:
        raise ForgetSetError(
            f"{forget.request!r} means all {len(data) - len(following.before)} training samples; at least one must be "
            f"retained. Where no other sample is left, write {ALL}, and choose a method that does without."
        )
    return following
