"""``natmu requests process`` and ``natmu requests retrain``: what makes another model the deployed one."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from natmu.cli.options import Device, Json, Seed
from natmu.cli.requests.options import Folder, GoOn, LiesAt, command, counted, numbered
from natmu.errors import NatmuError, UsageError
from natmu.terminal import echo

if TYPE_CHECKING:
    from natmu.records.ledger import NotMade, Rejected, Tried
    from natmu.requests import Service
    from natmu.requests.state import State


def process(
    folder: Folder,
    requests: Annotated[
        list[int] | None, typer.Argument(metavar="N", min=1, help="Numbers of requests; all pending ones by default.")
    ] = None,
    everything: Annotated[bool, typer.Option("--all", help="All pending requests, as without numbers.")] = False,
    data: LiesAt = None,
    device: Device = "auto",
    seed: Seed = 0,
    force: GoOn = False,
    as_json: Json = False,
) -> None:
    """Unlearn pending requests, and deploy the result.

    They are unlearned together. The first candidate of the policy that keeps its guardrails is deployed. The same
    command goes on with a process that was interrupted.
    """
    from natmu.cli.output import print_json
    from natmu.progress import say, showing
    from natmu.records.ledger import Released
    from natmu.requests import Service

    if everything and requests:
        raise UsageError("Both --all and numbers of requests are given; give one of them.")
    service = Service.open(folder)
    with showing():
        for line in _intended(service, requests or None):
            say(line)
        outcome = service.process(requests or None, data=data, device=device, seed=seed, force=force)
    if as_json:
        print_json(outcome.plain())
    if not isinstance(outcome, Released):
        raise _refusal(outcome, service, folder)
    if not as_json:
        _print_release(outcome.release, outcome, folder)


def retrain(
    folder: Folder,
    data: LiesAt = None,
    device: Device = "auto",
    seed: Seed = 0,
    force: GoOn = False,
    as_json: Json = False,
) -> None:
    """Retrain without all that anybody asked to forget.

    That model is deployed: the exact answer to all requests.
    """
    from natmu.cli.output import print_json
    from natmu.progress import say, showing
    from natmu.requests import Service

    service = Service.open(folder)
    state = service.state
    with showing():
        if state.requests:
            say(f"retrain without {_samples(state, tuple(state.requests))} of {numbered(state.requests)}")
        outcome = service.retrain(data=data, device=device, seed=seed, force=force)
    if as_json:
        print_json(outcome.plain())
    else:
        _print_release(outcome.release, outcome, folder)


def _intended(service: Service, asked: Sequence[int] | None) -> list[str]:
    """What a process is going to do; nothing where it will be refused."""
    from natmu.requests.batch import references

    state, policy = service.state, service.files.policy
    unfinished = state.unfinished
    requests = tuple(asked or state.pending) if unfinished is None else unfinished.requests
    if not requests or (unfinished is None and not _distinct_and_pending(requests, state)):
        return []
    number = state.processes + 1 if unfinished is None else unfinished.process
    source = state.releases[state.current]
    candidates = ", then ".join(one.method for one in policy.candidates)
    return [
        f"process {number}{'' if unfinished is None else ', which was interrupted'}: {numbered(requests)}, "
        f"{_samples(state, requests)}",
        f"from release {source.release}, which honours {counted(len(source.honours), 'request')}; tries {candidates}; "
        f"compares with {counted(references(state, policy), 'retrained model')}",
    ]


def _distinct_and_pending(requests: Sequence[int], state: State) -> bool:
    return len({*requests}) == len(requests) and {*requests} <= {*state.pending}


def _samples(state: State, requests: Sequence[int]) -> str:
    """How many samples requests name together."""
    named = {digest for number in requests for digest in state.requests[number].entry.samples}
    return counted(len(named), "training sample")


def _print_release(release: int, made: Tried, folder: Path) -> None:
    """Print what is deployed now."""
    from natmu.cli.requests.output import print_measured

    answered = numbered(made.requests) if made.requests else "all requests"
    echo(f"Release {release} is deployed: {made.method} ({made.guarantee}), for {answered}.")
    print_measured(made)
    if made.requests:
        echo(f"Next: {command('evidence', folder, made.requests[0])}")


def _refusal(outcome: Rejected | NotMade, service: Service, folder: Path) -> NatmuError:
    """The end of a process all of whose candidates were refused; why was said of each."""
    from natmu.records.service import POLICY

    return NatmuError(
        f"No candidate was accepted: release {service.state.current} stays deployed, and {numbered(outcome.requests)} "
        f"{'are' if len(outcome.requests) > 1 else 'is'} pending still; add a fallback to {folder / POLICY} or "
        f"change its guardrails, or run {command('retrain', folder)}."
    )
