"""Verifying a service, or evidence that it gave: what is shown, what is wrong, and what cannot be shown. No PyTorch."""

from __future__ import annotations

from pathlib import Path

from natmu.errors import UsageError
from natmu.records.files import Value
from natmu.records.ledger import Verified
from natmu.records.service import KEY, LEDGER, PUBLIC_KEY, SERVICE
from natmu.requests.checks import EVIDENCE_FILE, ServiceChecks, chain_problems, counted, is_signed
from natmu.requests.keys import ServiceKey, fingerprint
from natmu.requests.ledger import Ledger
from natmu.requests.state import fold

NOT_SHOWN = (
    "That a sample is forgotten. The ledger has the scores of the models, and scores cannot detect everything.",
    "What happens to other copies of the samples, to backups, and to models that were exported or made from these.",
    "That every request was recorded here, and that times are right. They come from the clock of this machine.",
    "Which data the original was really trained on before the service began.",
    "That this procedure satisfies a law.",
)
"""What neither verification of a service nor of evidence shows."""

NOT_SHOWN_OF_SERVICE = (
    "That nobody replaced the whole folder by an older copy of it. Only evidence that others hold, or a backup, would "
    "differ.",
    f"That nobody who can read {KEY} wrote entries or changed them. Anyone who has it can.",
    *NOT_SHOWN,
)


class Verification(Value):
    """What was verified.

    Attributes:
        problems: What is wrong, a sentence each that names the file or the entry.
        shown: What was checked and holds, with counts.
        not_shown: What that does not show.
        noted: What a ledger says of it; None where something is wrong, and of evidence.
    """

    problems: tuple[str, ...]
    shown: tuple[str, ...]
    not_shown: tuple[str, ...]
    noted: Verified | None = None

    @property
    def ok(self) -> bool:
        """Whether nothing is wrong."""
        return not self.problems


def verify_service(folder: Path, *, data: str | None = None) -> Verification:
    """Check a whole service: its ledger, models, evidence, and the files of its data that are no part of a request.

    Args:
        folder: Of the service.
        data: Where the data lies now, if not where it lay.

    Raises:
        UsageError: There is no service, or its key is gone.
    """
    if not (folder / SERVICE).exists() and not (folder / LEDGER).exists():
        raise UsageError(f"{folder} is not a service: it holds no {SERVICE}; name the folder of one.")
    key = ServiceKey.read(folder / KEY)
    ledger = Ledger(folder / LEDGER, key)
    problems = ledger.problems()
    if problems:
        unchecked = "Models, data and evidence: what they should be stands in the ledger, which is not sound."
        return Verification(problems=tuple(problems), shown=(), not_shown=(unchecked, *NOT_SHOWN_OF_SERVICE))
    entries = ledger.entries()
    checks = ServiceChecks(folder, key, entries, fold(entries))
    checks.models()
    checks.current()
    checks.evidence()
    checks.data(data)
    counts = checks.counts
    noted = Verified(entries=len(entries), models=counts["models"], files=counts["files"], evidence=counts["evidence"])
    return Verification(
        problems=tuple(checks.problems),
        shown=tuple(checks.shown),
        not_shown=(*checks.unchecked, *NOT_SHOWN_OF_SERVICE),
        noted=None if checks.problems else noted,
    )


def verify_evidence(path: Path, public_key: Path | None = None) -> Verification:
    """Check evidence by itself, as whoever was given it can.

    Args:
        path: ``evidence.json``, with ``evidence.sig`` beside it, or their folder.
        public_key: The service's ``signing.pub``, from the service itself; None to leave the signature unchecked.

    Raises:
        UsageError: There is no such file, or the public key is none.
        RunError: It is damaged.
    """
    from natmu.records.evidence import Evidence

    path = path / EVIDENCE_FILE if path.is_dir() else path
    if not path.exists():
        raise UsageError(f"{path} is not there; name the {EVIDENCE_FILE} of a request.")
    evidence = Evidence.read(path)
    shown, unsigned, problems = [], [], chain_problems(path, evidence)
    if not problems:
        shown.append(
            f"Its {counted(len(evidence.entries), 'entry', 'entries')} of the ledger have the hashes of their content, "
            f"and its last known entry is {evidence.head_number}."
        )
    if public_key is None:
        unsigned.append(
            f"Who wrote it. Its signature was not checked, because that needs the service's {PUBLIC_KEY}; take that "
            "from the service itself, not from the sender of the evidence."
        )
    elif is_signed(path, public_key):
        shown.append(f"The owner of the key {fingerprint(public_key)} signed it, and it was not changed since.")
    else:
        problems.append(f"{path} is not signed with the key {fingerprint(public_key)}, or was changed since.")
    own = "That the ledger of the service still says so: `natmu requests verify` of the service compares them."
    return Verification(problems=tuple(problems), shown=tuple(shown), not_shown=(*unsigned, own, *NOT_SHOWN))
