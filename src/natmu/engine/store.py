"""The store of runs: folders named by the digest of their lineage, complete or absent, never computed twice."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext, suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from filelock import FileLock, Timeout
from torch import Tensor

from natmu.engine import processes
from natmu.engine.checkpoint import Checkpoint, read_weights
from natmu.engine.run_names import WORK, find_named
from natmu.engine.workplace import Workplace
from natmu.errors import RunError, UsageError
from natmu.machine import raise_passing, room_in
from natmu.progress import say
from natmu.records.disk import OTHER_OUT, is_read_only, make_folder, partial_of, publish, require_writable_folder, sweep
from natmu.records.files import is_there
from natmu.records.lineage import AnyLineage
from natmu.records.run import DIGEST, RECORD, WEIGHTS, RunFolder, half_copied


@dataclass(frozen=True)
class Run(RunFolder):
    """A complete run folder, with its weights."""

    def weights(self) -> dict[str, Tensor]:
        """Parameters and buffers of the run's model.

        Raises:
            RunError: They cannot be read, or belong to another run.
        """
        return read_weights(self.verified(WEIGHTS))


class Store:
    """All runs below one folder.

    Args:
        root: The folder; made when the first run is computed.
        checkpoint_seconds: Shortest time between two checkpoints of an unfinished run.
    """

    def __init__(self, root: Path, checkpoint_seconds: float = 20.0) -> None:
        self.root = root
        self.checkpoint_seconds = checkpoint_seconds

    def find(self, digest: str) -> Run | None:
        """The complete run of this digest, whatever its folder is called.

        Raises:
            RunError: Its record cannot be looked at now.
        """
        if is_there(self.root / digest / RECORD):
            return Run(self.root / digest)
        named = find_named(self.root, digest)
        return None if named is None else Run(named)

    def all(self) -> list[Run]:
        """Every run that can be read, by the name of its folder."""
        runs = []
        for path in sorted(self.root.glob(f"*/{RECORD}")):
            run = Run(path.parent)
            try:
                runs += [run] if run.record else []
            except RunError as error:  # a damaged run is nobody's
                raise_passing(error)
        return runs

    def busy(self, digest: str) -> bool:
        """Whether a process, this one included, is computing the run of this digest."""
        lock = self.root / WORK / f"{digest}.lock"
        if not lock.exists():
            return False
        try:
            with FileLock(lock, blocking=False):
                return False
        except Timeout:
            return True
        except OSError as error:
            raise_passing(error)
            return False  # a store that may only be read

    def obtain(
        self,
        lineage: AnyLineage,
        compute: Callable[[Workplace], None],
        *,
        name: str | None = None,
        resume: bool = True,
    ) -> Run:
        """The run of a lineage: found if it is there, else computed by exactly one process.

        Args:
            lineage: Everything that determines the result.
            compute: Fills a workplace and calls its ``finish``.
            name: Folder name; the digest if None.
            resume: Whether to continue an unfinished computation of the same lineage.

        Raises:
            UsageError: ``name`` is taken by another run, or the run is missing and nothing can be written.
        """
        digest = lineage.digest
        work = self.root / WORK / digest
        found = processes.agree(lambda: self._known(name, digest))
        if found is None:
            processes.agree(lambda: self._require_writable(name, f"the run is not there yet, so {OTHER_OUT}"))
        if found is None or processes.agree(lambda: self._is_left(work)):
            with _locked(work) if processes.writes() else nullcontext():
                found = processes.agree(lambda: self.find(digest))
                found = found or self._compute(lineage, work, compute, name, resume)
                processes.agree(lambda: shutil.rmtree(work, ignore_errors=True))
        if name is None or found.path.name == name:
            return found
        return processes.agree(partial(self._copy, found, name))

    def adopt(self, run: Run) -> Run:
        """A run of another folder as one of this store: the one that is there already, or a copy."""
        return processes.agree(lambda: self.find(run.record.digest) or self._copy(run, run.record.digest))

    def refuse_other(self, name: str, fits: Callable[[AnyLineage], bool]) -> None:
        """Refuse a name for a run, before its data is read, where something else is known to have it.

        Args:
            name: Name of the folder.
            fits: Whether the run of a lineage may be the one that is asked for.

        Raises:
            UsageError: The folder holds no run, or another one.
        """
        folder = self.root / name
        there, known = os.path.lexists(folder), is_there(folder / RECORD)
        if processes.agree(lambda: there and not (known and fits(Run(folder).record.lineage))):
            raise _taken(folder)

    def require_usable(self, name: str | None = None) -> None:
        """Refuse, before any work is done, a store in which a run can neither be found nor kept.

        A store that may only be read is used: what is missing there is refused once that is known, and not computed.

        Args:
            name: Of the run's folder, where it has one.

        Raises:
            UsageError: It cannot be written, and does not hold the run.
        """

        def check() -> None:
            if (name is not None and not is_there(self.root / name / RECORD)) or not self._is_read_only():
                self._require_writable(name)

        processes.agree(check)

    def require_writable(self, name: str | None = None) -> None:
        """Refuse, before any work is done, a store in which no run can be kept.

        Args:
            name: Of the run's folder, where it has one.

        Raises:
            UsageError: It cannot be written.
        """
        processes.agree(lambda: self._require_writable(name))

    def _require_writable(self, name: str | None, remedy: str = OTHER_OUT) -> None:
        work = self.root / WORK
        require_writable_folder(work if os.path.lexists(work) else self.root, remedy=remedy)
        # The folder of a run that is there may be protected.
        if name is None or not is_there(self.root / name / RECORD):
            require_writable_folder(self.root / name if name else self.root, remedy=remedy)

    def _is_read_only(self) -> bool:
        return is_read_only(self.root) or is_read_only(self.root / WORK)

    def _is_left(self, work: Path) -> bool:
        """Whether a process ended before it had tidied up where it had computed a run, and that can be done now."""
        return work.exists() and not self._is_read_only()

    def _known(self, name: str | None, digest: str) -> Run | None:
        """The run of a digest, if there is one and its name is free for it."""
        self._refuse_taken(name, digest)
        return self.find(digest)

    def _refuse_taken(self, name: str | None, digest: str) -> None:
        if name is not None and name != digest and DIGEST.fullmatch(name):
            raise UsageError(f"{name} looks like the digest of another run; choose another --out.")
        if name is None or name == digest or not os.path.lexists(self.root / name):
            return
        if not is_there(self.root / name / RECORD) or Run(self.root / name).record.digest != digest:
            raise _taken(self.root / name)

    def _compute(
        self,
        lineage: AnyLineage,
        work: Path,
        compute: Callable[[Workplace], None],
        name: str | None,
        resume: bool,
    ) -> Run:
        folder, checkpoint = work / "run", work / "checkpoint.safetensors"

        def make_room() -> None:
            sweep(work.parent)
            self._tidy(work)
            self._set_aside(lineage.digest)
            shutil.rmtree(folder, ignore_errors=True)
            folder.mkdir(parents=True, exist_ok=True)
            for unfinished in () if resume else work.glob(f"{checkpoint.name}*"):
                unfinished.unlink(missing_ok=True)

        with room_in(self.root):
            processes.agree(make_room)
            compute(Workplace(folder, lineage, Checkpoint(checkpoint, self.checkpoint_seconds)))
            return processes.agree(lambda: self._publish(folder, name or lineage.digest, lineage.digest))

    def _tidy(self, own: Path) -> None:
        """Remove the workplaces of complete runs, whose processes were killed before they had done so."""
        for work in own.parent.iterdir():
            if work == own or not DIGEST.fullmatch(work.name):
                continue
            with suppress(RunError, Timeout):  # it cannot be known whether it is complete, or a process is at work
                if self.find(work.name) is not None:
                    with FileLock(work.with_suffix(".lock"), blocking=False):
                        shutil.rmtree(work, ignore_errors=True)

    def _copy(self, run: Run, name: str) -> Run:
        """The same run under another name.

        Raises:
            RunError: A file of it is missing or was changed, which a copy would hide.
        """
        for file in run.record.files:
            run.verified(file)
        self._require_writable(name)
        copy = partial_of(self.root / WORK / name)
        shutil.rmtree(copy, ignore_errors=True)
        try:
            sweep(copy.parent)
            with room_in(self.root):
                shutil.copytree(run.path, copy)
            return self._publish(copy, name, run.record.digest)
        finally:
            shutil.rmtree(copy, ignore_errors=True)

    def _publish(self, folder: Path, name: str, digest: str) -> Run:
        """Give a complete folder its name, unless another process has just given it to the same run.

        Where something else has taken the name meanwhile, the run is kept under its digest.
        """
        target = self.root / name
        self._set_aside(digest)
        try:
            publish(folder, target)
        except OSError:
            if not os.path.lexists(target):
                raise
            if is_there(target / RECORD) and Run(target).record.digest == digest:
                shutil.rmtree(folder)
                return Run(target)
            if name == digest:
                raise
            kept = self._publish(folder, digest, digest)
            raise UsageError(
                f"{target} was taken by something else during this run, which is kept as {kept.path}; give another "
                "--out, and the run is copied there."
            ) from None
        return Run(target)

    def _set_aside(self, digest: str) -> None:
        """Move a folder away that is called by a digest and lacks a record: a copy of a run that was broken off."""
        folder = self.root / digest
        if not folder.is_dir() or is_there(folder / RECORD):
            return
        names = (f"{digest}.incomplete", *(f"{digest}.incomplete-{number}" for number in range(2, 1000)))
        aside = next(self.root / name for name in names if not os.path.lexists(self.root / name))
        with suppress(FileNotFoundError):  # another process has just done so
            folder.rename(aside)
            say(
                f"{folder} holds no {RECORD}, so the copy of that run is not complete; it is {aside} now, and the run "
                "is computed again."
            )


def _taken(folder: Path) -> UsageError:
    """What is said of a name that another run has."""
    if (fault := half_copied(folder)) is not None:
        return UsageError(f"{fault}, or choose another --out.")
    if folder.is_symlink() and not folder.exists():
        return UsageError(f"{folder} is a link to what is not there; bring that back, or choose another --out.")
    return UsageError(f"{folder} already holds something else; choose another --out.")


@contextmanager
def _locked(work: Path) -> Iterator[None]:
    """Nobody else computes this run meanwhile; one that is refused leaves no folder and no file behind."""
    lock = work.with_suffix(".lock")
    made = [folder for folder in (work.parent, *work.parent.parents) if not folder.exists()]
    make_folder(work.parent)
    try:
        with FileLock(lock):
            yield
    except UsageError as error:
        # Whoever waits for the lock asks for the same, and is refused as well.
        if not error.passes and not any(work.glob("checkpoint*")):
            shutil.rmtree(work, ignore_errors=True)
            lock.unlink(missing_ok=True)
            with suppress(OSError):  # another run lies there by now
                for folder in made:
                    folder.rmdir()
        raise
