"""Where one run is computed, and what it writes there once it is done."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
from torch import Tensor, nn

from natmu.engine import processes
from natmu.engine.checkpoint import Checkpoint, save_weights
from natmu.engine.compute import Compute, hardware, peak_memory_mb, versions
from natmu.records.forgotten import Forgotten, write_forget
from natmu.records.lineage import AnyLineage
from natmu.records.passes import Passes
from natmu.records.predictions import write_outputs
from natmu.records.run import CONFIDENCE, PREDICTIONS, WEIGHTS, History, RunRecord, write_history, write_run
from natmu.types import ForgetSet, Outputs


@dataclass(frozen=True)
class Workplace:
    """Where one run is computed before it is complete.

    Attributes:
        folder: What becomes the run's folder.
        lineage: What is computed.
        checkpoint: Where the state of the unfinished run is kept.
    """

    folder: Path
    lineage: AnyLineage
    checkpoint: Checkpoint

    def finish(
        self,
        model: nn.Module,
        outputs: Outputs | None,
        compute: Compute,
        *,
        seconds: float,
        scores: dict[str, float],
        history: History,
        confidence: Tensor | None = None,
        forget: ForgetSet | None = None,
        decisions: tuple[str, ...] = (),
        passes: Passes | None = None,
    ) -> None:
        """Write everything that a run folder holds; of several processes the first does.

        A model that is a step on the way to another has no predictions.
        """
        if not processes.writes():
            return
        save_weights(model, self.folder / WEIGHTS)
        if outputs is not None:
            write_outputs(outputs, self.folder / PREDICTIONS)
        if confidence is not None:
            np.save(self.folder / CONFIDENCE, confidence.numpy())
        if forget is not None:
            write_forget(forget, self.folder)
        self._record(compute, seconds, scores, history, forget, decisions, passes)

    def finish_curve(self, history: History, compute: Compute, *, seconds: float) -> None:
        """Write a run folder of what was learnt about a model, which holds no model itself."""
        if processes.writes():
            self._record(compute, seconds, {}, history, None)

    def _record(
        self,
        compute: Compute,
        seconds: float,
        scores: dict[str, float],
        history: History,
        forget: ForgetSet | None,
        decisions: tuple[str, ...] = (),
        passes: Passes | None = None,
    ) -> None:
        """Write what was asked for, how it went and what it took."""
        write_history(history, self.folder)
        write_run(
            self.folder,
            lambda files: RunRecord(
                lineage=self.lineage,
                digest=self.lineage.digest,
                forgotten=None if forget is None else Forgotten.of(forget),
                scores=scores,
                decisions=decisions,
                seconds=round(seconds, 4),
                passes=passes,
                peak_memory_mb=round(peak_memory_mb(), 1),
                versions=versions(),
                hardware=hardware(compute),
                finished=datetime.now(UTC).isoformat(timespec="seconds"),
                files=files,
            ),
        )
