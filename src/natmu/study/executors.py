"""Where the jobs of a study run: in this process, one after another; ``study.on_ray`` has the other executor.

Any number of processes may run the same study, or studies that share jobs, on one store: each takes the jobs that no
other is at work on, and finds in the store what another has done.
"""

from __future__ import annotations

import re
import traceback
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

import torch

from natmu.engine import processes
from natmu.engine.store import Run, digest_of
from natmu.errors import NatmuError
from natmu.records.files import write_atomically
from natmu.study.graph import Job
from natmu.study.jobs import Bench


@dataclass(frozen=True)
class Outcome:
    """What became of a job.

    Attributes:
        run: Its run; None where it failed.
        failed: Why it failed, in a sentence.
        log: Name of the file with the details, in the study's folder of logs.
    """

    run: Run | None
    failed: str | None = None
    log: str | None = None


Outcomes = dict[str, Outcome]
"""By the name of the job."""


def attempt(job: Job, bench: Bench, logs: Path) -> Outcome:
    """Do a job; whatever goes wrong is the failure of this job alone, and is written down.

    Of several processes all must fail alike. What one of them alone raises, as a GPU that is lost, ends the study.

    Args:
        job: What to do.
        bench: The data, and the store that the result goes to.
        logs: Folder of logs.
    """
    try:
        return Outcome(job.run(bench))
    except Exception as error:  # a method may be anybody's, and the other jobs of the study go on
        if not processes.fail_alike(job.name):
            raise
        if bench.compute.device.type == "cuda":
            torch.cuda.empty_cache()
        return failure(job, sentence_of(error), traceback.format_exc(), logs)


def sentence_of(error: BaseException) -> str:
    """What went wrong, in one line."""
    said = " ".join(str(error).split())[:300]
    return said if isinstance(error, NatmuError) else f"{type(error).__name__}: {said or 'no message'}"


def failure(job: Job, reason: str, details: str, logs: Path) -> Outcome:
    """Write down why a job failed.

    Args:
        job: The job.
        reason: Why, in a sentence.
        details: What helps to find the cause.
        logs: Folder of logs.
    """
    readable = re.sub(r"[^A-Za-z0-9.=]+", "-", job.name).strip("-.")[:100]
    name = f"{readable}-{digest_of({'job': job.name})[:6]}.log"
    if processes.writes():
        logs.mkdir(parents=True, exist_ok=True)
        write_atomically(logs / name, f"{job.name}\n{reason}\n\n{job!r}\n\n{details}".encode())
    return Outcome(None, reason, name)


def unmet(job: Job, outcomes: Mapping[str, Outcome]) -> Outcome | None:
    """The failure of a job whose needs have failed; None where none has."""
    for need in job.needs:
        outcome = outcomes[need.name]
        if outcome.failed is not None:
            return Outcome(None, f"{need.name} failed: {outcome.failed}", outcome.log)
    return None


def run_here(jobs: Sequence[Job], bench: Bench, logs: Path) -> Iterator[tuple[Job, Outcome]]:
    """Do jobs in this process, each as soon as those before it are done and no other process is at work on it.

    Args:
        jobs: Each after those before it, of which some may be left out: what they would make is made by who needs it.
        bench: The data, and the store that results go to.
        logs: Folder of logs.

    Yields:
        Each job with what became of it, when it is done.
    """
    outcomes: Outcomes = {}
    waiting = list(jobs)
    while waiting:
        job = waiting.pop(processes.agree(lambda: _next(waiting, outcomes, bench)))
        outcome = unmet(job, outcomes) or attempt(job, bench, logs)
        outcomes[job.name] = processes.agree(lambda: outcome)  # noqa: B023 - called here; all files are written then
        yield job, outcomes[job.name]


def _next(waiting: Sequence[Job], outcomes: Outcomes, bench: Bench) -> int:
    """Place of the first job that can be done now; where others are at work on all of them, the first is waited for."""
    undone = {job.name for job in waiting}
    for place, job in enumerate(waiting):
        ready = undone.isdisjoint(before.name for before in (*job.needs, *job.after))
        if ready and not _at_work(job, outcomes, bench):
            return place
    return 0


def _at_work(job: Job, outcomes: Outcomes, bench: Bench) -> bool:
    """Whether another process is at work on a job."""
    if unmet(job, outcomes):
        return False
    digest = None
    with suppress(NatmuError):  # whoever does the job meets the same, and it is the failure of that job
        digest = job.digest(bench)
    return digest is not None and bench.store.busy(digest)


@contextmanager
def threads(count: int | None) -> Iterator[None]:
    """Let the work inside use this many threads; as many as before if None."""
    before = torch.get_num_threads()
    torch.set_num_threads(count or before)
    try:
        yield
    finally:
        torch.set_num_threads(before)
