"""Methods that solve for the change that forgetting makes to the weights."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator

import torch
from pydantic import Field
from torch import Tensor, nn
from torch.nn import functional

from natmu.data.batches import Samples, plain
from natmu.engine import processes
from natmu.engine.gradients import mean_over_samples, per_sample_gradients
from natmu.errors import ModelError, TrainingError
from natmu.methods.base import Method, Paper
from natmu.methods.problem import Problem
from natmu.types import Settings

BLOCK_BYTES = 2**31
"""Memory for the gradients that are held while all others are computed again, to be multiplied by them."""


class Influence(Method):
    """Take one Newton step from the original towards the optimum without the forget set.

    ``θ = θ0 + alpha · |D_f| / |D_r| · H⁻¹ ∇CE(D_f)``: if the original is at a minimum of the loss on all of its
    training data, the gradient on the retain set is that on the forget set times ``-|D_f| / |D_r|``, and with ``alpha``
    of 1 this is Newton's step on the retain set. The Hessian is taken to be the Fisher information of some retain
    samples, ``H = damping · I + (1/N) Σ g gᵀ``, and the step solves for it exactly.

    When to use:
        For small forget sets and models near their optimum, for which a second-order expansion holds; there it is the
        cheapest method. The further the step, the less the expansion holds: search ``damping`` first. It is what keeps
        the step finite along the directions that none of the N gradients has, where the step is the gradient times
        ``alpha / damping``; the default suits a model that fits its training set closely, and one that does not, whose
        gradients are larger, needs ten times as much.

    Cost:
        One forward and backward pass over D_f and two over ``gradients`` samples of D_r, with a gradient per sample.
        Where those of D_r take B blocks of 2 GiB, the blocks before each are computed once more, which makes it about
        ``B / 2 + 2`` passes: 12 for 1,000 gradients of a ResNet-18. Memory: one block, and a square matrix of
        ``gradients`` in double precision.

    Decisions:
        - The papers' code keeps one running direction that starts as the first sample's gradient and is only ever
          rescaled, so that its result is the plain gradient, changed along this one direction. Here the matrix is
          inverted: by Woodbury's identity, from the inner products of all pairs of gradients, which takes no matrix of
          the size of weights times samples at once. It equals what WoodFisher's recursion gives with all of its
          intermediate vectors kept.
        - That code also subtracts the gradient on the retain set, and starts from ``damping`` 1; our step is the one
          that follows from the minimum, and ``damping`` is a setting. WoodFisher's 1e-5 suits pruning, where a small
          change of one weight is asked for; along directions that no retain gradient reaches it multiplies the
          gradient of the forget set by 1e5.
        - Gradients are those of single samples with their true labels, in eval mode; batch normalisation's running
          statistics stay as they are.

    References:
        Approximate Data Deletion from Machine Learning Models (Zachary Izzo, Mary Anne Smart, Kamalika Chaudhuri, James
        Zou, 2021), https://arxiv.org/abs/2002.10077;
        Model Sparsity Can Simplify Machine Unlearning (Jinghan Jia, Jiancheng Liu, Parikshit Ram, Yuguang Yao, Gaowen
        Liu, Yang Liu, Pranay Sharma, Sijia Liu, 2023), https://arxiv.org/abs/2304.04934;
        WoodFisher: Efficient Second-Order Approximation for Neural Network Compression (Sidak Pal Singh, Dan Alistarh,
        2020), https://arxiv.org/abs/2004.14340

    Examples:
        >>> from natmu.testing import problem_for
        >>> unlearned = Influence(gradients=16)(problem_for("random"))
        >>> round(unlearned.passes.passes, 1)  # over the training set
        0.7
    """

    name = "influence"
    paper = Paper(
        "Approximate Data Deletion from Machine Learning Models",
        "Izzo et al.",
        2021,
        "https://arxiv.org/abs/2002.10077",
    )

    class Config(Settings):
        """Settings of ``influence``."""

        alpha: float = Field(1, gt=0, le=1e6, description="length of the step; 1 is Newton's")
        gradients: int = Field(1000, ge=1, le=20_000, description="retain samples, drawn at random, for the Hessian")
        damping: float = Field(0.1, gt=0, le=1e6, description="added to the Hessian's diagonal")

    def check(self, problem: Problem) -> None:
        """Refuse a model without a weight that may change."""
        super().check(problem)
        if not any(parameter.requires_grad for parameter in problem.model.parameters()):
            raise ModelError(
                "influence: every weight of the model is frozen; set requires_grad of those that may change."
            )

    def run(self, problem: Problem) -> nn.Module:
        """Take the gradient on the forget set, multiply it by the inverse Hessian, and step."""
        model, data, compute, config = problem.model, problem.data, problem.compute, self.config
        retain = _drawn(problem, config.gradients)

        def gradients(start: int, end: int) -> Iterator[Tensor]:
            rows = plain(retain.positions[start:end], retain.labels[start:end], augment=False)
            for chunk in per_sample_gradients(model, data, rows, compute, functional.cross_entropy):
                yield torch.cat([part.flatten(1) for part in chunk], 1)

        forget = problem.forget_samples()
        mean = mean_over_samples(model, data, forget, compute, functional.cross_entropy, torch.clone)
        vector = torch.cat([part.flatten() for part in mean])
        block = max(1, BLOCK_BYTES // vector.nbytes)
        step = woodfisher(gradients, len(retain), vector, config.damping, block)
        step *= config.alpha * len(problem.forget_positions) / len(problem.retain_positions)
        if not bool(torch.isfinite(step).all()):
            shown = ", ".join(f"{name}={value}" for name, value in config.model_dump().items())
            raise TrainingError(f"influence: step 1 is not finite; try a higher damping. Settings: {shown}.")
        weights = [parameter for parameter in model.parameters() if parameter.requires_grad]
        with torch.no_grad():
            for weight, part in zip(weights, torch.split(step, [weight.numel() for weight in weights]), strict=True):
                weight.add_(part.view(weight.shape))
        processes.same_everywhere(weights)
        return model


def _drawn(problem: Problem, count: int) -> Samples:
    """So many retain samples at random, or all where there are fewer."""
    positions = problem.retain_positions
    chosen = problem.rng("gradients").choice(len(positions), min(count, len(positions)), replace=False)
    positions = positions[torch.from_numpy(chosen).sort().values]
    return plain(positions, problem.labels(positions), augment=False)


def woodfisher(
    gradients: Callable[[int, int], Iterable[Tensor]], count: int, vector: Tensor, damping: float, block: int
) -> Tensor:
    """The product ``(damping · I + (1/N) Gᵀ G)⁻¹ v`` for a matrix of N gradients that need not fit into memory.

    Woodbury's identity: ``(v - Gᵀ (N · damping · I + G Gᵀ)⁻¹ G v) / damping``, with the inner products ``G Gᵀ`` taken
    block by block.

    Args:
        gradients: The rows of ``G`` from one number up to another, as matrices ``(B, P)``, computed anew at each call.
        count: Number of rows of ``G``.
        vector: ``v``, float ``(P,)``.
        damping: Positive.
        block: Rows that are held at a time.

    Returns:
        float ``(P,)``.
    """
    gram = vector.new_zeros(count, count, dtype=torch.double)
    seen = vector.new_zeros(count, dtype=torch.double)
    for start in range(0, count, block):
        end = min(start + block, count)
        held = vector.new_empty(end - start, len(vector))
        for row, part in _numbered(gradients(start, end)):
            held[row : row + len(part)] = part
        seen[start:end] = held @ vector
        gram[start:end, start:end] = held @ held.T
        for row, part in _numbered(gradients(0, start) if start else ()):
            gram[row : row + len(part), start:end] = part @ held.T
    gram = gram.triu() + gram.triu(1).T
    gram.diagonal().add_(count * damping)
    shares = torch.linalg.solve(gram, seen).to(vector.dtype)
    result = vector.clone()
    for row, part in _numbered(gradients(0, count)):
        result -= shares[row : row + len(part)] @ part
    return result / damping


def _numbered(parts: Iterable[Tensor]) -> Iterator[tuple[int, Tensor]]:
    """Matrices, each with the number of its first row."""
    row = 0
    for part in parts:
        yield row, part
        row += len(part)
