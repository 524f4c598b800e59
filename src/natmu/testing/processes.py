"""What every method owes under several processes, and a pair of them to see it with.

The pair is started when it is first needed, over gloo on this machine, and serves all methods of a test process, since
starting it takes some seconds.
"""

from __future__ import annotations

import atexit
import copy
import multiprocessing
import os
import pickle
import socket
import sys
import time
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, replace
from multiprocessing.connection import Connection, wait
from multiprocessing.process import BaseProcess
from types import ModuleType
from typing import Any

import torch
from torch import Tensor, nn

from natmu.engine import processes
from natmu.errors import NatmuError, UsageError
from natmu.methods.base import Method
from natmu.methods.problem import Problem
from natmu.models.faults import FAULTS
from natmu.testing.contract import outcome_of
from natmu.testing.exact_problems import equipped
from natmu.testing.problems import problem_for, same_state, state_of, usual
from natmu.testing.row import Row
from natmu.types import Scenario

DISTURBANCE = 1e-6
"""A relative change of the original's weights of the size of what rounding does in a few steps of fp32."""

ROUNDING = 1e-4
"""How far two processes may end from one process in any case, as a part of how far unlearning moves the weights.

Sums over the rows of a step are made in another order, which changes a gradient by about 1e-7 of itself, and adaptive
optimisers make more of it. Gradients that are not averaged or a wrong share of the rows make a tenth of the way and
more.
"""

SENSITIVITY = 5
"""How many times as far as one process ends from itself with a disturbed original.

Some methods enlarge any rounding: of ours ``natmu`` to a thousandth of the way and ``unsir`` to three hundredths.
"""

OWN_DRAWS = 0.5
"""The same part of the way for methods of which each process draws random numbers for its own rows."""

START_S = 120.0
"""Seconds that two processes may take to start on a busy machine."""


def gives_the_model_of_one_process_in_two(row: Row) -> None:
    """Two processes end with the same weights to the bit, and these are those of one process up to rounding.

    A row that says ``one_process`` must be refused by both with a UsageError instead.
    """
    scenario = usual(row.method)
    one = outcome_of(row, scenario)
    order = Order(row.method, dict(row.settings), scenario, one.problem.model)
    first, second = _answers(row, order)
    if row.one_process:
        assert isinstance(first, UsageError), f"{row.name} says {row.one_process!r}, and two processes are not refused"
        assert isinstance(second, UsageError), f"{row.name} is refused in the first of two processes only"
        return
    for number, answer in enumerate((first, second)):
        assert not isinstance(answer, BaseException), f"{row.name} fails in process {number} of two: {answer!r}"
    assert same_state(first, second), (
        f"{row.name} ends with other weights in the second of two processes: {_unlike(first, second)}. Let "
        "processes.share() divide the rows of each step, and let the first process decide what all must do alike"
    )
    alone, before = state_of(one.model), state_of(one.problem.model)
    way, apart = _distance(alone, before), _distance(first, alone)
    allowed = OWN_DRAWS * way if row.own_draws else max(ROUNDING * way, SENSITIVITY * _sensitivity(row, one.problem))
    assert apart <= allowed + DISTURBANCE * _length(before), (
        f"{row.name} ends with other weights in two processes than in one: they are {apart / max(way, 1e-30):.2g} of "
        f"the way apart that unlearning moves them, and rounding explains {allowed / max(way, 1e-30):.2g}"
    )


def _sensitivity(row: Row, problem: Problem) -> float:
    """How far apart the weights end if those of the original change in their last bits, all in one process."""
    model, generator = copy.deepcopy(problem.model), torch.Generator().manual_seed(0)
    with torch.no_grad():
        for weight in model.parameters():
            weight.mul_(1 + DISTURBANCE * torch.randn(weight.shape, generator=generator))
    scenario = usual(row.method)
    other = row.build()(equipped(row.method, problem_for(scenario, model=model))).model
    return _distance(state_of(other), state_of(outcome_of(row, scenario).model))


def _unlike(first: Mapping[str, Tensor], second: Mapping[str, Tensor]) -> list[str]:
    return [name for name in first if not torch.equal(first[name], second[name])]


def _distance(first: Mapping[str, Tensor], second: Mapping[str, Tensor]) -> float:
    return _length({name: value.double() - second[name].double() for name, value in first.items()})


def _length(state: Mapping[str, Tensor]) -> float:
    return float(torch.cat([value.double().flatten() for value in state.values()]).norm())


