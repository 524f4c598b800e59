"""What a new request means: its samples in the list that the service began with. Loads no PyTorch."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from natmu.errors import ForgetSetError
from natmu.progress import say
from natmu.records.census import Census
from natmu.records.forgetting import ALL, ForgetRequest
from natmu.records.ledger import Asked
from natmu.samples.classes import ClassLabels, class_members
from natmu.samples.listed import listed_by_part
from natmu.types import IntArray

_FORMS = "files:LIST, where:COLUMN=VALUE in TABLE.csv, indices:FILE or class:NAME"


@dataclass(frozen=True, eq=False)
class Resolved:
    """The samples of a request.

    Attributes:
        rows: Of the training data, copies included; sorted, int64 ``(F,)``.
        classes: Names of the classes, of a request for whole classes.
        copies: How many of the rows are there as copies of others alone.
        unseen: Samples of the other parts that the request names, and copies there: sorted rows, int64, by part that
            has any.
        asked: How the request names its samples.
    """

    rows: IntArray
    classes: tuple[str, ...]
    copies: int
    unseen: dict[str, IntArray]
    asked: Asked


def resolve(request: ForgetRequest, census: Census) -> Resolved:
    """Find the samples that a request to delete means.

    A person's test images must go too, so names of samples that no model was trained on are part of the request. Test
    images of a class that is withdrawn stay where they are. Byte-identical copies are part of it as well: a model that
    goes on learning from a copy has not forgotten the sample.

    Args:
        request: The request.
        census: The samples that the service began with.

    Raises:
        ForgetSetError: The request draws samples instead of naming them, cannot be read, or names no training sample.
    """
    asked = _asked(request)
    classes: tuple[int, ...] = ()
    if asked == "class":
        rows, classes = class_members(request.names, ClassLabels(census.train.labels, census.class_names))
        named = {"train": rows}
        unseen = {role: int(np.isin(part.labels, classes).sum()) for role, part in census.parts.items()}
        for role, count in unseen.items():
            if role != "train" and count:
                say(f"Samples of the {role} part that are of these classes ({count}) are not part of the request.")
    else:
        named = listed_by_part(request, census.train.names)
    others = _copies(census, named, classes)
    nothing = np.zeros(0, np.int64)
    meant = {role: np.union1d(named.get(role, nothing), others.get(role, nothing)) for role in census.parts}
    if not len(meant["train"]):
        raise ForgetSetError(
            f"{request.text!r} names no training sample of the service, so there is nothing to unlearn. Name a "
            "training sample too, or delete the files without a request."
        )
    return Resolved(
        rows=meant.pop("train"),
        classes=tuple(census.class_names[label] for label in classes),
        copies=len(others.get("train", nothing)),
        unseen={role: rows for role, rows in meant.items() if len(rows)},
        asked=asked,
    )


def _asked(request: ForgetRequest) -> Asked:
    """How a request names its samples.

    Raises:
        ForgetSetError: It does not name them.
    """
    reasons = {
        "random": "draws samples at random, and a request to delete names them",
        "hardest": "chooses samples by their difficulty, and a request to delete names them",
        "subclass": "names a sub-class, which the list of samples of the service does not know; list its samples",
    }
    reason = reasons.get(request.kind)
    if request.relabels:
        reason = (
            "corrects labels, and what a request to delete names is gone; use natmu unlearn for corrections, or list "
            "the samples"
        )
    elif request.text == ALL:
        reason = (
            "means all training samples, and then there is no model to release; delete the service and its models "
            "instead, or name the samples"
        )
    if reason is not None:
        raise ForgetSetError(f"{request.text!r} {reason}: write {_FORMS}.")
    if request.kind == "class":
        return "class"
    return "where" if request.where is not None else "files" if request.by_name else "indices"


def _copies(census: Census, named: dict[str, IntArray], classes: tuple[int, ...]) -> dict[str, IntArray]:
    """Samples with the same pixels as requested ones, which are not requested themselves.

    Args:
        census: All samples.
        named: Those that are requested, by part.
        classes: Classes that are requested, whose samples in other parts stay where they are.

    Returns:
        Sorted rows by part that has any.
    """
    digests = [digest for role, rows in named.items() for digest in census.pixel_digests(rows, role)]
    found = {}
    for role, same in census.with_pixels(digests).items():
        others = np.setdiff1d(same, named.get(role, np.zeros(0, np.int64)))
        if role != "train":
            others = others[~np.isin(census.parts[role].labels[others], classes)]
        if len(others):
            found[role] = others
    return found
