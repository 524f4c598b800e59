"""Making models on the machines of a Ray cluster, of which one machine is the smallest.

The process that was started holds the list. It hands out each model as soon as its sources are there, and Ray finds a
process for it, somewhere. Results go to the same store as without Ray, so that folder must be one that all machines
see. Images in memory lie in the shared memory of each machine once, whatever the number of processes on it; images that
are mapped from files are mapped by each process.
"""

from __future__ import annotations

import logging
import os
import socket
import sys
import uuid
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, redirect_stdout
from pathlib import Path
from typing import Any

import torch

from natmu.engine import processes
from natmu.engine.compute import Compute
from natmu.errors import NatmuError, SettingError, UsageError
from natmu.lineage.executors.outcomes import Outcome, Outcomes, failure, sentence_of, unmet
from natmu.lineage.executors.ray_worker import Shared, packed, work
from natmu.lineage.graph import in_order, is_ready, sources
from natmu.lineage.workspace import Workspace
from natmu.machine import raise_passing
from natmu.progress import say
from natmu.records.derived import title
from natmu.records.lineage import AnyLineage
from natmu.records.recipe import ExecutorSettings

PATIENCE = 30.0
"""Seconds until one machine must see a file that another has written: on a network file system it does not at once."""

Start = Callable[[AnyLineage, Sequence[Path]], Any]
"""Begins to make a model, given the runs of its sources, and returns Ray's reference to its outcome."""


def driver_compute(
    settings: ExecutorSettings, device: str = "auto", precision: str = "auto", *, sync_batch_norm: bool = False
) -> Compute:
    """What the process that holds the plan works with: its CPU, in the precision of the jobs.

    The precision is part of what a run is named by, so it must not depend on the machine that a job happens to get.
    ``auto`` is therefore settled here, once: bf16 where jobs have GPUs, and what this machine's CPU does best where
    they have none.

    Args:
        settings: What each job gets.
        device: What the user asked for; it must be what ``settings`` say.
        precision: ``auto``, ``fp32`` or ``bf16``.
        sync_batch_norm: As in ``Compute``.

    Raises:
        SettingError: The device is another than the jobs get.
    """
    own = "cuda" if settings.gpus else "cpu"
    if device not in ("auto", own):
        raise SettingError(
            f"Device {device!r} does not fit executor.gpus: {settings.gpus:g}. Leave --device out: with Ray, jobs run "
            "on a GPU if executor.gpus is above 0, and on CPUs if it is 0."
        )
    if precision == "auto" and settings.gpus:
        precision = "bf16"
    return Compute.choose("cpu", precision, sync_batch_norm=sync_batch_norm)


def make_on_ray(
    models: Sequence[AnyLineage], workspace: Workspace, logs: Path, settings: ExecutorSettings
) -> Iterator[tuple[AnyLineage, Outcome]]:
    """Make what is missing of models and of those that they start from, on a Ray cluster.

    Args:
        models: What is wanted.
        workspace: The data, and the store that results go to.
        logs: Folder of logs.
        settings: The cluster, and what each model gets; without a number of CPUs, as many as this process has threads.

    Yields:
        Each model with what became of it, after its sources.

    Raises:
        UsageError: Ray is missing or has no such cluster, no machine has what a model asks for, or one cannot see the
            store.
    """
    if processes.count() > 1:
        raise UsageError("executor: ray starts its own processes; leave out torchrun, or use executor: local.")
    with _connected(settings.address) as own, redirect_stdout(sys.stderr), _token(workspace.store.root) as token:
        # Ray prints what befalls workers to standard output, where nothing but results may go.
        import ray

        cpus = settings.cpus or torch.get_num_threads()
        _require_room(cpus, settings.gpus)
        shared = ray.put(Shared(packed(workspace), logs.absolute(), cpus, settings.gpus > 0, token, PATIENCE))
        task = ray.remote(num_cpus=cpus, num_gpus=settings.gpus, max_retries=0)(work)

        def start(model: AnyLineage, runs: Sequence[Path]) -> Any:  # noqa: ANN401 - references have no type without Ray
            return task.remote(model, runs, [shared])

        yield from _hand_out(in_order(models, workspace.has), start, settings.retries, logs, own=own)


def _hand_out(
    models: Sequence[AnyLineage], start: Start, retries: int, logs: Path, *, own: bool
) -> Iterator[tuple[AnyLineage, Outcome]]:
    """Start each model when its time has come, and wait for all; those under way are ended where this is left early.

    Args:
        models: All models.
        start: Begins to make one.
        retries: How often one is started again whose worker was lost.
        logs: Folder of logs.
        own: Whether the cluster ends with this process.
    """
    import ray

    outcomes: Outcomes = {}
    waiting = {model.digest: model for model in models}
    running: dict[Any, AnyLineage] = {}
    lost: Counter[str] = Counter()
    ended: list[tuple[AnyLineage, Outcome]] = []
    try:
        while waiting or running or ended:
            undone = waiting.keys() | {model.digest for model in running.values()}
            for model in [model for model in waiting.values() if is_ready(model, undone)]:
                del waiting[model.digest]
                failed = unmet(model, outcomes)
                if failed is None:
                    running[start(model, _runs_before(model, outcomes))] = model
                else:
                    outcomes[model.digest] = failed
                    ended.append((model, failed))
            yield from ended  # only now, so that the machines are at work meanwhile
            ended.clear()
            for reference in ray.wait([*running])[0] if running else []:
                model = running.pop(reference)
                outcome = _outcome(reference)
                if not isinstance(outcome, Outcome):
                    times = lost[model.digest] = lost[model.digest] + 1
                    if times <= retries:
                        say(f"{title(model)}: its worker was lost; started again, {times} of {retries} times")
                        running[start(model, _runs_before(model, outcomes))] = model
                        continue
                    outcome = failure(title(model), _lost(times), outcome, logs, key=model.digest)
                outcomes[model.digest] = outcome
                ended.append((model, outcome))
    finally:
        for reference in () if own else running:  # those of our own cluster end with it; Ray may crash on both at once
            ray.cancel(reference, force=True)


