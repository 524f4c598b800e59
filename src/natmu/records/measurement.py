"""What is measured of a candidate: scores beside those of other models, and what guardrails say of them."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from natmu.records.audit import Answer
from natmu.records.files import Value


class MeasuredScore(Value):
    """One score of a candidate.

    Attributes:
        value: Of the candidate.
        interval: 95 % interval over samples; None where it is not known.
        original: Of the untouched original.
        retrained: Of each retrained model.
        distinguishable: Whether it lies outside of what one more retrained model would have; None where that cannot be
            said.
        detectable: Smallest difference from retrained models that would be seen; None where that is not known.
    """

    value: float
    interval: tuple[float, float] | None = None
    original: float | None = None
    retrained: tuple[float, ...] = ()
    distinguishable: bool | None = None
    detectable: float | None = None


class Measurement(Value):
    """What an audit says of a candidate and the requests that it answers, or all earlier ones.

    Attributes:
        samples: How many forget samples it rests on.
        level: Which scores were asked for.
        references: Retrained models that it compares with.
        scores: By name.
        forgotten: Whether these samples are forgotten, as far as the scores can see.
        kept: Whether the model is still right on everything else.
        missing: By name of the score, why it is not there.
    """

    samples: int = Field(ge=1)
    level: Literal["quick", "standard"]
    references: int = Field(ge=0)
    scores: dict[str, MeasuredScore]
    forgotten: Answer
    kept: Answer
    missing: dict[str, str] = Field(default_factory=dict)


class Remeasured(Value):
    """An earlier request, measured again on a candidate.

    Attributes:
        request: Its number.
        samples: How many of its samples are still there to be measured.
        accuracy: Percent of them that the candidate is right on; None where none is left.
        original: The same of the untouched original.
        retrained: Mean of retrained models; None without any.
        confidence: Mean probability of the true class, 0 to 1.
        original_confidence: The same of the original.
        retrained_confidence: Mean of retrained models.
        came_back: Whether the model knows the samples better than retrained ones do, beyond chance; None where that
            cannot be said.
    """

    request: int = Field(ge=1)
    samples: int = Field(ge=0)
    accuracy: float | None = None
    original: float | None = None
    retrained: float | None = None
    confidence: float | None = None
    original_confidence: float | None = None
    retrained_confidence: float | None = None
    came_back: bool | None = None


class GuardrailResult(Value):
    """What one guardrail says of a candidate.

    Attributes:
        name: As in the policy.
        value: What was measured; None where it could not be.
        limit: What is allowed; None of guardrails that are on or off.
        passed: Whether the candidate keeps it; a guardrail that cannot be measured passes, and the sentence says so.
        sentence: With both numbers.
        decided: Whether it could be measured.
    """

    name: str
    value: float | None = None
    limit: float | None = None
    passed: bool
    sentence: str
    decided: bool = True
