"""The small frozen types that every floor speaks; without torch, so that reports and scores never load torch."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Literal, Self

import numpy as np
import numpy.typing as npt
from pydantic import BaseModel, ConfigDict, ValidationError, ValidationInfo, field_validator

from natmu.errors import RunError, SettingError
from natmu.explaining import explained
from natmu.numbers_only import require_numbers

IntArray = npt.NDArray[np.int64]
FloatArray = npt.NDArray[np.float32]
BoolArray = npt.NDArray[np.bool_]
Scenario = Literal["random", "hardest", "class", "subclass", "indices"]

ORIGINAL, RETRAINED = REFERENCES = ("original", "retrained")
"""Labels of the rows of a study that methods are compared with, and that do not compete."""


NO_OUTPUT = -1e9
"""Stands for the logit of a class that a model has no output for: so far below all others that its probability is 0 to
every score, and that all scores of that label are the same whatever the others are."""


def seed_for(seed: int, *purpose: str | int) -> int:
    """A seed for one purpose, independent of those for every other purpose of the same run.

    Args:
        seed: The run's seed.
        purpose: What the numbers are for, such as ``"order", epoch``.

    Returns:
        A number in ``[0, 2**63)``.
    """
    key = repr((int(seed), *purpose)).encode()
    return int.from_bytes(hashlib.blake2b(key, digest_size=8).digest(), "little") >> 1


class Settings(BaseModel):
    """A validated, frozen group of settings; unknown keys and non-finite numbers are refused."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False, validate_default=True)

    @field_validator("*", mode="before")
    @classmethod
    def _true_is_no_number(cls, value: object, field: ValidationInfo) -> object:
        require_numbers(value, cls.model_fields[field.field_name or ""].annotation)
        return value

    @classmethod
    def parse(cls, values: Mapping[str, Any], where: str = "") -> Self:
        """Build the settings from plain values.

        Args:
            values: Plain values by name, as read from YAML, JSON or the command line.
            where: What the values belong to, named in the error.

        Raises:
            SettingError: One sentence with the path of each wrong key and what it accepts.
        """
        try:
            return cls.model_validate(dict(values))
        except ValidationError as error:
            raise SettingError(explained(error, where, cls)) from None


