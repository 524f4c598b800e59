"""Exact unlearning: training again without the forget set."""

from __future__ import annotations

import copy
from typing import Literal

from pydantic import Field
from torch import nn

from natmu.engine.training import train_classifier
from natmu.errors import SettingError
from natmu.methods.base import Method, Problem
from natmu.types import Settings, seed_for


class Retrain(Method):
    """Train on the retain set alone with the original's recipe: what every other method tries to approach."""

    name = "retrain"

    class Config(Settings):
        """Settings of ``retrain``."""

        init: Literal["original", "fresh"] = Field(
            "original", description="initial weights: those the original started from, or fresh ones from the seed"
        )

    def run(self, problem: Problem) -> nn.Module:
        """Train from initial weights on the retain set."""
        if self.config.init == "fresh":
            model = problem.fresh(seed_for(problem.seed, "fresh weights"))
        elif problem.initial_model is not None:
            model = copy.deepcopy(problem.initial_model())
        else:
            raise SettingError("retrain: the original's initial weights are not known; give them, or set init=fresh.")
        train_classifier(
            model,
            problem.data,
            problem.retain_positions,
            problem.training,
            problem.compute,
            seed=problem.seed,
            label="retrain",
            checkpoint=problem.checkpoint,
            history=problem.history,
        )
        return model
