"""Cases by number: each follows from the seed of the campaign and its own number, and is judged by itself."""

from __future__ import annotations

import json
import math
import random
import re
import warnings
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

from tests.campaign import mutations, options, readers
from tests.campaign.judging import Finding, contents, faults_of, inputs_changed, result_of, unlike
from tests.campaign.sandbox import Ended, natmu, run
from tests.campaign.watch import Fault, FaultKind
from tests.campaign.world import Verb, World

OWN = ("runs/", "service/")
"""Where files lie that natmu wrote."""

POLICY = "service/policy.yaml"
"""What its users edit there."""

FAULTS: tuple[FaultKind, ...] = ("kill", "full", "kill", "torn", "kill", "files", "kill", "large", "memory")
"""In turn, for each verb from a place of its own."""


@dataclass(frozen=True)
class Case:
    """What was tried and what came of it.

    Attributes:
        group: ``files``, ``options`` or ``faults``.
        number: In the campaign.
        verb: What was run.
        how: What was done to it.
        status: Exit status.
        seconds: Time it took.
        findings: What is wrong.
        inputs: How many were tried; one, but of ``parsing``.
    """

    group: str
    number: int
    verb: str
    how: str
    status: int | None
    seconds: float
    findings: tuple[Finding, ...]
    inputs: int = 1

    def line(self) -> str:
        """The case as a line of the record."""
        plain = vars(self) | {"findings": [[one.kind, one.what] for one in self.findings]}
        return json.dumps(plain | {"seconds": round(self.seconds, 2)})


@dataclass
class Usual:
    """What a verb does that nobody disturbs.

    Attributes:
        world: The world.
        verb: The verb.
    """

    world: World
    verb: Verb
    _twice: list[dict[str, str]] = field(default_factory=list)

    @cached_property
    def first(self) -> tuple[Ended, list[str]]:
        """Its end, and the files that it reads."""
        ended, reads = self.world.undisturbed(self.verb)
        assert ended.status == 0, f"{self.verb.name} ends with {ended.status} undisturbed: {ended.err[-1000:]}"
        self._twice.append(result_of(self.world, self.verb, ended))
        self.sizes = {
            name: (self.world.now / name).stat().st_size
            for name in contents(self.world.now)
            if name.startswith(self.verb.makes)
        }
        return ended, reads

    @property
    def result(self) -> dict[str, str]:
        """What it leaves."""
        assert self.first
        return self._twice[0]

    @cached_property
    def differing(self) -> frozenset[str]:
        """What differs between two undisturbed runs."""
        before = self.result
        ended, _ = self.world.undisturbed(self.verb)
        return frozenset(unlike(result_of(self.world, self.verb, ended), before))

    def unlike(self, result: dict[str, str], *ignored: str) -> list[str]:
        """What differs from the usual result that is always the same; the place where cases are played may change."""
        left = unlike(result, self.result, frozenset(ignored))
        return [name for name in left if name not in self.differing] if left else []

    @property
    def started(self) -> frozenset[str]:
        """Programs that it starts."""
        return frozenset(self.first[0].started)


