"""Natural machine unlearning: forget images blended with retain images."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
from pydantic import Field
from torch import Tensor, nn

from natmu.data.batches import Blend, Samples, joined
from natmu.engine.predict import logits_of
from natmu.methods import natmu_table
from natmu.methods.base import Method, Paper, fine_tune
from natmu.methods.partners import ANY_CLASS, assign_classes, draw_partners, enough_images, rank_classes
from natmu.methods.problem import Problem
from natmu.methods.settings import FineTuneSettings
from natmu.progress import say
from natmu.types import IntArray

HYBRIDS = 4
"""Hybrids per forget sample, where there are as many other classes: one for each kind of mask."""


def forget_weights(height: int, width: int, delta: float) -> Tensor:
    """Weight of the forget image in each of the four kinds of hybrid.

    With the tent ``t(i) = min(i, S - 1 - i) / b`` over the ``S`` rows or columns and ``b = ceil(S / 2)``, the masks are
    ``t(row)``, ``t(column)``, ``(b - 1) / b - t(row)`` and ``(b - 1) / b - t(column)``, shifted by ``delta`` and
    clipped to ``[0, 1]``. For an even square image this is the paper's definition. Odd sides keep what matters of it:
    masks are symmetric, and a mask and its opposite add up to ``(b - 1) / b`` everywhere.

    Args:
        height: Rows.
        width: Columns.
        delta: Shift; 1 or more replaces the partner by the forget image, -1 or less the reverse.

    Returns:
        float32 ``(4, height, width)`` in ``[0, 1]``.
    """

    def tent(size: int) -> tuple[Tensor, Tensor]:
        half = (size + 1) // 2
        places = torch.arange(size, dtype=torch.float64)
        rise = torch.minimum(places, size - 1 - places) / half
        return rise, (half - 1) / half - rise

    (row, row_opposite), (column, column_opposite) = tent(height), tent(width)
    shape = (height, width)
    masks = [
        row[:, None].expand(shape),
        column[None, :].expand(shape),
        row_opposite[:, None].expand(shape),
        column_opposite[None, :].expand(shape),
    ]
    return (torch.stack(masks).float() + delta).clamp(0, 1)  # shifted in float32, as there: blends are rounded down


class NatMU(Method):
    """Blend each forget image with retain images of the classes it resembles, and learn the blends as the latter.

    For each forget image, the ``n`` classes that the original finds most probable apart from its own each give one
    retain image, drawn without replacement over the whole forget set. The two are blended with a mask that falls off
    over rows or columns, and the hybrid has the retain image's own, true label. Fine-tuning is with cross-entropy on
    the retain set and all hybrids, shuffled together. The model learns from correct information laid over each forget
    image, so that what it knew of that image fades without teaching it anything false.

    When to use:
        For single samples: in benchmarks/results it came as close to retraining as any other, or closer. It forgets
        difficult samples and whole classes as well. It needs retain images: where a forget set is large or few are
        left of the rest, each of them has to serve several hybrids.

    Cost:
        One forward pass over D_f, then ``epochs`` forward and backward passes over D_r and ``n`` hybrids per forget
        sample. Hybrids are blended batch by batch and never stored, so there is no extra memory.

    Decisions:
        - Partners are assigned exactly, in time linear in their number: where a class has no unused image left, a
          sample takes its next most probable class. The research code permutes until labels match, which need not
          end, and has a second script for difficult samples; this serves both, and never hands a sample its own class.
        - Classes are ranked by their logits. Where these are so large that probabilities round to 0 and 1, the research
          code, which ranks probabilities, falls to ties, the sample's own class among them.
        - With fewer than five classes there are as many hybrids per sample as there are other classes, one for a binary
          classifier. Where there are fewer retain images of other classes than hybrids, each may serve several, drawn
          with replacement; with ``reuse_partners=false`` this is refused. The paper has neither case.
        - Hybrids are rounded down to bytes, as the research code stores them.
        - Masks of odd and of oblong images, which the paper does not define, keep its symmetry and its sums.
        - Of a sub-class, partners of the true coarse class are left out as in the research code, although a retrained
          model may rightly answer with it; ``allow_true_class`` lets them in.
        - ``reset_head`` re-initialises the head after the classes were chosen, as the research code does for classes.

    References:
        Towards Natural Machine Unlearning (Zhengbao He, Tao Li, Xinwen Cheng, Zhehao Huang, Xiaolin Huang, 2024),
        https://arxiv.org/abs/2405.15495

    Examples:
        >>> from natmu.testing import problem_for
        >>> unlearned = NatMU(epochs=2, n=2)(problem_for("random"))
        >>> round(unlearned.passes.passes, 1)  # over the training set
        2.5
    """

    name = "natmu"
    paper = Paper("Towards Natural Machine Unlearning", "He et al.", 2024, "https://arxiv.org/abs/2405.15495")
    presets = natmu_table.NATMU

    class Config(FineTuneSettings):
        """Settings of ``natmu``; the defaults are the paper's for CIFAR-10 and VGG16."""

        lr: float = Field(1e-3, gt=0, le=100, description="base learning rate")
        weight_decay: float = Field(2e-3, ge=0, le=1, description="decoupled weight decay")
        augment_retain: bool = Field(True, description="random crop and flip of retain images")
        delta: float = Field(-0.19, ge=-1, le=1, description="shift of the forget image's weight")
        n: int | None = Field(
            None,
            ge=1,
            le=HYBRIDS,
            description="hybrids per forget sample; if none, 4, or as many as other classes have retain images",
        )
        resample_partners: bool = Field(False, description="draw the partners anew each epoch")
        reuse_partners: bool | None = Field(
            None, description="let a retain image serve several hybrids; if none, only where there are too few images"
        )
        allow_true_class: bool = Field(False, description="let partners be of the forget sample's own class")
        reset_head: bool = Field(False, description="re-initialise the last linear layer before fine-tuning")

    def run(self, problem: Problem) -> nn.Module:
        """Choose partners with the original model, then fine-tune on retain images and hybrids together."""
        classes_FN = self._classes(problem)
        if self.config.reset_head:
            problem.reset_head()
        retain = problem.retain_samples(self.config)
        samples: Samples | Callable[[int], Samples]
        if self.config.resample_partners:
            samples = lambda epoch: joined(retain, self.hybrids(problem, classes_FN, epoch))  # noqa: E731
        else:
            samples = joined(retain, self.hybrids(problem, classes_FN, 0))
        return fine_tune(self, problem, samples)

    def _classes(self, problem: Problem) -> IntArray:
        """The classes of each forget sample's hybrids, ``(F, n)``; where retain images run out, the best ones alone."""
        logits_FC = logits_of(problem.model, problem.data, problem.forget_positions, problem.compute).cpu().numpy()
        own = problem.labels(problem.forget_positions).numpy()
        own_F = np.full_like(own, ANY_CLASS) if self.config.allow_true_class else own
        classes = logits_FC.shape[1]
        capacity_C = np.bincount(problem.labels(problem.retain_positions).numpy(), minlength=classes)
        ranked_FC = rank_classes(logits_FC, own_F, capacity_C, self.config.n or 1)
        n: int = self.config.n or min(HYBRIDS, int((ranked_FC < classes).sum(1).min()))
        reuse = self.config.reuse_partners
        if reuse is None and (reuse := not enough_images(own_F, capacity_C, n)):
            say(f"natmu: {n * len(own_F)} hybrids, and {capacity_C.sum()} retain images, each of which serves several")
        return ranked_FC[:, :n].copy() if reuse else assign_classes(ranked_FC, own_F, capacity_C, n)

    def hybrids(self, problem: Problem, classes_FN: IntArray, epoch: int) -> Samples:
        """The hybrids of one epoch: partners, their labels, and the forget image that is blended into each."""
        retain = problem.retain_positions
        retain_labels = problem.labels(retain).numpy()
        rng = problem.rng("partners", epoch)
        size = problem.data.num_classes
        wanted_C, there_C = (np.bincount(labels, minlength=size) for labels in (classes_FN.ravel(), retain_labels))
        short = bool((wanted_C > there_C).any())
        drawn_FN = draw_partners(classes_FN, retain_labels, rng, reuse=short or bool(self.config.reuse_partners))
        partners = retain[torch.from_numpy(drawn_FN.ravel())]
        count = classes_FN.shape[1]
        blend = Blend(
            others=problem.forget_positions.repeat_interleave(count),
            masks=torch.arange(count).repeat(len(problem.forget)),
            weights=forget_weights(*problem.data.image_shape[1:], self.config.delta),
        )
        return Samples(partners, problem.labels(partners), torch.zeros(len(partners), dtype=torch.bool), blend)

    def preview(self, problem: Problem) -> Samples:
        """The hybrids that ``run`` starts with, for pictures."""
        return self.hybrids(problem, self._classes(problem), 0)
