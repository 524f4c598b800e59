"""Run folders: named by the digest of everything that determines them, complete or absent, never computed twice."""

from __future__ import annotations

import csv
import hashlib
import io
import json
import os
import re
import shutil
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, nullcontext, suppress
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from filelock import FileLock, Timeout
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save_file
from torch import Tensor, nn

from natmu.engine import processes
from natmu.engine.checkpoint import Checkpoint, History, read_weights, save_weights
from natmu.engine.compute import Compute, hardware, peak_memory_mb, versions
from natmu.errors import RunError, UsageError
from natmu.types import FloatArray, ForgetSet, Outputs, Part, Record

NUMERICS = "2"
"""Part of every digest; raised whenever a release changes the numbers that a spec gives."""


DIGEST = re.compile("[0-9a-f]{16}")
"""What names a run that was given no other name."""


def digest_of(spec: Mapping[str, Any]) -> str:
    """16 hexadecimal digits that name a spec."""
    text = json.dumps({**spec, "numerics": NUMERICS}, sort_keys=True, separators=(",", ":"), allow_nan=False)
    return hashlib.blake2b(text.encode(), digest_size=8).hexdigest()


@dataclass(frozen=True)
class Run:
    """A complete run folder."""

    path: Path

    @property
    def record(self) -> Record:
        """What the run was and what came out.

        Raises:
            RunError: The folder is not a complete run.
        """
        try:
            return Record(**json.loads((self.path / "record.json").read_text()))
        except (OSError, ValueError, TypeError):
            raise RunError(f"{self.path} is not a complete run; delete it and compute it again.") from None

    def weights(self) -> dict[str, Tensor]:
        """Parameters and buffers of the run's model."""
        return read_weights(self.path / "model.safetensors")

    def outputs(self) -> Outputs:
        """The stored answers of the run's model.

        Raises:
            RunError: They cannot be read, or belong to another run.
        """
        path = self.path / "predictions.safetensors"
        try:
            with safe_open(path, "numpy") as file:
                whose = (file.metadata() or {}).get("run")
                arrays = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 - it is no mapping
            if whose != self.record.digest:
                raise RunError(
                    f"The predictions in {self.path} are of another run, or do not say whose; delete that run."
                )
            holdout = _part(arrays, "holdout") if "holdout_logits" in arrays else None
            return Outputs(_part(arrays, "train"), _part(arrays, "test"), holdout)
        except (OSError, SafetensorError, KeyError) as error:
            raise RunError(_damaged("predictions", self.path, error)) from None

    def confidence(self) -> FloatArray | None:
        """Each training sample's mean confidence during training, where the run trained from initial weights."""
        path = self.path / "difficulty.npy"
        try:
            return np.load(path, allow_pickle=False) if path.exists() else None
        except (OSError, ValueError, EOFError) as error:
            raise RunError(_damaged("difficulties", self.path, error)) from None

    def history(self) -> History:
        """What was noted epoch by epoch; empty where nothing was trained."""
        try:
            with (self.path / "history.csv").open(newline="") as file:
                return [{name: float(value) for name, value in row.items() if value} for row in csv.DictReader(file)]
        except (OSError, ValueError, TypeError) as error:
            raise RunError(_damaged("history", self.path, error)) from None

    def forget(self) -> ForgetSet:
        """The forget set of an unlearned model, as it was when it was forgotten.

        Raises:
            RunError: The run has none.
        """
        try:
            said = self.record.spec["forget"]
            indices = np.load(self.path / "forget.npy", allow_pickle=False)
            return ForgetSet(indices, said["spec"], said["scenario"], tuple(said["classes"]))
        except (KeyError, OSError, ValueError, EOFError):
            raise RunError(f"{self.path} holds no forget set; name the run of an unlearned model.") from None