@dataclass(frozen=True)
class Order:
    """What two processes are asked to do.

    Attributes:
        method: Of a module that can be imported.
        settings: Of the method.
        scenario: Which problem of the suite.
        original: The trained model.
    """

    method: type[Method]
    settings: dict[str, Any]
    scenario: Scenario
    original: nn.Module

    def obey(self) -> dict[str, Tensor]:
        """The weights that this process ends with; batch normalisation sees the rows of both."""
        problem = problem_for(self.scenario, model=self.original)
        problem = equipped(self.method, replace(problem, compute=replace(problem.compute, sync_batch_norm=True)))
        return state_of(self.method(**self.settings)(problem).model)


Answer = Any
"""A state, or the error that a process ended with."""

_pairs: list[Pair] = []


def _answers(row: Row, order: Order) -> list[Answer]:
    """What both processes end with.

    Raises:
        AssertionError: They do not come to an end together, or the method cannot be sent to them.
    """
    try:
        message = pickle.dumps((sys.path, pickle.dumps(order)))
    except (pickle.PicklingError, AttributeError, TypeError) as error:
        raise AssertionError(
            f"{row.name} cannot be sent to other processes ({error}); define its class at the top of a module."
        ) from None
    if not _pairs:
        _pairs.append(Pair())
    try:
        return _pairs[0].answers(message, row.seconds)
    except (TimeoutError, EOFError, ConnectionError) as error:
        _pairs.pop().end()
        raise AssertionError(f"{row.name} does not come to an end in both of two processes: {error}") from None


class Pair:
    """Two processes that train together, until this one ends."""

    def __init__(self) -> None:
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            port = free.getsockname()[1]
        context = multiprocessing.get_context("spawn")
        main, sys.modules["__main__"] = sys.modules["__main__"], ModuleType("__main__")  # no script runs again
        self.members: list[tuple[BaseProcess, Connection]] = []
        try:
            for rank in range(2):
                ours, theirs = context.Pipe()
                process = context.Process(target=_serve, args=(theirs, rank, port), daemon=True)
                process.start()
                theirs.close()
                self.members.append((process, ours))
        finally:
            sys.modules["__main__"] = main
        atexit.register(self.end)
        self._hear(START_S)

    def answers(self, message: bytes, seconds: float) -> list[Answer]:
        """What both answer to an order.

        Raises:
            TimeoutError: One of them does not answer in this time.
            EOFError: One of them has ended.
        """
        for _, connection in self.members:
            connection.send_bytes(message)
        return self._hear(seconds)

    def _hear(self, seconds: float) -> list[Answer]:
        deadline = time.monotonic() + seconds
        heard: dict[int, Answer] = {}
        while len(heard) < len(self.members):
            open_ones = {pair[1]: rank for rank, pair in enumerate(self.members) if rank not in heard}
            ready = wait(list(open_ones), max(0.0, deadline - time.monotonic()))
            if not ready:
                errors = [repr(answer) for answer in heard.values() if isinstance(answer, BaseException)]
                raise TimeoutError("; ".join([f"no answer after {seconds:g} seconds", *errors]))
            for connection in ready:
                rank = open_ones[connection]  # type: ignore[index]  # only connections were waited for
                heard[rank] = pickle.loads(self.members[rank][1].recv_bytes())
        return [heard[rank] for rank in range(len(self.members))]

    def end(self) -> None:
        """End both, whatever they are doing."""
        atexit.unregister(self.end)
        for process, connection in self.members:
            process.kill()
            process.join()
            connection.close()


def _serve(connection: Connection, rank: int, port: int) -> None:
    """What each of the two does: join the other, and carry out orders until there are no more."""
    roles = {"RANK": rank, "LOCAL_RANK": rank, "WORLD_SIZE": 2, "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port}
    os.environ |= {name: str(value) for name, value in roles.items()}
    os.environ.setdefault("GLOO_SOCKET_IFNAME", "lo" if sys.platform == "linux" else "lo0")
    torch.set_num_threads(1)
    with processes.group(), suppress(EOFError):
        connection.send_bytes(pickle.dumps(None))
        while True:
            path, order = pickle.loads(connection.recv_bytes())
            sys.path[:] = path
            try:
                answer = pickle.loads(order).obey()
            except (NatmuError, *FAULTS) as error:
                answer = error
            connection.send_bytes(pickle.dumps(answer))
