"""Where the trials of a search are kept: Optuna's journal in the study's folder, or a database."""

from __future__ import annotations

import io
import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from filelock import FileLock, Timeout

from natmu.errors import RunError, UsageError, quoted
from natmu.machine import cannot_write
from natmu.progress import say
from natmu.records.files import damaged, write_atomically
from natmu.user_files import read_file

if TYPE_CHECKING:
    from optuna.storages import BaseStorage

FOLDER = ".search"
"""Of a study folder, where its locks are."""

JOURNAL = "search.journal"
"""Of a study folder, the storage unless another is named."""


class Storage:
    """Where the trials of a study are kept.

    Args:
        folder: The study folder.
        url: Of a database; a journal in the folder if None.

    Raises:
        UsageError: The database cannot be opened.
        RunError: The journal is damaged while other workers use it, or cannot be read now.
    """

    def __init__(self, folder: Path, url: str | None) -> None:
        self.locks = folder.resolve() / FOLDER
        self.locks.mkdir(parents=True, exist_ok=True)
        self.lock = FileLock(self.locks / "lock")
        self.kind = "journal" if url is None else url.partition(":")[0].partition("+")[0]
        self.journal = folder.resolve() / JOURNAL if url is None else None
        with self.writing():
            self.optuna = _database(url) if url is not None else self._journal(folder.resolve() / JOURNAL)

    @contextmanager
    def writing(self) -> Iterator[None]:
        """Nobody else reads or writes meanwhile; what could be written in part only is taken back.

        Raises:
            NatmuError: The journal cannot be written.
        """
        with self.lock:
            try:
                yield
            except OSError as error:
                if self.journal is None:
                    raise
                self._mend(self.journal)
                raise cannot_write(self.journal, error) from error

    def _journal(self, path: Path) -> BaseStorage:
        from optuna.storages import JournalStorage
        from optuna.storages.journal import JournalFileBackend

        def opened() -> BaseStorage:
            # Optuna's own locks outlive a worker that is killed; this one has the same two methods and does not.
            return JournalStorage(JournalFileBackend(str(path), lock_obj=cast(Any, self.lock)))

        self._mend(path)
        try:
            return opened()
        except (
            ArithmeticError,
            AssertionError,
            AttributeError,
            LookupError,
            TypeError,
            ValueError,
        ) as error:  # every line can be read, and together they make no sense
            self._keep_beside(path, b"", f"it holds no trials ({quoted(error)})")
            return opened()

    def _mend(self, path: Path) -> None:
        """Cut off a line that a worker was killed in the middle of, and what follows a damaged line.

        Optuna would append the next to the one, and stop at the other. What a worker was killed in the middle of holds
        nothing; of a damaged journal a copy is kept.

        Raises:
            RunError: It is damaged while other workers use it, or cannot be read now.
        """
        try:
            content = read_file(path) if path.exists() else b""
        except OSError as error:
            raise damaged(path, error, "search again") from None
        sound = 0
        for number, line in enumerate(io.BytesIO(content), 1):
            if not line.endswith(b"\n"):
                os.truncate(path, sound)
                return
            if not _is_entry(line):
                self._keep_beside(path, content[:sound], f"its line {number} is none of a journal's")
                return
            sound += len(line)

    def _keep_beside(self, path: Path, sound: bytes, reason: str) -> None:
        """Move a damaged journal aside and go on with what is sound of it, the entries before the damage."""
        if any(_is_held(lock) for lock in self.locks.glob("*.lock") if lock != Path(self.lock.lock_file)):
            raise RunError(
                f"{path} is damaged ({reason}), and other workers use it; stop them and search again, which continues "
                "with the trials before the damage."
            )
        names = (path.with_name(f"{path.name}.damaged-{number}") for number in range(1, 1000))
        aside = next(name for name in names if not name.exists())
        write_atomically(aside, path.read_bytes())
        write_atomically(path, sound)
        say(
            f"warning: {path} is damaged ({reason}), and is kept as {aside}. The search continues with the trials "
            "before the damage. It finds the runs of the other trials when it tries them again."
        )


def _is_entry(line: bytes) -> bool:
    """Whether a line is a mapping in JSON, as every entry of a journal."""
    try:
        return isinstance(json.loads(line), dict)
    except (ValueError, RecursionError):
        return False


def _is_held(path: Path) -> bool:
    """Whether a process holds a file lock."""
    lock = FileLock(path)
    if not is_free(lock):
        return True
    lock.release()
    return False


def _database(url: str) -> BaseStorage:
    from optuna.exceptions import StorageInternalError
    from optuna.storages import RDBStorage
    from sqlalchemy.exc import SQLAlchemyError

    try:
        return RDBStorage(url)
    except (ImportError, SQLAlchemyError, StorageInternalError) as error:
        first = str(error).strip().splitlines()[0].rstrip(".")
        raise UsageError(f"--storage cannot be opened ({first}); give a URL such as sqlite:///search.db.") from None


def is_free(lock: FileLock) -> bool:
    """Take a lock if nobody holds it."""
    try:
        lock.acquire(timeout=0)
    except Timeout:
        return False
    return True
