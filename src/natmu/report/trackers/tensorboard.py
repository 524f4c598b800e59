"""Runs in TensorBoard's event files, written without PyTorch or TensorFlow."""

from __future__ import annotations

import hashlib
import re
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path

from tensorboard.compat.proto.event_pb2 import Event
from tensorboard.compat.proto.summary_pb2 import Summary
from tensorboard.plugins.hparams.summary_v2 import hparams_pb
from tensorboard.plugins.text.summary_v2 import text_pb
from tensorboard.summary.writer.event_file_writer import EventFileWriter

from natmu.records.disk import partial_of, sweep
from natmu.report.trackers.tracked import TrackedRun, TrackedStudy

LONGEST_NAME = 100


class TensorBoardTracker:
    """TensorBoard: ``tensorboard/STUDY/NAME-KEY`` below the folder of all runs, for ``tensorboard --logdir``.

    A run's folder holds one file, named by a digest of what it says: what is the same is not written again, and what
    is new takes the place of the old.
    """

    errors: tuple[type[Exception], ...] = (OSError,)

    def __init__(self, folder: Path) -> None:
        self._folder = folder / "tensorboard"

    def log(self, run: TrackedRun) -> None:
        """Show one run: curves by epoch, scores, settings for the tab HPARAMS, and links."""
        events = [Event(step=epoch, summary=_scalars(values)) for epoch, values in run.curves]
        events += [
            Event(summary=hparams_pb(run.config, trial_id=run.key, start_time_secs=run.finished)),
            Event(summary=_scalars({f"scores/{name}": value for name, value in run.scores.items()})),
            Event(summary=text_pb("links", _listed(run.links))),
        ]
        for event in events:
            event.wall_time = run.finished
        self._write(run.group, run.name, run.key, events)

    def log_study(self, study: TrackedStudy) -> None:
        """Show the study's table as text."""
        events = [
            Event(summary=text_pb("table", study.markdown)),
            Event(summary=text_pb("links", _listed(study.links))),
        ]
        self._write(study.name, "table", study.key, events)

    def close(self) -> None:
        """Nothing is open."""

    def _write(self, group: str | None, name: str, key: str, events: Sequence[Event]) -> None:
        """Write a run's events, unless they are there; a file is complete before it takes its place."""
        parent = self._folder / (group or "natmu")
        folder = next(parent.glob(f"*-{key}"), parent / f"{_safe(name)}-{key}")
        content = b"".join(event.SerializeToString(deterministic=True) for event in events)
        suffix = f".{hashlib.blake2b(content, digest_size=8).hexdigest()}"
        before = [*folder.glob("events.out.tfevents.*")]
        if any(path.name.endswith(suffix) for path in before):
            return
        sweep(parent)
        partial = partial_of(folder)
        shutil.rmtree(partial, ignore_errors=True)
        writer = EventFileWriter(str(partial), filename_suffix=suffix)
        for event in events:
            writer.add_event(event)
        writer.close()
        folder.mkdir(exist_ok=True)
        for path in partial.iterdir():
            path.rename(folder / path.name)
        partial.rmdir()
        for path in before:
            path.unlink()


def _scalars(values: Mapping[str, float]) -> Summary:
    """Numbers as scalars."""
    return Summary(value=[Summary.Value(tag=name, simple_value=value) for name, value in values.items()])


def _listed(links: Mapping[str, str]) -> str:
    """Links as a Markdown list."""
    return "\n".join(f"- {name}: <{link}>" for name, link in links.items())


def _safe(name: str) -> str:
    """A name that every file system takes."""
    return re.sub(r"[^\w=%.,\[\]-]+", "_", name, flags=re.ASCII)[:LONGEST_NAME].lstrip(".")
