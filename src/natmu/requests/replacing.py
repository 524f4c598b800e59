"""A folder of a service that is replaced as a whole."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from filelock import FileLock

from natmu.machine import cannot_write
from natmu.records.disk import sync, sync_tree


@contextmanager
def replacing(target: Path, service: Path) -> Iterator[Path]:
    """A folder to fill, which becomes ``target`` when it is complete; what was there before is gone then.

    Unfinished folders lie in the service itself, where nobody takes them for complete ones.

    Args:
        target: The folder, in a folder of the service.
        service: The folder of the service.

    Raises:
        NatmuError: Something cannot be written; a ``ResourceError`` where no room is left.
    """
    home = target.parent
    new, old = (service / f".{home.name}-{target.name}.{end}" for end in ("new", "old"))
    try:
        with FileLock(service / f".{home.name}.lock"):
            home.mkdir(exist_ok=True)
            _clear(service, home)
            new.mkdir()
            try:
                yield new
                sync_tree(new)
                if target.exists():
                    target.rename(old)
                new.rename(target)
                sync(home)
            finally:
                if old.exists() and not target.exists():
                    old.rename(target)
                shutil.rmtree(new, ignore_errors=True)
            shutil.rmtree(old, ignore_errors=True)
    except OSError as error:
        raise cannot_write(target, error) from error


def clear_unfinished(home: Path, service: Path) -> None:
    """Remove what killed writers left of folders in ``home``, which may hold what must not stay.

    Args:
        home: A folder of the service.
        service: The folder of the service.
    """
    with FileLock(service / f".{home.name}.lock"):
        _clear(service, home)


def _clear(service: Path, home: Path) -> None:
    """Remove what killed writers left; a folder that one had moved away and not replaced comes back."""
    for left in service.glob(f".{home.name}-*.old"):
        before = home / left.stem.removeprefix(f".{home.name}-")
        if before.exists():
            shutil.rmtree(left)
        else:
            left.rename(before)
    for left in service.glob(f".{home.name}-*.new"):
        shutil.rmtree(left)