class Campaign:
    """Draws, plays and judges cases in one world.

    Args:
        world: The world.
        verbs: What is run.
        seed: Of everything that is drawn.
    """

    def __init__(self, world: World, verbs: tuple[Verb, ...], seed: int) -> None:
        self.world, self.verbs, self.seed = world, verbs, seed
        self.usual = {verb.name: Usual(world, verb) for verb in verbs}

    def play(self, group: str, number: int) -> Case:
        """One case."""
        rng = random.Random(f"{self.seed}/{group}/{number}")
        verb = self.verbs[number % len(self.verbs)] if group == "faults" else rng.choice(self.verbs)
        act: Callable[[int, Verb, random.Random], Case] = {
            "files": self.spoilt_file,
            "options": self.hostile_option,
            "faults": self.disturbed,
        }[group]
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of libraries that write odd files for us
            return act(number, verb, rng)

    def spoilt_file(self, number: int, verb: Verb, rng: random.Random) -> Case:
        """A verb, one of whose files is spoilt."""
        usual = self.usual[verb.name]
        _, reads = usual.first
        kinds = sorted({_kind(name) for name in reads})
        kind = rng.choice(kinds)  # or photographs would take all
        name = rng.choice([one for one in reads if _kind(one) == kind])
        now = self.world.begin(verb)
        read = readers.form_of if name in verb.forms else readers.meaning_of
        own = name.startswith(OWN) and name != POLICY
        meant = None if own else read(now, name)
        others = [now / one for one in reads if one != name and (now / one).is_file()]
        how = f"{name}: {mutations.spoil(now / name, others, rng)}"
        means = None if own else read(now, name)
        before = contents(now)
        ended = run(natmu([*verb.words]), now)
        found = faults_of(ended, now, usual.started) + inputs_changed(verb, before, contents(now))
        looks = bool(verb.gone) and name.startswith("photos/")  # for samples that are gone, whatever the others show
        told = own and "It is not used." in ended.err
        if ended.status == 0 and not found and not looks and not told:
            left = usual.unlike(result_of(self.world, verb, ended), name, f"{name}.real")
            if own:
                found += [Finding("silent", f"damage in {_kind(name)} changes {_kind(left[0])}")] if left else []
            else:
                found += self._silence(name, means, meant, left)
        return Case("files", number, verb.name, how, ended.status, ended.seconds, tuple(found))

    def _silence(self, name: str, means: Any, meant: Any, left: list[str]) -> list[Finding]:
        """What is wrong with a result that was given although a file of the user was spoilt.

        Args:
            name: The file.
            means: What it means now, to a reader of its kind.
            meant: What it meant.
            left: What differs from the usual result.
        """
        if means is NotImplemented:
            return []
        if means is readers.UNCLEAR:
            return [Finding("silent", f"{_kind(name)} is accepted that a second reader refuses")]
        if means == meant and left:
            return [Finding("silent", f"{_kind(name)} means the same, and {_kind(left[0])} differs")]
        if means != meant and not left and name != POLICY:  # of which a command needs a part
            return [Finding("silent", f"{_kind(name)} means something else, and nothing differs")]
        return []

    def hostile_option(self, number: int, verb: Verb, rng: random.Random) -> Case:
        """A verb with a hostile word."""
        words, how = options.hostile(verb.words, rng)
        now = self.world.begin(verb)
        before = contents(now)
        ended = run(natmu(words), now)
        allowed = [one for one in ended.started if "uname" not in one]
        found = faults_of(ended, now, frozenset(ended.started) - {*allowed})
        changed = inputs_changed(verb, before, contents(now))
        found += [one for one in changed if one.what in before]  # an --out of its own is where the user wants it
        return Case("options", number, verb.name, how, ended.status, ended.seconds, tuple(found))

    def disturbed(self, number: int, verb: Verb, rng: random.Random) -> Case:
        """A verb that is killed or starved, and run again."""
        usual = self.usual[verb.name]
        fault = self._fault(number // len(self.verbs) + self.verbs.index(verb), usual, rng)
        now = self.world.begin(verb)
        ended = run(natmu([*verb.words]), now, fault=fault)
        own = (fault.kind in ("kill", "torn") and ended.killed) or (fault.kind == "memory" and _library_gave_up(ended))
        found = [] if own else faults_of(ended, now, usual.started)
        there = result_of(self.world, verb, ended) if ended.status == 0 else usual.result
        again = run(natmu([*verb.words]), now)
        found += [one for one in faults_of(again, now, usual.started) if one not in found]
        after = result_of(self.world, verb, again)
        if left := usual.unlike(there):
            found.append(Finding("silent", f"status 0, and {_kind(left[0])} differs"))
        left = usual.unlike(after, "printed")
        extra = [name for name in left if name not in usual.result]
        wrong = [name for name in left if name in usual.result]
        if again.status != 0 and wrong:
            found.append(Finding("silent", f"after it, status {again.status}: {again.err.strip()[-160:]}"))
        elif wrong:
            found.append(Finding("silent", f"after it, {_kind(wrong[0])} differs"))
        found += [Finding("leftover", _kind(name)) for name in extra]
        how = f"{fault.kind} at {fault.at}"
        return Case("faults", number, verb.name, how, ended.status, ended.seconds, tuple(found))

    def _fault(self, turn: int, usual: Usual, rng: random.Random) -> Fault:
        """Kinds by turns; kills and full disks at operations far apart first, and at each once before any twice."""
        kind, operations = FAULTS[turn % len(FAULTS)], len(usual.first[0].operations) or 1
        if kind in ("kill", "full"):
            place = turn // len(FAULTS) * FAULTS.count(kind) + FAULTS[: turn % len(FAULTS)].count(kind)
            return Fault(kind, spread(place, operations))
        if kind in ("torn", "large"):
            size = rng.choice([*usual.sizes.values()] or [1000])
            return Fault(kind, rng.randrange(max(1, size)))
        return Fault(kind, rng.randrange(5, 13) if kind == "files" else rng.randrange(0, 200))


def spread(place: int, count: int) -> int:
    """The place-th of so many numbers in an order in which neighbours are far apart.

    >>> [spread(place, 8) for place in range(8)]
    [4, 1, 6, 3, 0, 5, 2, 7]
    """
    step = next(step for step in range(round(0.618 * count), count + 2) if math.gcd(step, count) == 1)
    return (count // 2 + place * step) % count


def _library_gave_up(ended: Ended) -> bool:
    """Whether a library ended the process itself where memory ran out, which nothing in Python can prevent."""
    said = ("OpenBLAS error: Memory allocation", "memory allocation of", "backtrace")
    return ended.status != 0 and any(text in ended.err for text in said) and not ended.log


def _kind(name: str) -> str:
    """A file's place without what only names one of many."""
    name = re.sub(r"\.[^./]+\.\d+\.partial$", ".HOST.PROCESS.partial", name)
    name = re.sub(r"[0-9a-f]{16,}", "DIGEST", name)
    return re.sub(r"photos/.*\.png", "photos/*.png", name)
