"""The evidence of a request as one HTML file for people who are no engineers: it needs nothing else, and prints."""

from __future__ import annotations

from datetime import UTC, datetime
from importlib.metadata import version
from importlib.resources import files

from markupsafe import Markup

from natmu.records.evidence import Attempt, Evidence, LaterRelease, Made
from natmu.records.measurement import MeasuredScore, Measurement
from natmu.report.digits import rounded
from natmu.report.evidence_picture import Point, picture
from natmu.report.html import templates
from natmu.scores.uncertainty import POWER

SHOWN_LATER, SHOWN_ATTEMPTS = 8, 4
"""How many of the last re-measurements and attempts are on the page; all are in the JSON."""

WHOLE = 100.0
"""Points that a percentage can differ by; a smaller difference is not seen where it takes more."""

NAMES = {
    "forget_acc": "right on the samples of the request, %",
    "retain_acc": "right on all other training samples, %",
    "holdout_acc": "right on holdout samples, %",
    "test_acc": "right on test samples, %",
    "mia_efficacy_confidence": "taken for never seen, by confidence, %",
    "rmia_auc": "separated from unseen samples (RMIA AUC), 0 to 1",
}
"""Scores on the page, in words; the others are in the JSON."""

ASKED = {
    "files": "by a list of files",
    "where": "by a value in a table",
    "indices": "by positions",
    "class": "by class",
}

POLICY = "default-src 'none'; style-src 'unsafe-inline'; img-src data:; base-uri 'none'; form-action 'none'"
"""Nothing is fetched, and no script runs."""


def evidence_page(evidence: Evidence) -> str:
    """The page as text.

    Args:
        evidence: The evidence.
    """
    answer = evidence.answer
    made = None if answer is None else answer.made
    measured = None if made is None else made.measured
    points = _points(evidence)
    styles = (
        files("natmu.report").joinpath(f"templates/{name}.css").read_text("utf-8") for name in ("report", "evidence")
    )
    template = templates().get_template("evidence.html")
    return template.render(
        evidence=evidence,
        version=version("natmu"),
        style=Markup("\n".join(styles)),
        policy=POLICY,
        summary=_summary(evidence),
        answer=answer,
        attempts=[_attempt_cells(one) for one in evidence.attempts[-SHOWN_ATTEMPTS:]],
        more_attempts=max(0, len(evidence.attempts) - SHOWN_ATTEMPTS),
        promised=[] if made is None else _promised(made),
        seed=None if made is None else _seed(made),
        power=f"{100 * POWER:.3g} %",
        measured=measured,
        scores=[] if measured is None else _scores(measured),
        more_scores=0 if measured is None else sum(name not in NAMES for name in measured.scores),
        later=[_later_cells(one) for one in evidence.later[-SHOWN_LATER:]],
        more_later=max(0, len(evidence.later) - SHOWN_LATER),
        picture=picture(points, _original(evidence)) if len(points) > 1 else None,
        sample_rows=[
            (one.name, one.label, _probability(one.before), _probability(one.after)) for one in evidence.samples or ()
        ],
        day=_day,
    )


def _summary(evidence: Evidence) -> list[str]:
    """What happened, in a few sentences."""
    first = [*_promise(evidence), _asked(evidence), _answered(evidence)]
    return [*first, *_done(evidence), *_tested(evidence), _deployed(evidence)]


def _promise(evidence: Evidence) -> list[str]:
    """What is promised of the deployed model, where that is more than what tests see."""
    made = evidence.promised
    deployed = evidence.deployed.release
    if made is None:
        return []
    model = "is" if made.release == deployed else f"rests on release {made.release}, which is"
    return [
        f"The request is honoured by release {deployed}, which {model} {made.guarantee}, by the method {made.method}. "
        f"{made.promise} The assumptions of that stand below."
    ]


