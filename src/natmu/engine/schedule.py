"""Learning-rate schedules as pure functions of the step."""

from __future__ import annotations

import math

from natmu.records.settings import Schedule


def lr_factor(schedule: Schedule, step: int, steps: int, warmup_steps: float = 0) -> float:
    """Factor on the base learning rate at one step, as the research code of NatMU has it.

    That code counts the steps ``s`` of ``cosine`` from 1 and the steps ``x = s - 1`` of the others from 0. With ``W``
    steps of linear warm-up:

    - ``cosine`` is ``s / W`` below ``W``, then ``(cos(pi (s - W) / (T - W)) + 1) / 2``, so the last step has rate 0.
    - ``step`` is ``x / W`` below ``W``, then 1 up to ``x = 0.6 T``, 0.1 up to ``x = 0.8 T`` and 0.01 after.
    - ``constant`` is ``x / W`` below ``W``, then 1.
    - ``linear``, which that code lacks, is ``x / W`` below ``W``, then ``(T - x) / (T - W)``: a triangle.

    So the first step of a warm-up has rate 0 for all but ``cosine``: momentum and running statistics move, weights do
    not.

    Args:
        schedule: Which curve.
        step: The step, counted from 1.
        steps: All steps ``T`` of the run, warm-up included.
        warmup_steps: Length ``W`` of the warm-up, a fraction of a step included; 0 for none.

    Source:
        He et al., Towards Natural Machine Unlearning, 2024, https://arxiv.org/abs/2405.15495, and its research code.
    """
    place = step if schedule == "cosine" else step - 1
    if place < warmup_steps:
        return place / warmup_steps
    if schedule == "cosine":
        left = steps - warmup_steps
        return (math.cos(math.pi * (place - warmup_steps) / left) + 1) / 2 if left else 1.0
    if schedule == "linear":
        return (steps - place) / (steps - warmup_steps)
    if schedule == "step":
        return 1.0 if place <= 0.6 * steps else 0.1 if place <= 0.8 * steps else 0.01
    return 1.0
