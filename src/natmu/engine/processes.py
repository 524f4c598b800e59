"""Several processes that train one model together, started by torchrun.

Each takes its share of the rows of every step. Gradients are averaged once per step, after the backward pass and in one
message, so that a loss may call the model as often as it likes and leave parts of it out. All processes hold the same
model at all times; the first alone writes. With a single process every function here does nothing.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from datetime import timedelta
from importlib import import_module
from typing import Any, TypeVar

import torch
from torch import Tensor, distributed, nn
from torch.nn.modules.batchnorm import _BatchNorm

from natmu.errors import NatmuError, SettingError
from natmu.machine import passing

Value = TypeVar("Value")

PATIENCE = timedelta(days=7)
"""How long one process waits for another, which may be waiting for a run that somebody else is computing."""

SHORT_PATIENCE = 60.0
"""Seconds that a process which has failed waits for the others to fail in the same place."""

ROLES = ("RANK", "LOCAL_RANK", "WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT")
"""What torchrun tells each process."""

_joined: ContextVar[bool] = ContextVar("natmu_processes", default=False)


@contextmanager
def group() -> Iterator[None]:
    """Join the processes that torchrun started, over gloo for what is on the CPU and NCCL for what is on a GPU.

    Each process takes the GPU of its local rank, where there are so many. Of processes that fail, the first to do so
    raises its error; the others end, and are silent about what is most often the end of the first. A group that another
    program has made for its own ends is left alone.

    Raises:
        SettingError: torchrun did not start this process.
    """
    missing = [name for name in ROLES if name not in os.environ]
    if missing:
        raise SettingError(f"{', '.join(missing)} not set; start several processes with torchrun, or unset WORLD_SIZE.")
    on_gpu, place = torch.cuda.is_available(), int(os.environ["LOCAL_RANK"])
    if on_gpu and place < torch.cuda.device_count():
        torch.cuda.set_device(place)
    _load_what_would_hold_the_group()
    distributed.init_process_group("cpu:gloo,cuda:nccl" if on_gpu else "gloo", timeout=PATIENCE)
    token = _joined.set(True)
    try:
        yield
    except BaseException:
        if _is_first_to_fail():
            raise
        raise SystemExit(1) from None
    finally:
        _joined.reset(token)
    distributed.destroy_process_group()  # not after an error: the others may be waiting, and torchrun ends them


def _load_what_would_hold_the_group() -> None:
    """Import the functions of PyTorch whose default arguments hold the group that there is when they are imported.

    Optimisers import them. Imported inside the group, they keep its threads alive after its end, and a thread that
    still frees the tensor of the last message while Python shuts down aborts the process: on two cores, 4 runs of 29
    ended so after all their work was done.
    """
    import_module("torch.distributed.nn.functional")


def _is_first_to_fail() -> bool:
    """Whether no other process has failed before this one."""
    try:
        return _counted("failed") == 1
    except RuntimeError:  # torchrun has ended before this process
        return rank() == 0


def _counted(what: str, more: int = 1) -> int:
    """How often processes have said something, this time included; no process has to wait for another to say it."""
    store = distributed.TCPStore(  # type: ignore[attr-defined]
        os.environ["MASTER_ADDR"], int(os.environ["MASTER_PORT"]), timeout=timedelta(seconds=5)
    )
    return int(store.add(f"natmu {what} {os.environ.get('TORCHELASTIC_RESTART_COUNT')}", more))


def fail_alike(what: str) -> bool:
    """Whether all processes fail at the same work, so that all can go on with the next; others are waited for a while.

    One that fails alone cannot go on: the others are in the midst of the work, and would take what it says next for
    its share of that.

    Args:
        what: Names the work.
    """
    if count() == 1:
        return True
    failed, deadline = _counted(f"fail {what}"), time.monotonic() + SHORT_PATIENCE
    while failed < count():
        if time.monotonic() > deadline:
            return False
        time.sleep(0.1)
        failed = _counted(f"fail {what}", 0)
    return True


def count() -> int:
    """Number of processes at work on the same model."""
    return distributed.get_world_size() if _joined.get() else 1


def rank() -> int:
    """Number of this process, from 0."""
    return distributed.get_rank() if _joined.get() else 0


def local_rank() -> int:
    """Number of this process among those on this machine, from 0."""
    return int(os.environ["LOCAL_RANK"]) if _joined.get() else 0


def own_seed() -> list[int]:
    """What sets this process's random numbers apart from those of the first."""
    return [rank()] if rank() else []


