"""What a service and its data folder keep of samples beside the data: decoded images, audits, and weights."""

from __future__ import annotations

import shutil
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np

from natmu.errors import DataError, RunError
from natmu.records.census import Census
from natmu.records.files import is_there
from natmu.records.heads import HEAD
from natmu.records.lineage import AllBut, Backbone, Initial, Stage, Trained, Unlearned
from natmu.records.run import CONFIDENCE, RECORD, WEIGHTS, RunFolder
from natmu.requests.pictures import Wanted, rows_in
from natmu.requests.state import State
from natmu.types import IntArray, positions_digest

_WORK = ".work"


def delete_decoded(folder: Path, wanted: Wanted, roots: list[Path]) -> int:
    """Delete kept decoded images that hold samples, or that were decoded to another form and may hold them.

    Of images in another form nobody can see whose they are. They go if their files lay in the folders of the data, or
    in a folder that is not there any more. Deleting them costs the time to decode them again.

    Args:
        folder: The folder of decoded images.
        wanted: The samples.
        roots: Folders of the data.

    Returns:
        How many files of pixels were deleted.

    Raises:
        RunError: One cannot be deleted.
    """
    from natmu.data.decoded import delete_kept  # loads PyTorch

    def holds(path: Path, origin: str | None) -> bool:
        with path.open("rb") as file:
            if next(rows_in(file, wanted), None) is not None:
                return True
        shape = _shape(path)
        if shape is None or shape[1:] == wanted.shape:
            return shape is None
        return origin is None or not Path(origin).is_dir() or any(_overlap(Path(origin), root) for root in roots)

    return len(delete_kept(folder, holds)) if folder.is_dir() else 0


def _shape(path: Path) -> tuple[int, ...] | None:
    """The shape of decoded images; None of a file that is damaged."""
    from natmu.samples.npy import open_npy

    try:
        return open_npy(path).shape
    except DataError:
        return None


def _overlap(one: Path, other: Path) -> bool:
    """Whether one of two folders is, or lies in, the other."""
    first, second = one.resolve(), other.resolve()
    return first.is_relative_to(second) or second.is_relative_to(first)


def delete_extra_files(runs: Iterable[RunFolder]) -> int:
    """Delete what runs of the service did not write themselves: audits and reports with names and pictures.

    Args:
        runs: All runs.

    Returns:
        How many files and folders were deleted.

    Raises:
        RunError: One cannot be deleted.
    """
    count = 0
    for run in runs:
        own = {RECORD, *run.record.files}
        for path in sorted(run.path.iterdir()):
            if path.name not in own:
                _delete(path)
                count += 1
    return count


def delete_weights(models: Path, runs: frozenset[str], deployed: str) -> None:
    """Delete the weights of runs, with what goes with them, but never of the one that is deployed.

    That is the state of a head, and each sample's mean confidence during training, which nobody reads without the
    weights. A stage of a shard goes as a whole, with its predictions: it is trained again if anybody needs it.

    Args:
        models: The folder of runs.
        runs: Digests.
        deployed: Digest of the run that is deployed.

    Raises:
        RunError: A file cannot be deleted.
    """
    for digest in sorted(runs - {deployed}):
        folder = models / digest
        if is_there(folder / RECORD) and isinstance(RunFolder(folder).record.lineage, Stage):
            _delete(folder)
        _delete(folder / WEIGHTS)  # its record still names it, as the ledger does
        _forsake(folder, HEAD, CONFIDENCE)


def delete_heads(models: Path, runs: frozenset[str]) -> None:
    """Delete the state of heads whose weights stay.

    Args:
        models: The folder of runs.
        runs: Digests.

    Raises:
        RunError: A file cannot be written or deleted.
    """
    for digest in sorted(runs):
        _forsake(models / digest, HEAD)


