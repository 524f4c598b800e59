"""What ``natmu.unlearn`` and ``natmu.audit`` return, and how it is saved and reported."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from functools import cached_property
from os import PathLike
from pathlib import Path
from typing import Any

import numpy as np
from torch import nn

from natmu.audits.auditing import audited_scores
from natmu.engine.checkpoint import save_weights
from natmu.engine.compute import versions
from natmu.errors import UsageError
from natmu.machine import cannot_write
from natmu.records.audit import AUDIT, AUDIT_FOLDER, Audit, AuditedForget, ComparedModels, write_audit
from natmu.records.audit import Answer as StoredAnswer
from natmu.records.disk import make_folder, partial_of, publish, sweep
from natmu.records.files import file_digest, is_there, write_atomically
from natmu.records.forgetting import parse_forget
from natmu.records.forgotten import Forgotten, write_forget
from natmu.records.passes import Passes
from natmu.records.result import RESULT, ResultRecord
from natmu.records.run import WEIGHTS, Hardware, History, write_history
from natmu.records.samples import Sample
from natmu.scores import Examination, Level, Panel, efficacy_samples, exposed_samples, mean_scores
from natmu.scores import scores as basic_scores
from natmu.scores.answers import Answer
from natmu.scores.original_check import OriginalCheck
from natmu.scores.verdict import Verdict
from natmu.types import ForgetSet

Summary = Mapping[str, Mapping[str, float]]


@dataclass(frozen=True)
class UnlearnResult:
    """What ``unlearn`` returns.

    Attributes:
        model: The unlearned model, on the device of the original; it shares nothing with the original.
        seconds: Wall time of unlearning.
        settings: Method, its complete settings, forget set, seed and precision, as plain values; ``training`` is the
            recipe of a retrained model, None for other methods.
        history: One row per epoch.
        forget: The forget set.
        check: What was found out about the original, its accuracies among it.
        decisions: What was decided for the user, a sentence each.
        hardware: What it ran on.
        names: One name per forget sample, where samples have names.
        passes: What unlearning sent through models; None where the user's own function trained.

    Examples:
        >>> import natmu
        >>> from natmu.testing import digits, trained
        >>> result = natmu.unlearn(trained(), digits(), "class:3", "finetune", epochs=1, progress=False)
        >>> result.settings["method"], result.settings["settings"]["epochs"]
        ('finetune', 1)
        >>> sorted(result.summary["result"])
        ['forget_acc', 'retain_acc']
        >>> result.save("forgotten").joinpath("model.safetensors").exists()
        True
    """

    model: nn.Module
    seconds: float
    settings: dict[str, Any]
    history: History
    forget: ForgetSet
    check: OriginalCheck
    decisions: tuple[str, ...]
    hardware: Hardware
    _measure: Callable[[], Summary] = field(repr=False, compare=False)
    names: tuple[str, ...] = ()
    passes: Passes | None = None

    @cached_property
    def summary(self) -> Summary:
        """Accuracies of the ``original`` and of the ``result`` in percent: ``retain_acc``, ``forget_acc`` and others.

        They take a pass of each model over the training data, and over the holdout where one was given, when they are
        asked for first; until then neither model may change.
        """
        return self._measure()

    def save(self, folder: str | PathLike[str]) -> Path:
        """Write the model and all that is known of it into a new folder, which ``natmu report`` reads.

        It is no run folder: nobody can make again what a program held in memory. It has ``model.safetensors``, the
        positions of the forget set, ``history.csv``, and ``result.json`` with the settings, the summary and the
        decisions.

        Args:
            folder: It must not exist yet, or be empty; it appears whole or not at all.

        Raises:
            UsageError: There is something already.
            RunError: It cannot be written.
        """
        path = Path(folder)
        if path.exists() and (not path.is_dir() or any(path.iterdir())):
            raise UsageError(f"{path} already holds something; name a folder that does not exist yet.")
        record = self._record()
        partial = partial_of(path.resolve())
        try:
            make_folder(partial.parent)
            sweep(partial.parent)
            partial.mkdir()
            try:
                self._write(partial, record)
                publish(partial, path.resolve())
            finally:
                shutil.rmtree(partial, ignore_errors=True)
        except OSError as error:
            raise cannot_write(path, error) from error
        return path

    def report(self, page: str | PathLike[str]) -> Path:
        """Write one HTML page that opens offline.

        Args:
            page: The file; one that is there is replaced.

        Raises:
            RunError: It cannot be written.
        """
        return _write_page(page, self._record(), self.history, self.forget)

    def _record(self) -> ResultRecord:
        """What is written of the result, but for the digests of its files."""
        return ResultRecord(
            settings=self.settings,
            forget=audited_forget(self.forget),
            forgotten=Forgotten.of(self.forget),
            names=self.names,
            scores={model: dict(scores) for model, scores in self.summary.items()},
            decisions=self.decisions,
            seconds=round(self.seconds, 4),
            passes=self.passes,
            versions=versions(),
            hardware=self.hardware,
            finished=datetime.now(UTC).isoformat(timespec="seconds"),
            files={},
        )

    def _write(self, folder: Path, record: ResultRecord) -> None:
        """Write all files, the record last."""
        save_weights(self.model, folder / WEIGHTS)
        write_forget(self.forget, folder)
        write_history(self.history, folder)
        files = {path.name: file_digest(path) for path in sorted(folder.iterdir())}
        record.model_copy(update={"files": files}).write(folder / RESULT)


@dataclass(frozen=True)
class AuditResult:
    """What ``audit`` returns; printed, it is the two parts of the verdict.

    ``natmu.scores.catalogue`` says what each score is, and in which unit.

    Attributes:
        scores: Of the audited model.
        retrained: Mean scores of the retrained models; None where none was given.
        original: Scores of the original model; None where none was given.
        avg_gap: Distance of the audited model to the retrained ones; None where none was given.
        verdicts: For each score that retrained models have too, what may be said of it.
        forgotten: Whether the forget set is forgotten, as far as the scores can see; printed, it is a sentence.
        kept: Whether the model is still right on the retain set and the test set, likewise.
        missing: For each score that there is not, a sentence that says what it lacks.
        decisions: What was decided for the user, a sentence each.
        record: All of this as it is saved.
        samples: The forget samples from the most exposed on, and the retain samples whose exposure rose.

    Examples:
        >>> import natmu
        >>> from natmu.testing import digits, trained
        >>> audit = natmu.audit(trained(), digits(), digits(60), [3, 14, 15], progress=False)
        >>> audit.scores["forget_acc"], audit.retrained
        (100.0, None)
        >>> "avg_gap" in audit.missing  # it needs a retrained model
        True
    """

    scores: dict[str, float]
    retrained: dict[str, float] | None
    original: dict[str, float] | None
    avg_gap: float | None
    verdicts: dict[str, Verdict]
    forgotten: Answer
    kept: Answer
    missing: dict[str, str]
    decisions: tuple[str, ...]
    record: Audit = field(repr=False)
    samples: tuple[Sample, ...] = field(repr=False)

    def __str__(self) -> str:
        return f"Forgotten? {self.forgotten}\nKept? {self.kept}"

    def save(self, folder: str | PathLike[str]) -> Path:
        """Write the audit into the folder ``audit`` of a folder, as audits of runs are written.

        Args:
            folder: New, or that of a saved result; ``natmu report`` reads it.

        Raises:
            UsageError: There is an audit already, or the folder is that of a run or of something else.
            RunError: It cannot be written.
        """
        path = Path(folder)
        if is_there(path / AUDIT_FOLDER / AUDIT):
            raise UsageError(f"{path} holds an audit already; name another folder.")
        if path.exists() and (not path.is_dir() or (any(path.iterdir()) and not is_there(path / RESULT))):
            raise UsageError(f"{path} holds something else; name the folder of a saved result, or a new one.")
        try:
            path.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise cannot_write(path, error) from error
        write_audit(path, self.record, self.samples)
        return path

    def report(self, page: str | PathLike[str]) -> Path:
        """Write one HTML page that opens offline.

        Args:
            page: The file; one that is there is replaced.

        Raises:
            RunError: It cannot be written.
        """
        return _write_page(page, None, [], None, self.record, self.samples)


def audit_result(
    found: Examination, panel: Panel, forget: ForgetSet, level: Level, seed: int, decisions: Sequence[str]
) -> AuditResult:
    """The result of an audit of models in memory.

    Args:
        found: What came of it.
        panel: The models' predictions.
        forget: What was forgotten.
        level: How much was asked for.
        seed: Of subsamples, bootstrap draws and random divisions.
        decisions: What was decided for the user.
    """
    means = {name: float(np.mean(values)) for name, values in found.retrained.items() if values}
    count = len(panel.model.retain) + len(forget.left_out)
    retained = np.setdiff1d(np.arange(count), forget.left_out)
    rows = exposed_samples(panel, forget.indices, retained, None)
    return AuditResult(
        scores=found.scores,
        retrained=mean_scores([basic_scores(one) for one in panel.retrained]) | means if panel.retrained else None,
        original=None if panel.original is None else found.original,
        avg_gap=found.scores.get("avg_gap"),
        verdicts=found.verdicts,
        forgotten=found.forgotten,
        kept=found.kept,
        missing=found.missing,
        decisions=tuple(decisions),
        record=Audit(
            run=None,
            level=level,
            references=len(panel.retrained),
            method=None,
            forget=audited_forget(forget),
            forgotten=StoredAnswer(**asdict(found.forgotten)),
            kept=StoredAnswer(**asdict(found.kept)),
            decisions=tuple(decisions),
            scores=audited_scores(found),
            missing=found.missing,
            mia_efficacy_samples=efficacy_samples(panel.model),
            seed=seed,
            models=ComparedModels(),
        ),
        samples=tuple(map(Sample.model_validate, rows)),
    )


def audited_forget(forget: ForgetSet) -> AuditedForget:
    """What is written of a forget set; one that was listed or relabelled in Python has no request."""
    listed = forget.request in (f"indices:{forget.digest}", f"relabel:{forget.digest}")
    request = None if listed else parse_forget(forget.request)
    return AuditedForget(request=request, scenario=forget.scenario, count=len(forget), digest=forget.digest)


def _write_page(
    page: str | PathLike[str],
    record: ResultRecord | None,
    history: History,
    forget: ForgetSet | None,
    audit: Audit | None = None,
    samples: tuple[Sample, ...] = (),
) -> Path:
    """Write the page of a result in memory."""
    from natmu.report.page import render  # loads what draws, which unlearning does without
    from natmu.report.result_page import result_content

    positions = None if forget is None else forget.indices
    write_atomically(Path(page), render(result_content(record, history, positions, audit, samples)).encode())
    return Path(page)