def _runs_before(model: AnyLineage, outcomes: Outcomes) -> list[Path]:
    """Folders of the runs of a model's sources."""
    before = [outcomes[source.digest].run for source in sources(model) if source.digest in outcomes]
    return [run.path for run in before if run is not None]


def _lost(times: int) -> str:
    """Why a model failed that took its workers with it."""
    return (
        f"Its worker was lost {times} time{'' if times == 1 else 's'}: it crashed, ran out of memory, or its machine "
        "went away."
    )


def _outcome(reference: Any) -> Outcome | str:  # noqa: ANN401 - references have no type without Ray
    """What became of a model; what Ray says where its worker was lost.

    Raises:
        NatmuError: The worker cannot begin, for a reason that all jobs there would share.
    """
    import ray
    from ray.exceptions import RayError, RayTaskError

    try:
        outcome: Outcome = ray.get(reference)
    except RayTaskError as error:  # of what comes before the model, whose own errors are part of its outcome
        if isinstance(error.cause, NatmuError):
            raise error.cause from None
        raise_passing(error.cause)
        raise UsageError(
            f"A machine of the Ray cluster cannot begin its work ({sentence_of(error.cause)}). Install the same natmu "
            "and PyTorch on all machines, and keep the data where all of them see it."
        ) from error
    except RayError as error:
        return f"{type(error).__name__}: {error}"
    return outcome


@contextmanager
def _connected(address: str | None) -> Iterator[bool]:
    """A cluster: the one that this process is connected to, else one that is found, else one that is started here.

    Raises:
        UsageError: Ray is missing, or does not answer at that address.
    """
    try:
        import ray
    except ImportError:
        raise UsageError("executor: ray needs Ray; install it with pip install 'natmu[ray]'.") from None
    if ray.is_initialized():
        yield False
        return
    _require_answer(address or os.environ.get("RAY_ADDRESS", ""))
    try:
        ray.init(address, include_dashboard=False, log_to_driver=False, logging_level=logging.ERROR)
    except (ConnectionError, RuntimeError, ValueError) as error:
        raise UsageError(
            f"Ray cannot be reached or started ({sentence_of(error)}). Run ray start on this machine to join a "
            "cluster, or ray stop to forget a crashed one. If the cluster has a token, set RAY_AUTH_MODE=token."
        ) from error
    try:
        yield True
    finally:
        ray.shutdown()  # ends what was started here, and leaves alone what was found


def _require_answer(address: str) -> None:
    """Refuse an address where nobody listens, for which Ray itself would wait for minutes.

    Raises:
        UsageError: Nobody does.
    """
    host, colon, port = address.rpartition(":")
    if colon and port.isdecimal():
        try:
            socket.create_connection((host.strip("[]"), int(port)), timeout=10).close()
        except (OSError, OverflowError) as error:
            raise UsageError(
                f"A Ray cluster does not answer at {address} ({error}); start it with ray start, or leave out "
                "executor.address and RAY_ADDRESS to work on this machine alone."
            ) from None


def _require_room(cpus: int, gpus: float) -> None:
    """Refuse jobs that no machine of the cluster can ever run.

    Raises:
        SettingError: No machine has so many CPUs and GPUs.
    """
    import ray

    machines = [node["Resources"] for node in ray.nodes() if node["Alive"]]  # type: ignore[no-untyped-call]
    found = [(int(machine.get("CPU", 0)), machine.get("GPU", 0.0)) for machine in machines]
    if not any(cpus <= has_cpus and gpus <= has_gpus for has_cpus, has_gpus in found):
        have = " or ".join(f"{has_cpus} and {has_gpus:g}" for has_cpus, has_gpus in sorted({*found}))
        raise SettingError(
            f"No machine of the Ray cluster has the {cpus} CPUs and {gpus:g} GPUs that each job gets; they have "
            f"{have}: lower executor.cpus or executor.gpus."
        )


@contextmanager
def _token(root: Path) -> Iterator[Path]:
    """A file in the store, by which another machine knows that it sees the same folder."""
    token = root.absolute() / ".work" / f"ray-{uuid.uuid4().hex}.token"
    token.parent.mkdir(parents=True, exist_ok=True)
    token.touch()
    try:
        yield token
    finally:
        token.unlink(missing_ok=True)
