"""The disk: the cache, the data sets, and the runs. Everything is read, and nothing is written but a trial file."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

import numpy as np

from natmu.data.cifar import load_cifar10, load_cifar100
from natmu.data.downloads import Archive, official_archives
from natmu.data.tiny_imagenet import ARRAY_FILES
from natmu.diagnosis.finding import Finding, fault
from natmu.engine.run_names import WORK
from natmu.errors import NatmuError, RunError, UsageError
from natmu.records.disk import require_writable_folder
from natmu.records.run import RECORD, RunFolder, half_copied

GIB = 2**30

LITTLE_ROOM = GIB
"""Bytes of free disk below which a study is likely to fill it."""

MOST_READ = GIB
"""Bytes of run folders that are read to see whether they are what was written; the newest runs come first."""

FOLDERS = {"cifar10": "cifar10", "cifar100": "cifar100"}
"""Other names of the folders that data sets may lie in."""

PER_CLASS = 500
"""Training images of each class of Tiny-ImageNet."""


def cache_finding(folder: Path | None) -> Finding:
    """Whether what was measured can be kept.

    Args:
        folder: The cache; None where the user has no home.
    """
    remedy = "Set XDG_CACHE_HOME to a folder that can be written, or say --precision."
    if folder is None:
        return Finding("cache", "wrong", "There is no home folder, so every process measures anew.", remedy)
    try:
        require_writable_folder(folder, "The cache")
    except UsageError as error:
        text = str(error).partition(";")[0]
        return Finding("cache", "wrong", f"{text}, so every process measures anew.", remedy)
    return Finding("cache", "good", f"{folder} keeps what was measured on this machine.")


def data_findings(data_dir: Path) -> list[Finding]:
    """Which data sets lie in a folder, and whether they are whole."""
    if data_dir.exists() and not data_dir.is_dir():
        remedy = "Choose another --data-dir; --data digits needs none."
        return [Finding("data", "wrong", f"--data-dir {data_dir} is no folder.", remedy)]
    archives = {name: archive for name, archive in official_archives().items() if name != "cifar20"}
    findings, absent = [], []
    for name, archive in archives.items():
        try:
            found = _data_finding(name, archive, data_dir)
        except OSError as error:
            found = _unreadable(f"data {name}", error, "--data-dir")
        findings += [] if found is None else [found]
        absent += [name] if found is None else []
    if absent:
        text = f"Not in {data_dir}: {', '.join(absent)}."
        remedy = f"To have one: natmu data download NAME --data-dir {data_dir}; --data digits needs none."
        findings.append(Finding("data", "note", text, remedy))
    return findings


def _unreadable(subject: str, error: OSError, option: str) -> Finding:
    """Of what the system does not let natmu look at."""
    text = f"{error.filename} cannot be read ({error.strerror})."
    return Finding(subject, "wrong", text, f"Let it be read, or choose another {option}.")


def _data_finding(name: str, archive: Archive, data_dir: Path) -> Finding | None:
    """What is found of a data set; None where nothing is there."""
    again = f"natmu data download {name} --data-dir {data_dir}"
    usual = data_dir / archive.folder
    places = [usual, *(data_dir / other for key, other in FOLDERS.items() if key == name), data_dir]
    whole = next((place for place in places if _has(place, archive.contents)), None)
    arrays = next((place for place in places if name == "tiny-imagenet" and _has(place, ARRAY_FILES)), None)
    if whole is None and arrays is None:
        if usual.is_dir() and any(usual.iterdir()):
            lacking = ", ".join(file for file in archive.contents if not (usual / file).exists())
            text = f"{usual} is not complete: it lacks {lacking}."
            return Finding(f"data {name}", "wrong", text, f"Move it away, and run {again}.")
        if (data_dir / f"{archive.file}.part").exists():
            return Finding(f"data {name}", "wrong", "Its download was broken off.", f"Run {again}, which goes on.")
        return None
    place = whole or arrays
    assert place is not None
    try:
        reason = _damage(name, place, whole is not None)
    except NatmuError as error:
        reason = str(error).rstrip(".")
    if reason is not None:
        return Finding(f"data {name}", "wrong", f"{reason}.", f"Move {place} away, and run {again}.")
    return Finding(f"data {name}", "good", f"{place} is complete.")


def _has(place: Path, names: tuple[str, ...]) -> bool:
    return all((place / name).exists() for name in names)


def _damage(name: str, place: Path, official: bool) -> str | None:
    """What is wrong with a data set that seems to be there; None if nothing is.

    Raises:
        DataError: A file is damaged.
        OSError: A file cannot be read.
    """
    if name in ("cifar10", "cifar100"):
        readers: dict[str, Callable[[Path], tuple[object, object]]] = {
            "cifar10": load_cifar10,
            "cifar100": load_cifar100,
        }
        sizes = tuple(map(_length, readers[name](place)))
        return None if sizes == (50_000, 10_000) else f"{place} has {sizes[0]} training and {sizes[1]} test images"
    if not official:
        return None if all(_is_array(place / file) for file in ARRAY_FILES) else f"{place} holds a damaged .npy file"
    train = place / "train"
    short = sorted(
        entry.name for entry in os.scandir(train) if entry.is_dir() and _images(Path(entry.path)) != PER_CLASS
    )
    return f"{train / short[0]} has not {PER_CLASS} images" if short else None


def _length(data: object) -> int:
    assert hasattr(data, "__len__"), "image data"
    return len(data)


def _is_array(path: Path) -> bool:
    """Whether an ``.npy`` file is as long as it says."""
    try:
        np.load(path, mmap_mode="r", allow_pickle=False)
    except (OSError, ValueError, EOFError):
        return False
    return True


def _images(folder: Path) -> int:
    """How many images a class folder of the official archive has."""
    place = folder / "images" if (folder / "images").is_dir() else folder
    return sum(name.lower().endswith((".jpeg", ".jpg", ".png")) for name in _names(place))


def _names(folder: Path) -> list[str]:
    return [entry.name for entry in os.scandir(folder)]


def store_findings(root: Path, most: int = MOST_READ) -> list[Finding]:
    """What is wrong with a folder of runs, after a line on what is there.

    Args:
        root: The folder.
        most: Bytes to read at most to see whether files are what was written.
    """
    findings = list(_place_findings(root))
    if not os.path.lexists(root):
        findings.append(Finding("runs", "note", f"{root} is not there yet; the first run makes it."))
    if not root.is_dir():
        return findings
    good, left = 0, most
    for folder in _newest_first(root):
        try:
            left -= _checked(folder, left)
        except NatmuError as error:
            findings.append(fault("runs", error))
        except OSError as error:
            findings.append(_unreadable("runs", error, "--out"))
        else:
            good += (folder / RECORD).is_file()
    unfinished = sum(path.is_dir() for path in (root / WORK).glob("*"))
    if unfinished:
        text = f"{unfinished} under way or broken off in {root / WORK}."
        remedy = "The command that began one continues it; train and unlearn need --resume."
        findings.append(Finding("runs", "note", text, remedy))
    depth = "" if left > 0 else f"; files were read up to {most / GIB:g} GiB, those of the newest first"
    return [Finding("runs", "good", f"{good} complete in {root}{depth}."), *findings]


def _place_findings(root: Path) -> Iterator[Finding]:
    """Whether runs can be written, and how much room is left for them."""
    try:
        require_writable_folder(root)
    except UsageError as error:
        yield fault("runs", error)
    there = next((place for place in (root.absolute(), *root.absolute().parents) if place.is_dir()), None)
    with suppress(OSError):
        free = shutil.disk_usage(there or ".").free
        if free < LITTLE_ROOM:
            text = f"Only {free / GIB:.2f} GiB are free on the disk of {root}."
            yield Finding("disk", "wrong", text, "Make room on that disk, or choose another --out.")


def _newest_first(root: Path) -> list[Path]:
    """The folders that may hold runs."""
    folders = [path for path in root.iterdir() if path.is_dir() and not path.name.startswith(".")]
    return sorted(folders, key=lambda path: (-path.stat().st_mtime, path.name))


def _checked(folder: Path, most: int) -> int:
    """Look at a folder; how many bytes were read of it.

    Raises:
        RunError: It is a run that was damaged, or copied in part.
        OSError: Its files cannot be read.
    """
    if (broken := half_copied(folder)) is not None:
        raise RunError(f"{broken}.")
    if not (folder / RECORD).is_file():
        return 0
    run = RunFolder(folder)
    sizes = {}
    for name in run.record.files:
        if not (folder / name).is_file():
            raise RunError(f"{folder / name} is missing; delete {folder} and compute the run again.")
        sizes[name] = (folder / name).stat().st_size
    if sum(sizes.values()) > most:
        return most
    for name in sizes:
        run.verified(name)
    return sum(sizes.values())
