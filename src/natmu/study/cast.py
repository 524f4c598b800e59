"""The models that an audit needs, by the part they play: what determines each, and how it is made where it is missing.

What determines a model follows from the record of the run under audit, so that an audit finds all of them by their
digests without any data.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

from natmu.engine.predict import outputs_of
from natmu.engine.store import Run, Workplace
from natmu.methods import Retrain, method_named
from natmu.scores.panel import Level
from natmu.study.ahead import Reference, retrain_ahead, train_ahead
from natmu.study.jobs import Original, train_original, unlearn_from
from natmu.types import seed_for

Spec = dict[str, Any]

NUMBERS: dict[Level, int] = {"quick": 1, "standard": 8, "full": 64}
"""Retrained models of each level."""


def parts_of(level: Level, number: int, *, repeats: bool, trained_here: bool = True) -> list[tuple[str, int]]:
    """Parts and numbers of the models that an audit needs, but for shadows.

    Args:
        level: How much is asked for.
        number: How many retrained models, and from the level standard on how many models of the other kinds.
        repeats: Whether the method has to be run again; not where it is retraining, of which one model more is named,
            as one of them may be the model under audit.
        trained_here: Whether the original's initial weights and training are known.
    """
    parts = [("initial", 0), *(("retrained", one) for one in range(number if repeats else number + 1))]
    if level == "quick" or not repeats:
        return parts
    if trained_here:
        parts += [(part, one) for one in range(1, number) for part in ("original", "unlearned")]
    return parts + ([("again", one) for one in range(1, number)] if level == "full" else [])


@dataclass(frozen=True)
class Role:
    """One model of an audit.

    Attributes:
        part: ``retrained``, ``original``, ``unlearned``, ``again`` or ``initial``.
        spec: Everything that determines its run.
        make: Makes it where it is missing, from the original.
    """

    part: str
    spec: Spec
    make: Callable[[Original], Run]


@dataclass(frozen=True)
class Cast:
    """All models that an audit of one run needs, but for shadows.

    Attributes:
        run: The run of the unlearned model.
        level: How much is asked for.
        number: How many retrained models, and from the level standard on how many models of the other kinds.
    """

    run: Run
    level: Level
    number: int

    @cached_property
    def spec(self) -> Spec:
        """Everything that determines the run under audit."""
        return self.run.record.spec

    @property
    def original(self) -> Spec:
        """Everything that determines its original."""
        spec: Spec = self.spec["original"]
        return spec

    @property
    def trained_here(self) -> bool:
        """Whether the original's initial weights and training are known."""
        return bool(self.original["kind"] == "train")

    @property
    def seed(self) -> int:
        """The original's training seed."""
        return int(self.original.get("seed", 0))

    def roles(self) -> Iterator[Role]:
        """Every model: those of the level quick, then what higher levels add."""
        yield self.role("initial", 0)
        yield from self.retrained()
        for part, number in parts_of(self.level, self.number, repeats=self._repeats, trained_here=self.trained_here):
            if part not in ("initial", "retrained"):
                yield self.role(part, number)

    def role(self, part: str, number: int) -> Role:
        """The model that plays a part with a number."""
        make = {
            "initial": lambda _: self._initial(),
            "retrained": self._retrained,
            "original": self._other_original,
            "unlearned": self._unlearned,
            "again": self._again,
        }
        return make[part](number)

    def retrained(self) -> Iterator[Role]:
        """The retrained models; the run under audit is not compared with itself, where it is one of them."""
        roles = [self._retrained(number) for number in range(self.number + 1)]
        yield from [role for role in roles if role.spec != self.spec][: self.number]

    @property
    def _repeats(self) -> bool:
        """Whether the method has to be run again: a retrained model has retrained models as its equals."""
        return bool(self.spec["method"] != Retrain.name)

    def reference(self, number: int, original: Original) -> Reference:
        """The retrained model of a number, counted from 0.

        The first starts from the original's initial weights where they are known, the others from fresh ones.
        """
        settings = self._retrained(number).spec["settings"]
        return original, self.run.forget(), Retrain(**settings), self.seed + number

    def _retrained(self, number: int) -> Role:
        init = "original" if number == 0 and self.trained_here else "fresh"
        settings = Retrain(init=init).config.model_dump()
        batch_size = self.original["training"]["batch_size"]
        seed = self.seed + number
        spec = self.spec | {"method": Retrain.name, "settings": settings, "batch_size": batch_size, "seed": seed}

        def make(original: Original) -> Run:
            return unlearn_from(original, self.run.forget(), Retrain(**settings), seed=seed)

        return Role("retrained", spec, make)

    def _other_original(self, number: int) -> Role:
        seed = self.seed + number
        return Role(
            "original", self.original | {"seed": seed}, lambda original: train_original(original.own_bench, seed).run
        )

    def _unlearned(self, number: int) -> Role:
        """What the method makes of another original, with another seed."""
        original = self.original | {"seed": self.seed + number}
        spec = self.spec | {"original": original, "seed": self.spec["seed"] + number}

        def make(original: Original) -> Run:
            other = train_original(original.own_bench, self.seed + number)
            return self._repeat(replace(other, bench=original.bench), spec["seed"])

        return Role("unlearned", spec, make)

    def _again(self, number: int) -> Role:
        """What the method makes of the same original with another seed."""
        spec = self.spec | {"seed": self.spec["seed"] + number}
        return Role("again", spec, lambda original: self._repeat(original, spec["seed"]))

    def _repeat(self, original: Original, seed: int) -> Run:
        """Run the method under audit once more."""
        method = method_named(self.spec["method"])(**self.spec["settings"])
        return unlearn_from(original, self.run.forget(), method, seed=seed, batch_size=self.spec["batch_size"])

    def _initial(self) -> Role:
        """The architecture with fresh weights, which no model of the audit starts from."""
        kept = {name: value for name, value in self.original.items() if name not in ("kind", "training", "weights")}
        seed = seed_for(self.seed, "initial model of an audit")
        spec = kept | {"kind": "initial", "seed": seed}

        def make(original: Original) -> Run:
            bench = original.own_bench

            def compute(work: Workplace) -> None:
                model = bench.build(seed)
                answers = outputs_of(model, bench.on_device, bench.compute)
                work.finish(model, answers, bench.compute, seconds=0.0, scores={}, history=[])

            return bench.store.obtain(spec, compute, resume=bench.resume)

        return Role("initial", spec, make)


def train_what_is_missing(cast: Cast, original: Original) -> None:
    """Train the cast's originals and references side by side, where that is faster, ahead of the roles that ask."""
    if cast.level != "quick" and cast.trained_here:
        train_ahead(original.own_bench, [cast.seed + number for number in range(cast.number)])
    references = (cast.reference(number, original) for number in range(cast.number))
    retrain_ahead(original.bench, references, cast.number, alone=1)
