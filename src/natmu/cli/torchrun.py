"""Commands that torchrun starts in several processes: all work, the first alone speaks and writes."""

from __future__ import annotations

import os
import sys
from contextlib import AbstractContextManager, nullcontext

import typer


def rank() -> int:
    """Number of this process, from 0; 0 where torchrun did not start several."""
    return int(os.environ["RANK"]) if int(os.environ.get("WORLD_SIZE", "1")) > 1 else 0


def all_processes() -> AbstractContextManager[None]:
    """The group of processes, where torchrun started several; all but the first fall silent."""
    if int(os.environ.get("WORLD_SIZE", "1")) == 1:
        return nullcontext()
    if rank():
        sys.stdout = sys.stderr = open(os.devnull, "w")  # noqa: SIM115, PTH123 - until the process ends
    from natmu.engine.processes import group

    return group()


def first_process_goes_on() -> None:
    """End the command here in every process but the first."""
    if rank():
        raise typer.Exit