def _forsake(folder: Path, *names: str) -> None:
    """Delete files of a run, once its record does not name them any more: after an interruption again, and no less."""
    if is_there(folder / RECORD):
        record = RunFolder(folder).record
        files = {name: digest for name, digest in record.files.items() if name not in names}
        if files != record.files:
            record.model_copy(update={"files": files}).write(folder / RECORD)
    for name in names:
        _delete(folder / name)


def delete_unfinished(models: Path) -> None:
    """Delete what killed processes left of models that they were making; none may be at work.

    Raises:
        RunError: Something cannot be deleted.
    """
    for path in sorted((models / _WORK).glob("*")):
        if path.is_dir():
            _delete(path)


def _delete(path: Path) -> None:
    try:
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path)
        else:
            path.unlink(missing_ok=True)
    except OSError as error:
        raise RunError(f"{path} cannot be deleted ({error.strerror}); delete it yourself.") from None


def runs_in(models: Path) -> dict[str, RunFolder]:
    """All runs of a service by their digests.

    Raises:
        RunError: One cannot be read.
    """
    runs = [RunFolder(path.parent) for path in sorted(models.glob(f"*/{RECORD}"))]
    return {run.record.digest: run for run in runs}


@dataclass(frozen=True)
class Knowledge:
    """Which models of a service have learnt the samples of a request, and were not made to forget them.

    Attributes:
        state: Of the service.
        request: Number of the request.
        runs: All runs by their digests.
        rows: Of the training data, as it was when the service began, that hold pixels of the samples.
        census: The list of samples.
    """

    state: State
    request: int
    runs: Mapping[str, RunFolder]
    rows: IntArray
    census: Census

    def knowing(self) -> tuple[str, ...]:
        """Digests of the runs, sorted, without the deployed one; those whose weights are gone already included."""
        deployed = self.state.deployed.model.run
        models = [digest for digest, run in self.runs.items() if run.has(WEIGHTS)]
        return tuple(digest for digest in sorted(models) if digest != deployed and self._knows(digest))

    def _knows(self, digest: str) -> bool:
        """Whether a model knows the samples.

        A release does unless it honours the request. A model that was trained without the samples does not. One that a
        method made and that was not released is as its source: it was to forget them, and nobody says that it has.
        """
        releases = [release for release in self.state.releases.values() if release.model.run == digest]
        if releases:
            return all(self.request not in release.honours for release in releases)
        run = self.runs.get(digest)
        if run is None:
            return True
        match run.record.lineage:
            case Initial() | Backbone():  # no service begins with a backbone that was trained on its data
                return False
            case Stage() as stage:
                return self._saw(run, stage)
            case Trained(on=AllBut()):
                return not self._left_out(run)
            case Unlearned(source=source):
                return self._knows(source.digest)
            case _:
                return True

    def _saw(self, run: RunFolder, stage: Stage) -> bool:
        """Whether a stage was trained on any of the samples.

        Its lineage says by a digest which samples were left out. Where that is of none of the sets that a model of the
        service left out, nobody knows, and the stage counts as knowing: it can be trained again.
        """
        shards, slices = run.division().T
        seen = np.flatnonzero((shards == stage.shard) & (slices < stage.slices))
        asked = np.intersect1d(self.rows, seen)
        if not len(asked) or stage.left_out is None:
            return len(asked) > 0
        for without in self._sets:
            if positions_digest(np.intersect1d(without, seen)) == stage.left_out:
                return not np.isin(asked, without).all()
        return True

    @cached_property
    def _sets(self) -> list[IntArray]:
        """What models of the service left out."""
        made = [run for run in self.runs.values() if isinstance(run.record.lineage, Trained | Unlearned)]
        return [run.forget().left_out for run in made if run.record.forgotten is not None]

    def _left_out(self, run: RunFolder) -> bool:
        """Whether a training left out as many samples with these pixels as the request names."""
        left_out = sorted({*self.rows.tolist()} & {*run.forget().left_out.tolist()})
        names = self.census.pixel_digests(np.array(left_out, np.int64))
        return not Counter(self.state.requests[self.request].entry.samples) - Counter(names)
