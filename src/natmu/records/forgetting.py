"""Requests to forget: their grammar. A request is parsed once, where it comes in, and knows no data yet."""

from __future__ import annotations

import csv
import math
import re
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Annotated, Literal, get_args

from pydantic import PlainSerializer, PlainValidator

from natmu.errors import ForgetSetError, some
from natmu.safe_text import LONGEST_WORD
from natmu.types import Scenario

Criterion = Literal["confidence", "loss"]

FORMS = (
    "random:1%, random:500, hardest:10%, hardest:500:loss, class:NAME, subclass:NAME, indices:FILE, files:LIST, "
    "where:COLUMN=VALUE in TABLE.csv, relabel:TABLE.csv or all"
)

ALL = "all"
"""The request to forget all that the data holds, where nothing else is left."""

_KINDS = (*get_args(Scenario), "files", "where", "relabel")
_TABLE = re.compile(r"\s*([^=]*[^=\s])\s*=\s*(.*\S)\s+in\s+(\S.*\.csv)\s*", re.IGNORECASE)


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
        file: The file that lists samples, of ``indices``; None of ``all``.
        by_name: Whether that file lists names rather than positions.
        where: A column of that file and the value that the samples have there; None where all in the file are meant.
        relabels: Whether that file also has the right labels, with which the samples are kept.

    Examples:
        >>> request = parse_forget("random:10%")
        >>> request.kind, request.text
        ('random', 'random:10%')
    """

    text: str
    kind: Scenario
    amount: Amount | None = None
    criterion: Criterion = "confidence"
    names: tuple[str, ...] = ()
    file: Path | None = None
    by_name: bool = False
    where: tuple[str, str] | None = None
    relabels: bool = False


def with_manifest(text: str, manifest: Path | str | None) -> str:
    """A request with the table that it is about, where it names none itself.

    Args:
        text: Any request.
        manifest: A table of samples; None if there is none.

    >>> with_manifest("where:person=17", "people.csv")
    'where:person=17 in people.csv'
    """
    kind, _, rest = text.partition(":")
    if manifest is None or kind.strip().lower() != "where" or _TABLE.fullmatch(rest):
        return text
    return f"{text.rstrip()} in {manifest}"


def parse_forget(text: str) -> ForgetRequest:
    """Read a request to forget; looks at no data and no file.

    ``random:1%``, ``random:500``: at random, the same share of every class. ``hardest:10%``, ``hardest:500:loss``: the
    most difficult to learn, by mean ``confidence`` over training (the default) or by ``loss`` at its end.
    ``class:NAME``, ``subclass:NAME``: whole classes, several separated by commas, by name or number; ``name=1`` is the
    class called 1, ``#1`` the class number 1, and a name with a comma stands in double quotes.
    ``indices:FILE``: the positions in a ``.npy``, ``.txt``, ``.csv`` or ``.json`` file.
    ``files:LIST``: the names in a ``.txt``, ``.csv`` or ``.json`` file.
    ``where:COLUMN=VALUE in TABLE.csv``: the samples that have a value in a column of a table.
    ``relabel:TABLE.csv``: the samples in a table with their right labels; they are kept with these.
    ``all``: everything, where the data holds nothing but what is to be forgotten.

    Raises:
        ForgetSetError: The text is no such request.

    Examples:
        >>> parse_forget("class:Rocket, sea").names
        ('Rocket', 'sea')
    """
    if text.strip().lower() == ALL:
        return ForgetRequest(ALL, "indices")
    kind, colon, rest = text.partition(":")
    kind, rest = kind.strip().lower(), rest.strip()
    if not colon or not rest or kind not in _KINDS:
        raise ForgetSetError(f"{some([text])} does not say what to forget{_of_file(text)}; write {FORMS}.")
    if kind == "random":
        return ForgetRequest(text.strip(), "random", _amount(rest, text))
    if kind == "hardest":
        amount, _, criterion = (part.strip() for part in rest.partition(":"))
        return ForgetRequest(text.strip(), "hardest", _amount(amount, text), _criterion(criterion, rest, text))
    if kind == "indices":
        return ForgetRequest(text.strip(), "indices", file=Path(rest))
    if kind == "files":
        return ForgetRequest(text.strip(), "indices", file=Path(rest), by_name=True)
    if kind == "where":
        return _where(text)
    if kind == "relabel":
        return ForgetRequest(text.strip(), "indices", file=Path(rest), by_name=True, relabels=True)
    names = _names(rest, text)
    if not all(names):
        raise ForgetSetError(f"{some([text])} has an empty class name; separate names by single commas.")
    return ForgetRequest(text.strip(), "class" if kind == "class" else "subclass", names=names)


def _of_file(text: str) -> str:
    """A question for a request by the list that a text may be the path of."""
    kind = {".npy": "indices", ".txt": "files", ".csv": "files", ".json": "files"}.get(Path(text.strip()).suffix)
    return f" (did you mean {kind}:{text.strip()}?)" if kind and len(text) <= LONGEST_WORD and ":" not in text else ""


def _where(text: str) -> ForgetRequest:
    """A request for the samples that have a value in a column of a table."""
    match = _TABLE.fullmatch(text.partition(":")[2])
    if match is None:
        raise ForgetSetError(
            f"{some([text])} does not name a column, a value and a table; write where:COLUMN=VALUE in TABLE.csv, or "
            "give the table with --manifest."
        )
    return ForgetRequest(text.strip(), "indices", file=Path(match[3]), by_name=True, where=(match[1], match[2]))


def _names(text: str, request: str) -> tuple[str, ...]:
    """Names separated by commas; those in double quotes may hold commas."""
    if '"' not in text:
        return tuple(name.strip() for name in text.split(","))
    try:
        return tuple(name.strip() for name in next(csv.reader([text], skipinitialspace=True, strict=True)))
    except csv.Error:
        raise ForgetSetError(
            f"{some([request])} has a double quote that does not enclose a name; write names such as "
            'class:"sea, deep",rocket.'
        ) from None


def _amount(text: str, request: str) -> Amount:
    match = re.fullmatch(r"([0-9]{1,12})(\.[0-9]{1,12})?\s*(%?)", text)
    if match is None or (match[2] and not match[3]):
        raise ForgetSetError(
            f"{some([request])}: {some([text])} is not an amount; write a fraction such as 1% or a number such as 500."
        )
    amount = Amount(Fraction(match[1] + (match[2] or "")), bool(match[3]))
    if amount.number == 0 or (amount.percent and amount.number > 100):
        limit = "above 0 % and at most 100 %" if amount.percent else "at least 1"
        raise ForgetSetError(f"{some([request])}: the amount must be {limit}, not {text[:40]}.")
    return amount


def _criterion(text: str, rest: str, request: str) -> Criterion:
    if text == "loss":
        return "loss"
    if text == "confidence" or ":" not in rest:
        return "confidence"
    raise ForgetSetError(
        f"{some([request])}: {some([text])} is no criterion; write {' or '.join(get_args(Criterion))}."
    )


def _parsed(value: object) -> ForgetRequest:
    """A request, or one from its text, as files and recipes have it."""
    if isinstance(value, ForgetRequest):
        return value
    if not isinstance(value, str):
        raise ValueError(f"write a request as text, such as {FORMS}")
    try:
        return parse_forget(value)
    except ForgetSetError as error:
        raise ValueError(str(error)) from None


Request = Annotated[
    ForgetRequest,
    PlainValidator(_parsed, json_schema_input_type=str),
    PlainSerializer(lambda request: request.text, return_type=str),
]
"""A request as a field of settings and files, where it is written as its text."""
