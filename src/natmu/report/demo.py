"""What the demo shows: for each forget set a short table and a conclusion, both computed from its study."""

from __future__ import annotations

import csv
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from natmu.records.run import RunFolder
from natmu.records.study import StudyAudit, open_study
from natmu.records.table import Results, Row, Story, StoryRow
from natmu.types import ORIGINAL, REFERENCES, RETRAINED, IntArray

CAUGHT = ("no", "too much", "unlike retraining")
"""What an audit says of a model that it distinguishes from retrained ones."""


def stories_of(folder: Path) -> tuple[Story, ...]:
    """The stories of the demo's study, one for each forget set.

    Args:
        folder: The study folder, beside its runs.

    Raises:
        RunError: Something stored cannot be read.
    """
    study = open_study(folder)
    stories = []
    for scenario in dict.fromkeys(row.scenario for row in study.table.rows):
        request = study.table.request(scenario)
        rows = [row for row in study.table.rows if row.scenario == scenario]
        audits = [audit for audit in study.audits if audit.scenario == scenario]
        if request.file is None:
            title, unwanted = f"A class is forgotten: {', '.join(request.names)}", "class recognised"
            shown = story_rows(rows, audits, "forget_test_acc")
        else:
            wrong = _listed(request.file)
            title = f"Wrong labels are forgotten: those of {len(wrong)} training images"
            unwanted = "wrong label"
            true = {row.method: _accuracy(row, wrong, folder.parent) for row in rows if row.n}
            shown = story_rows(rows, audits, "forget_acc", true)
        sentences = conclusion(shown, _undecided(study.table, scenario), [row.method for row in rows if row.failed])
        stories.append(Story(scenario=scenario, title=title, unwanted=unwanted, rows=shown, conclusion=sentences))
    return tuple(stories)


def story_rows(
    rows: Sequence[Row], audits: Sequence[StudyAudit], unwanted: str, true: Mapping[str, float] | None = None
) -> tuple[StoryRow, ...]:
    """The rows of a story; methods without a model are left out.

    Args:
        rows: Those of the table on one forget set.
        audits: Those on the same one.
        unwanted: The column with the predictions that are to go.
        true: Accuracy against the true labels by method, where labels are wrong.
    """
    answers = {audit.label: audit.audit.forgotten for audit in audits if audit.audit is not None}
    shown = []
    for row in rows:
        means = {name: column.mean for name, column in row.scores.items() if column is not None}
        answer, fraction = answers.get(row.method), means.get("retrain_fraction")
        if unwanted in means:
            shown.append(
                StoryRow(
                    method=row.method,
                    unwanted=means[unwanted],
                    corrected_acc=None if true is None else true[row.method],
                    avg_gap=means.get("avg_gap"),
                    retrain_fraction=None if fraction is None else 100 * fraction,
                    audit=None if answer is None else answer.outcome,
                    finding=None if answer is None else answer.sentence.split(";")[0].rstrip("."),
                )
            )
    return tuple(shown)


def conclusion(rows: Sequence[StoryRow], undecided: Sequence[str] = (), failed: Sequence[str] = ()) -> tuple[str, ...]:
    """What the rows of a story show, in a few sentences.

    Args:
        rows: Those of the story.
        undecided: Methods that the seeds do not distinguish from the one with the lowest mean gap.
        failed: Methods of which a model is missing.
    """
    known = {row.method: row for row in rows}
    original, retrained = known.get(ORIGINAL), known.get(RETRAINED)
    sentences = [f"Models are missing of {_and(failed)}; they do not compete."] if failed else []
    if original is None or retrained is None:
        return (*sentences, "Without the original and retrained models nothing can be concluded.")
    methods = [row for row in rows if row.method not in (*REFERENCES, *failed)]
    sentences.append(_memory(original, retrained))
    sentences += _closest(methods, original, retrained, undecided)
    return (*sentences, *_audited(methods))