def _asked(evidence: Evidence) -> str:
    """Who asked what, and when."""
    asked = evidence.request
    copies = f", {_counted(asked.copies, 'of them a copy', 'of them copies')} of others" if asked.copies else ""
    classes = f", all of the class {', '.join(asked.classes)}" if asked.classes else ""
    unseen = (
        f" It also names {_counted(asked.unseen, 'sample')} of parts that the service never trains on."
        if asked.unseen
        else ""
    )
    return (
        f"On {_day(asked.received)}, request {asked.request} with the ticket {asked.ticket} asked the model to forget "
        f"{_counted(asked.samples, 'training sample')}{copies}{classes}; it names them {ASKED[asked.asked]}.{unseen}"
    )


def _answered(evidence: Evidence) -> str:
    """Whether it was answered, and when."""
    asked = evidence.request
    due = _day(asked.due)
    if asked.answered is None:
        late = f"and was due on {due}" if asked.in_time is False else f"and is due on {due}"
        return f"It is not answered yet, {late}." if asked.status == "pending" else f"It is being processed, {late}."
    time = "in time" if asked.in_time else "late"
    first = f"It was first answered on {_day(asked.answered)}, {time}: it was due on {due}."
    reopened = [one for one in evidence.rollbacks if one.reopened]
    if not reopened:
        return first
    again = f" The request is honoured again since {_day(asked.since)}." if asked.since else " It is not honoured now."
    return f"{first} A rollback to release {reopened[-1].release} on {_day(reopened[-1].time)} reopened it.{again}"


def _done(evidence: Evidence) -> list[str]:
    """What was done."""
    answer, refused = evidence.answer, [one for one in evidence.attempts if one.outcome != "deployed"]
    told = []
    if answer is not None and answer.made is not None:
        fraction = answer.made.retrain_fraction
        cost = "" if fraction is None else f", {_digits(100 * fraction)} % of retraining's time"
        told.append(
            f"Release {answer.release} was made by the method {answer.method} ({answer.made.guarantee}) in "
            f"{_digits(answer.made.seconds)} seconds{cost}."
        )
    if refused:
        told.append(
            f"{_counted(len(refused), 'model was', 'models were')} refused or could not be made; the table says why."
        )
    return told


def _promised(made: Made) -> list[str]:
    """What belongs to what the method promises: what the head stands on, and what was decided while it was made."""
    head = "" if made.head is None else made.head.sentence
    return [*filter(None, [head]), *(sentence for sentence in made.decisions if sentence not in head)]


def _tested(evidence: Evidence) -> list[str]:
    """What tests saw."""
    answer, told = evidence.answer, []
    measured = None if answer is None or answer.made is None else answer.made.measured
    if measured is not None:
        promises = answer is not None and answer.made is not None and answer.made.guarantee != "approximate"
        told += [_checked(measured) if promises else measured.forgotten.sentence, measured.kept.sentence]
    again = [one.measured for one in evidence.later if one.measured is not None and one.measured.samples]
    if again:
        back = sum(one.came_back is True for one in again)
        unknown = sum(one.came_back is None for one in again)
        know = f"{back or 'none'} of these {'knows' if back < 2 else 'know'}"
        told.append(
            f"The samples were measured again on {_counted(len(again), 'later release')}: "
            f"{know} the samples better than retrained models, beyond chance"
            f"{f'; of {unknown} this cannot be said' if unknown else ''}."
        )
    return told


def _checked(measured: Measurement) -> str:
    """What tests saw of a model with a promise: they check the software, and the promise does not rest on them."""
    if not measured.references:
        return "The model was not compared with retrained ones: what is promised does not rest on tests."
    models = _counted(measured.references, "retrained model")
    return f"As a check of the software, the model was compared with {models}. {measured.forgotten.sentence}"


def _seed(made: Made) -> str:
    """The seed of a model, or who knows it."""
    if made.seed is not None:
        return f"seed {made.seed}"
    return "a seed that was chosen by hand" if made.head is not None and made.head.secret is False else "secret seed"


def _deployed(evidence: Evidence) -> str:
    """What is deployed."""
    now = evidence.deployed
    honours = "honours" if now.honours else "does not honour"
    model = "the original" if now.release == 0 else f"release {now.release}"
    purge = ""
    if evidence.purges:
        purge = f" On {_day(evidence.purges[-1].time)} the samples were confirmed to be gone from the data."
    return f"Since {_day(now.since)}, {model} is deployed, which {honours} the request.{purge}"


