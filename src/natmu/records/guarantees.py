"""What each way of unlearning promises, for what, and under which assumptions: in code, pages and evidence alike."""

from __future__ import annotations

from typing import Literal

from natmu.records.digests import Digest
from natmu.records.files import Value
from natmu.records.settings import AnyTraining, HeadTraining, LogisticTraining

Guarantee = Literal["exact", "certified", "approximate"]

RETRAIN, SISA, DOWNDATE = "retrain", "sisa", "downdate"
"""Names of the methods that promise more than an approximation."""

STRONGEST: dict[str, Guarantee] = {RETRAIN: "exact", SISA: "exact", DOWNDATE: "exact"}
"""The strongest guarantee that a method can give, whatever the model is; all others are approximate."""

STRENGTH: tuple[Guarantee, ...] = ("approximate", "certified", "exact")
"""Guarantees from the weakest to the strongest."""


def is_at_least(guarantee: Guarantee, asked: Guarantee) -> bool:
    """Whether a guarantee is as strong as another one.

    >>> is_at_least("exact", "certified")
    True
    """
    return STRENGTH.index(guarantee) >= STRENGTH.index(asked)


class Promise(Value):
    """What a way of unlearning promises.

    Attributes:
        guarantee: Its kind.
        promise: What is promised, and for what, in a sentence or two.
        assumptions: Under which assumptions, a sentence each.
    """

    guarantee: Guarantee
    promise: str
    assumptions: tuple[str, ...] = ()


AS_BEFORE = (
    "What was chosen before training stays as it was: the recipe, the normalisation of images, the seed. The forgotten "
    "samples may have had a part in these choices."
)
COPIES = "Other samples with the same content, such as another photograph of the same person, are not forgotten."
FORMER = "Former versions of the model are deleted: a comparison of them with this one shows what was forgotten."
FUNCTION = (
    "A training function that the user wrote uses only its samples and its seed. It uses nothing that an earlier call "
    "left, no weights or files made from the forgotten samples, and no other random numbers."
)
BACKBONE = "The guarantee covers the head alone: the backbone is frozen, and was not trained on the forgotten samples."

PROMISES: dict[str, Promise] = {
    RETRAIN: Promise(
        guarantee="exact",
        promise=(
            "The model was trained anew without the forgotten samples, so nothing in its weights comes from them."
        ),
        assumptions=(FUNCTION, AS_BEFORE, COPIES, FORMER),
    ),
    SISA: Promise(
        guarantee="exact",
        promise="Bit for bit, the weights are those of a training of the same shards without the forgotten samples.",
        assumptions=(
            "Bit for bit holds in fp32 on one machine. Elsewhere the last digits may differ, as between any two "
            "trainings.",
            FUNCTION,
            AS_BEFORE,
            COPIES,
            FORMER,
        ),
    ),
    "ridge": Promise(
        guarantee="exact",
        promise=(
            "The weights of the head are those of a fit without the forgotten samples. The sums that decide the "
            "weights are exact, and the forgotten samples were taken out of them."
        ),
        assumptions=(BACKBONE, AS_BEFORE, COPIES, FORMER),
    ),
    "logistic": Promise(
        guarantee="certified",
        promise=(
            "The weights of the head are distinguishable from those of a fit without the forgotten samples only as "
            "far as (epsilon, delta) allows. Any outcome of a test is at most exp(epsilon) times as likely, but for a "
            "probability of delta."
        ),
        assumptions=(
            BACKBONE,
            "The seed of the noise stays secret. Anyone who knows it, for example from the run folder, can subtract "
            "the noise.",
            "Each fit has its own noise, and all removals since then share one budget. When it is spent, the head is "
            "fitted again.",
            "The bound on what removals leave is computed for the noise that was drawn, and assumed to hold for any "
            "other noise.",
            "What removals leave is assumed not to depend on the noise, as in the proof (Guo et al., 2020).",
            "Whether the head is fitted again is assumed not to depend on the noise either.",
            "Which samples are to be forgotten does not depend on weights that were released.",
            "Only people who have the training data have the state of the head, which contains the weights of the "
            "last fit.",
            AS_BEFORE,
            COPIES,
            FORMER,
        ),
    ),
    "approximate": Promise(
        guarantee="approximate",
        promise="Nothing is promised: the measurements show how far the model has forgotten, and no more.",
    ),
}
"""By what makes them: a method, a kind of head that a method takes samples out of, or anything else."""


CHOSEN_SEED = (
    "The person who trained the head chose the seed of the noise. Anyone who guesses it can subtract the noise, and "
    "nothing is certified against them."
)
"""What is said of a logistic head whose seed natmu did not draw."""


class HeadFacts(Value):
    """A head on the features of a frozen backbone, after samples were taken out of it.

    Attributes:
        kind: Kind of the head.
        backbone: Digest of the backbone's weights.
        origin: Where the backbone comes from, as the user said it.
        epsilon: Of a logistic head, the privacy loss that removals may use up together.
        delta: The probability with which it may be larger.
        spent: How much of the budget they have used up since the last fit.
        budget: How much there is.
        removed: How many samples were taken out since the last fit.
        secret: Whether natmu drew the seed of its noise, so that nobody can guess it.
    """

    kind: Literal["ridge", "logistic"]
    backbone: Digest
    origin: str
    epsilon: float | None = None
    delta: float | None = None
    spent: float | None = None
    budget: float | None = None
    removed: int | None = None
    secret: bool | None = None

    @property
    def sentence(self) -> str:
        """What there is to say of it."""
        stands = f"The head stands on a frozen backbone from {self.origin}, with weights {self.backbone}."
        if self.secret is False:
            stands = f"{stands} {CHOSEN_SEED}"
        if self.epsilon is None or self.delta is None:
            return stands
        known = f"(epsilon, delta) = ({self.epsilon:g}, {self.delta:g})"
        if self.spent is None or self.budget is None:
            return f"{stands} The head was fitted with {known}."
        return (
            f"{stands} {known}; {self.spent:.3g} of {self.budget:.3g} of the budget are spent by "
            f"{self.removed or 0} removal{'' if self.removed == 1 else 's'} since the last fit."
        )


def promise_of(method: str, recipe: AnyTraining | None) -> Promise:
    """What a method promises of a model.

    Args:
        method: Its name.
        recipe: How the original was trained; None where nobody says.
    """
    if method == DOWNDATE and isinstance(recipe, HeadTraining):
        return PROMISES["logistic" if isinstance(recipe, LogisticTraining) else "ridge"]
    return PROMISES.get(method, PROMISES["approximate"])
