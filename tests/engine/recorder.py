"""A stand-in for CUDA graphs on a CPU: it records the kernels of a function and launches the same ones again.

As with a graph, a replay runs no Python of the function, reads and writes the tensors of the recording, and fails to
record what waits for a value.
"""

from __future__ import annotations

import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

WAITS = ("_local_scalar_dense", "nonzero", "masked_select", "unique", "is_nonzero", "equal")
"""Operators whose result decides what the host does next, so that it must wait for the device."""


def waits(operator, args):
    """Whether an operator makes the host wait for the device: for a value, or for the size of a result."""
    name = operator._schema.name.removeprefix("aten::")
    masked = name.startswith("index") and any(
        _is_tensor(leaf) and leaf.dtype is torch.bool for leaf in tree_leaves(args[1])
    )
    return masked or any(name.startswith(one) for one in WAITS)


class NoWaiting(TorchDispatchMode):
    """Fails on every operator that waits for the device."""

    def __torch_dispatch__(self, operator, types, args=(), kwargs=None):
        if waits(operator, args):
            raise RuntimeError(f"{operator} waits for the device")
        return operator(*args, **(kwargs or {}))


class _Tape(NoWaiting):
    def __init__(self):
        super().__init__()
        self.calls = []

    def __torch_dispatch__(self, operator, types, args=(), kwargs=None):
        result = super().__torch_dispatch__(operator, types, args, kwargs)
        self.calls.append((operator, args, kwargs or {}, result))
        return result


class TapeRecorder:
    """Records with a tape; recording does the work once, so the first replay does not."""

    def __init__(self):
        self.recorded = 0
        self.replayed = 0

    def warm(self, function):
        return function()

    def record(self, function):
        self.recorded += 1
        with _Tape() as tape:
            value = function()
        fresh = [True]

        def replay():
            if not fresh:
                self.replayed += 1
                _again(tape.calls)
            fresh.clear()
            return value

        return replay


@torch.no_grad()
def _again(calls):
    """Run the kernels once more, each result put where the recording left it."""
    for operator, args, kwargs, result in calls:
        given = {leaf.untyped_storage().data_ptr() for leaf in tree_leaves((args, kwargs)) if _is_tensor(leaf)}
        anew = operator(*args, **kwargs)
        for old, new in zip(tree_leaves(result), tree_leaves(anew), strict=True):
            if _is_tensor(old) and old.untyped_storage().data_ptr() not in given:
                old.copy_(new)


def _is_tensor(leaf):
    return isinstance(leaf, torch.Tensor)
