"""Exceptions, and the names that a user may have meant.

Every message is one sentence that says what is wrong and what to do about it.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Collection

from natmu.safe_text import LONGEST_WORD, for_message, one_line


class NatmuError(Exception):
    """Something failed while it ran; the command line exits with status 1.

    The message is kept as it may be shown anywhere: on one line, nothing unseen in it, what it quotes shortened.
    """

    exit_status = 1

    def __init__(self, message: object) -> None:
        super().__init__(for_message(str(message)))


class TrainingError(NatmuError):
    """Training cannot go on, for example because a loss is no longer finite."""


class SharedMemoryError(NatmuError):
    """Shared memory cannot hold what several processes should share."""


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


class ScenarioError(UsageError):
    """A method cannot serve this forget set."""


def fold(name: str) -> str:
    """A name without regard to case, spaces, underscores and hyphens.

    >>> fold("Aquatic-mammals") == fold("aquatic_mammals")
    True
    """
    return re.sub(r"[\s_-]+", " ", name).strip().casefold()


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


def importable(name: str, kind: str = "function") -> str:
    """How to write what cannot be imported: the module in place of the path of its file, or the form in general.

    >>> importable("mine/train.py:train"), importable("train:train")
    ('mine.train:train', 'package.module:function')
    """
    file, colon, function = name.partition(":")
    if not colon or not file.endswith(".py"):
        return f"package.module:{kind}"
    return f"{file.removesuffix('.py').removeprefix('./').replace('/', '.')}:{function}"


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
