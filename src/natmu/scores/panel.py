"""The models of an audit as their stored predictions, and the levels that say how many there are."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, TypeVar, get_args

import numpy as np
import numpy.typing as npt

from natmu.scores.catalogue import SCORES
from natmu.types import IntArray, Part, Predictions, seed_for

T = TypeVar("T")
Level = Literal["quick", "standard", "full"]
"""How much an audit asks for.

Examples:
    >>> from typing import get_args
    >>> get_args(Level) == LEVELS
    True
"""
LEVELS: tuple[Level, ...] = get_args(Level)
"""The levels of an audit, each of which includes those before it.

Examples:
    >>> LEVELS
    ('quick', 'standard', 'full')
"""

Margins = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Shadows:
    """Margins of shadow models on a pool: the forget set in its order, then as many unseen samples.

    Attributes:
        before: After training, ``(K, P)``.
        after: Models after unlearning what they had of the pool, ``(U, P)``.
        member: Which shadow was trained on which sample, bool ``(K, P)``.
        non_members: The unseen samples, as rows of those that attacks compare the forget set with, int64.
        unlearned: Which shadows ``after`` is of, int64 ``(U,)``; all of them if None.

    Examples:
        >>> from natmu.testing.panels import panel_of
        >>> panel = panel_of(0)  # made-up predictions of an unlearned model, and of all that it is compared with
        >>> panel.shadows.member.shape  # shadow models, samples of the pool
        (24, 120)
    """

    before: Margins
    after: Margins
    member: npt.NDArray[np.bool_]
    non_members: IntArray
    unlearned: IntArray | None = None

    @property
    def forgot(self) -> npt.NDArray[np.bool_]:
        """Which shadow after unlearning was trained on which sample, and unlearned it, bool ``(U, P)``."""
        return self.member if self.unlearned is None else self.member[self.unlearned]


@dataclass(frozen=True)
class Measured:
    """A score that needs more than predictions, as it was measured elsewhere.

    Attributes:
        value: Of the unlearned model; None where it has none.
        retrained: Of retrained models.
        original: Of the original, where it is known.
        reason: Why there is no value.

    Examples:
        >>> Measured(0.25, retrained=[0.5, 0.75], original=0.0).value
        0.25
    """

    value: float | None
    retrained: Sequence[float] = ()
    original: float | None = None
    reason: str = ""


@dataclass(frozen=True)
class Panel:
    """The models of an audit as their predictions on one forget set; every sequence may be empty.

    A score reads one panel for each model that it judges: the unlearned model among the retrained ones, each retrained
    one among the others, and the original among the retrained ones.

    Attributes:
        model: The model that is judged.
        retrained: Models trained without the forget set, and without the one that is judged.
        original: The model before unlearning.
        initial_forget: A freshly initialised model's predictions on the forget set.
        unlearned: Models that the same method made of other originals.
        originals: Those originals.
        again: Models that the same method made of the same original with other seeds.
        shadows: Margins of shadow models.
        measured: Scores that were measured elsewhere, by name.
        seed: Of everything random in a score.

    Examples:
        >>> from natmu.testing.panels import panel_of
        >>> panel = panel_of(0)  # made-up predictions of an unlearned model, and of all that it is compared with
        >>> len(panel.retrained), len(panel.model.forget)
        (4, 60)
    """

    model: Predictions
    retrained: Sequence[Predictions] = ()
    original: Predictions | None = None
    initial_forget: Part | None = None
    unlearned: Sequence[Predictions] = ()
    originals: Sequence[Predictions] = ()
    again: Sequence[Predictions] = ()
    shadows: Shadows | None = None
    measured: Mapping[str, Measured] = field(default_factory=dict)
    seed: int = 0
    _known: dict[str, Any] = field(default_factory=dict, init=False, repr=False, compare=False)

    def rng(self, *purpose: str | int) -> np.random.Generator:
        """A source of random numbers for one purpose; a score draws from no other."""
        return np.random.default_rng(seed_for(self.seed, *purpose))

    def once(self, what: str, compute: Callable[[], T]) -> T:
        """What several scores of this panel ask for, computed for the first of them.

        Args:
            what: A name that says all that the result depends on beside the panel.
            compute: Gives the result; what it raises is not kept.
        """
        if what not in self._known:
            self._known[what] = compute()
        result: T = self._known[what]
        return result

    def known(self, what: str) -> Any:  # noqa: ANN401 - whatever was computed
        """What ``once`` has computed under this name; None where nothing has asked for it, or it could not be had."""
        return self._known.get(what)

    def judging(self, model: Predictions, retrained: Sequence[Predictions]) -> Panel:
        """The panel of another model of this audit among these retrained ones.

        Models that the method made are left out, because only the unlearned model has such siblings.
        """
        return Panel(model, retrained, self.original, self.initial_forget, shadows=self.shadows, seed=self.seed)


def names_of(level: Level) -> list[str]:
    """Names of our scores of a level, those of lower levels included, in the order of the catalogue.

    Examples:
        >>> names_of("quick")[:3]
        ['test_acc', 'retain_acc', 'holdout_acc']
    """
    wanted = LEVELS[: LEVELS.index(level) + 1]
    return [row.name for row in SCORES if row.level in wanted]