def share() -> tuple[int, int]:
    """This process's number and how many there are."""
    return rank(), count()


def writes() -> bool:
    """Whether this process writes files: the first does."""
    return rank() == 0


def agree(decide: Callable[[], Value]) -> Value:
    """What the first process decides, once all have come here.

    Args:
        decide: Gives plain values; the first process alone calls it.

    Raises:
        NatmuError: The first process cannot decide; then no process can.
    """
    if count() == 1:
        return decide()
    box: list[Any] = [None, None]
    if writes():
        try:
            box[0] = decide()
        except NatmuError as error:
            box[1] = error
        except Exception as error:
            box[1] = passing(error)
            if box[1] is None:
                raise
    distributed.broadcast_object_list(box, device=torch.device("cpu"))
    if box[1] is not None:
        raise box[1]
    return box[0]  # type: ignore[no-any-return]


def same_everywhere(tensors: Iterable[Tensor]) -> None:
    """Give every process the values of the first."""
    if count() > 1:
        for tensor in tensors:
            distributed.broadcast(tensor, 0)


def settle(model: nn.Module) -> None:
    """Give every process the means of running statistics in training, and all else that is no weight from the first."""
    if count() > 1:
        norms = [module for module in model.modules() if isinstance(module, _BatchNorm) and module.training]
        same = {id(kept) for norm in norms for kept in (norm.running_mean, norm.running_var)}
        same_everywhere(kept for kept in model.buffers() if id(kept) not in same)
        average([norm.running_mean for norm in norms] + [norm.running_var for norm in norms])


def total(tensor: Tensor) -> Tensor:
    """The sum over processes, in place."""
    if count() > 1:
        distributed.all_reduce(tensor)
    return tensor


def average(tensors: Iterable[Tensor | None]) -> None:
    """Replace floating-point tensors by their means over processes, in one message."""
    if count() == 1:
        return
    found = [tensor for tensor in tensors if tensor is not None and tensor.is_floating_point()]
    if found:
        flat = total(torch.cat([tensor.flatten() for tensor in found])).div_(count())
        for tensor, mean in zip(found, torch.split(flat, [tensor.numel() for tensor in found]), strict=True):
            tensor.copy_(mean.view(tensor.shape))


def average_gradients(weights: Sequence[Tensor]) -> None:
    """Replace gradients by their means over processes, in one message.

    A weight that the loss has not reached in some process counts as 0 there, and keeps no gradient if none has.
    """
    if count() == 1:
        return
    weights = [weight for weight in weights if weight.requires_grad]
    gradients = [torch.zeros_like(weight) if weight.grad is None else weight.grad for weight in weights]
    reached = torch.tensor([float(weight.grad is not None) for weight in weights], device=weights[0].device)
    complete = all(weight.grad is not None for weight in weights)  # then nothing has to be read from the device
    average([*gradients, reached])
    for weight, gradient, any_reached in zip(
        weights, gradients, [1.0] * len(weights) if complete else reached.tolist(), strict=True
    ):
        weight.grad = gradient if any_reached else None


def gathered(rows: Tensor, length: int) -> Tensor:
    """The rows of all processes, one after the other.

    Args:
        rows: This process's part of ``length`` rows that were divided by ``torch.tensor_split``.
        length: Rows in all.
    """
    if count() == 1:
        return rows
    largest = -(-length // count())
    padded = rows.new_zeros(largest, *rows.shape[1:])
    padded[: len(rows)] = rows
    pieces = [torch.empty_like(padded) for _ in range(count())]
    distributed.all_gather(pieces, padded)
    sizes = [length // count() + (number < length % count()) for number in range(count())]
    return torch.cat([piece[:size] for piece, size in zip(pieces, sizes, strict=True)])
