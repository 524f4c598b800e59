"""Image files that a data set lists, and whether they can be reached: none is left out without a word."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Literal, NoReturn

from natmu.errors import DataError, require_utf8, some

Obstacle = Literal["link", "permission", "gone", "kind"]

_FAULTS: dict[Obstacle, tuple[str, str]] = {
    "link": (
        "lead to files that are not there",
        "get those files (git annex get, dvc pull, or mount the place that they lie in), or take the links away",
    ),
    "permission": ("may not be read", "give yourself the right to read them (chmod), or take them out of the data"),
    "gone": ("are not there", "put them back, or take them out of the data"),
    "kind": ("are no files but folders, named pipes, sockets or devices", "take them out of the data"),
}


def require_reachable(files: Sequence[Path]) -> None:
    """Refuse image files that cannot be read, before the first is opened.

    Args:
        files: The files, or links to them.

    Raises:
        DataError: Some cannot be reached; says how many, the first of them and what to do.
    """
    found: dict[Obstacle, list[Path]] = {}
    for path in files:
        obstacle = _obstacle(path)
        if obstacle is not None:
            found.setdefault(obstacle, []).append(path)
    for obstacle, paths in found.items():
        what, remedy = _FAULTS[obstacle]
        names = some([str(path) for path in paths], 3)
        raise DataError(f"{len(paths):,} of {len(files):,} images {what} ({names}); {remedy}.")


def _obstacle(path: Path) -> Obstacle | None:
    """Why a file cannot be read, if so."""
    try:
        mode = path.stat().st_mode
    except PermissionError:
        return "permission"
    except OSError:
        return "link" if path.is_symlink() else "gone"
    if not stat.S_ISREG(mode):
        return "kind"
    return None if os.access(path, os.R_OK) else "permission"


def walk(folder: Path, *, below: bool = True) -> Iterator[tuple[Path, list[str]]]:
    """A folder and those in it, links followed, in the order of their paths' texts, each with the names of its files.

    Names of links to nothing are among those of files.

    Args:
        folder: The folder.
        below: Whether folders in it count.

    Raises:
        DataError: A folder may not be read, a link that may be one of a folder leads nowhere, or one leads to a folder
            that it lies in, so that there is no end.
    """
    above: dict[str, frozenset[tuple[int, int]]] = {}
    found = []
    for root, _, names in os.walk(folder, followlinks=True, onerror=_refuse):
        facts = Path(root).stat()
        identity, outside = (facts.st_dev, facts.st_ino), above.get(str(Path(root).parent), frozenset())
        if identity in outside:
            raise DataError(f"{root} is a link to a folder that it lies in, so its images have no end; remove it.")
        above[root] = outside | {identity}
        for name in (root, *names):
            require_utf8(name, "The file or folder")
        _refuse_lost([path for name in names if "." not in name and _is_lost(path := Path(root) / name)], root)
        found.append((root, names))
        if not below:
            break
    yield from ((Path(root), names) for root, names in sorted(found))


def folders_in(folder: Path) -> list[Path]:
    """The folders in a folder.

    Raises:
        DataError: It may not be read, or holds links to nothing that may be those of folders.
    """
    try:
        entries = [*os.scandir(folder)]
    except OSError as error:
        _refuse(error)
    links = sorted(Path(entry.path) for entry in entries if entry.is_symlink())
    _refuse_lost([path for path in links if not path.suffix and _is_lost(path)], folder)
    return [Path(entry.path) for entry in entries if entry.is_dir()]


def _is_lost(path: Path) -> bool:
    """Whether a path is a link to nothing."""
    return path.is_symlink() and not path.exists()


def _refuse_lost(links: Sequence[Path], folder: Path | str) -> None:
    """Refuse links to nothing that are not those of files which are no images."""
    if links:
        raise DataError(
            f"{folder} holds {len(links):,} links to folders or files that are not there "
            f"({some([*map(str, sorted(links))], 3)}), which may be folders of images. Get their targets (git annex "
            "get, dvc pull), or remove the links."
        )


def _refuse(error: OSError) -> NoReturn:
    """Say which folder cannot be read."""
    raise DataError(
        f"The folder {error.filename} cannot be read: {error.strerror or error}; give yourself the right to read "
        "it, or move it out of the data."
    ) from None
