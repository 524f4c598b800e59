"""Methods that distil what to keep and what to forget from teachers."""

from __future__ import annotations

import torch
from pydantic import Field
from torch import Tensor, nn
from torch.nn import functional

from natmu.data.batches import Batch, joined, plain
from natmu.engine.predict import logits_of
from natmu.methods.base import FineTuneSettings, Method, Paper, Problem, fine_tune
from natmu.models import reset_head
from natmu.types import seed_for


class BadTeacher(Method):
    """Follow the original model on the retain set and a randomly initialised one on the forget set.

    The loss is KL(teacher ‖ student), summed over classes and averaged over the batch, both sides softened by the
    temperature, without a factor of its square and without a cross-entropy term. Teachers are frozen and in eval mode.

    References:
        Can Bad Teaching Induce Forgetting? Unlearning in Deep Networks using an Incompetent Teacher (Vikram S.
        Chundawat, Ayush K. Tarun, Murari Mandal, Mohan Kankanhalli, 2023), https://arxiv.org/abs/2205.08096,
        as defined by the research code of Towards Natural Machine Unlearning (He et al., 2024).
    """

    name = "bad_teacher"
    paper = Paper("Can Bad Teaching Induce Forgetting?", "Chundawat et al.", 2023, "https://arxiv.org/abs/2205.08096")

    class Config(FineTuneSettings):
        """Settings of ``bad_teacher``; the defaults are the NatMU paper's for CIFAR-10 and VGG16."""

        lr: float = Field(5e-5, gt=0, le=100, description="base learning rate")
        weight_decay: float = Field(9e-4, ge=0, le=1, description="decoupled weight decay")
        temperature: float = Field(7.2, gt=0, description="divides the logits of teachers and student")
        reset_head: bool = Field(False, description="re-initialise the student's last linear layer before fine-tuning")

    def run(self, problem: Problem) -> nn.Module:
        """Distil both teachers into a student that starts as the original."""
        good = problem.frozen_copy()
        bad = problem.fresh(seed_for(problem.seed, "bad teacher")).eval().requires_grad_(False)
        bad = problem.compute.place(bad)
        if self.config.reset_head:
            reset_head(problem.model, seed_for(problem.seed, "head"), problem.data.num_classes)
        forget = plain(problem.forget_positions, problem.labels(problem.forget_positions), augment=False)
        retain = problem.retain_samples(self.config)
        live = self.config.augment_retain
        targets = self._soften(problem, bad, forget.positions)
        if not live:
            targets = torch.cat([targets, self._soften(problem, good, retain.positions)])
        temperature, forgotten = self.config.temperature, len(forget)

        def loss(model: nn.Module, batch: Batch) -> Tensor:
            if live:
                with torch.no_grad():
                    followed = (good(batch.images).float() / temperature).softmax(1)
                bad_rows = batch.rows.clamp(max=forgotten - 1)
                target = torch.where((batch.rows < forgotten)[:, None], targets[bad_rows], followed)
            else:
                target = targets[batch.rows]
            answer = (model(batch.images).float() / temperature).log_softmax(1)
            return functional.kl_div(answer, target, reduction="batchmean")

        return fine_tune(self, problem, joined(forget, retain), loss)

    def _soften(self, problem: Problem, teacher: nn.Module, positions: Tensor) -> Tensor:
        """A teacher's softened answers on un-augmented images; computed once, as neither of them changes."""
        logits = logits_of(teacher, problem.data, positions, problem.compute)
        temperature: float = self.config.temperature
        return (logits / temperature).softmax(1)
