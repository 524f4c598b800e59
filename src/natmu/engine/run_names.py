"""Runs whose folders have names of their own, found by their digests without reading each record each time."""

from __future__ import annotations

import os
import time
from contextlib import suppress
from functools import lru_cache
from pathlib import Path
from typing import ClassVar, Literal

from natmu.errors import NatmuError, RunError
from natmu.machine import raise_passing
from natmu.progress import say
from natmu.records.digests import Digest
from natmu.records.files import File
from natmu.records.run import DIGEST, RECORD, RunFolder

WORK, NAMES = ".work", "names.json"
"""Of a store, the folder of what is unfinished, and the file in it that says which run a name stands for."""

_WORTH_NOTING = 8
"""Records that one look-up reads before it notes what it found: a few are read as fast as they are noted."""

_STEP = 3_000_000_000
"""Nanoseconds that are longer than any file system's step of time."""

Facts = tuple[int, int, int, int]
"""Of a record or a folder: its times of modification and change in nanoseconds, its size, its inode."""


class RunNames(File):
    """Which run each folder of a store holds that is not called by a digest (``.work/names.json``).

    It saves time alone: what it says of a folder counts as long as the facts of the record there are the same.

    Attributes:
        runs: By name of the folder, the facts of its record and the digest of its run.
    """

    remedy: ClassVar[str] = "delete it, and it is made again"

    format: Literal[1] = 1
    runs: dict[str, tuple[Facts, Digest]]


def find_named(root: Path, digest: str) -> Path | None:
    """The folder with a name of its own that holds a run, the first by its name; None where there is none.

    Every look-up looks at the facts of each such record, and lists the store unless nothing came or went since it was
    listed, so nothing that was copied, renamed, replaced or deleted meanwhile is missed.

    Args:
        root: The store.
        digest: Of the run.
    """
    names = _names(root)
    noted, read = _noted(root), dict[str, tuple[Facts, str]]()
    found = None
    for name in names:
        place = f"{root}/{name}/{RECORD}"
        facts = _facts(place)
        if facts is None:
            if _is_taken(place):
                _say_unused(f"{place} cannot be read: it is a link that leads to no file, or access is denied.")
            continue
        known = noted.get(name)
        if known is None or known[0] != facts:
            try:
                known = read[name] = facts, _digest_in(root / name, *facts)
            except RunError as error:
                raise_passing(error)
                _say_unused(str(error))
                continue  # a damaged run does not stop what may have nothing to do with it
        if known[1] == digest:
            found = root / name
            break
    if len(read) > _WORTH_NOTING:
        there = set(names)
        _note(root, {name: known for name, known in noted.items() if name in there} | read)
    return found


def _names(root: Path) -> tuple[str, ...]:
    """The folders of a store that are not called by digests, sorted; none where there is no store yet.

    The times of a folder change whenever a name comes, goes or is given anew, in steps as coarse as two seconds. So
    what was listed counts as long as they are the same, if they were older than that.
    """
    facts = _facts(str(root))
    if facts is None:
        return ()
    if time.time_ns() - max(facts[:2]) < _STEP:
        return _list(root)
    return _listed(root, *facts)


def _list(root: Path) -> tuple[str, ...]:
    try:
        entries = os.listdir(root)  # noqa: PTH208 - ten thousand names, of which few become paths
    except OSError as error:
        raise_passing(error)
        return ()
    return tuple(sorted(name for name in entries if not (name.startswith(".") or DIGEST.fullmatch(name))))


@lru_cache(maxsize=8)
def _listed(root: Path, *_: int) -> tuple[str, ...]:
    return _list(root)


def _facts(path: str) -> Facts | None:
    """What changes whenever a file or a folder does; None where there is none, or none that can be looked at."""
    try:
        facts = os.stat(path)  # noqa: PTH116 - likewise
    except OSError:
        return None
    return facts.st_mtime_ns, facts.st_ctime_ns, facts.st_size, facts.st_ino


def _is_taken(path: str) -> bool:
    """Whether something stands at a place that cannot be looked at, such as a link that leads nowhere."""
    try:
        os.lstat(path)
    except (FileNotFoundError, NotADirectoryError):
        return False
    except OSError as error:
        raise_passing(error)
    return True


@lru_cache(maxsize=1024)
def _say_unused(fault: str) -> None:
    """Say of a damaged run, once, that it is passed over: it may be the one that is looked for."""
    say(f"{fault} It is not used.")


@lru_cache(maxsize=16384)
def _digest_in(folder: Path, *_: int) -> str:
    """The digest of the run in a folder, read once as long as its record is not changed."""
    return RunFolder(folder).record.digest


def _noted(root: Path) -> dict[str, tuple[Facts, str]]:
    """What was noted of a store; nothing where that is missing or damaged, which costs time alone."""
    facts = _facts(f"{root}/{WORK}/{NAMES}")
    return {} if facts is None else _read(root, *facts)


@lru_cache(maxsize=8)
def _read(root: Path, *_: int) -> dict[str, tuple[Facts, str]]:
    try:
        return dict(RunNames.read(root / WORK / NAMES).runs)
    except RunError:
        return {}


def _note(root: Path, runs: dict[str, tuple[Facts, str]]) -> None:
    """Note what was found, where a folder for it is there and can be written."""
    if (root / WORK).is_dir():
        with suppress(NatmuError):  # no room, or no permission
            RunNames(runs=runs).write(root / WORK / NAMES)
