"""What changes the deployed model: processing requests, retraining, and going back to an earlier release."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from natmu.engine import processes
from natmu.engine.store import Run, Store
from natmu.errors import UsageError
from natmu.progress import say
from natmu.records.ledger import NotMade, PolicyChanged, ProcessStarted, Rejected, Released, Retrained
from natmu.records.run import PREDICTIONS, WEIGHTS
from natmu.records.service import POLICY
from natmu.requests.batch import NOTHING, batch_of, chosen, references, requested
from natmu.requests.candidates import check_methods, check_noise, check_promises
from natmu.requests.folder import ServiceFolder
from natmu.requests.processing import Processing
from natmu.requests.remaining import open_remaining
from natmu.requests.state import State


def process(
    folder: ServiceFolder, requests: Sequence[int] | None, *, data: str | None, device: str, seed: int, force: bool
) -> Released | Rejected | NotMade:
    """Process pending requests, or go on with a process that was interrupted; see ``Service.process``."""
    _require_one_process()
    with folder.alone():
        state = _under_its_policy(folder)
        unfinished = state.unfinished
        if unfinished is not None and requests is not None and {*requests} != {*unfinished.requests}:
            raise UsageError(
                f"Process {unfinished.process} of {_some(unfinished.requests)} is not finished; run natmu requests "
                "process without numbers to continue it."
            )
        numbers = chosen(requests, state, folder.census) if unfinished is None else unfinished.requests
        drawn = seed if unfinished is None else unfinished.seed
        work = _work(folder, state, numbers, data=data, device=device, seed=drawn, force=force)
        started = unfinished or _started(folder, work, state)
        outcome = work.process(started, references(state, state.policy), _refused(folder, started))
        folder.complete()
        return outcome


def retrain(folder: ServiceFolder, *, data: str | None, device: str, seed: int, force: bool) -> Retrained:
    """Retrain without all that anybody asked to forget, and deploy that model; see ``Service.retrain``."""
    _require_one_process()
    with folder.alone():
        state = _under_its_policy(folder)
        if not state.requests:
            raise UsageError("There is no request yet, so retraining would give the original once more.")
        work = _work(folder, state, state.unanswered, data=data, device=device, seed=seed, force=force)
        outcome = work.retrain(state.deployed.model.run)
        folder.complete()
        return outcome


def _require_one_process() -> None:
    """Refuse several processes of torchrun, which would wait for each other at the lock of the service."""
    if processes.count() > 1:
        raise UsageError("One process works on a service; run natmu requests without torchrun.")


def _under_its_policy(folder: ServiceFolder) -> State:
    """The state, once an edited policy is noted.

    Raises:
        SettingError: The policy is wrong.
    """
    policy = folder.policy
    check_methods(policy)
    check_promises(
        policy,
        folder.record.recipe,
        str(folder.path / POLICY),
        "begin the service anew with --training FILE or --trainer",
    )
    check_noise(policy, folder.verified_run(0).record.lineage, str(folder.path / POLICY))

    def decide(state: State) -> PolicyChanged | None:
        before = state.policy.digest
        return None if policy.digest == before else PolicyChanged(policy=policy, before=before)

    folder.ledger.append(decide)
    return folder.state


def _work(
    folder: ServiceFolder,
    state: State,
    requests: Sequence[int],
    *,
    data: str | None,
    device: str,
    seed: int,
    force: bool,
) -> Processing:
    """The data that is left, with what is to be forgotten of it."""
    folder.verified_run(0, PREDICTIONS)
    source = Run(folder.verified_run(state.current, WEIGHTS, PREDICTIONS).path)
    census, store = folder.census, Store(folder.models)
    whole = batch_of(requests, state, census, NOTHING)
    gone = requested(state, census)
    workspace, changes, lost = open_remaining(
        folder.record, census, folder.key, store, gone, data=data, device=device, force=force
    )
    for line in changes.in_words():
        say(line)
    current = state.releases[state.current]
    batch = replace(whole, lost=lost)
    return Processing(folder.record, folder.ledger, workspace, batch, source, current.honours, state.policy, seed)


def _started(folder: ServiceFolder, work: Processing, state: State) -> ProcessStarted:
    """Note that a process begins, and by which rules."""

    def decide(now: State) -> ProcessStarted:
        return ProcessStarted(
            process=now.processes + 1,
            requests=work.batch.requests,
            source=now.releases[now.current].model,
            forgotten_before=len(work.batch.of(work.honoured)),
            seed=work.seed,
            references=references(state, state.policy),
            policy=state.policy.digest,
        )

    entry = folder.ledger.append(decide)
    assert entry is not None, "something was decided"
    assert isinstance(entry.body, ProcessStarted), "it is what was decided"
    return entry.body


def _refused(folder: ServiceFolder, started: ProcessStarted) -> int:
    """How many candidates of a process were refused so far by the policy that holds: another one begins anew."""
    count = 0
    for entry in folder.ledger.entries():
        body = entry.body
        if isinstance(body, PolicyChanged):
            count = 0
        elif isinstance(body, Rejected | NotMade) and body.process == started.process:
            count += 1
    return count


def _some(numbers: Sequence[int]) -> str:
    """Numbers of requests, as a text."""
    shown = ", ".join(map(str, numbers[:6]))
    return f"request{'' if len(numbers) == 1 else 's'} {shown}{', …' if len(numbers) > 6 else ''}"
