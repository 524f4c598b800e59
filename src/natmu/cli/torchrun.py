"""Commands that torchrun starts in several processes: all work, the first alone speaks and writes."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, redirect_stderr, redirect_stdout
from pathlib import Path

import typer


def rank() -> int:
    """Number of this process, from 0; 0 where torchrun did not start several."""
    return int(os.environ["RANK"]) if _several() else 0


def _several() -> bool:
    return int(os.environ.get("WORLD_SIZE") or 1) > 1


@contextmanager
def all_processes() -> Iterator[None]:
    """The group of processes, where torchrun started several; inside, all but the first are silent.

    An error that gets out of it is the first of all processes, and is to be told.
    """
    with ExitStack() as stack:
        if _several():
            from natmu.engine.processes import group

            stack.enter_context(group())
            if rank():
                nowhere = stack.enter_context(Path(os.devnull).open("w"))
                stack.enter_context(redirect_stdout(nowhere))
                stack.enter_context(redirect_stderr(nowhere))
        yield


def first_process_goes_on() -> None:
    """End the command here in every process but the first."""
    if rank():
        raise typer.Exit
