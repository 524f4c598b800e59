"""Exact unlearning: training again without the forget set."""

from __future__ import annotations

import copy

from torch import nn

from natmu.engine.training import train_classifier
from natmu.errors import SettingError
from natmu.methods.base import Method
from natmu.methods.problem import Problem
from natmu.models.frozen import kept_frozen
from natmu.progress import say
from natmu.records.settings import RetrainSettings
from natmu.types import seed_for

DIVIDED = (
    "retrain: this model was trained in shards, and in memory only one model is trained; use natmu unlearn or a study, "
    "which train the shards again, or --method sisa, which trains only those that it must."
)
"""Refuses to train one model where there were several."""

UNTOLD = (
    "retrain: nobody has said how the original was trained; say it with --training FILE or --trainer, in Python with "
    "training=… or trainer=…."
)
"""Refuses to train with a recipe that is only natmu's default."""


class Retrain(Method):
    """Train on the retain set alone with the original's recipe: what every other method tries to approach.

    A model with initial weights is trained as the original was, with the same settings, on everything but the forget
    set. It has never seen a forget sample, so nothing has to be shown about what it remembers.

    What is promised: The model was trained anew without the forgotten samples, so that nothing in its weights comes
    from them. It is assumed:

    - A training function that the user wrote uses its samples and its seed alone: nothing that an earlier call left
      behind, no weights or files that know the forgotten samples, and no other random numbers.
    - What was chosen before training stays as it was, although the forgotten samples may have had a part in it: the
      recipe, the normalisation of images, the seed.
    - Samples that show the same, such as another photograph of the same person, count as other samples.
    - Former versions of the model are deleted: whoever compares them with this one sees what was forgotten.

    When to use:
        As the reference that other methods are measured against, and wherever exact removal is promised or asked for.
        Several of them, with different seeds, tell how far apart two models that both forgot may lie.

    Cost:
        The original's training, on D_r: as many forward and backward passes as its recipe has epochs, 100 in the
        default one. No extra memory.

    Decisions:
        - The original's own initial weights are the default, as in the research code of NatMU: the two models then
          differ by the forget set alone. Fresh ones (``init=fresh``) make the more independent reference, and are the
          only choice for a model whose initial weights nobody kept.
        - What is frozen, such as a pretrained backbone, was never trained: it stays as it is, running statistics too,
          also with ``init=fresh``. Parameters that no layer draws, such as a class token, are then those of the model
          before training, where it is known.
        - The seed of the run decides order and augmentation. A study gives each reference the training seed of its
          original.

    Examples:
        >>> from natmu.testing import problem_for
        >>> unlearned = Retrain()(problem_for("random"))
        >>> round(unlearned.passes.passes, 1)  # over the training set
        1.6
    """

    name = "retrain"

    Config = RetrainSettings

    def check(self, problem: Problem) -> None:
        """Refuse to start from weights that are not known, and to train as nobody has said."""
        super().check(problem)
        if problem.training is None:
            raise SettingError(UNTOLD)
        if problem.training.sharding is not None:
            raise SettingError(DIVIDED)
        if self.config.init == "original" and problem.initial_model is None:
            raise SettingError("retrain: the original's initial weights are not known; give them, or set init=fresh.")

    def run(self, problem: Problem) -> nn.Module:
        """Train from initial weights on the retain set."""
        assert problem.training is not None, "it was checked"
        if self.config.init == "original":
            assert problem.initial_model is not None
            model = copy.deepcopy(problem.initial_model())
        else:
            model = problem.fresh(seed_for(problem.seed, "fresh weights"))
        if kept := kept_frozen(model):
            say(f"retrain: {kept}")
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
