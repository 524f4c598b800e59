"""Forget sets: the grammar of requests, and what they mean for a data set."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any, Literal, get_args

import numpy as np
import numpy.typing as npt
from torch import Tensor

from natmu.data.images import ImageData
from natmu.data.indices import check_indices, read_index_file
from natmu.data.naming import class_members, subclass_members
from natmu.data.sampling import balanced_draw
from natmu.errors import ForgetSetError
from natmu.types import FloatArray, ForgetSet, IntArray, Scenario, seed_for

Criterion = Literal["confidence", "loss"]

FORMS = "random:1%, random:500, hardest:10%, hardest:500:loss, class:NAME, subclass:NAME or indices:FILE"


@dataclass(frozen=True)
class Amount:
    """A number of samples, or a share of them.

    Attributes:
        number: Samples, or per cent of them.
        percent: Which of the two.
    """

    number: Fraction
    percent: bool

    def of(self, total: int) -> int:
        """How many of ``total`` samples are meant; a share is rounded to the nearest, half upwards."""
        return math.floor(self.number * total / 100 + Fraction(1, 2)) if self.percent else int(self.number)


@dataclass(frozen=True)
class ForgetRequest:
    """A request to forget, as written; it knows no data yet.

    Attributes:
        text: The request as written, without surrounding blanks.
        kind: Which kind it is.
        amount: How much of the data, of ``random`` and ``hardest``.
        criterion: What counts as hard, of ``hardest``.
        names: Class names or numbers, of ``class`` and ``subclass``.
        file: The index file, of ``indices``.
    """

    text: str
    kind: Scenario
    amount: Amount | None = None
    criterion: Criterion = "confidence"
    names: tuple[str, ...] = ()
    file: Path | None = None


def parse_forget(text: str) -> ForgetRequest:
    """Read a request to forget; looks at no data and no file.

    ``random:1%``, ``random:500``: at random, the same share of every class. ``hardest:10%``, ``hardest:500:loss``: the
    most difficult to learn, by mean ``confidence`` over training (the default) or by ``loss`` at its end.
    ``class:NAME``, ``subclass:NAME``: whole classes, several separated by commas, by name or number.
    ``indices:FILE``: the positions in a ``.npy``, ``.txt``, ``.csv`` or ``.json`` file.

    Raises:
        ForgetSetError: The text is no such request.

    >>> parse_forget("class:Rocket, sea").names
    ('Rocket', 'sea')
    """
    kind, colon, rest = text.partition(":")
    kind, rest = kind.strip().lower(), rest.strip()
    if not colon or not rest or kind not in get_args(Scenario):
        raise ForgetSetError(f"{text!r} does not say what to forget; write {FORMS}.")
    if kind == "random":
        return ForgetRequest(text.strip(), "random", _amount(rest, text))
    if kind == "hardest":
        amount, _, criterion = (part.strip() for part in rest.partition(":"))
        return ForgetRequest(text.strip(), "hardest", _amount(amount, text), _criterion(criterion, rest, text))
    if kind == "indices":
        return ForgetRequest(text.strip(), "indices", file=Path(rest))
    names = tuple(name.strip() for name in rest.split(","))
    if not all(names):
        raise ForgetSetError(f"{text!r} has an empty class name; separate names by single commas.")
    return ForgetRequest(text.strip(), "class" if kind == "class" else "subclass", names=names)


def _amount(text: str, request: str) -> Amount:
    match = re.fullmatch(r"([0-9]{1,12})(\.[0-9]{1,12})?\s*(%?)", text)
    if match is None or (match[2] and not match[3]):
        raise ForgetSetError(f"{request!r}: {text!r} is no amount; write a share such as 1% or a number such as 500.")
    amount = Amount(Fraction(match[1] + (match[2] or "")), bool(match[3]))
    if amount.number == 0 or (amount.percent and amount.number > 100):
        limit = "above 0 % and at most 100 %" if amount.percent else "at least 1"
        raise ForgetSetError(f"{request!r}: the amount must be {limit}, not {text}.")
    return amount


def _criterion(text: str, rest: str, request: str) -> Criterion:
    if text == "loss":
        return "loss"
    if text == "confidence" or ":" not in rest:
        return "confidence"
    raise ForgetSetError(f"{request!r}: {text!r} is no criterion; write {' or '.join(get_args(Criterion))}.")


def resolve_forget(
    request: ForgetRequest | str,
    data: ImageData,
    *,
    seed: int,
    hardness: Mapping[str, FloatArray] | None = None,
) -> ForgetSet:
    """Find the training samples that a request means.

    Args:
        request: A request, or its text.
        data: The training data.
        seed: Decides what ``random`` draws.
        hardness: By criterion, a number per training sample ``(N,)``, larger for harder; only ``hardest`` needs it.
            Of equally hard samples the first are taken.

    Raises:
        ForgetSetError: The request does not fit the data, or leaves nothing to forget or nothing to retain.
    """
    wanted = parse_forget(request) if isinstance(request, str) else request
    classes: tuple[int, ...] = ()
    if wanted.kind == "class":
        indices, classes = class_members(wanted.names, data)
    elif wanted.kind == "subclass":
        indices, classes = subclass_members(wanted.names, data)
    elif wanted.file is not None:
        indices = read_index_file(wanted.file, len(data))
    else:
        indices = _drawn(wanted, data, seed, hardness or {})
    return _forget_set(indices, data, wanted.text, wanted.kind, classes)


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


def _drawn(request: ForgetRequest, data: ImageData, seed: int, hardness: Mapping[str, FloatArray]) -> IntArray:
    """A part of the data, at random or by hardness."""
    count = request.amount.of(len(data)) if request.amount else 0
    if not 0 < count < len(data):
        raise ForgetSetError(
            f"{request.text!r} means {count} of {len(data)} training samples; at least one must be forgotten and at "
            "least one retained."
        )
    if request.kind == "random":
        return balanced_draw(data.labels.numpy(), count, np.random.default_rng(seed_for(seed, "forget")))
    values = _hardness(request, len(data), hardness)
    return np.sort(np.argsort(-values, kind="stable")[:count]).astype(np.int64)


def _hardness(request: ForgetRequest, total: int, hardness: Mapping[str, FloatArray]) -> FloatArray:
    """The checked hardness that a request needs."""
    if request.criterion not in hardness:
        raise ForgetSetError(
            f"{request.text!r} needs the {request.criterion} of every training sample, which is recorded while the "
            "original model trains; train the original on this data with natmu first, or write "
            f"{request.text.removesuffix(':confidence')}:loss to go by the loss at the end."
        )
    values = np.asarray(hardness[request.criterion], np.float32)
    if values.shape != (total,) or not np.isfinite(values).all():
        raise ForgetSetError(
            f"{request.text!r} needs one finite hardness for each of {total} training samples, not {values.shape}; "
            "train the original on this very data."
        )
    return values


def _forget_set(
    indices: IntArray, data: ImageData, spec: str, scenario: Scenario, classes: tuple[int, ...]
) -> ForgetSet:
    """A forget set that leaves something to retain."""
    if not len(indices):
        raise ForgetSetError(f"{spec!r} means no training sample; there must be one at least.")
    if len(indices) >= len(data):
        raise ForgetSetError(f"{spec!r} means all {len(data)} training samples; at least one must be retained.")
    return ForgetSet(indices, spec, scenario, classes)
