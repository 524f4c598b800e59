"""Runs in Weights & Biases, online or offline as its own environment variables say."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable, Mapping
from dataclasses import asdict
from functools import cached_property
from pathlib import Path
from typing import Any

import wandb

from natmu.report.trackers.tracked import TrackedRun, TrackedStudy
from natmu.terminal import echo

LONGEST_NAME = 128
NOTE = "natmu.json"
"""Of a tracked run, the file that says what it was told, by which an offline run is known again."""


class WandbTracker:
    """Weights & Biases: ``WANDB_PROJECT`` (natmu), ``WANDB_DIR`` (the folder of all runs) and ``WANDB_MODE`` hold.

    Without ``WANDB_MODE`` and without an API key, runs are kept offline; ``wandb sync`` sends them later. Links are in
    the config, because reference artefacts would be staged outside of the folder.
    """

    errors: tuple[type[Exception], ...] = (wandb.Error, OSError)

    def __init__(self, folder: Path) -> None:
        self._folder = Path(os.environ.get("WANDB_DIR") or folder)

    @cached_property
    def _mode(self) -> str | None:
        """``offline`` where nothing says otherwise and there is no API key; None leaves it to wandb."""
        if "WANDB_MODE" in os.environ or wandb.setup().settings.mode != "online":
            return None
        return None if wandb.login(prompt=False, verify=False) else "offline"

    def log(self, run: TrackedRun) -> None:
        """Show one run, its history by epoch."""

        def fill(shown: wandb.Run) -> None:
            shown.define_metric("epoch")
            shown.define_metric("curves/*", step_metric="epoch")
            for number, (epoch, values) in enumerate(run.curves):
                if number >= shown.step:  # a run that is known has its first steps already
                    shown.log({"epoch": epoch} | values, step=number)
            shown.summary.update(run.scores)

        self._write(run.key, run.name, run.group, run.config | {"links": run.links}, asdict(run), fill)

    def log_study(self, study: TrackedStudy) -> None:
        """Show the study as a run that holds a table."""

        def fill(shown: wandb.Run) -> None:
            shown.log({"table": wandb.Table(columns=[*study.columns], data=study.rows)})

        told = asdict(study) | {"runs": [run.key for run in study.runs]}
        self._write(study.key, f"{study.name}: table", study.name, {"links": study.links}, told, fill)

    def _write(
        self,
        key: str,
        name: str,
        group: str | None,
        config: Mapping[str, Any],
        told: Mapping[str, Any],
        fill: Callable[[wandb.Run], None],
    ) -> None:
        """Make or continue the run of a key; offline, one that is told something new takes the place of the old one."""
        note = json.dumps(told, indent=1)
        before = [*(self._folder / "wandb").glob(f"offline-run-*-{key}")]
        if any((path / "files" / NOTE).exists() and (path / "files" / NOTE).read_text() == note for path in before):
            return
        self._folder.mkdir(parents=True, exist_ok=True)
        shown = wandb.init(
            project=os.environ.get("WANDB_PROJECT") or "natmu",
            dir=self._folder,
            mode=self._mode,  # type: ignore[arg-type]
            id=key,
            resume="allow",
            reinit="create_new",
            name=name[:LONGEST_NAME],
            group=group and group[:LONGEST_NAME],
            config=dict(config),
            allow_val_change=True,
            settings=_settings(),
        )
        fill(shown)
        if not shown.disabled:
            (Path(shown.dir) / NOTE).write_text(note, encoding="utf-8")
        shown.finish()
        for path in before:
            if shown.offline:
                shutil.rmtree(path)

    def close(self) -> None:
        """End wandb's service; where runs stay off line for want of a key, say how to send them."""
        keyless = self._mode is not None
        wandb.teardown()
        if keyless:
            kept = self._folder / "wandb"
            echo(f"wandb has no API key; log in and send the runs with: wandb sync {kept}/offline-run-*", err=True)


def _settings() -> wandb.Settings:
    """Nothing is told of this machine and its packages, which need not be those of the run."""
    return wandb.Settings(
        console="off",
        silent=True,
        save_code=False,
        disable_git=True,
        x_disable_stats=True,
        x_disable_meta=True,
        x_save_requirements=False,
    )
