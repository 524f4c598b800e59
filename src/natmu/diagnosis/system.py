"""The machine: device, threads, memory."""

from __future__ import annotations

import math
import os
import shutil
import sys
from contextlib import suppress
from pathlib import Path

import torch

from natmu.diagnosis.finding import Finding

GIB = 2**30

LITTLE_MEMORY, LITTLE_SHARED = 2 * GIB, GIB // 4
"""Bytes below which training is likely to run out of memory, and processes of memory that they share."""

BUSY = 1.5
"""Programs that want to run, for each core, from which on a machine is called busy."""


def device_finding(device: str, *, asked: bool, built_for: str | None, gpus: tuple[str, ...], nvidia: bool) -> Finding:
    """Where work is done, and why.

    Args:
        device: ``cpu``, ``cuda`` or ``cuda:N``.
        asked: Whether the user named it.
        built_for: Version of CUDA that PyTorch was built for; None where it was built without.
        gpus: Names of the GPUs that PyTorch can use.
        nvidia: Whether an NVIDIA GPU is in the machine, and not hidden from this process.
    """
    reason = "as asked" if asked else "as PyTorch finds a GPU" if gpus else "as there is no NVIDIA GPU"
    if device != "cpu":
        return Finding("device", "good", f"{device}, {reason}: {', '.join(gpus)}.")
    if asked or not nvidia or gpus:
        return Finding("device", "good", f"cpu, {reason}.")
    if built_for is None:
        text = "cpu, although there is an NVIDIA GPU: this PyTorch was built without CUDA."
        return Finding("device", "wrong", text, "Install a build of PyTorch with CUDA, as https://pytorch.org says.")
    text = f"cpu, although there is an NVIDIA GPU: PyTorch, built for CUDA {built_for}, cannot use it."
    return Finding("device", "wrong", text, f"Install an NVIDIA driver that supports CUDA {built_for}.")


def threads_finding(threads: int, cores: int, quota: float | None) -> Finding:
    """How many threads share how many cores.

    Args:
        threads: Threads that PyTorch uses.
        cores: Cores that this process may use.
        quota: How many of them a container lets it use; None where nothing limits it.
    """
    usable = cores if quota is None else min(cores, quota)
    text = f"{_counted(threads, 'thread')} on {_counted(usable, 'core')}"
    if threads <= math.ceil(usable):
        return Finding("threads", "good", f"{text}.")
    remedy = f"Set the environment variable OMP_NUM_THREADS={max(1, math.floor(usable))}."
    return Finding("threads", "wrong", f"{text}: they wait for each other.", remedy)


def _counted(number: float, what: str) -> str:
    return f"{number:g} {what}{'' if number == 1 else 's'}"


def load_finding(load: float | None, cores: int) -> Finding | None:
    """Whether other programs keep the machine busy; None where they do not.

    Args:
        load: Programs that wanted to run during the last minute; None where the system does not tell.
        cores: Cores that this process may use.
    """
    if load is None or load <= BUSY * cores:
        return None
    text = f"Other programs are at work (load {load:.1f} on {_counted(cores, 'core')}): expect less than full speed."
    return Finding("load", "note", text, "End them for a measurement of time.")


def memory_finding(total: int | None, available: int | None) -> Finding:
    """How much memory there is.

    Args:
        total: Bytes that this process may use at most; None where the system does not tell.
        available: Bytes that nobody uses now; None likewise.
    """
    if total is None or available is None:
        return Finding("memory", "note", "How much memory is free is not known on this system.")
    text = f"{available / GIB:.1f} GiB of {total / GIB:.1f} GiB are free."
    if available >= LITTLE_MEMORY:
        return Finding("memory", "good", text)
    return Finding("memory", "wrong", f"Only {text}", "End other programs, or train with a smaller --batch-size.")


def shared_memory_finding(size: int | None) -> Finding | None:
    """Whether processes that train side by side can share the data; None where they can.

    Args:
        size: Bytes of shared memory; None where nothing limits it.
    """
    if size is None or size >= LITTLE_SHARED:
        return None
    text = f"Processes can share only {size / 2**20:.0f} MiB, so those that train side by side may fail."
    return Finding("shared memory", "wrong", text, "Give the container more, such as docker run --shm-size=4g.")


def has_nvidia_gpu() -> bool:
    """Whether an NVIDIA GPU is in the machine, and not hidden by ``CUDA_VISIBLE_DEVICES``."""
    if os.environ.get("CUDA_VISIBLE_DEVICES", "0").strip() in ("", "-1"):
        return False
    on_linux = sys.platform.startswith("linux")
    return Path("/dev/nvidia0").exists() if on_linux else shutil.which("nvidia-smi") is not None


def gpu_names() -> tuple[str, ...]:
    """Names of the GPUs that PyTorch can use."""
    return tuple(torch.cuda.get_device_name(number) for number in range(torch.cuda.device_count()))


def usable_cores() -> int:
    """Cores that this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def current_load() -> float | None:
    """Programs that wanted to run during the last minute; None where the system does not tell."""
    return os.getloadavg()[0] if hasattr(os, "getloadavg") else None


def core_quota(cpu_max: str) -> float | None:
    """How many cores a container may use.

    Args:
        cpu_max: Content of ``/sys/fs/cgroup/cpu.max``; empty where there is none.

    >>> core_quota("150000 100000"), core_quota("max 100000"), core_quota("")
    (1.5, None, None)
    """
    quota, _, period = cpu_max.strip().partition(" ")
    return int(quota) / int(period) if quota.isdecimal() and period.isdecimal() and int(period) else None


def memory_of(meminfo: str, limit: str = "", used: str = "") -> tuple[int | None, int | None]:
    r"""Bytes of memory in all, and bytes that are free.

    Args:
        meminfo: Content of ``/proc/meminfo``; empty where there is none.
        limit: Content of ``/sys/fs/cgroup/memory.max``, likewise.
        used: Content of ``/sys/fs/cgroup/memory.current``, likewise.

    >>> memory_of("MemTotal: 8 kB\nMemAvailable: 4 kB", "6144", "5120")
    (6144, 1024)
    """
    pairs = (line.split() for line in meminfo.splitlines())
    sizes = {pair[0].rstrip(":"): 1024 * int(pair[1]) for pair in pairs if len(pair) > 1 and pair[1].isdecimal()}
    total, available = sizes.get("MemTotal"), sizes.get("MemAvailable")
    if total is None or available is None or not limit.strip().isdecimal():
        return total, available
    most, taken = int(limit), int(used) if used.strip().isdecimal() else 0
    return min(total, most), max(0, min(available, most - taken))


def told_by(path: str) -> str:
    """What the system says in a file; nothing where there is none."""
    with suppress(OSError):
        return Path(path).read_text(encoding="utf-8", errors="replace")
    return ""


def shared_memory() -> int | None:
    """Bytes that processes can share; None where nothing limits it."""
    with suppress(OSError):
        return shutil.disk_usage("/dev/shm").total if sys.platform.startswith("linux") else None
    return None
