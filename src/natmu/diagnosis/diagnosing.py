"""One look at everything."""

from __future__ import annotations

import platform
from collections.abc import Iterator
from pathlib import Path

import torch

from natmu import __version__
from natmu.diagnosis import software, storage, system
from natmu.diagnosis.finding import Diagnosis, Finding, fault
from natmu.diagnosis.importing import import_faults
from natmu.diagnosis.speed import images_per_second, speed_finding
from natmu.engine.compute import Compute
from natmu.errors import NatmuError
from natmu.methods.catalogue import plug_in_catalogue as plug_in_methods
from natmu.records.precision import cache_folder
from natmu.scores.registry import plug_in_catalogue as plug_in_scores


def diagnose(data_dir: Path, out: Path, device: str = "auto", precision: str = "auto") -> Diagnosis:
    """Look at the machine, the installation, the data and the runs.

    Args:
        data_dir: Folder that holds the data sets.
        out: Folder that holds the runs.
        device: ``auto``, ``cpu``, ``cuda`` or ``cuda:N``.
        precision: ``auto``, ``fp32`` or ``bf16``.

    Raises:
        SettingError: The device or the precision is unknown or absent.
    """
    compute = Compute.choose(device, precision)
    facts: dict[str, object] = {
        "device": str(compute.device),
        "precision": compute.precision,
        "threads": torch.get_num_threads(),
        "natmu": __version__,
        "python": platform.python_version(),
        "platform": platform.platform(),
        **{name: software.installed_version(name) for name in software.SHOWN},
    }
    findings = [*_on_system(compute, asked=device != "auto"), *_on_speed(compute, facts), *_on_software()]
    findings.append(storage.cache_finding(cache_folder()))
    findings += storage.data_findings(data_dir)
    findings += storage.store_findings(out)
    return Diagnosis(findings, facts)


def _on_system(compute: Compute, *, asked: bool) -> Iterator[Finding]:
    """Device, precision, threads and memory."""
    yield system.device_finding(
        str(compute.device),
        asked=asked,
        built_for=torch.version.cuda,
        gpus=system.gpu_names(),
        nvidia=system.has_nvidia_gpu(),
    )
    yield Finding("precision", "good", compute.reason)
    cores = system.usable_cores()
    quota = system.core_quota(system.told_by("/sys/fs/cgroup/cpu.max"))
    yield system.threads_finding(torch.get_num_threads(), cores, quota)
    groups = (system.told_by(f"/sys/fs/cgroup/memory.{name}") for name in ("max", "current"))
    yield system.memory_finding(*system.memory_of(system.told_by("/proc/meminfo"), *groups))
    yield from filter(None, (system.shared_memory_finding(system.shared_memory()),))
    yield from filter(None, (system.load_finding(system.current_load(), cores),))


def _on_speed(compute: Compute, facts: dict[str, object]) -> Iterator[Finding]:
    """How fast training is, or why it fails."""
    try:
        rate = images_per_second(compute)
    except NatmuError as error:
        yield fault("speed", error)
    else:
        facts["images_per_second"] = round(rate, 1)
        yield speed_finding(rate)


def _on_software() -> Iterator[Finding]:
    """Versions, extras and plug-ins."""
    yield software.installation_finding(software.installed_version("natmu"))
    yield from software.version_findings(software.requirements(), software.installed_version)
    faults = import_faults([module for extra in software.EXTRAS for module in extra.modules])
    for extra in software.EXTRAS:
        yield software.extra_finding(extra, faults)
    (methods, broken_methods), (scores, broken_scores) = plug_in_methods(), plug_in_scores()
    names = [row["name"] for row in (*methods, *scores)]
    yield from software.plug_in_findings(names, [*broken_methods, *broken_scores])
