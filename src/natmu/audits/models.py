"""Which models an audit compares one model with, by the part that they play. All follow from lineages alone."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Literal

from natmu.lineage.probing import probed
from natmu.lineage.relearning import relearned
from natmu.records.derived import (
    backbone_of,
    classes_without_output,
    forget_of,
    from_other,
    in_processes_of,
    original,
    retrained,
)
from natmu.records.lineage import (
    AnyLineage,
    Arithmetic,
    Forget,
    HalfOfPool,
    Imported,
    Initial,
    Model,
    Probed,
    Relearned,
    Trained,
    Unlearned,
)
from natmu.records.settings import AnyTraining, RidgeTraining, batch_size_of
from natmu.scores.panel import Level
from natmu.scores.verdict import ENOUGH
from natmu.types import seed_for

Part = Literal["initial", "retrained", "original", "unlearned", "again", "shadow", "unlearned shadow"]

NUMBERS: dict[Level, int] = {"quick": 1, "standard": 8, "full": 64}
"""Retrained models of each level."""


@dataclass(frozen=True)
class AuditModels:
    """The models of an audit.

    Attributes:
        subject: The model under audit, unlearned or retrained.
        source: Its original, where its sequence of requests began.
        level: How much is asked for.
        number: How many retrained models, and from the level standard on how many models of the other kinds.
        told: How an original from elsewhere was trained, where that is said for the audit; as it says itself if None.
    """

    subject: Trained | Unlearned
    source: Trained | Imported
    level: Level
    number: int
    told: AnyTraining | None = None

    @property
    def recipe(self) -> AnyTraining | None:
        """How references are trained; None where nobody says how the original was, and nothing can be trained."""
        return self.told or self.source.recipe

    @cached_property
    def forget(self) -> Forget:
        """What was forgotten."""
        forget = forget_of(self.subject)
        assert forget is not None, "originals are refused before"
        return forget

    @cached_property
    def parts(self) -> dict[Part, Sequence[Model]]:
        """Every model that is compared, but for the subject."""
        return {
            "initial": [self._initial()],
            "retrained": self.retrained,
            "original": [self._original(number) for number in self._others],
            "unlearned": [self._repeated(number) for number in self._others],
            "again": [self._again(number) for number in self._repeats if self.level == "full"],
            "shadow": [self._shadow(number) for number in self._shadows],
            "unlearned shadow": [self._unlearned_shadow(number) for number in self._shadows],
        }

    @property
    def shared(self) -> list[Model]:
        """Originals and retrained models that audits of all methods on this forget set have in common.

        They are made first: which of them are trained side by side must not depend on whose audit comes first.
        """
        references = [self._retrained(number) for number in range(self._references if self.recipe else 0)]
        return [self.source, *self.parts["original"], *references]

    @property
    def curves(self) -> list[Relearned]:
        """How the subject and retrained models relearn the forget set; without an output for it nothing is learnt."""
        models = (
            ()
            if self.level == "quick" or classes_without_output(self.subject)
            else (self.subject, *self.retrained[:ENOUGH])
        )
        return [self.curve(model) for model in models]

    def curve(self, model: Trained | Unlearned) -> Relearned:
        """How a model relearns the forget set, in batches of the size that the original was trained with."""
        return relearned(model, self.forget, batch_size_of(self.recipe))

    @property
    def probes(self) -> list[Probed]:
        """What can be read in the subject, the original and retrained models, in this order."""
        models = () if self.level == "quick" else (self.subject, self.source, *self.retrained[:ENOUGH])
        return [probed(model, self.forget) for model in models]

    @property
    def all(self) -> list[AnyLineage]:
        """Everything that is compared."""
        return [*(model for models in self.parts.values() for model in models), *self.curves, *self.probes]

    @cached_property
    def retrained(self) -> list[Trained]:
        """The retrained models; the subject is not compared with itself, where it is one of them."""
        models = (self._retrained(number) for number in range(self._references + 1 if self.recipe else 0))
        return [model for model in models if model.digest != self.subject.digest][: self._references]

    @property
    def draws_nothing(self) -> bool:
        """Whether nothing in training is random, so that models that saw the same samples are the same."""
        return isinstance(self.recipe, RidgeTraining)

    @property
    def _references(self) -> int:
        """How many retrained models there are; those that would be the same count once."""
        return 1 if self.draws_nothing else self.number

    @property
    def _seed(self) -> int:
        """The original's training seed."""
        return self.source.seed if isinstance(self.source, Trained) else 0

    @property
    def _others(self) -> range:
        """Numbers of further originals, where it is known how to train them."""
        return self._repeats if self.recipe else range(0)

    @property
    def _repeats(self) -> range:
        """Numbers of repetitions; a retrained model has retrained models as its equals, and needs none."""
        none = self.level == "quick" or isinstance(self.subject, Trained) or self.draws_nothing
        return range(0) if none else range(1, self.number)

    @property
    def _shadows(self) -> range:
        """Numbers of shadow models, of which there is an even number."""
        return range(self.number + self.number % 2) if self.level == "full" and self.recipe else range(0)

    @property
    def _arithmetic(self) -> Arithmetic:
        """That of the original, in as many processes as made the subject: an audit runs in those."""
        return in_processes_of(self.source.arithmetic, self.subject.arithmetic)

    def _initial(self) -> Initial:
        """The architecture with fresh weights, which no model of the audit starts from."""
        seed = seed_for(self._seed, "initial model of an audit")
        return self._fresh(self._arithmetic, seed_for(seed, "initial weights"))

    def _fresh(self, arithmetic: Arithmetic, seed: int) -> Initial:
        return Initial(data=self.source.data, architecture=self.source.architecture, arithmetic=arithmetic, seed=seed)

    def _retrained(self, number: int) -> Trained:
        """The first starts from the original's initial weights where they are known, the others from fresh ones."""
        fresh = number > 0 or isinstance(self.source, Imported)
        at, seed = self.subject.arithmetic, self._seed + number
        return retrained(self.source, self.forget, at, seed, fresh=fresh, recipe=self.recipe)

    def _original(self, number: int) -> Trained:
        return self._trained(self._seed + number)

    def _trained(self, seed: int) -> Trained:
        """An original of another seed, on the same backbone where the original is a head on one."""
        source = self.source
        assert self.recipe is not None, "there are none without a recipe"
        return original(source.data, source.architecture, self._arithmetic, self.recipe, seed, backbone_of(source))

    def _repeated(self, number: int) -> Model:
        """What the method makes of another original, with another seed."""
        assert isinstance(self.subject, Unlearned), "only methods are repeated"
        return from_other(self.subject, self._original(number), number)

    def _again(self, number: int) -> Model:
        """What the method makes of the same original with another seed."""
        return self.subject.but(seed=self.subject.seed + number)

    def _shadow(self, number: int) -> Trained:
        """A shadow model: trained on the retain set and half of the pool."""
        seed = seed_for(self._seed, "shadow", number)
        return self._trained(seed).but(on=HalfOfPool(forget=self.forget, number=number))

    def _unlearned_shadow(self, number: int) -> Model:
        """The same shadow model made to forget what it had of the pool; retraining leaves out all of the pool.

        Of a sequence of requests only the last is repeated: shadow models never saw what was forgotten before.
        """
        shadow, seed = self._shadow(number), self.subject.seed + number
        if isinstance(self.subject, Unlearned):
            return self.subject.but(source=shadow, seed=seed)
        return retrained(shadow, self.forget, self.subject.arithmetic, seed, fresh=self.subject.reset)
