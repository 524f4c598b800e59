"""Methods that climb the loss of the forget set."""

from __future__ import annotations

from pydantic import Field
from torch import Tensor, nn
from torch.nn import functional

from natmu.data.batches import Batch
from natmu.methods.base import Method, Paper, Problem, fine_tune
from natmu.methods.directions import clipping
from natmu.methods.settings import SGDRetainSettings, SGDSettings


class GradAscent(Method):
    """Climb the cross-entropy of the forget set, with nothing that holds the rest in place.

    Each step follows the gradient of CE(D_f) upwards, by SGD, with its norm clipped.

    When to use:
        As the baseline that every other method has to beat, and where no retain data are left. It has no point at which
        it has forgotten enough: the number of steps and the learning rate decide how far it goes, and too far destroys
        the model. Choose both on a holdout.

    Cost:
        One forward and one backward pass over D_f per epoch, none over D_r. No extra memory.

    Decisions:
        The paper names the rule and no recipe. The learning rate and the number of epochs are those common in later
        comparisons. Cross-entropy has no upper bound, and its gradient grows as the samples are forgotten, so the
        gradient's norm is clipped, as in the code of Huang et al. (2024, there at 0.1); the default of 1 leaves the
        small gradients of fitted samples as they are and lets the default recipe move the weights by at most
        ``lr / (1 - momentum)`` = 0.005 a step.
        Batch normalisation keeps the original's statistics, and dropout is off: those of the forget set alone would
        spoil the answers on everything else, and could not be had from a single sample. The same code does so too; that
        of others (Unlearn-Sparse, SalUn) trains in training mode.

    References:
        Eternal Sunshine of the Spotless Net: Selective Forgetting in Deep Networks (Aditya Golatkar, Alessandro
        Achille, Stefano Soatto, 2020), https://arxiv.org/abs/1911.04933
    """

    name = "grad_ascent"
    needs_retain = False
    paper = Paper("Eternal Sunshine of the Spotless Net", "Golatkar et al.", 2020, "https://arxiv.org/abs/1911.04933")

    class Config(SGDSettings):
        """Settings of ``grad_ascent``; the defaults are those of later comparisons on CIFAR-10 and ResNet-18."""

        epochs: int = Field(5, ge=1, le=100_000, description="passes over the forget set")
        lr: float = Field(5e-4, gt=0, le=100, description="base learning rate")
        max_grad_norm: float = Field(1.0, gt=0, description="norm at which the gradient is clipped")

    def run(self, problem: Problem) -> nn.Module:
        """Ascend on the forget set."""
        return fine_tune(
            self,
            problem,
            problem.forget_samples(),
            ascent,
            direction=clipping(self.config.max_grad_norm),
            in_eval=list(problem.model.modules()),
        )


def ascent(model: nn.Module, batch: Batch) -> Tensor:
    """The negative cross-entropy of a batch."""
    return -functional.cross_entropy(model(batch.images).float(), batch.labels)


class NegGradPlus(Method):
    """Descend on the retain set while ascending on the forget set.

    Each step takes a batch of either set and follows the gradient of ``alpha CE(D_r) - (1 - alpha) CE(D_f)``. An epoch
    is a pass over the retain set, in which the forget set is gone through as often as it fits.

    When to use:
        As the simple method that has everything a good one needs. The weight of the ascent must be tuned to the size of
        the forget set: a small one comes round often, and is soon forgotten far more than a retrained model would.

    Cost:
        Per epoch, one forward and one backward pass over D_r, and as many over batches of D_f: twice fine-tuning, less
        where D_f is smaller than a batch. No extra memory but the activations of both batches.

    Decisions:
        As in the paper's code, both batches are seen in training mode, one after the other, and nothing bounds the
        ascent, by a clip or otherwise; a run that diverges stops with an error. The code leaves ``alpha`` to each
        experiment; the default of 0.95 keeps the ascent small beside the descent.

    References:
        Towards Unbounded Machine Unlearning (Meghdad Kurmanji, Peter Triantafillou, Jamie Hayes, Eleni Triantafillou,
        2023), https://arxiv.org/abs/2302.09880
    """

    name = "neggrad_plus"
    paper = Paper("Towards Unbounded Machine Unlearning", "Kurmanji et al.", 2023, "https://arxiv.org/abs/2302.09880")

    class Config(SGDRetainSettings):
        """Settings of ``neggrad_plus``."""

        epochs: int = Field(5, ge=1, le=100_000, description="passes over the retain set")
        retain_weight: float = Field(
            0.95, gt=0, lt=1, description="weight of the retain loss; the rest is that of the ascent"
        )

    def run(self, problem: Problem) -> nn.Module:
        """Train on pairs of batches."""
        keep: float = self.config.retain_weight

        def loss(model: nn.Module, batch: Batch) -> tuple[Tensor, Tensor]:
            assert batch.paired is not None
            retained = functional.cross_entropy(model(batch.images).float(), batch.labels)
            forgotten = functional.cross_entropy(model(batch.paired.images).float(), batch.paired.labels)
            return keep * retained, -(1 - keep) * forgotten

        return fine_tune(self, problem, problem.retain_samples(self.config), loss, paired=problem.forget_samples())
