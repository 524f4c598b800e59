"""How hard each training sample was to learn, as the run of the original has it."""

from __future__ import annotations

from natmu.engine.predict import sample_losses
from natmu.engine.store import Run
from natmu.types import FloatArray


def difficulties_of(run: Run) -> dict[str, FloatArray]:
    """How hard each training sample was to learn, by criterion; float32 ``(N,)``, larger for harder."""
    train = run.outputs().train
    known = {"loss": sample_losses(train.logits, train.labels), "confidence": difficulty_of(run)}
    return {criterion: values for criterion, values in known.items() if values is not None}


def difficulty_of(run: Run) -> FloatArray | None:
    """Each training sample's mean confidence during training with its sign reversed, where that was noted."""
    confidence = run.confidence()
    return None if confidence is None else -confidence
