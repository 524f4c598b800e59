"""What becomes of a model that is to be made: its run, or why there is none."""

from __future__ import annotations

import re
import traceback
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import torch

from natmu.engine import processes
from natmu.engine.store import Run
from natmu.errors import NatmuError
from natmu.lineage.graph import sources
from natmu.lineage.making import obtain
from natmu.lineage.workspace import Workspace
from natmu.machine import ends_all, exit_of, passing
from natmu.records.derived import title
from natmu.records.digests import digest_of
from natmu.records.files import write_atomically
from natmu.records.lineage import AnyLineage
from natmu.safe_text import for_log, one_line


@dataclass(frozen=True)
class Outcome:
    """What became of a piece of work.

    Attributes:
        run: The run that it left; None where it failed.
        failed: Why it failed, in a sentence.
        log: Name of the file with the details, in the folder of logs.
    """

    run: Run | None
    failed: str | None = None
    log: str | None = None


Outcomes = dict[str, Outcome]
"""By the digest of the model."""


def make(model: AnyLineage, workspace: Workspace, logs: Path | None) -> Outcome:
    """Obtain a model; whatever goes wrong is the failure of this model alone, and is written down.

    Args:
        model: The model.
        workspace: Where it is made.
        logs: Folder of logs; without one, only errors that are meant for users are failures, and others are raised.
    """
    return attempt(title(model), lambda: obtain(model, workspace), workspace, logs, key=model.digest)


def attempt(
    name: str, work: Callable[[], Run], workspace: Workspace, logs: Path | None, *, key: str | None = None
) -> Outcome:
    """Do a piece of work and say what became of it.

    Of several processes all must fail alike. What one of them alone raises, as a GPU that is lost, ends everything. So
    does a fault of the machine that the next work would meet as well, such as a full disk.

    Args:
        name: What it is called.
        work: Does it.
        workspace: Where it is done.
        logs: Folder of logs; without one, only errors that are meant for users are failures, and others are raised.
        key: What tells it from others that are called the same; its name if None.

    Raises:
        NatmuError: Nothing else can be done before the machine is seen to.
    """
    try:
        return Outcome(work())
    except (Exception, SystemExit) as error:  # a method may be anybody's, and other models are made all the same
        if (fault := ends_all(error)) is not None:
            raise fault from None if fault is error else error
        if (logs is None and not isinstance(error, NatmuError)) or not processes.fail_alike(name):
            raise
        if workspace.compute.device.type == "cuda":
            torch.cuda.empty_cache()
        return failure(name, sentence_of(error), traceback.format_exc(), logs, key=key)


def sentence_of(error: BaseException) -> str:
    """What went wrong, in one line."""
    if isinstance(error, SystemExit):
        return str(exit_of(error))
    if (fault := passing(error)) is not None:
        return str(fault)
    if isinstance(error, NatmuError):
        return str(error)
    return one_line(f"{type(error).__name__}: {one_line(str(error))[:300] or 'no message'}")


def failure(name: str, reason: str, details: str, logs: Path | None, *, key: str | None = None) -> Outcome:
    """Write down why a piece of work failed.

    Args:
        name: What it is called.
        reason: Why, in a sentence.
        details: What helps to find the cause.
        logs: Folder of logs.
        key: What tells it from others that are called the same; its name if None.
    """
    if logs is None:
        return Outcome(None, reason)
    readable = re.sub(r"[^A-Za-z0-9.=]+", "-", name).strip("-.")[:100]
    file = f"{readable}-{digest_of({'job': key or name})[:6]}.log"
    if processes.writes():
        logs.mkdir(parents=True, exist_ok=True)
        write_atomically(logs / file, for_log(f"{name}\n{reason}\n\n{details}").encode())
    return Outcome(None, reason, file)


def unmet(model: AnyLineage, outcomes: Mapping[str, Outcome]) -> Outcome | None:
    """The failure of a model one of whose sources has failed; None where none has."""
    for source in sources(model):
        outcome = outcomes.get(source.digest)
        if outcome is not None and outcome.failed is not None:
            return Outcome(None, f"{title(source)} failed: {outcome.failed}", outcome.log)
    return None