def _attempt_cells(attempt: Attempt) -> tuple[str, ...]:
    """A row of what was done: time, method, guarantee, outcome, seconds, fraction, reasons."""
    made = attempt.made
    outcome = f"release {attempt.release}" if attempt.outcome == "deployed" else attempt.outcome
    fraction = "-" if made is None or made.retrain_fraction is None else f"{_digits(100 * made.retrain_fraction)} %"
    seconds, guarantee = ("-", "-") if made is None else (_digits(made.seconds), made.guarantee)
    return (_date(attempt.time), attempt.method, guarantee, seconds, fraction, outcome, " ".join(attempt.reasons))


def _scores(measured: Measurement) -> list[tuple[str, ...]]:
    """Rows of what the audit measured, in words."""
    return [(NAMES[name], *_score_cells(measured.scores[name])) for name in NAMES if name in measured.scores]


def _score_cells(score: MeasuredScore) -> tuple[str, ...]:
    """Of the original, of the model, of retrained models, the smallest difference that would be seen, and a verdict."""
    low, high = (min(score.retrained), max(score.retrained)) if score.retrained else (None, None)
    retrained = _digits(low) if low == high else f"{_digits(low)} to {_digits(high)}"
    verdict = {None: "cannot be said", True: "yes", False: "not at this power"}[score.distinguishable]
    none = score.detectable is not None and score.detectable > WHOLE
    seen = "none would be" if none else _digits(score.detectable)
    return _digits(score.original), _digits(score.value), retrained, seen, verdict


def _later_cells(release: LaterRelease) -> tuple[str, ...]:
    """A row of the request measured again."""
    found = release.measured
    start = (str(release.release), _date(release.time), release.method)
    if found is None or not found.samples:
        return (*start, "-", "-", "-", "-", "not measured" if found is None else "no sample left")
    back = {None: "cannot be said", True: "yes", False: "no"}[found.came_back]
    accuracies = map(_digits, (found.original, found.accuracy, found.retrained))
    return (*start, *accuracies, _probability(found.confidence), back)


def _points(evidence: Evidence) -> list[Point]:
    """Accuracy on the samples, release by release, beside that of retrained models."""
    points, answer = [], evidence.answer
    score = None
    if answer is not None and answer.made is not None and answer.made.measured is not None:
        score = answer.made.measured.scores.get("forget_acc")
    if answer is not None and score is not None:
        points.append(Point(str(answer.release), score.value, score.retrained))
    for one in evidence.later:
        found = one.measured
        if found is not None and found.accuracy is not None:
            points.append(
                Point(str(one.release), found.accuracy, () if found.retrained is None else (found.retrained,))
            )
    return points


def _original(evidence: Evidence) -> float | None:
    """Accuracy of the original on the samples."""
    found = [one.measured.original for one in evidence.later if one.measured is not None]
    answer = evidence.answer
    if answer is not None and answer.made is not None and answer.made.measured is not None:
        score = answer.made.measured.scores.get("forget_acc")
        found.append(None if score is None else score.original)
    return next((value for value in found if value is not None), None)


def _day(text: str) -> str:
    """A time to the day, in words and in UTC."""
    moment = _utc(text)
    return f"{moment.day} {moment:%B %Y}"


def _date(text: str) -> str:
    """A time to the day, as tables have it."""
    return _utc(text).date().isoformat()


def _utc(text: str) -> datetime:
    """A time in UTC, which is meant where no zone is named."""
    moment = datetime.fromisoformat(text)
    return moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment.astimezone(UTC)


def _digits(value: float | None) -> str:
    """A number; "-" where there is none."""
    return "-" if value is None else rounded(value, None)[0]


def _probability(value: float | None) -> str:
    """A number of 0 to 1; "-" where there is none."""
    return "-" if value is None else f"{value:.2f}"


def _counted(count: int, one: str, several: str | None = None) -> str:
    """A number of things in words."""
    return f"{count} {one if count == 1 else several or f'{one}s'}"
