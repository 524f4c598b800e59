"""Trackers of experiments: complete run folders are shown in wandb, MLflow and TensorBoard; nothing computes here."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import closing
from importlib.util import find_spec
from pathlib import Path
from typing import Protocol

from natmu.errors import SettingError, TrackingError, UsageError, hint
from natmu.report.trackers.tracked import TrackedRun, TrackedStudy, read_tracked_run, read_tracked_study

NEEDS = {"wandb": ("wandb",), "mlflow": ("mlflow", "sqlalchemy", "alembic"), "tensorboard": ("tensorboard",)}
"""Modules that each tracker needs; all of them come with ``natmu[track]``."""


class Tracker(Protocol):
    """Where runs are shown.

    Logging what was logged before brings it up to date, and makes no second run.

    Attributes:
        errors: What the tracker raises when it cannot be reached or written.
    """

    errors: tuple[type[Exception], ...]

    def log(self, run: TrackedRun) -> None:
        """Show one run: its settings, curves, scores and links."""

    def log_study(self, study: TrackedStudy) -> None:
        """Show the table of a study."""

    def close(self) -> None:
        """Write what is not yet written, and leave no process or thread behind."""


def known_trackers(names: Sequence[str] | None) -> tuple[str, ...]:
    """The trackers that were asked for, each once, after a look whether they can serve.

    Raises:
        SettingError: A name is unknown.
        UsageError: A tracker's library is missing.
    """
    chosen = tuple(dict.fromkeys(names or ()))
    for name in chosen:
        if name not in NEEDS:
            raise SettingError(f"--track {name!r} is unknown; choose from {', '.join(NEEDS)}{hint(name, NEEDS)}.")
        for module in NEEDS[name]:
            if find_spec(module) is None:
                raise UsageError(f"--track {name} needs {module}; install it with pip install 'natmu[track]'.")
    return chosen


def tracker_named(name: str, folder: Path) -> Tracker:
    """A tracker that writes below a folder, unless its own environment variables send it elsewhere.

    Args:
        name: A key of ``NEEDS``.
        folder: Of all runs.
    """
    if name == "wandb":
        from natmu.report.trackers.wandb import WandbTracker

        return WandbTracker(folder)
    if name == "mlflow":
        from natmu.report.trackers.mlflow import MLflowTracker

        return MLflowTracker(folder)
    from natmu.report.trackers.tensorboard import TensorBoardTracker

    return TensorBoardTracker(folder)


def track_run(names: Sequence[str], folder: Path) -> None:
    """Show a complete run in trackers.

    Args:
        names: Of trackers.
        folder: The run's.

    Raises:
        RunError: The folder is not a complete run.
        TrackingError: A tracker failed; the others have the run all the same.
    """
    if names:
        _track(names, folder, [read_tracked_run(folder)])


def track_study(names: Sequence[str], folder: Path) -> None:
    """Show a complete study in trackers: each of its runs as one of a group, and its table.

    Args:
        names: Of trackers.
        folder: The study's, beside those of its runs.

    Raises:
        RunError: The folder is not a complete study, or a run of it is gone.
        TrackingError: A tracker failed; the others have the study all the same.
    """
    if names:
        study = read_tracked_study(folder)
        _track(names, folder, study.runs, study)


def _track(names: Sequence[str], folder: Path, runs: Sequence[TrackedRun], study: TrackedStudy | None = None) -> None:
    """Show runs, and the study they are of, in each tracker in turn."""
    failed = []
    for name in names:
        tracker = tracker_named(name, folder.resolve().parent)
        try:
            with closing(tracker):
                for run in runs:
                    tracker.log(run)
                if study:
                    tracker.log_study(study)
        except tracker.errors as error:
            failed.append(f"{name} failed ({type(error).__name__}: {str(error)[:300]})")
    if failed:
        raise TrackingError(f"{'; '.join(failed)}; the result in {folder} is complete, and the same command tracks it.")
