"""What is followed by methods that distil: softened predictions, and the distance from them."""

from __future__ import annotations

from torch import Tensor, nn
from torch.nn import functional

from natmu.engine.predict import logits_of
from natmu.methods.problem import Problem


def softened(problem: Problem, teacher: nn.Module, positions: Tensor, temperature: float) -> Tensor:
    """A teacher's softened predictions on un-augmented images; computed once, as neither of them changes."""
    return (logits_of(teacher, problem.data, positions, problem.compute) / temperature).softmax(1)


def divergence(teacher_BC: Tensor, logits_BC: Tensor, temperature: float = 1) -> Tensor:
    """KL(teacher ‖ student) · T², summed over classes and averaged over rows.

    Args:
        teacher_BC: Softened probabilities of the teacher; zeros add nothing.
        logits_BC: The student's logits, not softened yet.
        temperature: What divides the student's logits, and has divided the teacher's.

    Returns:
        A scalar, at least 0.
    """
    student_BC = (logits_BC / temperature).log_softmax(1)
    distance = functional.kl_div(student_BC, teacher_BC, reduction="batchmean")
    return distance * temperature**2
