"""An unlearning method that is not part of natmu."""

import torch
from pydantic import Field
from torch import nn

from natmu.methods import Method, Problem
from natmu.types import Settings, seed_for


class WeightNoise(Method):
    """Add normal noise to all weights, whatever is to be forgotten.

    The noise on a weight has ``scale`` times the standard deviation of the weights of its tensor. Nothing is trained.

    When to use:
        Never but as the floor: a method that forgets no better than noise at the same accuracy has learnt nothing
        about the forget set.

    Cost:
        No pass over any data.

    Decisions:
        - Running statistics of batch normalisation are no weights, and stay as they are.
    """

    name = "weight_noise"
    needs_labels = False
    needs_retain = False

    class Config(Settings):
        """Settings of ``weight_noise``."""

        scale: float = Field(0.1, gt=0, le=10, description="deviation of the noise, in those of the weights")

    def run(self, problem: Problem) -> nn.Module:
        """Disturb the private copy of the model in place."""
        generator = torch.Generator().manual_seed(seed_for(problem.seed, "noise"))
        with torch.no_grad():
            for weight in problem.model.parameters():
                noise = torch.randn(weight.shape, generator=generator).to(weight.device)
                if weight.requires_grad:
                    weight += self.config.scale * weight.std(correction=0) * noise
        return problem.model
