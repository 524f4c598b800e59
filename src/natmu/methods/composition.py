"""Methods that are made of other methods."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import numpy as np
from pydantic import Field, ValidationInfo, field_validator, model_validator
from torch import nn
from torch.nn import functional

from natmu.engine.predict import logits_of
from natmu.errors import SettingError, TrainingError
from natmu.methods import published
from natmu.methods.base import Method, Paper
from natmu.methods.problem import Problem
from natmu.methods.registry import method_named
from natmu.types import FloatArray, IntArray, Settings

PARTS = ("low", "medium", "high")
NONE = "none"


class RUM(Method):
    """Divide the forget set by how far each sample was memorised, and unlearn each part with a method that suits it.

    The forget set is sorted by difficulty and cut into thirds. The easiest third is unlearned by the method ``low``,
    the next by ``medium`` and the hardest by ``high``, one after the other on the same model. Easy samples were learnt
    from what they share with others. A retrained model would predict them as well, so ``none`` is a good method for
    them. Hard samples were learnt by heart, and need a method that removes them.

    When to use:
        Where a forget set holds samples of all kinds, as random sets do, and one method does too much to some samples
        and too little to others. It has two or three methods to tune instead of one.

    Cost:
        That of the methods, each on its third of D_f and on D_r. Memory for one more model than the method with the
        largest need. Where the difficulty is not known, one forward pass over D_f.

    Decisions:
        - The difficulty stands for memorisation, which takes hundreds of models to estimate. A study gives it: the mean
          confidence that training recorded, with its sign reversed, which is one of the proxies of the authors' later
          work. Otherwise, and after an earlier request, it is the cross-entropy on each sample of the model that is to
          forget.
        - Thirds are by rank. The paper makes its forget sets of three groups of equal size, from both ends and the
          middle of the scale, which needs scores that are comparable. If the samples do not divide by three, the harder
          parts get the rest, so ``high`` unlearns a single sample.
        - While a part is unlearned, later parts still belong to the retain set, and earlier parts belong to neither
          set, as in the authors' code. If whole classes are forgotten, later parts are left out too, because methods
          expect a forgotten class to be absent from the retain set.
        - A part without samples is skipped. A part with ``none`` is left alone, but is no longer retained afterwards.
        - The default methods follow the paper's finding that easy samples need little and hard ones much. Each has its
          own default settings. ``retrain`` cannot be the method of a part, because it undoes the parts before it.

    References:
        What makes unlearning hard and what to do about it (Kairan Zhao, Meghdad Kurmanji, George-Octavian Barbulescu,
        Eleni Triantafillou, Peter Triantafillou, 2024), https://arxiv.org/abs/2406.01257, and for the proxies
        Scalability of memorization-based machine unlearning (Kairan Zhao, Peter Triantafillou, 2024),
        https://arxiv.org/abs/2410.16516

    Examples:
        >>> from natmu.testing import problem_for
        >>> unlearned = RUM(medium_settings={"epochs": 2}, high_settings={"epochs": 2})(problem_for("random"))
        >>> unlearned.passes.passes > 0  # over the training set
        True
    """

    name = "rum"
    paper = Paper(
        "What makes unlearning hard and what to do about it", "Zhao et al.", 2024, "https://arxiv.org/abs/2406.01257"
    )
    presets = published.RUM

    class Config(Settings):
        """Settings of ``rum``."""

        low: str = Field(NONE, description="method for the easiest third, or none")
        low_settings: dict[str, Any] = Field({}, description="settings of that method")
        medium: str = Field("finetune", description="method for the middle third, or none")
        medium_settings: dict[str, Any] = Field({}, description="settings of that method")
        high: str = Field("salun", description="method for the hardest third, or none")
        high_settings: dict[str, Any] = Field({}, description="settings of that method")

        @field_validator(*PARTS)
        @classmethod
        def _is_a_method(cls, name: str) -> str:
            if name in (RUM.name, "retrain"):
                raise ValueError(f"{name} cannot be the method of a part of a forget set; choose another, or none")
            if name != NONE:
                _checked(name, {})
            return name

        @field_validator(*(f"{part}_settings" for part in PARTS))
        @classmethod
        def _are_its_settings(cls, settings: dict[str, Any], info: ValidationInfo) -> dict[str, Any]:
            name = info.data.get(str(info.field_name).removesuffix("_settings"))
            if name == NONE and settings:
                raise ValueError("there is no method that they could be settings of; leave them out")
            if name in (None, NONE):  # it is None where it was refused itself
                return settings
            return _checked(name, settings)

        @model_validator(mode="after")
        def _unlearns(self) -> RUM.Config:
            if (self.low, self.medium, self.high) == (NONE, NONE, NONE):
                raise ValueError("low, medium and high are all none, which leaves the original; name a method")
            return self

    @property
    def reads_retain(self) -> bool:
        """Whether one of its methods does."""
        return any(method.reads_retain for _, method in self._methods() if method is not None)

    def check(self, problem: Problem) -> None:
        """Refuse what one of the methods would refuse."""
        super().check(problem)
        for _, method in self._methods():
            if method is not None:
                method.check(problem)

    def run(self, problem: Problem) -> nn.Module:
        """Unlearn the parts, the easiest first."""
        model = problem.model
        for (part, method), forget, aside in zip(self._methods(), *_rounds(problem), strict=True):
            if method is not None and len(forget):
                stage = replace(problem.stage(part), model=model, aside=aside)
                model = self._unlearn(method, replace(stage, forget=replace(problem.forget, indices=forget)))
        return model

    def _unlearn(self, method: Method, stage: Problem) -> nn.Module:
        """Unlearn one part; an error names both methods."""
        try:
            return method(stage).model
        except TrainingError as error:
            raise TrainingError(f"{self.name}: {error}") from None

    def _methods(self) -> Iterator[tuple[str, Method | None]]:
        """Each part with its method, None where it has none."""
        for part in PARTS:
            name = getattr(self.config, part)
            yield part, None if name == NONE else method_named(name)(**getattr(self.config, f"{part}_settings"))


def _checked(name: str, settings: dict[str, Any]) -> dict[str, Any]:
    """The complete settings of a method, so that they stand in the record; refused as settings are.

    Raises:
        ValueError: The method is unknown, or has no such settings.
    """
    try:
        complete: dict[str, Any] = method_named(name)(**settings).config.model_dump(mode="json")
    except SettingError as error:
        raise ValueError(str(error).removesuffix(".")) from None
    return complete


def _rounds(problem: Problem) -> tuple[list[IntArray], list[IntArray]]:
    """Positions of each part, and those that belong neither to it nor to the retain set meanwhile."""
    indices = problem.forget.indices
    parts = [indices[rows] for rows in thirds(_difficulty(problem))]
    asides = []
    for number in range(len(parts)):
        gone = parts[:number] + (parts[number + 1 :] if problem.forget.class_wise else [])
        asides.append(np.concatenate([problem.aside, *gone]))
    return parts, asides


def thirds(difficulty_F: FloatArray) -> list[IntArray]:
    """Rows of the easiest, the middle and the hardest third, each in rising order.

    Args:
        difficulty_F: Larger is harder; of equal ones the first counts as easier.

    Returns:
        Three int64 arrays; what does not divide by three goes to the later ones.
    """
    order = np.argsort(difficulty_F, kind="stable")
    count = len(order)
    return [np.sort(part) for part in np.split(order, [count // 3, 2 * count // 3])]


def _difficulty(problem: Problem) -> FloatArray:
    """The problem's difficulty of each forget sample, or else the original's loss on it, float32 ``(F,)``."""
    if problem.difficulty is not None:
        return problem.difficulty[problem.forget.indices]
    positions = problem.forget_positions
    logits_FC = logits_of(problem.model, problem.data, positions, problem.compute)
    labels = problem.labels(positions).to(logits_FC.device)
    losses: FloatArray = functional.cross_entropy(logits_FC, labels, reduction="none").cpu().numpy()
    return losses
