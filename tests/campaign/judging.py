"""What must hold however a command ends, and what a command leaves, without what may differ from time to time."""

from __future__ import annotations

import csv
import hashlib
import json
import os
import re
import stat
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.campaign import readers
from tests.campaign.sandbox import Ended, natmu, run
from tests.campaign.world import Verb, World

KINDS = (
    "traceback",
    "hang",
    "crash",
    "executed",
    "silent",
    "outside",
    "input changed",
    "leftover",
    "message",
    "control",
)
"""What can be wrong: a bug that natmu calls one; no end in time; an end by a signal; something in a file was executed;
something wrong was accepted, or a result differs that must not; a file elsewhere was written; an input was changed;
something unfinished stays after the next run; a refusal in no plain sentence, or an exit status that is none of ours;
control characters in what is printed."""

STATUSES = (0, 1, 2)
LONGEST = 1_500
"""Characters of a refusal; lists of names and indices must be shortened."""

VOLATILE = {
    *(
        "seconds",
        "peak_memory_mb",
        "finished",
        "hardware",
        "versions",
        "checksum",
        "files",
        "received",
        "time",
        "at",
        "opened",
    ),
    *(
        "started",
        "day",
        "written",
        "deadline",
        "hash",
        "previous",
        "signature",
        "trial_seconds",
        "log",
        "threads",
        "key",
    ),
}
CHANGING = (
    ".html",
    ".sqlite",
    ".sqlite-wal",
    ".sqlite-shm",
    ".journal",
    ".lock",
    ".head",
    ".sig",
    ".key",
    ".pub",
    ".log",
)
CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069]")


@dataclass(frozen=True)
class Finding:
    """Something that is wrong.

    Attributes:
        kind: One of ``KINDS``.
        what: The last line of a traceback, or a sentence.
    """

    kind: str
    what: str


def faults_of(ended: Ended, now: Path, started: frozenset[str] = frozenset()) -> list[Finding]:
    """What is wrong with the end of any command, whatever it was given.

    Args:
        ended: The end.
        now: Where it ran.
        started: Programs that it may start.
    """
    found = []
    if ended.status is None:
        found.append(Finding("hang", "no end"))
    elif ended.killed:
        found.append(Finding("crash", f"signal {ended.status - 1000}: {ended.err[-200:]}"))
    bug = ended.log or (ended.err if "Traceback (most recent" in ended.err else "")
    if bug:
        found.append(Finding("traceback", brief(bug)))
    elif "a bug (" in ended.err:
        found.append(Finding("traceback", ended.err.strip()[-200:]))
    elif ended.status is not None and not ended.killed:
        if ended.status not in STATUSES:
            found.append(Finding("message", f"exit status {ended.status}: {ended.err[-200:]}"))
        last = ended.err.strip().rpartition("\n")[2]
        if ended.status == 2 and "natmu: " not in last:
            found.append(Finding("message", f"status 2 without a sentence: {last[-200:]}"))
        elif ended.status == 2 and len(last) > LONGEST:
            found.append(Finding("message", f"a message of {len(last)} characters: {last[:80]}"))
    odd = CONTROL.search(ended.err.replace("\r", "")) or CONTROL.search(ended.out)
    if odd and not bug:
        found.append(Finding("control", f"{odd.group()!a} is printed"))
    if ended.executed:
        found.append(Finding("executed", "the canary was obeyed"))
    found += [Finding("executed", f"{program} was started") for program in ended.started if program not in started]
    found += [Finding("outside", f"{path} was written") for path in ended.outside(now)]
    return found


def brief(trace: str) -> str:
    """A traceback in one line: the innermost place in natmu, and the error."""
    places = re.findall(r'File "[^"]*/src/(natmu/[^"]*)", line (\d+), in (\S+)', trace)
    where = ":".join(places[-1]) if places else "?"
    errors = [
        line for line in trace.splitlines() if re.match(r"^[A-Za-z_.]*(Error|Exception|Exit|Interrupt|Warning)\b", line)
    ]
    return f"{where}: {(errors or trace.strip().splitlines())[-1][:160]}"