@dataclass(frozen=True)
class Workplace:
    """Where one run is computed before it is complete."""

    folder: Path
    spec: dict[str, Any]
    digest: str
    checkpoint: Checkpoint

    def finish(
        self,
        model: nn.Module,
        outputs: Outputs,
        compute: Compute,
        *,
        seconds: float,
        scores: dict[str, float],
        history: History,
        confidence: Tensor | None = None,
        forget: ForgetSet | None = None,
    ) -> None:
        """Write everything that a run folder holds; of several processes the first does."""
        if not processes.writes():
            return
        save_weights(model, self.folder / "model.safetensors")
        save_file(_arrays(outputs), self.folder / "predictions.safetensors", {"run": self.digest})
        if confidence is not None:
            np.save(self.folder / "difficulty.npy", confidence.numpy())
        if forget is not None:
            np.save(self.folder / "forget.npy", forget.indices)
        self._note(compute, seconds, scores, history)

    def finish_curve(self, history: History, compute: Compute, *, seconds: float) -> None:
        """Write a run folder of what was learnt about a model, which holds no model itself."""
        if processes.writes():
            self._note(compute, seconds, {}, history)

    def _note(self, compute: Compute, seconds: float, scores: dict[str, float], history: History) -> None:
        """Write what was asked for, how it went and what it took."""
        (self.folder / "history.csv").write_text(_csv(history))
        (self.folder / "spec.json").write_text(json.dumps(self.spec, indent=1, sort_keys=True) + "\n")
        record = Record(
            spec=self.spec,
            digest=self.digest,
            scores=scores,
            seconds=round(seconds, 4),
            peak_memory_mb=round(peak_memory_mb(), 1),
            versions=versions(),
            hardware=hardware(compute),
            finished=datetime.now(UTC).isoformat(timespec="seconds"),
        )
        (self.folder / "record.json").write_text(json.dumps(asdict(record), indent=1) + "\n")


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
        """The complete run of this digest, whatever its folder is called."""
        if (self.root / digest / "record.json").exists():
            return Run(self.root / digest)
        for path in sorted(self.root.glob("*/record.json")):
            if DIGEST.fullmatch(path.parent.name):  # a folder that is called by a digest holds the run of that digest
                continue
            with suppress(RunError):  # a damaged run is none of this spec's business
                if Run(path.parent).record.digest == digest:
                    return Run(path.parent)
        return None

    def busy(self, digest: str) -> bool:
        """Whether a process, this one included, is computing the run of this digest."""
        lock = self.root / ".work" / f"{digest}.lock"
        if not lock.exists():
            return False
        try:
            with FileLock(lock, blocking=False):
                return False
        except Timeout:
            return True

    def obtain(
        self,
        spec: Mapping[str, Any],
        compute: Callable[[Workplace], None],
        *,
        name: str | None = None,
        resume: bool = True,
    ) -> Run:
        """The run of a spec: found if it is there, else computed by exactly one process.

        Args:
            spec: Everything that determines the result, as plain values.
            compute: Fills a workplace and calls its ``finish``.
            name: Folder name; the digest if None.
            resume: Whether to continue an unfinished computation of the same spec.

        Raises:
            UsageError: ``name`` is taken by another run.
        """
        digest = digest_of(spec)
        found = processes.agree(lambda: self._known(name, digest))
        if found is None:
            work = self.root / ".work" / digest
            with _locked(work) if processes.writes() else nullcontext():
                found = processes.agree(lambda: self.find(digest))
                found = found or self._compute(dict(spec), digest, work, compute, name, resume)
        if name is None or found.path.name == name:
            return found
        return processes.agree(partial(self._copy, found, name))

    def _known(self, name: str | None, digest: str) -> Run | None:
        """The run of a digest, if there is one and its name is free for it."""
        self._refuse_taken(name, digest)
        return self.find(digest)

    def _refuse_taken(self, name: str | None, digest: str) -> None:
        if name is None or not (self.root / name).exists():
            return
        if not (self.root / name / "record.json").exists() or Run(self.root / name).record.digest != digest:
            raise UsageError(f"{self.root / name} already holds something else; choose another --out or delete it.")

    def _compute(
        self,
        spec: dict[str, Any],
        digest: str,
        work: Path,
        compute: Callable[[Workplace], None],
        name: str | None,
        resume: bool,
    ) -> Run:
        folder, checkpoint = work / "run", work / "checkpoint.safetensors"

        def make_room() -> None:
            shutil.rmtree(folder, ignore_errors=True)
            folder.mkdir(parents=True, exist_ok=True)
            if not resume:
                checkpoint.unlink(missing_ok=True)

        def publish() -> Run:
            run = self._publish(folder, name or digest, digest)
            shutil.rmtree(work)
            return run

        processes.agree(make_room)
        compute(Workplace(folder, spec, digest, Checkpoint(checkpoint, self.checkpoint_seconds)))
        return processes.agree(publish)

    def _copy(self, run: Run, name: str) -> Run:
        """The same run under another name."""
        copy = self.root / ".work" / f"{name}.{os.getpid()}"
        shutil.rmtree(copy, ignore_errors=True)
        shutil.copytree(run.path, copy)
        return self._publish(copy, name, run.record.digest)

    def _publish(self, folder: Path, name: str, digest: str) -> Run:
        """Give a complete folder its name, unless another process has just given it to the same run."""
        target = self.root / name
        try:
            folder.rename(target)
        except OSError:
            self._refuse_taken(name, digest)
            if not target.exists():
                raise
            shutil.rmtree(folder)
        return Run(target)


@contextmanager
def _locked(work: Path) -> Iterator[None]:
    """Nobody else computes this run meanwhile."""
    work.mkdir(parents=True, exist_ok=True)
    with FileLock(work.with_suffix(".lock")):
        yield


def open_run(path: Path) -> Run:
    """The run in a folder that the user named.

    Raises:
        UsageError: There is none.
    """
    if not (path / "record.json").exists():
        raise UsageError(f"{path} is not a run folder: it holds no record.json; name one that natmu has completed.")
    return Run(path)


def _damaged(what: str, run: Path, error: Exception) -> str:
    """One sentence on a file of a run that cannot be read."""
    return f"The {what} in {run} cannot be read ({error}); delete that run and compute it again."


def _arrays(outputs: Outputs) -> dict[str, Any]:
    """Flat names for the arrays of all parts."""
    arrays: dict[str, Any] = {}
    for name, part in (("train", outputs.train), ("test", outputs.test), ("holdout", outputs.holdout)):
        if part is not None:
            arrays |= {f"{name}_logits": part.logits, f"{name}_labels": part.labels}
            arrays |= {} if part.fine_labels is None else {f"{name}_fine_labels": part.fine_labels}
    return {name: np.ascontiguousarray(array) for name, array in arrays.items()}


def _part(arrays: dict[str, Any], name: str) -> Part:
    return Part(arrays[f"{name}_logits"], arrays[f"{name}_labels"], arrays.get(f"{name}_fine_labels"))


def _csv(history: History) -> str:
    """The history as comma-separated values with a header."""
    text = io.StringIO()
    names = list(dict.fromkeys(name for row in history for name in row)) or ["epoch"]
    writer = csv.DictWriter(text, names, lineterminator="\n")
    writer.writeheader()
    writer.writerows(history)
    return text.getvalue()
