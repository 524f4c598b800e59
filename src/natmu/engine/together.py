"""Several trainings at the same time on the cores of one machine, each in a process with its share of the threads."""

from __future__ import annotations

import copy
import os
import signal
import sys
import threading
import time
import traceback
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from multiprocessing import parent_process, resource_tracker
from multiprocessing.connection import Connection, wait
from multiprocessing.process import BaseProcess
from types import ModuleType
from typing import Any

import torch
from torch import multiprocessing, nn
from torch.utils.flop_counter import FlopCounterMode

from natmu.engine import processes as several
from natmu.engine.compute import Compute
from natmu.engine.memory import keep_freed_memory
from natmu.errors import LostProcessError, NatmuError, SharedMemoryError
from natmu.machine import exit_of, passing
from natmu.models.faults import FAULTS, quoted
from natmu.progress import Advance, Unit, say, shown_on, task

TELL_SECONDS = 0.2
"""Shortest time between two messages from a worker on the progress of one piece of work."""

Work = Callable[..., object]
Arguments = tuple[Any, ...]


FASTER_BELOW = 1e10
"""Floating-point operations of a step's forward pass below which models train faster side by side.

On two cores two processes made 1.3 and 1.6 times as many steps of small_cnn (8e7 operations in fp32, 2e8 in bf16) as
one process with both threads, 1.0 and 1.2 times as many of small_resnet (4e9 in fp32 and bf16), and 0.9 to 1.0 times as
many of ResNet18 and VGG16 (4e10 to 1e11). One batched computation by ``torch.func`` was always slower than training in
turn: benchmarks/results/cpu-engine.md.
"""

WORTH_STARTING = 3000
"""Steps of all models together from which on they repay the start of processes.

Two processes are ready after about 4 s; small_cnn on the digits saves 1.5 ms a step and larger models save more.
"""


def processes_for(
    model: nn.Module, image_shape: tuple[int, int, int], batch_size: int, steps: int, compute: Compute, *, count: int
) -> int:
    """How many of several models of one shape are trained at the same time.

    Small models leave cores idle: threads wait for each other at the end of every operation, and for Python in between.
    Processes with fewer threads each wait less. The answer never depends on a clock, because fewer threads give weights
    that differ in their last bits, and the same seed on the same machine has to give the same ones.

    Args:
        model: Any of them.
        image_shape: Channels, height, width.
        batch_size: Samples per step.
        steps: Steps of each model.
        compute: Device and precision; on CUDA, and where torchrun started this process, the answer is 1.
        count: How many models there are.

    Returns:
        Number of processes for ``run_together``; 1 to train one model after another in this process.
    """
    if compute.device.type != "cpu" or several.count() > 1 or count * steps < WORTH_STARTING:
        return 1
    work = batch_size * _flops(model, image_shape)
    return min(count, torch.get_num_threads()) if work < FASTER_BELOW else 1


def _flops(model: nn.Module, image_shape: tuple[int, int, int]) -> int:
    """Floating-point operations of one image's forward pass, those of matrix products and convolutions."""
    counted = copy.deepcopy(model).eval()
    with torch.no_grad(), FlopCounterMode(display=False) as counter:
        counted(torch.zeros(1, *image_shape))
    return int(counter.get_total_flops())


def run_together(function: Work, arguments: Sequence[Arguments], processes: int, label: str) -> None:
    """Call a function with each of several arguments, shared out among several processes.

    What the function returns is dropped: it leaves its result where it lasts, such as in a store of runs. Each process
    has its share of this one's threads, also where there are fewer calls than processes, so that a result depends on
    ``processes`` and not on what else is left to do.

    Args:
        function: Of a module that can be imported, or a ``functools.partial`` of one with what all calls share. Tensors
            in it are moved to shared memory and not copied.
        arguments: What differs from call to call, as plain values and arrays; they are sent to a process one by one.
        processes: How many at most make calls at the same time.
        label: Name of the work, for progress.

    Raises:
        SharedMemoryError: Shared memory cannot hold the function's tensors.
        LostProcessError: A process was ended from outside.
        Exception: What a call raised. The calls at work are stopped, and those not yet begun are left out.
    """
    with task(label, len(arguments)) as advance:
        _share_out(function, arguments, processes, advance)


def _share_out(function: Work, arguments: Sequence[Arguments], processes: int, advance: Advance) -> None:
    """Give each worker its next call when it is done with the last."""
    threads = max(1, torch.get_num_threads() // processes)
    left = iter(arguments)
    with ExitStack() as stack:
        with _starting():
            workers = [stack.enter_context(_worker(function, threads)) for _ in arguments[:processes]]
        busy = {worker.connection: worker for worker in workers if worker.takes_one_of(left)}
        while busy:
            for connection in wait(list(busy)):
                worker = busy[connection]  # type: ignore[index]  # only connections were waited for
                if worker.has_finished():
                    advance()
                    if not worker.takes_one_of(left):
                        del busy[worker.connection]


@contextmanager
def _starting() -> Iterator[None]:
    """How workers are started: none runs the user's script again, and Ctrl-C reaches this process alone."""
    with _ctrl_c_later(), _ctrl_c_here_alone():
        main, sys.modules["__main__"] = sys.modules["__main__"], ModuleType("__main__")
        try:
            yield
        finally:
            sys.modules["__main__"] = main


@contextmanager
def _ctrl_c_here_alone() -> Iterator[None]:
    """Processes that are started inside hear no Ctrl-C; on Windows they do, and this one ends them all the same."""
    if not hasattr(signal, "pthread_sigmask"):
        yield
        return
    resource_tracker.ensure_running()  # it would let Ctrl-C through again
    mask = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, mask)


