"""Services that have answered requests one by one, and what was measured of their releases."""

from tests.deletion_requests.fakes import chained, opening, released, requested, started

from natmu.records.audit import Answer
from natmu.records.measurement import MeasuredScore, Measurement


def measurement(original=None, **accuracies):
    """What an audit says of a release: accuracies by name, beside those of the original."""
    return Measurement(
        samples=1,
        level="quick",
        references=0,
        scores={
            name: MeasuredScore(value=value, original=(original or {}).get(name, 100.0))
            for name, value in accuracies.items()
        },
        forgotten=Answer(outcome="cannot be said", sentence="It cannot be said."),
        kept=Answer(outcome="yes", sentence="It is kept."),
    )


def answered(number, samples, policy, *, measured=None, source=None, process=None, **changed):
    """One request, and the process that answers it; ``samples`` are forgotten by then."""
    source = number - 1 if source is None else source
    process = number if process is None else process
    made = {"source": source, "forgotten": samples, "measured": measured} | changed
    return (
        requested(number),
        started(process, number, source=source, policy=policy),
        released(number, process, number, **made),
    )


def service(policy, counts, measured=None, *, samples=1000):
    """Entries of a service whose releases have forgotten that many samples by then, one request each."""
    bodies = [opening(policy=policy, samples=samples)]
    for number, count in enumerate(counts, 1):
        bodies += answered(number, count, policy, measured=None if measured is None else measured[number - 1])
    return chained(*bodies)
