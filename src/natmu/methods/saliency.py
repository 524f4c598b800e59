"""Methods that move only the weights that matter most for the forget set."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Literal

import torch
from pydantic import Field
from torch import Tensor, nn
from torch.nn import functional

from natmu.data.batches import Samples, joined, plain, render
from natmu.engine import processes
from natmu.engine.predict import EVALUATION_BATCH
from natmu.methods.base import FineTuneSettings, Method, Paper, Problem, fine_tune
from natmu.methods.labels import relabelled
from natmu.models import reset_head
from natmu.types import seed_for


class SalUn(Method):
    """Relabel the forget set, and let only the weights with the largest gradients of its loss move.

    All other weights stay as they are to the bit: they are put back after each step, since momentum and decoupled
    weight decay would move them even with their gradients masked.

    References:
        SalUn: Empowering Machine Unlearning via Gradient-based Weight Saliency in Both Image Classification and
        Generation (Chongyu Fan, Jiancheng Liu, Yihua Zhang, Eric Wong, Dennis Wei, Sijia Liu, 2024),
        https://arxiv.org/abs/2310.12508, as defined by the research code of Towards Natural Machine Unlearning
        (He et al., 2024).
    """

    name = "salun"
    paper = Paper("SalUn: Gradient-based Weight Saliency", "Fan et al.", 2024, "https://arxiv.org/abs/2310.12508")

    class Config(FineTuneSettings):
        """Settings of ``salun``; the defaults are the NatMU paper's for CIFAR-10 and VGG16."""

        lr: float = Field(5e-5, gt=0, le=100, description="base learning rate")
        weight_decay: float = Field(3e-4, ge=0, le=1, description="decoupled weight decay")
        threshold: float = Field(0.05, gt=0, le=1, description="share of the weights that may move")
        relabel: Literal["fixed", "each_epoch"] = Field(
            "fixed", description="one wrong label per forget sample, or one drawn anew each epoch"
        )
        reset_head: bool = Field(False, description="re-initialise the last linear layer before fine-tuning")

    def run(self, problem: Problem) -> nn.Module:
        """Find the salient weights, then fine-tune them on the retain set and the relabelled forget set."""
        salient = most_salient(saliency(problem), self.config.threshold)
        if self.config.reset_head:
            reset_head(problem.model, seed_for(problem.seed, "head"), problem.data.num_classes)
        retain = problem.retain_samples(self.config)

        def samples(epoch: int) -> Samples:
            labels = relabelled(problem, *([epoch] if self.config.relabel == "each_epoch" else []))
            return joined(retain, plain(problem.forget_positions, torch.from_numpy(labels), augment=False))

        derived = samples if self.config.relabel == "each_epoch" else samples(0)
        return fine_tune(self, problem, derived, after_step=_pinned(problem.model, salient))


def saliency(problem: Problem) -> list[Tensor]:
    """|gradient of the cross-entropy summed over the forget set|, per parameter, in eval mode with true labels.

    Every one of several processes computes all of it, and takes what the first has found: a last bit that differs would
    let other weights move.
    """
    model, device = problem.model, problem.compute.device
    positions = problem.forget_positions
    samples = plain(positions.to(device), problem.labels(positions).to(device), augment=False)
    training = model.training
    model.eval()
    model.zero_grad(set_to_none=True)
    for rows in torch.split(torch.arange(len(samples), device=device), EVALUATION_BATCH):
        with problem.compute.autocast():
            logits = model(render(problem.data, samples, rows)).float()
            loss = functional.cross_entropy(logits, samples.labels[rows], reduction="sum")
        loss.backward()  # type: ignore[no-untyped-call]
    gradients = [torch.zeros_like(p) if p.grad is None else p.grad.abs() for p in model.parameters()]
    processes.same_everywhere(gradients)
    model.zero_grad(set_to_none=True)
    model.train(training)
    return gradients


def most_salient(saliencies: list[Tensor], threshold: float) -> list[Tensor]:
    """Masks of the global top share of weights.

    Args:
        saliencies: One tensor per parameter.
        threshold: Share that is selected, ``(0, 1]``; rounded up to whole weights.

    Returns:
        bool tensors of the same shapes, True for exactly the selected number of weights.
    """
    flat = torch.cat([values.flatten() for values in saliencies])
    chosen = torch.zeros_like(flat, dtype=torch.bool)
    chosen[flat.topk(math.ceil(round(threshold * len(flat), 6)), sorted=False).indices] = True
    pieces = torch.split(chosen, [values.numel() for values in saliencies])
    return [piece.view(values.shape) for piece, values in zip(pieces, saliencies, strict=True)]


def _pinned(model: nn.Module, salient: list[Tensor]) -> Callable[[], None]:
    """A function that puts every weight outside the masks back to its present value."""
    kept = [(p, mask, p.detach().clone()) for p, mask in zip(model.parameters(), salient, strict=True)]

    @torch.no_grad()
    def put_back() -> None:
        for parameter, mask, value in kept:
            parameter.copy_(torch.where(mask, parameter, value))

    return put_back