@contextmanager
def _ctrl_c_later() -> Iterator[None]:
    """Ctrl-C inside is heard at the end: a worker that gets half of what it needs to start would print a traceback.

    The mask of this thread does not see to it, because the system may hand the signal to any thread of the process.
    """
    if threading.current_thread() is not threading.main_thread():  # which alone hears Ctrl-C
        yield
        return
    pressed: list[int] = []
    handler = signal.signal(signal.SIGINT, lambda number, _: pressed.append(number))
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, handler or signal.SIG_DFL)
        for number in pressed[:1]:
            signal.raise_signal(number)


@contextmanager
def _worker(function: Work, threads: int) -> Iterator[_Worker]:
    """A process that makes calls until it is no longer needed."""
    context = multiprocessing.get_context("spawn")
    ours, theirs = context.Pipe()
    with ours:
        process = context.Process(target=_serve, args=(theirs, function, threads), daemon=True)
        try:
            process.start()
        except RuntimeError as error:
            raise SharedMemoryError(
                f"Processes cannot share the data ({quoted(error)}); give the machine or the container more shared "
                "memory, such as docker run --shm-size=4g."
            ) from None
        theirs.close()  # so that the end of the process is the end of the connection
        worker = _Worker(process, ours)
        try:
            yield worker
        finally:
            worker.end()


class _Worker:
    """A process that makes calls, as seen from the one that wants them made.

    Args:
        process: The process.
        connection: To it.
    """

    def __init__(self, process: BaseProcess, connection: Connection) -> None:
        self.connection = connection
        self._process = process
        self._bars: list[tuple[ExitStack, Advance]] = []

    def takes_one_of(self, left: Iterator[Arguments]) -> bool:
        """Give it the next call; whether there was one left."""
        for arguments in left:
            with self._alive():
                self.connection.send(arguments)
            return True
        return False

    def has_finished(self) -> bool:
        """Hear what it has to say; whether that is the end of its call.

        Raises:
            LostProcessError: It was ended from outside.
            Exception: What the call raised.
        """
        with self._alive():
            subject, *said = self.connection.recv()
        if subject == "failed":
            raise said[0]
        if subject == "say":
            say(said[0])
        elif subject == "begin":
            stack = ExitStack()
            self._bars.append((stack, stack.enter_context(task(*said))))
        elif subject == "advance":
            self._bars[-1][1](said[0])
        elif subject == "end":
            self._bars.pop()[0].close()
        return bool(subject == "finished")

    def end(self) -> None:
        """End it, whatever it is doing: what it leaves unfinished is never taken for finished."""
        for stack, _ in reversed(self._bars):
            stack.close()
        self._process.kill()
        self._process.join()

    @contextmanager
    def _alive(self) -> Iterator[None]:
        """Say in a sentence that the process has gone."""
        try:
            yield
        except (EOFError, OSError):
            self._process.join()
            raise LostProcessError(
                f"A process that trained a model ended without a result (exit status {self._process.exitcode}), most "
                "often because memory ran out. Run the same command again to continue. With the environment variable "
                "OMP_NUM_THREADS=1 it trains one model at a time."
            ) from None


class _Teller:
    """The display of a worker: what would be shown is told to the process that has a screen."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    def say(self, line: str) -> None:
        """Have a line said."""
        self._connection.send(("say", line))

    @contextmanager
    def bar(self, label: str, total: int | None, done: int, unit: Unit) -> Iterator[Advance]:
        """Have a bar shown, and moved by several steps at a time."""
        self._connection.send(("begin", label, total, done, unit))
        told, untold = time.monotonic(), 0

        def advance(steps: int = 1) -> None:
            nonlocal told, untold
            untold += steps
            if time.monotonic() - told > TELL_SECONDS:
                self._connection.send(("advance", untold))
                told, untold = time.monotonic(), 0

        try:
            yield advance
        finally:
            self._connection.send(("end",))


def _serve(connection: Connection, function: Work, threads: int) -> None:
    """What a worker does: make the calls that it is sent, until it is ended or left alone."""
    threading.Thread(target=_end_with_parent, daemon=True).start()
    keep_freed_memory()
    torch.set_num_threads(threads)
    with shown_on(_Teller(connection)), suppress(EOFError):
        while True:
            arguments = connection.recv()
            try:
                function(*arguments)
            except (NatmuError, *FAULTS) as error:
                told = exit_of(error) if isinstance(error, SystemExit) else passing(error) or error
                told.add_note("".join(traceback.format_exception(error)))  # no traceback gets through a connection
                connection.send(("failed", told))
            else:
                connection.send(("finished",))


def _end_with_parent() -> None:
    """End this process when the one that started it has ended, however that was."""
    parent = parent_process()
    assert parent is not None
    parent.join()
    os._exit(1)
