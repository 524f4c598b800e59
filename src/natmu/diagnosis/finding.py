"""What a diagnosis finds: sentences, each with what to do where something is wrong."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any, Literal

from natmu.errors import NatmuError


@dataclass(frozen=True)
class Finding:
    """One thing that was looked at.

    Attributes:
        subject: What it is about, in a word or two.
        state: ``good``; ``note``, where something is missing or unusual that need not be mended; or ``wrong``.
        text: What was found, in a sentence.
        remedy: What to do; empty where nothing has to be done.
    """

    subject: str
    state: Literal["good", "note", "wrong"]
    text: str
    remedy: str = ""


@dataclass(frozen=True)
class Diagnosis:
    """All that was looked at.

    Attributes:
        findings: In the order in which they are told.
        facts: What was measured or found, as plain values, for a report of a bug.
    """

    findings: Sequence[Finding]
    facts: dict[str, Any]

    @property
    def wrong(self) -> int:
        """How many things are wrong."""
        return sum(finding.state == "wrong" for finding in self.findings)

    def plain(self) -> dict[str, Any]:
        """As plain values."""
        return {"wrong": self.wrong, "findings": [asdict(finding) for finding in self.findings], "facts": self.facts}


def fault(subject: str, error: NatmuError) -> Finding:
    """What an error of ours says: what is wrong, and after the semicolon what to do.

    >>> from natmu.errors import RunError
    >>> fault("runs", RunError("a cannot be read (it is empty); delete it.")).remedy
    'Delete it.'
    """
    text, _, remedy = str(error).rstrip(".").partition("; ")
    return Finding(subject, "wrong", f"{text}.", f"{remedy[:1].upper()}{remedy[1:]}." if remedy else "")
