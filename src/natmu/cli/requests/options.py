"""Options that verbs of ``natmu requests`` share."""

from __future__ import annotations

import shlex
from collections.abc import Iterable
from pathlib import Path
from typing import Annotated

import typer

Folder = Annotated[Path, typer.Argument(metavar="SERVICE", help="Folder of the service.")]
Request = Annotated[int, typer.Argument(metavar="N", min=1, help="Number of a request; natmu requests list has them.")]
LiesAt = Annotated[
    str | None, typer.Option("--data", metavar="PATH", help="Where the data is now, if it was moved after init.")
]
GoOn = Annotated[
    bool, typer.Option("--force", help="Continue although more of the data is gone than was asked to be forgotten.")
]


def command(verb: str, folder: Path, *words: object) -> str:
    """A command of this service, to be copied into a shell.

    Args:
        verb: Of ``natmu requests``.
        folder: Of the service.
        words: What follows the folder.
    """
    return shlex.join(["natmu", "requests", verb, str(folder), *map(str, words)])


def numbered(requests: Iterable[int], most: int = 8) -> str:
    """Requests in words.

    Args:
        requests: Their numbers.
        most: How many of them are written out.

    >>> numbered([3]), numbered([1, 2, 5]), numbered(range(1, 12), 3)
    ('request 3', 'requests 1, 2, 5', 'requests 1, 2, 3 and 8 more')
    """
    listed = [str(number) for number in requests]
    more = f" and {len(listed) - most} more" if len(listed) > most else ""
    return f"request{'' if len(listed) == 1 else 's'} {', '.join(listed[:most])}{more}"


def counted(count: int, noun: str) -> str:
    """A count with its noun.

    >>> counted(1, "training sample"), counted(5000, "file")
    ('1 training sample', '5,000 files')
    """
    return f"{count:,} {noun}{'' if count == 1 else 's'}"
