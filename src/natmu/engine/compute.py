"""Where and in which precision the work is done."""

from __future__ import annotations

import platform
import sys
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, field, replace
from importlib.metadata import version
from typing import Literal

import numpy  # noqa: F401 - first, because Ctrl-C is lost while PyTorch imports it
import torch
from torch import nn

from natmu.engine import processes
from natmu.engine.precision import described, fastest, processor_of, reason_for
from natmu.errors import SettingError
from natmu.models.convolution import products_up_to
from natmu.records.lineage import Arithmetic
from natmu.records.precision import NEVER, ProductLimits
from natmu.records.run import Hardware

try:
    import resource
except ImportError:  # Windows
    resource = None  # type: ignore[assignment]


@dataclass(frozen=True)
class Compute:
    """A device and a precision.

    Attributes:
        device: Where tensors live.
        precision: ``fp32``, or ``bf16`` for mixed precision (weights stay fp32).
        sync_batch_norm: With several processes, whether batch normalisation sees the rows of all of them.
        products: On a CPU in bf16, which convolutions are matrix products.
        reason: Why this precision, in one sentence; empty where nothing chose it.
    """

    device: torch.device
    precision: Literal["fp32", "bf16"]
    sync_batch_norm: bool = False
    products: ProductLimits = NEVER
    reason: str = field(default="", compare=False)

    @classmethod
    def choose(cls, device: str = "auto", precision: str = "auto", *, sync_batch_norm: bool = False) -> Compute:
        """Resolve what the user asked for.

        Args:
            device: ``auto`` (CUDA where there is one), ``cpu``, ``cuda`` or ``cuda:N``.
            precision: ``fp32``, ``bf16``, or ``auto``: bf16 on GPUs from Ampere on, and on CPUs that have instructions
                for it and were measured to be faster with them.
            sync_batch_norm: With several processes, whether batch normalisation sees the rows of all of them.

        Raises:
            SettingError: The device or the precision is unknown or absent.
        """
        if device == "auto":
            device = "cuda" if torch.cuda.is_available() else "cpu"
        try:
            chosen = torch.device(device)
        except RuntimeError:
            raise SettingError(f"Device {device!r} is not known; use auto, cpu, cuda or cuda:N.") from None
        if chosen.type not in ("cpu", "cuda") or (chosen.type == "cpu" and chosen.index is not None):
            raise SettingError(f"Device {device!r} is not supported; use auto, cpu, cuda or cuda:N.")
        if chosen.type == "cuda" and (chosen.index or 0) >= torch.cuda.device_count():
            raise SettingError(f"Device {device!r} is not on this machine; use --device cpu.")
        if chosen.type == "cuda" and processes.count() > 1:
            chosen = _own_gpu(chosen)
        if chosen.type == "cpu":
            # Once a number of threads is set, as the measurement does, MKL divides its work in another way. All
            # processes set it, so that last bits do not depend on whether this one measured.
            torch.set_num_threads(torch.get_num_threads())
        reason = f"{precision}, as asked."
        if precision == "auto":
            precision, reason = _automatic(chosen)
        if precision == "bf16":
            return cls(chosen, "bf16", sync_batch_norm, _products(chosen), reason)
        if precision == "fp32":
            return cls(chosen, "fp32", sync_batch_norm, reason=reason)
        raise SettingError(f"Precision {precision!r} is not known; use auto, fp32 or bf16.")

    @property
    def arithmetic(self) -> Arithmetic:
        """What of this changes numbers."""
        if processes.count() == 1:
            return Arithmetic(precision=self.precision)
        return Arithmetic(precision=self.precision, processes=processes.count(), sync_batch_norm=self.sync_batch_norm)

    def at(self, arithmetic: Arithmetic) -> Compute:
        """The same device for another arithmetic."""
        same = replace(self, sync_batch_norm=arithmetic.sync_batch_norm)
        if arithmetic.precision == self.precision:
            return same
        products = _products(self.device) if arithmetic.precision == "bf16" else NEVER
        return replace(same, precision=arithmetic.precision, products=products, reason="")

    def place(self, model: nn.Module) -> nn.Module:
        """Move a model in place to the device, with convolution weights channels last; returns it."""
        return model.to(self.device, memory_format=torch.channels_last)  # type: ignore[no-any-return, call-overload]

    def private_randomness(self) -> AbstractContextManager[object]:
        """A context that leaves the global generators of every device as they were."""
        return torch.random.fork_rng(range(torch.cuda.device_count()) if self.device.type == "cuda" else [])

    @property
    def records(self) -> bool:
        """Whether steps of training are recorded and replayed, which takes learning rates that are tensors."""
        return self.device.type == "cuda" and processes.count() == 1

    def kernels(self) -> AbstractContextManager[object]:
        """The context in which models run: CUDA picks the fastest convolutions in bf16, reproducible ones in fp32."""
        fast = self.precision == "bf16"
        return torch.backends.cudnn.flags(enabled=True, benchmark=fast, deterministic=not fast)

    @contextmanager
    def autocast(self) -> Iterator[None]:
        """The context in which forward passes and losses are computed."""
        if self.precision == "fp32":
            yield
            return
        with products_up_to(self.products), torch.autocast(self.device.type, torch.bfloat16):
            yield


def _own_gpu(asked: torch.device) -> torch.device:
    """The GPU of this one of several processes.

    Raises:
        SettingError: It would not have one to itself.
    """
    place, gpus = processes.local_rank(), torch.cuda.device_count()
    if asked.index is not None:
        raise SettingError(f"Device {str(asked)!r} is one GPU and there are several processes; use --device cuda.")
    if place >= gpus:
        raise SettingError(f"There are more processes than GPUs; start {gpus} on this machine, or use --device cpu.")
    return torch.device("cuda", place)


def _automatic(device: torch.device) -> tuple[str, str]:
    """The precision that ``auto`` means on a device, and why; the same in all of several processes."""
    if device.type == "cuda":
        if torch.cuda.get_device_capability(device) >= (8, 0):
            return "bf16", "bf16, because this GPU multiplies matrices in it."
        return "fp32", "fp32, because this GPU is older than Ampere and has no bf16."

    def decide() -> tuple[str, str]:
        choice = fastest(described())
        return ("fp32" if choice is None else choice.precision), reason_for(choice)

    return processes.agree(decide)


def _products(device: torch.device) -> ProductLimits:
    """Which convolutions in bf16 are matrix products on a device."""
    choice = None if device.type == "cuda" else fastest(described())
    return NEVER if choice is None else choice.products


def hardware(compute: Compute) -> Hardware:
    """What the work runs on, for the record."""
    return Hardware(
        device=str(compute.device),
        precision=compute.precision,
        processor=processor_of(described()).name,
        threads=torch.get_num_threads(),
        processes=processes.count(),
        gpu=torch.cuda.get_device_name(compute.device) if compute.device.type == "cuda" else None,
    )


def versions() -> dict[str, str]:
    """Versions of Python and of the packages that decide the numbers."""
    found = {"python": platform.python_version(), "torch": torch.__version__}
    return found | {name: version(name) for name in ("natmu", "numpy")}


def peak_memory_mb() -> float:
    """Largest resident memory of this process so far, in MiB; 0 on Windows, where it is not known."""
    if resource is None:
        return 0.0
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak / (1024 * 1024 if sys.platform == "darwin" else 1024)
