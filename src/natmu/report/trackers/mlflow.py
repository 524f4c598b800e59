"""Runs in MLflow, in a database beside the run folders or on the server that its own environment variable names."""

from __future__ import annotations

import logging
import os
import re
from collections.abc import Mapping
from functools import cached_property
from pathlib import Path

from mlflow import MlflowClient, MlflowException
from mlflow.entities import Metric, Param, Run, RunTag
from sqlalchemy.exc import SQLAlchemyError

from natmu.report.trackers.tracked import Plain, TrackedRun, TrackedStudy

LONGEST_NAME, LONGEST_PARAM = 250, 6000
"""MLflow's limits, in characters."""
PARAMS_AT_ONCE, METRICS_AT_ONCE = 90, 900
KEY = "natmu.key"


class MLflowTracker:
    """MLflow: ``MLFLOW_TRACKING_URI`` holds; without it, ``mlflow.db`` in the folder of all runs.

    The experiment is the study, or ``natmu``. Nothing but a study's table is stored as an artefact; files are links.
    """

    errors: tuple[type[Exception], ...] = (MlflowException, SQLAlchemyError, OSError)

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._uri = os.environ.get("MLFLOW_TRACKING_URI") or f"sqlite:///{folder / 'mlflow.db'}"
        logging.getLogger("mlflow.store.db").setLevel(logging.WARNING)  # a new database is nothing to tell of

    @cached_property
    def _client(self) -> MlflowClient:
        return MlflowClient(self._uri)

    def log(self, run: TrackedRun) -> None:
        """Show one run; of one that is known, what has changed."""
        tags = {"natmu.digest": run.digest} | {f"natmu.link.{name}": link for name, link in run.links.items()}
        time = round(run.finished * 1000)
        shown = self._obtain(run.group or "natmu", run.key, run.name, tags, time)
        if shown.info.status != "FINISHED":
            self._params(shown.info.run_id, run.config)
            curves = [(name, value, epoch) for epoch, values in run.curves for name, value in values.items()]
            self._metrics(shown.info.run_id, curves, time)
        known = shown.data.metrics
        news = [(name, value, 0) for name, value in run.scores.items() if known.get(_safe(name)) != value]
        self._metrics(shown.info.run_id, news, time)
        self._client.set_terminated(shown.info.run_id, end_time=time)

    def log_study(self, study: TrackedStudy) -> None:
        """Show the study as a run with its table as an artefact and links as tags."""
        tags = {f"natmu.link.{name}": link for name, link in study.links.items()}
        shown = self._obtain(study.name, study.key, f"{study.name}: table", tags, None)
        self._client.log_text(shown.info.run_id, study.markdown, "table.md")
        self._client.set_terminated(shown.info.run_id)

    def _obtain(self, experiment: str, key: str, name: str, tags: Mapping[str, str], time: int | None) -> Run:
        """The run of a key with its name and tags; one whose logging was cut short is begun anew."""
        place = self._experiment(experiment)
        texts = {_safe(tag): text for tag, text in tags.items()} | {"mlflow.runName": name[:LONGEST_NAME]}
        for known in self._client.search_runs([place], f"tags.`{KEY}` = '{key}'"):
            if known.info.status == "FINISHED":
                self._client.log_batch(known.info.run_id, tags=[RunTag(*pair) for pair in texts.items()])
                return known
            self._client.delete_run(known.info.run_id)
        return self._client.create_run(place, start_time=time, tags={KEY: key} | texts)

    def _experiment(self, name: str) -> str:
        """Id of an experiment, which is made if need be; artefacts of a local database lie beside it."""
        if known := self._client.get_experiment_by_name(name):
            return str(known.experiment_id)
        local = self._uri.startswith("sqlite:")
        return str(self._client.create_experiment(name, (self._folder / "mlflow").as_uri() if local else None))

    def _params(self, run: str, config: Mapping[str, Plain]) -> None:
        """Log settings in batches, as long as MLflow lets them be."""
        params = [Param(_safe(name), str(value)[:LONGEST_PARAM]) for name, value in config.items()]
        for first in range(0, len(params), PARAMS_AT_ONCE):
            self._client.log_batch(run, params=params[first : first + PARAMS_AT_ONCE])

    def _metrics(self, run: str, values: list[tuple[str, float, int]], time: int) -> None:
        """Log numbers, each with its step, in batches."""
        metrics = [Metric(_safe(name), value, time, step) for name, value, step in values]
        for first in range(0, len(metrics), METRICS_AT_ONCE):
            self._client.log_batch(run, metrics=metrics[first : first + METRICS_AT_ONCE])

    def close(self) -> None:
        """Nothing is open."""


def _safe(name: str) -> str:
    """A name that MLflow takes for a metric, a setting or a tag."""
    return re.sub(r"[^\w. /-]", "_", name, flags=re.ASCII)[:LONGEST_NAME]