def _memory(original: StoryRow, retrained: StoryRow) -> str:
    """Whether the original knows what retrained models do not."""
    if original.corrected_acc is None or retrained.corrected_acc is None:
        known = f"{original.unwanted:.0f} % of the class, retrained models {retrained.unwanted:.0f} %"
        nothing = "" if original.unwanted > retrained.unwanted else ": there is nothing to forget"
        return f"The original recognises {known}{nothing}."
    learnt = "has" if original.unwanted > original.corrected_acc else "has not"
    return (
        f"The original {learnt} memorised the wrong labels: it predicts {original.unwanted:.0f} % of them, and "
        f"{original.corrected_acc:.0f} % of the true ones. Models retrained without these images predict "
        f"{retrained.corrected_acc:.0f} % of the true ones."
    )


def _closest(
    methods: Sequence[StoryRow], original: StoryRow, retrained: StoryRow, undecided: Sequence[str]
) -> list[str]:
    """Which method is closest to retraining, what it reaches, and what it costs."""
    measured = {row.method: row.avg_gap for row in methods if row.avg_gap is not None}
    if not measured or original.avg_gap is None:
        return ["No method can be compared with retraining."]
    best = next(row for row in methods if row.method == min(measured, key=measured.__getitem__))
    gap = measured[best.method]
    if gap >= original.avg_gap:
        return [f"No method is closer to retraining than the original, whose avg_gap is {original.avg_gap:.1f}."]
    baseline = (
        "" if retrained.avg_gap is None else f", that of retrained models among themselves {retrained.avg_gap:.1f}"
    )
    cost = "" if best.retrain_fraction is None else f" It takes {best.retrain_fraction:.0f} % of retraining's time."
    if best.retrain_fraction is not None and best.retrain_fraction >= 100:
        cost += " Retraining is cheaper."
    reached = f"it recognises {best.unwanted:.0f} % of the class"
    if best.corrected_acc is not None:
        reached = (
            f"it predicts {best.corrected_acc:.0f} % of the true labels and {best.unwanted:.0f} % of the wrong ones"
        )
    sentences = [
        f"{best.method} is closest to retraining: {reached}. Its avg_gap is {gap:.1f}; that of the original is "
        f"{original.avg_gap:.1f}{baseline}.{cost}"
    ]
    if undecided:
        sentences.append(f"The seeds do not distinguish its avg_gap from that of {_and(undecided)}.")
    return sentences


def _audited(methods: Sequence[StoryRow]) -> list[str]:
    """Which methods the audit distinguishes from retraining, and by what."""
    audited = [row for row in methods if row.audit is not None]
    caught = [row for row in audited if row.audit in CAUGHT]
    if not audited:
        return ["No method was audited."]
    if not caught:
        names = _and([row.method for row in audited])
        return [f"The audit distinguishes none of {names} from retrained models; a stronger audit may."]
    others = [row.method for row in audited if row not in caught]
    sentences = [f"The audit distinguishes {_and([row.method for row in caught])} from retrained models."]
    sentences += [f"{row.method}: {row.finding}." for row in caught]
    if others:
        sentences.append(f"It does not distinguish {_and(others)}; that is no proof, and a stronger audit may.")
    return sentences


def _undecided(table: Results, scenario: str) -> list[str]:
    """Methods that seeds do not distinguish from the one with the lowest gap."""
    gaps = [one for one in table.comparisons if (one.scenario, one.score) == (scenario, "avg_gap")]
    return [one.method for one in gaps if one.best == gaps[0].best and one.within_noise]


def _listed(path: Path) -> IntArray:
    """Position and true label of each image with a wrong label, ``(K, 2)``."""
    with path.open(newline="", encoding="utf-8") as file:
        return np.array([(int(row["index"]), int(row["label"])) for row in csv.DictReader(file)], np.int64)


def _accuracy(row: Row, wrong: IntArray, runs: Path) -> float:
    """Mean accuracy of a row's models against the true labels, in percent."""
    logits = [RunFolder(runs / replicate.run).outputs().train.logits for replicate in row.replicates]
    return 100 * float(np.mean([one[wrong[:, 0]].argmax(1) == wrong[:, 1] for one in logits]))


def _and(names: Sequence[str]) -> str:
    """Names as a list in words."""
    return " and ".join([", ".join(names[:-1]), names[-1]] if len(names) > 1 else names)
