"""A ledger of a small service, entry by entry, as later parts of a service would write it."""

import hashlib

from natmu.records.ledger import (
    FIRST,
    DeployedModel,
    Entry,
    NotMade,
    Opening,
    PolicyChanged,
    ProcessStarted,
    Purged,
    Rejected,
    Released,
    Requested,
    Retrained,
    RolledBack,
    body_text,
    entry_hash,
)
from natmu.records.policy import Policy
from natmu.records.run import Hardware

POLICY = Policy()
CENSUS = "c0" * 16
HARDWARE = Hardware(device="cpu", precision="fp32", processor="any", threads=1)
SEAL = "5" * 64
"""What stands for the seal of entries that no key has sealed."""


def weights(number):
    """What stands for the file of weights of a release."""
    return f"weights {number}".encode()


def model(number):
    """The model of a release."""
    digest = hashlib.blake2b(weights(number), digest_size=16).hexdigest()
    return DeployedModel(run=f"{number:016x}", weights=digest)


def digests(*names):
    """What stands for keyed digests of samples."""
    return tuple(hashlib.sha256(str(name).encode()).hexdigest()[:32] for name in names)


def opening(**changed):
    fields = {
        "original": model(0),
        "architecture": "small_cnn",
        "training": "10 epochs",
        "accuracies": {"train_acc": 100.0, "test_acc": 97.5},
        "samples": 1000,
        "census": CENSUS,
        "retraining_seconds": 60.0,
        "policy": POLICY,
        "versions": {"torch": "2"},
    }
    return Opening(**fields | changed)


def policy_changed(policy, before=POLICY):
    return PolicyChanged(policy=policy, before=before.digest)


def requested(number, samples=3, **changed):
    """A request for samples of its own."""
    fields = {
        "request": number,
        "ticket": f"T-{number}",
        "asked": "files",
        "samples": digests(*(f"{number}/{row}" for row in range(samples))),
        "files": digests(*(f"file {number}/{row}" for row in range(samples))),
        "received": "2026-01-02T00:00:00+00:00",
        "due": "2026-02-01T00:00:00+00:00",
    }
    return Requested(**fields | changed)


def started(process, *requests, source=0, policy=POLICY, **changed):
    """A process that starts from the model of the release ``source``."""
    fields = {
        "process": process,
        "requests": requests,
        "source": model(source),
        "forgotten_before": 0,
        "seed": 0,
        "references": 1,
        "policy": policy.digest,
    }
    return ProcessStarted(**fields | changed)


def tried(process, requests, result, source, **changed):
    """What all candidates have in common."""
    fields = {
        "process": process,
        "requests": requests,
        "method": "natmu",
        "settings": {"epochs": 3},
        "guarantee": "approximate",
        "promise": "None is made.",
        "seed": 0,
        "source": None if source is None else model(source),
        "result": model(result),
        "seconds": 2.5,
        "retraining_seconds": 60.0,
        "forgotten": 3,
        "measured": None,
        "versions": {"torch": "2"},
        "hardware": HARDWARE,
    }
    return fields | changed


def released(release, process, *requests, source=0, **changed):
    return Released(release=release, **tried(process, requests, release, source, **changed))


def retrained(release, *requests, process=None):
    """A retraining; its model is that of the release."""
    fields = tried(process, requests, release, None, method="retrain", guarantee="exact")
    return Retrained(release=release, **fields)


def rejected(process, *requests, final, source=0, **changed):
    """A candidate, model 99, that was refused."""
    reasons = ("Retain accuracy fell by 3 points.",)
    return Rejected(reasons=reasons, final=final, **tried(process, requests, 99, source, **changed))


def not_made(process, *requests, final):
    return NotMade(process=process, requests=requests, method="natmu", reasons=("It diverged.",), final=final)


def rolled_back(release, *reopened):
    return RolledBack(release=release, result=model(release), reopened=reopened)


def purged(request, *, runs=(), census=CENSUS):
    return Purged(request=request, files=10, caches=1, census=census, weights=runs)


def story():
    """A whole small ledger: two requests answered, one refused, a rollback, a retraining, a purge."""
    return (
        opening(),
        requested(1),
        requested(2),
        started(1, 1),
        released(1, 1, 1),
        started(2, 2, source=1),
        rejected(2, 2, source=1, final=False),
        released(2, 2, 2, source=1, method="finetune"),
        requested(3),
        started(3, 3, source=2),
        rejected(3, 3, source=2, final=True),
        rolled_back(1, 2),
        retrained(3, 2, 3),
        purged(1, runs=(model(0).run,)),
    )


def time_of(number):
    """The time of the entry with a number: one a minute."""
    return f"2026-01-02T{number // 60:02d}:{number % 60:02d}:00+00:00"


def chained(*bodies, seal=lambda text: SEAL):
    """Bodies as entries of a ledger, each chained to the one before."""
    entries, previous = [], FIRST
    for number, body in enumerate(bodies, 1):
        own = entry_hash(number, time_of(number), body_text(body), previous)
        entries.append(
            Entry(number=number, time=time_of(number), body=body, previous=previous, hash=own, seal=seal(own))
        )
        previous = own
    return tuple(entries)
