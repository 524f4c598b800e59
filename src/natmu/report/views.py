"""What the page's templates are filled with: comparisons of models, audits, learning curves."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from natmu.records.audit import Answer, Audit
from natmu.records.run import HISTORY, History, RunFolder
from natmu.records.study import StudyAudit
from natmu.report.distributions import Margins, edges_for
from natmu.report.figures import Figure, Model, histogram, learning, rocs
from natmu.report.images import ShownSample
from natmu.report.scores import score_cells
from natmu.types import REFERENCES

Columns = dict[str, list[float | None]]

SHOWN_METHODS = 3
"""Methods whose curves are shown before anybody chooses."""
CURVES = ("loss", "accuracy")
TITLES = {
    "forget": "forget set",
    "retain": "retain set",
    "train": "training data",
    "test": "test set",
    "holdout": "holdout",
    "forget_test": "forgotten classes, unseen",
}
EXPLAINED = {
    "forget": "the samples to forget",
    "retain": "the rest of the training data",
    "train": "the training data",
    "test": "the test set, which no model has seen",
    "holdout": "the holdout, which no model has seen",
    "forget_test": "unseen samples of the forgotten classes",
}


@dataclass(frozen=True)
class Plot:
    """A figure with a text that describes it.

    Attributes:
        key: Names it within the page.
        figure: As Plotly takes it.
        title: Heading.
        label: What it shows, in a sentence, for readers who cannot see it.
    """

    key: str
    figure: Figure
    title: str
    label: str


@dataclass(frozen=True)
class Table:
    """Numbers behind a plot."""

    caption: str
    headers: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]


@dataclass(frozen=True)
class Comparison:
    """Models side by side, each of which readers can show and hide."""

    key: str
    models: tuple[Model, ...]
    visible: frozenset[str]
    margins: tuple[Plot, ...] = ()
    rocs: tuple[Plot, ...] = ()
    numbers: Table | None = None
    curves: tuple[Plot, ...] = ()


@dataclass(frozen=True)
class AuditView:
    """One audit: the two parts of its verdict, every score, and what is missing; or why there is none."""

    label: str
    level: str
    forgotten: Answer | None
    kept: Answer | None
    references: int
    scores: tuple[tuple[str, tuple[str, str, str, str, str], str], ...]
    missing: tuple[tuple[str, str], ...]
    samples: Sequence[ShownSample] = field(default=())
    decisions: tuple[str, ...] = ()
    failed: str = ""

    @property
    def pictured(self) -> list[ShownSample]:
        """The samples with a picture."""
        return [sample for sample in self.samples if sample.picture]


def audit_view(label: str, audit: Audit, samples: Sequence[ShownSample] = ()) -> AuditView:
    """An audit for the page.

    Args:
        label: What the audited model is called.
        audit: The audit.
        samples: The most exposed ones.
    """
    scores = tuple(
        (name, score_cells(score), score.verdict.sentence if score.verdict else "")
        for name, score in audit.scores.items()
    )
    reasons: dict[str, list[str]] = {}
    for name, reason in audit.missing.items():
        reasons.setdefault(reason, []).append(name)
    missing = tuple((", ".join(names), reason) for reason, names in reasons.items())
    count = len(audit.models.retrained)
    told = audit.decisions
    return AuditView(label, audit.level, audit.forgotten, audit.kept, count, scores, missing, samples, told)


def failed_audit_view(audit: StudyAudit) -> AuditView:
    """An audit that there is not, with the reason."""
    log = f" Log: {audit.log}." if audit.log else ""
    return AuditView(audit.label, "", None, None, 0, (), (), failed=f"Not audited. {audit.failed}{log}")


def comparison(
    key: str,
    models: Sequence[Model],
    runs: Mapping[str, RunFolder],
    margins: Mapping[str, Margins],
    keen: Sequence[str],
) -> Comparison | None:
    """Margins, ROC and learning curves of several models; None where nothing is stored.

    Args:
        key: Names it within the page.
        models: In the order of tables.
        runs: Their run folders, by key.
        margins: Likewise their margins.
        keen: Labels of the methods to show first.
    """
    told = [model for model in models if model.key in margins]
    curves = tuple(_curves(key, [model for model in models if model.key in runs], runs))
    if not told and not curves:
        return None
    present = tuple(model for model in models if model.key in runs)
    chosen = {*REFERENCES, *keen[:SHOWN_METHODS]}
    visible = frozenset(model.key for model in present if model.label in chosen or len(present) <= SHOWN_METHODS + 2)
    return Comparison(
        key,
        present,
        visible,
        tuple(_histograms(key, told, margins)),
        tuple(_rocs(key, told, margins)),
        _numbers(told, margins) if told else None,
        curves,
    )


def _histograms(key: str, models: Sequence[Model], margins: Mapping[str, Margins]) -> Iterator[Plot]:
    """One histogram per part of the data."""
    if not models:
        return
    references = [margins[model.key] for model in models if model.label in REFERENCES]
    edges = edges_for(references or [margins[model.key] for model in models])
    for part in dict.fromkeys(itertools.chain.from_iterable(margins[model.key].parts for model in models)):
        label = f"Histogram of margins on {EXPLAINED[part]}, one outline per model; medians are in the table below."
        yield Plot(f"{key}-margin-{part}", histogram(models, margins, part, edges), TITLES[part], label)


def _rocs(key: str, models: Sequence[Model], margins: Mapping[str, Margins]) -> Iterator[Plot]:
    """One plot of ROC curves per part that the models may have been trained on."""
    for part in dict.fromkeys(itertools.chain.from_iterable(margins[model.key].seen for model in models)):
        figure = rocs(models, margins, part)
        if figure["data"]:
            other = next(margins[model.key].non_members(part) for model in models)
            label = f"ROC curves that tell {part} from {other} samples by their margin; areas are in the table below."
            yield Plot(f"{key}-roc-{part}", figure, f"{TITLES[part]} against {TITLES[other]}", label)


def _numbers(models: Sequence[Model], margins: Mapping[str, Margins]) -> Table:
    """Medians and quartiles of margins, and areas below the ROC curves."""
    parts = list(dict.fromkeys(itertools.chain.from_iterable(margins[model.key].parts for model in models)))
    first = margins[models[0].key]
    rows = []
    for model in models:
        own = margins[model.key]
        cells = [_quartiles(own, part) for part in parts]
        cells += [_area(own, part) for part in first.seen]
        rows.append((model.label, *cells))
    headers = (
        "model",
        *(f"φ {part}" for part in parts),
        *(f"AUC {part}/{first.non_members(part)}" for part in first.seen),
    )
    return Table("Median margin φ (first and third quartile), and area below each ROC curve.", headers, tuple(rows))


def _area(margins: Margins, part: str) -> str:
    """Area below the ROC curve of one part."""
    curve = margins.against_unseen(part) if part in margins.parts else None
    return "-" if curve is None else f"{curve.area:.3f}"


def _quartiles(margins: Margins, part: str) -> str:
    """Median and quartiles of one part."""
    if part not in margins.parts:
        return "-"
    low, middle, high = np.percentile(margins.parts[part], [25, 50, 75])
    return f"{middle:.2f} ({low:.2f} to {high:.2f})"


def _curves(key: str, models: Sequence[Model], runs: Mapping[str, RunFolder]) -> Iterator[Plot]:
    """Learning curves."""
    rows = {model.key: runs[model.key].history() if runs[model.key].has(HISTORY) else [] for model in models}
    histories = {key: by_column(history) for key, history in rows.items()}
    for column in CURVES:
        if any(column in history for history in histories.values()):
            yield curve(key, column, models, histories)


def curve(key: str, column: str, models: Sequence[Model], histories: Mapping[str, Columns]) -> Plot:
    """The learning curves of one column.

    Args:
        key: Names the plot within the page, with the column.
        column: Which.
        models: Those to draw.
        histories: What was noted of each epoch by epoch, by key and column.
    """
    last = "; ".join(
        f"{model.label} ends at {history[column][-1]:.4g}"
        for model in models
        if (history := histories[model.key]).get(column) and history[column][-1] is not None
    )
    label = f"Training {column} by epoch: {last}."
    return Plot(f"{key}-curve-{column}", learning(models, histories, column), column, label)


def by_column(rows: History) -> Columns:
    """What was noted epoch by epoch, by column; empty where nothing was trained."""
    names = dict.fromkeys(name for row in rows for name in row)
    return {name: [row.get(name) for row in rows] for name in names}