@dataclass(frozen=True)
class ForgetSet:
    """The training samples to forget, and those that earlier requests had forgotten.

    Attributes:
        indices: Sorted, unique positions in the training data, int64 ``(F,)``.
        request: The text of the request that it came from, such as ``random:1%``.
        scenario: Which kind of request it is.
        classes: The forgotten labels of a ``class`` set, the forgotten fine labels of a ``subclass`` set, else empty.
        before: Sorted positions of what was forgotten before, int64 ``(B,)``; none of ``indices`` is among them.
        classes_before: Labels that were forgotten before as whole classes.
        subclasses_before: Fine labels that were forgotten before as whole sub-classes.
        corrections: Position and right label, int64 ``(K, 2)``, in the order of positions: samples that are forgotten
            with their wrong label and kept with the right one, of this request or an earlier one.
    """

    indices: IntArray
    request: str
    scenario: Scenario
    classes: tuple[int, ...] = ()
    before: IntArray = field(default_factory=lambda: np.zeros(0, np.int64))
    classes_before: tuple[int, ...] = ()
    subclasses_before: tuple[int, ...] = ()
    corrections: IntArray = field(default_factory=lambda: np.zeros((0, 2), np.int64))

    def __len__(self) -> int:
        return len(self.indices)

    @property
    def class_wise(self) -> bool:
        """Whether whole classes or sub-classes are forgotten."""
        return self.scenario in ("class", "subclass")

    @property
    def left_out(self) -> IntArray:
        """Positions of all that is forgotten by now, sorted: those to forget and those forgotten before."""
        return np.union1d(self.indices, self.before)

    @property
    def digest(self) -> str:
        """Hexadecimal digest of the indices and their right labels: equal sets have equal digests."""
        own = self._own_corrections  # behind the indices, where a position that comes again tells them from a list
        return positions_digest(np.concatenate([self.indices, own.ravel()]) if len(own) else self.indices)

    @property
    def corrected(self) -> IntArray | None:
        """The right labels of ``indices``, int64 ``(F,)``, where the request corrects labels; else None."""
        own = self._own_corrections
        return own[:, 1] if len(own) else None

    @property
    def _own_corrections(self) -> IntArray:
        return self.corrections[np.isin(self.corrections[:, 0], self.indices)]

    def after(self, earlier: ForgetSet | None) -> ForgetSet:
        """The same samples, forgotten after an earlier set and after what that came after.

        What was corrected before stays so, unless its right label is that of a class that is forgotten now.

        Args:
            earlier: The earlier set, which shares no sample with this one; None if there is none.
        """
        if earlier is None:
            return self
        gone = self.classes if self.scenario == "class" else ()
        kept = earlier.corrections[~np.isin(earlier.corrections[:, 1], gone)]
        classes, fine = ({*before} for before in (self.classes_before, self.subclasses_before))
        classes |= {*earlier.classes_before, *(earlier.classes if earlier.scenario == "class" else ())}
        fine |= {*earlier.subclasses_before, *(earlier.classes if earlier.scenario == "subclass" else ())}
        return replace(
            self,
            before=np.union1d(self.before, earlier.left_out),
            classes_before=tuple(sorted(classes)),
            subclasses_before=tuple(sorted(fine)),
            corrections=np.unique(np.concatenate([self.corrections, kept]), axis=0),
        )

    def among(self, rows: IntArray) -> ForgetSet:
        """The same request to a part of the data; samples that are not in it are left out.

        Args:
            rows: Positions of the samples of the part, ascending, int64 ``(M,)``.

        Returns:
            The forget set in positions of the part, ``0 … M - 1``; it may be empty.
        """

        def places(positions: IntArray) -> IntArray:
            return np.searchsorted(rows, positions[np.isin(positions, rows)]).astype(np.int64)

        there = self.corrections[np.isin(self.corrections[:, 0], rows)]
        corrections = np.column_stack([places(there[:, 0]), there[:, 1]])
        return replace(self, indices=places(self.indices), before=places(self.before), corrections=corrections)

    def divides(self, labels_N: IntArray, fine_N: IntArray | None) -> tuple[BoolArray, BoolArray]:
        """Unseen samples of the classes or sub-classes that are forgotten as a whole, and of those that never were.

        Args:
            labels_N: Their labels.
            fine_N: Their fine labels, where there are any; needed for sub-classes.

        Returns:
            Two masks, bool ``(N,)``; samples of classes that were forgotten before are in neither.
        """
        gone = np.isin(labels_N, self.classes_before) | _has_fine_label(self.subclasses_before, labels_N, fine_N)
        own = np.isin(labels_N, self.classes) if self.scenario == "class" else np.zeros(len(labels_N), bool)
        own |= _has_fine_label(self.classes if self.scenario == "subclass" else (), labels_N, fine_N)
        return own & ~gone, ~own & ~gone


def positions_digest(positions: IntArray) -> str:
    """32 hexadecimal digits that name positions."""
    return hashlib.blake2b(np.ascontiguousarray(positions, np.dtype("<i8")).tobytes(), digest_size=16).hexdigest()


def _places(wanted: IntArray, there: IntArray, part: str) -> IntArray:
    """Where positions stand among others, which must hold them."""
    places = np.searchsorted(there, wanted)
    found = np.isin(wanted, there)
    if not found.all():
        raise RunError(
            f"There is no prediction on the {part} sample {wanted[~found][0]}, which was gone when the model was made; "
            "compare models on the samples that all of them have."
        )
    return places


def _has_fine_label(classes: tuple[int, ...], labels_N: IntArray, fine_N: IntArray | None) -> BoolArray:
    """Which samples have one of these fine labels."""
    if not classes:
        return np.zeros(len(labels_N), bool)
    if fine_N is None:
        raise ValueError("a sub-class forget set needs predictions that carry fine labels")
    return np.isin(fine_N, classes)


@dataclass(frozen=True)
class Part:
    """One model's predictions on one part of the data.

    Attributes:
        logits: float32 ``(N, C)``.
        labels: int64 ``(N,)``.
        fine_labels: int64 ``(N,)`` where the data has labels finer than the model's classes.
    """

    logits: FloatArray
    labels: IntArray
    fine_labels: IntArray | None = None

    def __len__(self) -> int:
        return len(self.labels)

    def without_outputs(self, classes: Sequence[int]) -> Part:
        """The part as of a model that has no output for some classes."""
        logits = self.logits.copy()
        logits[:, list(classes)] = NO_OUTPUT
        return replace(self, logits=logits)

    def take(self, rows: npt.NDArray[Any]) -> Part:
        """The part at these rows, given as indices or as a boolean mask."""
        fine = None if self.fine_labels is None else self.fine_labels[rows]
        return Part(self.logits[rows], self.labels[rows], fine)


