"""Which number each class has: the order of names, and where it is in doubt."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from pathlib import Path

from natmu.errors import DataError, SettingError, hint
from natmu.progress import say
from natmu.records.settings import ClassOrder
from natmu.types import IntArray
from natmu.user_files import read_text

_NUMBERED = re.compile(r"(\D*)(\d+)")
_SHOWN = 12


def natural(names: Collection[str]) -> tuple[str, ...]:
    """Names in the order of the numbers in them, as people count.

    >>> natural(["class 10", "class 9"])
    ('class 9', 'class 10')
    """
    return tuple(sorted(names, key=lambda name: ([_piece(text) for text in re.split(r"(\d+)", name)], name)))


def _piece(text: str) -> tuple[int, str]:
    """A piece of a name; a number comes before text, as digits come before letters."""
    return (int(text), "") if text.isdecimal() else (-1, text)


class UnknownClassError(DataError):
    """Data has classes that are not among the given ones."""

    def __init__(self, message: str, names: Sequence[str]) -> None:
        super().__init__(message)
        self.names = tuple(names)


@dataclass(frozen=True)
class ClassNames:
    """How classes are numbered.

    Attributes:
        given: All classes in their order, where the user gives them.
        order: How names are sorted where the user gives none; as text if None, as torchvision's ImageFolder does.
    """

    given: tuple[str, ...] | None = None
    order: ClassOrder | None = None


AS_FOUND = ClassNames()
"""Classes as the data itself names and orders them."""


def arranged(found: Collection[str], classes: ClassNames, where: str) -> tuple[str, ...]:
    """The classes of data in the order of their numbers.

    Args:
        found: Names of the classes that the data has.
        classes: How they are numbered.
        where: Names the data in errors.

    Raises:
        UnknownClassError: The data has a class that is not among the given ones.
    """
    if classes.given is None:
        return natural(found) if classes.order == "natural" else tuple(sorted(found))
    unknown = sorted({*found} - {*classes.given})
    if unknown:
        raise UnknownClassError(
            f"{where} has the class {unknown[0]!r}, which is not among the {len(classes.given)} classes that were "
            f"given{hint(unknown[0], classes.given)}; add it, or write it the same way.",
            unknown,
        )
    return classes.given


def is_doubtful(names: Sequence[str]) -> bool:
    """Whether class names are numbered and stand in the order of texts (1, 10, 2), where people count 1, 2, 10.

    >>> is_doubtful(["s1", "s10", "s2"]), is_doubtful(["01", "02", "10"]), is_doubtful(["cat", "dog"])
    (True, False, False)
    """
    numbered = [_NUMBERED.match(name) for name in names]
    prefixes = {match[1] for match in numbered if match}
    return all(numbered) and len(prefixes) == 1 and [*names] == sorted(names) != [*natural(names)]


def require_sure_order(names: Sequence[str], source: str, *, chosen: bool) -> None:
    """Refuse to guess the order that somebody else's weights have.

    Args:
        names: The classes in the order that they have here.
        source: Names the data in the error.
        chosen: Whether the user has given that order.

    Raises:
        SettingError: Two orders are plausible, and the user has not said which one it is.

    Examples:
        >>> require_sure_order(("cat", "dog"), "photographs", chosen=True)  # raises where the order would be a guess
    """
    if not chosen and is_doubtful(names):
        raise SettingError(
            f"The classes of {source} are numbered: sorted as text, as torchvision's ImageFolder does, they are "
            f"{', '.join(names[:4])} …, and counted {', '.join(natural(names)[:4])} …. Say which order the weights "
            "have: --class-order string, --class-order natural, or --classes FILE."
        )


def require_same_classes(train: Sequence[str], other: Sequence[str], what: str) -> None:
    """Refuse data whose classes are called otherwise than those of the training data; numbers are no names.

    Args:
        train: Class names of the training data, in the order of the labels.
        other: Those of other data.
        what: Names the other data in the error.

    Raises:
        DataError: A label stands for one class here and for another one there.

    Examples:
        >>> require_same_classes(("cat", "dog"), ("cat", "dog"), "the test data")  # raises where they differ
    """
    if any(tuple(names) == tuple(map(str, range(len(names)))) for names in (train, other)):
        return
    row = next((row for row, pair in enumerate(zip(train, other, strict=False)) if pair[0] != pair[1]), None)
    if row is not None:
        raise DataError(
            f"Label {row} is {train[row]!r} in the training data and {other[row]!r} in {what}; give both the same "
            "classes in the same order, with a target_transform for example."
        )


def listed(names: Sequence[str], counts: Sequence[int] | None = None) -> str:
    """Classes in their order, for a line on the terminal; of many the first and the last."""
    texts = [name if counts is None else f"{name} ({counts[row]})" for row, name in enumerate(names)]
    if len(texts) > _SHOWN:
        texts = [*texts[: _SHOWN - 2], "…", texts[-1]]
    return ", ".join(texts)


def read_class_names(path: Path) -> tuple[str, ...]:
    r"""Class names from a text file, one a line, in the order of their numbers.

    Raises:
        DataError: The file cannot be read, or names fewer than two classes, or one twice.

    Examples:
        >>> from pathlib import Path
        >>> _ = Path("classes.txt").write_text("cat\ndog\n")
        >>> read_class_names(Path("classes.txt"))
        ('cat', 'dog')
    """
    try:
        lines = [line.strip() for line in read_text(path, "utf-8-sig").split("\n")]
    except UnicodeDecodeError:
        raise DataError(
            f"{path} cannot be read as class names, as it is not text in UTF-8; save it in that encoding."
        ) from None
    except OSError as error:
        raise DataError(f"{path} cannot be read as a text file of class names: {error.strerror or error}.") from None
    while lines and not lines[-1]:
        lines.pop()
    if "" in lines:
        raise DataError(f"Line {lines.index('') + 1} of {path} is empty; write one class name on each line.")
    twice = [name for name, count in Counter(lines).items() if count > 1]
    if twice or len(lines) < 2:
        fault = f"names {twice[0]!r} twice" if twice else f"names {len(lines)} class{'es' if len(lines) != 1 else ''}"
        raise DataError(f"{path} {fault}; write each of two or more classes once, one a line.")
    return tuple(lines)


def first_label(labels: IntArray, classes: ClassNames, what: str) -> int:
    """The label of the first class: 0, or 1 where there is one name for each label from 1 on.

    Args:
        labels: Of all training samples, ``(N,)``.
        classes: How classes are numbered.
        what: Names the labels in errors.

    Raises:
        DataError: No label is 0, and nobody says what that means.
    """
    low, high = (int(labels.min()), int(labels.max())) if len(labels) else (0, 0)
    if classes.given is None and low > 0:
        raise DataError(
            f"{what} run from {low} to {high} and none is 0, the number of the first class. Count them from 0, or give "
            f"--classes FILE with the class names: {high} names if they count from 1, {high + 1} if one has no samples."
        )
    if classes.given is not None and low == 1 and high == len(classes.given):
        say(f"{what} count from 1: label 1 is class {classes.given[0]!r}, label {high} is {classes.given[-1]!r}.")
        return 1
    return 0
