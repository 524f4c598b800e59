"""Learning-rate schedules as pure functions of the step."""

from __future__ import annotations

import math

from natmu.records.settings import Schedule


def lr_factor(schedule: Schedule, step: int, steps: int, warmup_steps: int = 0) -> float:
    """Factor on the base learning rate at one step.

    ``cosine`` is ``(cos(pi s / T) + 1) / 2``, so the last step has rate 0. ``step`` is 1 up to 60 % of the steps, 0.1
    up to 80 % and 0.01 after. A linear warm-up multiplies the factor by ``s / warmup_steps`` during its steps.

    Args:
        schedule: Which curve.
        step: The step, counted from 1.
        steps: All steps ``T`` of the run, warm-up included.
        warmup_steps: Length of the warm-up; 0 for none.

    Source:
        He et al., Towards Natural Machine Unlearning, 2024, https://arxiv.org/abs/2405.15495, and its research code.
    """
    warmup = min(1.0, step / warmup_steps) if warmup_steps else 1.0
    if schedule == "cosine":
        return warmup * (math.cos(math.pi * step / steps) + 1) / 2
    if schedule == "step":
        return warmup * (1.0 if step <= 0.6 * steps else 0.1 if step <= 0.8 * steps else 0.01)
    return warmup