@dataclass(frozen=True)
class Predictions:
    """One model's predictions on the parts that scores compare.

    ``test`` and ``holdout`` are without the forgotten classes when whole classes or sub-classes are forgotten;
    ``forget_test`` is then the test samples of those classes, else None. ``before`` is the training samples that
    earlier requests had forgotten; None where there were none. ``corrected`` is the forget samples with their right
    labels, where the request corrects labels.
    """

    retain: Part
    forget: Part
    test: Part
    forget_test: Part | None = None
    holdout: Part | None = None
    before: Part | None = None
    corrected: Part | None = None


@dataclass(frozen=True)
class Rows:
    """Which samples predictions are of, where some of the data is gone: positions that they had when it was whole.

    Attributes:
        train: Of the training samples, ascending, int64 ``(N,)``.
        test: Likewise of the test samples.
        holdout: Likewise of the holdout; None where there is none.
    """

    train: IntArray
    test: IntArray
    holdout: IntArray | None = None


@dataclass(frozen=True)
class Outputs:
    """One model's predictions on all its data in the data's order, stored once; every forget set is a view of them.

    Attributes:
        train: Of the training samples.
        test: Of the test samples.
        holdout: Of the holdout, where there is one.
        rows: Which samples they are of; None for all of the data.
    """

    train: Part
    test: Part
    holdout: Part | None = None
    rows: Rows | None = None

    @property
    def positions(self) -> IntArray:
        """Positions of the training samples in the whole data, ascending, int64 ``(N,)``."""
        return self.rows_of("train")

    def rows_of(self, part: Literal["train", "test", "holdout"]) -> IntArray:
        """Positions of the samples of a part in that part of the whole data, ascending, int64.

        Raises:
            ValueError: There is no such part.
        """
        own = getattr(self, part)
        if own is None:
            raise ValueError(f"there are no predictions on the {part}")
        positions: IntArray = np.arange(len(own)) if self.rows is None else getattr(self.rows, part)
        return positions

    def at(self, train: IntArray, test: IntArray, holdout: IntArray | None = None) -> Outputs:
        """The predictions on some of the samples.

        Args:
            train: Positions in the whole training data, ascending.
            test: Likewise in the test data.
            holdout: Likewise in the holdout, which is left out if None.

        Raises:
            RunError: There is no prediction on one of them.
            ValueError: There is no holdout.
        """
        held = None
        if holdout is not None:
            own = self.rows_of("holdout")
            assert self.holdout is not None, "it has positions"
            held = self.holdout.take(_places(holdout, own, "holdout"))
        return Outputs(
            self.train.take(_places(train, self.rows_of("train"), "training")),
            self.test.take(_places(test, self.rows_of("test"), "test")),
            held,
            Rows(train, test, holdout),
        )

    def without_outputs(self, classes: Sequence[int]) -> Outputs:
        """The predictions as of a model that has no output for some classes."""
        if not classes:
            return self
        holdout = None if self.holdout is None else self.holdout.without_outputs(classes)
        train, test = self.train.without_outputs(classes), self.test.without_outputs(classes)
        return replace(self, train=train, test=test, holdout=holdout)

    def split(self, forget: ForgetSet) -> Predictions:
        """Divide the stored predictions as the forget set asks.

        Args:
            forget: In positions of the whole data; samples of it that there are no predictions on are in no part.
        """
        if self.rows is not None:
            there = forget.among(self.rows.train)
            return replace(self, rows=None).split(there)
        kept = np.ones(len(self.train), bool)
        kept[forget.left_out] = False
        asked, unasked = _parts_of(self.test, forget)
        forgotten, right = self.train.take(forget.indices), forget.corrected
        return Predictions(
            retain=self.train.take(kept),
            forget=forgotten,
            test=unasked,
            forget_test=asked if forget.class_wise else None,
            holdout=None if self.holdout is None else _parts_of(self.holdout, forget)[1],
            before=self.train.take(forget.before) if len(forget.before) else None,
            corrected=None if right is None else Part(forgotten.logits, right),
        )


def _parts_of(unseen: Part, forget: ForgetSet) -> tuple[Part, Part]:
    """Unseen samples of classes that are forgotten as a whole, and those of classes that never were."""
    own, others = forget.divides(unseen.labels, unseen.fine_labels)
    return unseen.take(own), unseen.take(others)
