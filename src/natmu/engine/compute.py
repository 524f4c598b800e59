"""Where and in which precision the work is done."""

from __future__ import annotations

import platform
import resource
import sys
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, replace
from importlib.metadata import version
from pathlib import Path
from typing import Literal

import numpy  # noqa: F401 - first, because Ctrl-C is lost while PyTorch imports it
import torch
from torch import nn

from natmu.engine import processes
from natmu.errors import SettingError
from natmu.records.lineage import Arithmetic
from natmu.records.run import Hardware


@dataclass(frozen=True)
class Compute:
    """A device and a precision.

    Attributes:
        device: Where tensors live.
        precision: ``fp32``, or ``bf16`` for mixed precision (weights stay fp32).
        sync_batch_norm: With several processes, whether batch normalisation sees the rows of all of them.
    """

    device: torch.device
    precision: Literal["fp32", "bf16"]
    sync_batch_norm: bool = False

    @classmethod
    def choose(cls, device: str = "auto", precision: str = "auto", *, sync_batch_norm: bool = False) -> Compute:
        """Resolve what the user asked for.

        Args:
            device: ``auto`` (CUDA where there is one), ``cpu``, ``cuda`` or ``cuda:N``.
            precision: ``auto`` (bf16 where the hardware has it in matrix units), ``fp32`` or ``bf16``.
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
        if precision == "auto":
            precision = "bf16" if _has_matrix_bf16(chosen) else "fp32"
        if precision == "bf16":
            return cls(chosen, "bf16", sync_batch_norm)
        if precision == "fp32":
            return cls(chosen, "fp32", sync_batch_norm)
        raise SettingError(f"Precision {precision!r} is not known; use auto, fp32 or bf16.")

    @property
    def arithmetic(self) -> Arithmetic:
        """What of this changes numbers."""
        if processes.count() == 1:
            return Arithmetic(precision=self.precision)
        return Arithmetic(precision=self.precision, processes=processes.count(), sync_batch_norm=self.sync_batch_norm)

    def at(self, arithmetic: Arithmetic) -> Compute:
        """The same device for another arithmetic."""
        return replace(self, precision=arithmetic.precision, sync_batch_norm=arithmetic.sync_batch_norm)

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

    def autocast(self) -> AbstractContextManager[object]:
        """The context in which forward passes and losses are computed."""
        if self.precision == "fp32":
            return nullcontext()
        return torch.autocast(self.device.type, torch.bfloat16)


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


def _has_matrix_bf16(device: torch.device) -> bool:
    """Whether bf16 products run in matrix units: CUDA from Ampere on, CPUs with AMX."""
    if device.type == "cuda":
        return torch.cuda.get_device_capability(device) >= (8, 0)
    cpuinfo = Path("/proc/cpuinfo")
    return cpuinfo.exists() and "amx_bf16" in cpuinfo.read_text(errors="replace")


def hardware(compute: Compute) -> Hardware:
    """What the work runs on, for the record."""
    processor = platform.processor() or platform.machine()
    cpuinfo = Path("/proc/cpuinfo")
    if cpuinfo.exists():
        for line in cpuinfo.read_text(errors="replace").splitlines():
            if line.startswith("model name"):
                processor = line.split(":", 1)[1].strip()
                break
    return Hardware(
        device=str(compute.device),
        precision=compute.precision,
        processor=processor,
        threads=torch.get_num_threads(),
        processes=processes.count(),
        gpu=torch.cuda.get_device_name(compute.device) if compute.device.type == "cuda" else None,
    )


def versions() -> dict[str, str]:
    """Versions of Python and of the packages that decide the numbers."""
    found = {"python": platform.python_version(), "torch": torch.__version__}
    return found | {name: version(name) for name in ("natmu", "numpy")}


def peak_memory_mb() -> float:
    """Largest resident memory of this process so far, in MiB."""
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak / (1024 * 1024 if sys.platform == "darwin" else 1024)
