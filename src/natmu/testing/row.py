"""What the conformance suite is told of a method: one row of its table."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

from torch import Tensor

from natmu.methods.base import Method
from natmu.methods.problem import Problem
from natmu.testing.recorder import Seen

WILD: Mapping[str, Any] = {
    "lr": 100,
    "weight_decay": 1,
    "optimizer": "sgd",
    "momentum": 0.99,
    "schedule": "constant",
    "warmup_epochs": 0,
    "epochs": 60,
}
"""Settings under which training diverges whatever its loss is: by decay alone, weights grow a hundredfold a step."""

DRIFT: Mapping[str, Any] = {"lr": 0.01, "weight_decay": 0.5, "momentum": 0.9}
"""Settings under which weights drift that are frozen in their gradients only."""


@dataclass(frozen=True, eq=False, repr=False)
class Row:
    """A method, and what the suite cannot know from its declarations.

    ``scenarios``, ``needs_labels``, ``needs_retain`` and ``stochastic`` are read off the class and verified. The fields
    from ``frozen`` on state properties that some kinds of method have; each that is given adds a test.

    Attributes:
        method: The method's class.
        settings: Quick ones, for a run of some milliseconds on 60 images; two epochs are enough and one is not, because
            faults in what should change from one to the next would stay hidden.
        visible: Settings, beside the quick ones, with which unlearning shows on 60 images; used wherever something is
            said to move.
        label: Name of the row in test names, where a method has several; the method's name if empty.
        seconds: How long one run may take before it counts as endless.
        one_process: Why the method cannot run in several processes, which it must then refuse with a UsageError; empty
            where it can.
        own_draws: Why two processes do not end with the weights of one: which random numbers each draws for its own
            rows. They still end with the same weights, near those of one process. Empty where they do.
        frozen: What must come back as it was to the bit, whatever momentum and weight decay do. From method and problem
            to, by name of parameter or buffer, True for all of it or a bool mask of the same shape. Something else must
            have moved. Run with each optimiser that the method's settings know and the settings ``DRIFT``.
        teachers: How many frozen networks the loss follows while the student is trained. None to test those that are
            found, and not their number.
        eval_mode: Whether the student is meant to be in eval mode while it is trained.
        raises_forget_loss: Whether the mean cross-entropy on the forget set must rise.
        lowers_retain_loss: Whether the mean cross-entropy on the retain set must fall, from an original half trained.
        passes: What each pass of the loop over its rows shows, in order: ``"forget"``, ``"retain"`` or ``"both"``, each
            followed by ``" with forget"`` or ``" with retain"`` where steps have paired rows. It is how a method that
            alternates is told from one that minimises a joint loss.
        draws_labels: Whether forget samples are trained on with labels drawn at random: ``"once"``, or anew at
            ``"each_pass"``. Another seed must draw others.
        loss: The loss of one step by a slow and obviously right computation, in terms of ``seen.student`` (a copy of
            the model as it was before the step) and ``seen.batch``; None for steps that it does not describe. The suite
            compares loss and gradient, at every step, since divergences agree where student and teacher still do.
        weights: The weights that a method in closed form returns, by a slow and obviously right computation: by name of
            parameter, values or None for those not described. Compared to 1e-5 of the largest in each.
        noise: The standard deviation of the normal noise that the method adds to the original's weights, by name of
            parameter, of the same shape, zero where there is none.
        diverging: Settings, of those that the method has, with which its training diverges; None if it cannot.

    Examples:
        >>> from natmu.methods import FineTune
        >>> Row(FineTune, settings={"epochs": 2}).build(lr=0.01).config.lr
        0.01
    """

    method: type[Method]
    settings: Mapping[str, Any] = field(default_factory=dict)
    visible: Mapping[str, Any] = field(default_factory=dict)
    label: str = ""
    seconds: float = 60.0
    one_process: str = ""
    own_draws: str = ""
    frozen: Callable[[Method, Problem], Mapping[str, Tensor | bool]] | None = None
    teachers: int | None = None
    eval_mode: bool = False
    raises_forget_loss: bool = False
    lowers_retain_loss: bool = False
    passes: Sequence[str] | None = None
    draws_labels: Literal["once", "each_pass"] | None = None
    loss: Callable[[Method, Problem, Seen], Tensor | None] | None = None
    weights: Callable[[Method, Problem], Mapping[str, Tensor | None]] | None = None
    noise: Callable[[Method, Problem], Mapping[str, Tensor]] | None = None
    diverging: Mapping[str, Any] | None = field(default_factory=lambda: WILD)

    def __repr__(self) -> str:
        return f"Row({self.name})"

    @property
    def name(self) -> str:
        """Name of the row in test names."""
        return self.label or self.method.name

    def has(self, *settings: str) -> bool:
        """Whether the method has all of these settings."""
        return all(setting in self.method.Config.model_fields for setting in settings)

    def known(self, settings: Mapping[str, Any]) -> dict[str, Any]:
        """Those settings of some that the method has."""
        return {name: value for name, value in settings.items() if self.has(name)}

    def build(self, **settings: Any) -> Method:  # noqa: ANN401 - checked by the method
        """The method with its quick settings and these."""
        return self.method(**{**self.settings, **settings})

    def augmenting(self, augment: str) -> Method:
        """The method with its quick settings that augments retain images, ``"augmented"``, or not, ``"plain"``.

        Methods that do not know the setting are given an empty text.
        """
        return self.build(**({"augment_retain": augment == "augmented"} if augment else {}))