def contents(root: Path) -> dict[str, str]:
    """What stands in a folder: for each path a digest, where a link leads, or which kind of thing it is."""
    found = {}
    for folder, folders, files in os.walk(root):
        for name in (*folders, *files):
            path = Path(folder) / name
            mode = os.lstat(path).st_mode
            if stat.S_ISLNK(mode):
                held = f"link to {path.readlink()}"
            elif stat.S_ISREG(mode):
                held = hashlib.blake2b(path.read_bytes(), digest_size=16).hexdigest()
            elif stat.S_ISDIR(mode):
                continue
            else:
                held = f"mode {stat.S_IFMT(mode):o}"
            found[os.path.relpath(path, root)] = held
    return found


def inputs_changed(verb: Verb, before: dict[str, str], after: dict[str, str]) -> list[Finding]:
    """Files outside what a verb makes that are not what they were."""
    return [
        Finding("input changed", name)
        for name in sorted({*before, *after})
        if before.get(name) != after.get(name) and not name.startswith(verb.makes)
    ]


def result_of(world: World, verb: Verb, ended: Ended) -> dict[str, str]:
    """What a command leaves and prints, so that two may be compared."""
    left = {"printed": _plain_text(ended.out)}
    for name in contents(world.now):
        path = world.now / name
        if not name.startswith(verb.makes) or name.endswith(CHANGING) or not path.is_file():
            continue
        left[name] = _content(path)
    if "service" in verb.makes and (world.now / "service").is_dir():
        listed = run(natmu(["requests", "list", "service", "--json"]), world.now)
        left["requests"] = f"{listed.status} {_plain_text(listed.out)}"
    return left


def _content(path: Path) -> str:
    if path.suffix == ".json":
        try:
            return json.dumps(_lasting(json.loads(path.read_bytes())), sort_keys=True)
        except (ValueError, RecursionError):
            return "no JSON"
    if path.suffix == ".csv":
        return _plain_text(_untimed(path.read_text("utf-8", "replace")))
    if path.suffix == ".yaml" and (meaning := readers.mapping(path)) is not readers.UNCLEAR:
        return str(meaning)
    content = path.read_bytes()
    if path.suffix == ".safetensors" and len(content) > 8:  # whose notes stand in any order
        end = 8 + int.from_bytes(content[:8], "little")
        try:
            head = json.dumps(json.loads(content[8:end]), sort_keys=True).encode()
        except ValueError:
            head = content[8:end]
        content = head + content[end:]
    return hashlib.blake2b(content, digest_size=16).hexdigest()


def _untimed(text: str) -> str:
    """A table without its column of seconds; what no table is stays."""
    rows = [*csv.reader(text.splitlines())]
    if not rows or "seconds" not in rows[0]:
        return text
    column = rows[0].index("seconds")
    return json.dumps([row[:column] + row[column + 1 :] for row in rows])


def _lasting(value: Any) -> Any:
    """JSON without times and machines."""
    if isinstance(value, dict):
        return {key: _lasting(held) for key, held in value.items() if key not in VOLATILE}
    return [_lasting(held) for held in value] if isinstance(value, list) else value


def _plain_text(text: str) -> str:
    """Text without moments and durations."""
    text = re.sub(r"\d{4}-\d\d-\d\dT[\d:.+Z-]*", "TIME", text)
    return re.sub(r"\b\d+(\.\d+)? ?(s|ms|min|h)\b", "DURATION", text)


def unlike(result: dict[str, str], expected: dict[str, str], ignored: frozenset[str] = frozenset()) -> list[str]:
    """Names of what differs between two results."""
    names = {*result, *expected} - ignored
    return sorted(name for name in names if result.get(name) != expected.get(name))
