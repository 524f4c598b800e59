"""The record of a campaign as tables in Markdown."""

from __future__ import annotations

import json
import os
from collections import Counter
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from tests.campaign.judging import KINDS

from natmu.engine.compute import versions
from natmu.engine.precision import described, processor_of

Line = dict[str, Any]

TITLE = """# Hostile files and options, kills and faults of the machine

This page says what `tests/campaign` tried on natmu, and what it found. There are four groups of cases:

- `files`: one file that a command reads is damaged.
- `options`: one word of a command is hostile.
- `faults`: a command is killed or gets too few resources, and is run again.
- `parsing`: the readers of what users write get many small inputs.

`tests/campaign/judging.py` defines each kind of finding. `tests/campaign/watch.py` says what the campaign cannot see.
"""


def read(record: Path) -> list[Line]:
    """The cases so far; a line that a kill left half is no case."""
    lines: list[Line] = []
    for text in record.read_text("utf-8").splitlines() if record.exists() else []:
        try:
            lines.append(json.loads(text))
        except ValueError:
            continue
    return lines


def page(lines: list[Line], seed: int) -> str:
    """The tables, and how they came about: ``benchmarks/results/campaign.md``."""
    told = versions()
    rows = {
        "commands": f"`python -m tests.campaign --out campaign --hours H --seed {seed}`, as often as one likes, then "
        f"`python -m tests.campaign --out campaign --seed {seed} --table`",
        "seed": str(seed),
        "date": datetime.now(UTC).date().isoformat(),
        "machine": f"{processor_of(described()).name}, {os.cpu_count()} processors, no GPU is used; Linux",
        "software": ", ".join(f"{name} {number}" for name, number in told.items()),
        "n": f"{len(lines):,} cases with {sum(line['inputs'] for line in lines):,} inputs",
        "time": f"{sum(line['seconds'] for line in lines) / 3600:.1f} hours within the commands that were watched",
    }
    head = "\n".join(["| | |", "|---|---|", *(f"| {name} | {text} |" for name, text in rows.items())])
    return f"{TITLE}\n{head}\n\n{markdown(lines)}"


def markdown(lines: list[Line]) -> str:
    """Inputs and findings by group, by verb, and each finding once with how often it was met and a case of it."""
    parts = [
        _table(lines, "group", lambda line: _group(line)),
        _table(lines, "verb", lambda line: line["verb"]),
        _statuses(lines),
    ]
    seen: dict[tuple[str, str], list[str]] = {}
    for line in lines:
        for kind, what in line["findings"]:
            seen.setdefault((kind, _short(what)), []).append(
                f"{line['group']} {line['number']}, {line['verb']}: {line['how']}"
            )
    rows = sorted(seen.items(), key=lambda item: (KINDS.index(item[0][0]), -len(item[1])))
    if rows:
        body = [f"| {kind} | {len(cases)} | {_cell(what)} | {_cell(cases[0])} |" for (kind, what), cases in rows]
        parts.append("\n".join(["| kind | cases | what | the first |", "|---|---:|---|---|", *body]))
    return "\n\n".join(parts) + "\n"


def _group(line: Line) -> str:
    """The group of a case, of faults the kind of fault too."""
    return f"{line['group']}: {line['how'].partition(' ')[0]}" if line["group"] == "faults" else line["group"]


def _table(lines: list[Line], title: str, key: Any) -> str:
    """Inputs and findings by a property of cases."""
    names = sorted({key(line) for line in lines})
    rows = [f"| {title} | inputs | {' | '.join(KINDS)} |", f"|---|{'---:|' * (len(KINDS) + 1)}"]
    for name in [*names, "all"]:
        own = [line for line in lines if name in ("all", key(line))]
        count = Counter(kind for line in own for kind, _ in line["findings"])
        cells = " | ".join(str(count[kind]) for kind in KINDS)
        rows.append(f"| {name} | {sum(line['inputs'] for line in own):,} | {cells} |")
    return "\n".join(rows)


def _statuses(lines: list[Line]) -> str:
    """How many cases ended with each exit status."""
    count = Counter(str(line["status"]) for line in lines)
    told = ", ".join(f"{status}: {number}" for status, number in count.most_common())
    return f"Exit statuses (1000 + n: ended by signal n): {told}."


def _short(what: str) -> str:
    """A finding without what differs from case to case."""
    return what[:200]


def _cell(text: str) -> str:
    return text.replace("|", "\\|").replace("\n", " ").encode("ascii", "backslashreplace").decode()[:240]
