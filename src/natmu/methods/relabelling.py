"""Methods that teach the model wrong labels for the forget set."""

from __future__ import annotations

import torch
from pydantic import Field
from torch import nn

from natmu.data.batches import joined, plain
from natmu.methods.base import FineTuneSettings, Method, Paper, Problem, fine_tune
from natmu.methods.labels import relabelled
from natmu.models import reset_head
from natmu.types import seed_for


class Amnesiac(Method):
    """Give each forget sample one fixed wrong label and fine-tune on it together with the retain set.

    References:
        Amnesiac Machine Learning (Laura Graves, Vineel Nagisetty, Vijay Ganesh, 2021), https://arxiv.org/abs/2010.10981,
        as defined by the research code of Towards Natural Machine Unlearning (He et al., 2024).
    """

    name = "amnesiac"
    paper = Paper("Amnesiac Machine Learning", "Graves et al.", 2021, "https://arxiv.org/abs/2010.10981")

    class Config(FineTuneSettings):
        """Settings of ``amnesiac``; the defaults are the NatMU paper's for CIFAR-10 and VGG16."""

        lr: float = Field(1.8e-5, gt=0, le=100, description="base learning rate")
        weight_decay: float = Field(4e-4, ge=0, le=1, description="decoupled weight decay")
        reset_head: bool = Field(False, description="re-initialise the last linear layer before fine-tuning")

    def run(self, problem: Problem) -> nn.Module:
        """Fine-tune on the retain set and the relabelled forget set."""
        if self.config.reset_head:
            reset_head(problem.model, seed_for(problem.seed, "head"), problem.data.num_classes)
        retain = problem.retain_samples(self.config)
        forget = plain(problem.forget_positions, torch.from_numpy(relabelled(problem)), augment=False)
        return fine_tune(self, problem, joined(retain, forget))
