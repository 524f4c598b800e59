"""Exceptions, and the names that a user may have meant.

Every message is one sentence that says what is wrong and what to do about it.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Collection
from itertools import islice

from natmu.safe_text import LONGEST_WORD, for_message, one_line


class NatmuError(Exception):
    """Something failed while it ran; the command line exits with status 1.

    The message is kept as it may be shown anywhere: on one line, nothing unseen in it, what it quotes shortened.

    Attributes:
        exit_status: Of the command line.
        passes: Whether it comes from the machine and not from what was asked for, so that the same may succeed later;
            the exit status is 2 then.
    """

    exit_status = 1
    passes = False

    def __init__(self, message: object) -> None:
        super().__init__(for_message(str(message)))


class TrainingError(NatmuError):
    """Training cannot go on, for example because a loss is no longer finite."""


class LostProcessError(TrainingError):
    """A process that trained a model has gone, as when the system ends it because memory ran out."""

    exit_status = 2
    passes = True


class SharedMemoryError(NatmuError):
    """Shared memory cannot hold what several processes should share."""

    exit_status = 2
    passes = True


class RunError(NatmuError):
    """A run folder cannot be read or written."""


class TrackingError(NatmuError):
    """A tracker cannot be reached or written; the result itself is complete."""


class DownloadError(NatmuError):
    """A server cannot be reached, or what it sends cannot be stored."""


class UsageError(NatmuError):
    """What was asked for cannot be done as asked; the command line exits with status 2."""

    exit_status = 2


class SettingError(UsageError):
    """A setting is unknown, missing or out of its range."""


class DataError(UsageError):
    """A data set cannot be found or read."""


class ForgetSetError(UsageError):
    """A forget set is malformed, empty or does not fit the data."""


class ModelError(UsageError):
    """A model is unknown, has no weights, or does not fit the data."""


class ResourceError(UsageError):
    """The machine has run out of memory, of room on a disk or of open files; afterwards the same can be done again."""

    passes = True


class ScenarioError(UsageError):
    """A method cannot serve this forget set."""


def fold(name: str) -> str:
    """A name without regard to case, and to whether spaces, an underscore or a hyphen stand between two words.

    A hyphen or underscore that stands anywhere else belongs to the name, as the sign of a number does.

    >>> fold("Aquatic-mammals") == fold("aquatic_mammals")
    True
    >>> fold("-1") == fold("1"), fold("3-") == fold("3")
    (False, False)
    """
    return re.sub(r"(?<=[^\s_-])(?:\s+|[_-])(?=[^\s_-])", " ", name.strip()).casefold()


def hint(name: str, known: Collection[str]) -> str:
    """`` (did you mean …?)`` with the closest of the known names, or nothing where none is close.

    >>> hint("cifar11", ["cifar10", "digits"])
    ' (did you mean cifar10?)'
    """
    if len(name) > LONGEST_WORD:
        return ""
    by_fold = {fold(candidate): candidate for candidate in known}
    close = difflib.get_close_matches(fold(name), by_fold, n=3)
    close += [candidate for candidate in by_fold if len(fold(name)) > 2 and fold(name) in candidate]
    return f" (did you mean {', '.join(dict.fromkeys(by_fold[key] for key in close[:4]))}?)" if close else ""


def require_utf8(text: str, what: str) -> None:
    """Refuse a text that no file of ours can hold, before any work is done for it.

    Raises:
        UsageError: It is no text in UTF-8, as names of files in old encodings are.
    """
    if not text.isascii() and any("\ud800" <= character <= "\udfff" for character in text):
        raise UsageError(f"{what} {_cut(text, 160)} is not text in UTF-8; rename it.")


def importable(name: str, kind: str = "function") -> str:
    """How to write what cannot be imported: the module in place of the path of its file, or the form in general.

    >>> importable("mine/train.py:train"), importable("train:train")
    ('mine.train:train', 'package.module:function')
    """
    file, colon, function = name.partition(":")
    if not colon or not file.endswith(".py"):
        return f"package.module:{kind}"
    return f"{file.removesuffix('.py').removeprefix('./').replace('/', '.')}:{function}"


def some(values: Collection[object], shown: int = 5) -> str:
    """The first few of many values, for a sentence; each is quoted if it is a text, and cut if it is long.

    >>> some(["a", "b"]), some(range(10, 20), 3)
    ("'a', 'b'", '10, 11, 12 and 7 more')
    """
    texts = [_cut(value, 160) if isinstance(value, str) else str(value)[:80] for value in islice(values, shown)]
    more = f" and {len(values) - shown:,} more" if len(values) > shown else ""
    return f"{', '.join(texts)}{more}"


def _cut(text: str, most: int) -> str:
    """A text in quotation marks, with its end left out where it is long."""
    return repr(text if len(text) <= most else f"{text[: most - 1]}…")


FAULTS = (
    ArithmeticError,
    AssertionError,
    AttributeError,
    EOFError,
    ImportError,
    LookupError,
    MemoryError,
    NameError,
    OSError,
    RuntimeError,
    SyntaxError,
    SystemExit,
    TypeError,
    ValueError,
)
"""What code and files that are not ours may raise."""


def quoted(error: BaseException) -> str:
    """An error's kind and message on one line."""
    return one_line(f"{type(error).__name__}: {one_line(str(error))[:200]}").removesuffix(":")
