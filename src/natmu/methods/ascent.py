"""Methods that climb the loss of the forget set."""

from __future__ import annotations

from pydantic import Field
from torch import Tensor, nn
from torch.nn import functional

from natmu.data.batches import Batch
from natmu.methods import published
from natmu.methods.base import Method, Paper, fine_tune
from natmu.methods.directions import clipping
from natmu.methods.problem import Problem
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
        The paper names the rule and no recipe. The learning rate and the number of epochs are those with which Jia et
        al. (2023) compare. Cross-entropy has no upper bound, and its gradient grows as the samples are forgotten, so
        the gradient's norm is clipped, as in the code of Huang et al. (2024, there at 0.1); the default of 1 leaves
        the small gradients of fitted samples as they are and lets the default recipe move the weights by at most
        ``lr / (1 - momentum)`` = 0.001 a step.
        Batch normalisation keeps the original's statistics, and dropout is off: those of the forget set alone would
        spoil the answers on everything else, and could not be had from a single sample. The same code does so too; that
        of others (Unlearn-Sparse, SalUn) trains in training mode.

    References:
        Eternal Sunshine of the Spotless Net: Selective Forgetting in Deep Networks (Aditya Golatkar, Alessandro
        Achille, Stefano Soatto, 2020), https://arxiv.org/abs/1911.04933

    Examples:
        >>> from natmu.testing import problem_for
        >>> unlearned = GradAscent(epochs=2, lr=0.001, batch_size=6)(problem_for("random"))
        >>> round(unlearned.passes.passes, 1)  # over the training set
        0.4
    """

    name = "grad_ascent"
    needs_retain = False
    paper = Paper("Eternal Sunshine of the Spotless Net", "Golatkar et al.", 2020, "https://arxiv.org/abs/1911.04933")
    presets = published.GRAD_ASCENT

    class Config(SGDSettings):
        """Settings of ``grad_ascent``; the defaults are those of Jia et al. (2023) on CIFAR-10 and ResNet-18."""

        epochs: int = Field(5, ge=1, le=100_000, description="passes over the forget set")
        lr: float = Field(1e-4, gt=0, le=100, description="base learning rate")
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
        As a simple baseline that forgets and keeps accuracy at the same time. ``retain_weight`` must be tuned to the
        sizes of both sets. The default is the published one for CIFAR-10; on the digits (one seed) it changed nothing.
        A forget set that is small beside the retain set is seen many times per epoch: if the ascent has too much
        weight, the model gets worse on it than a retrained model is.

    Cost:
        Per epoch, one forward and one backward pass over D_r, and as many over batches of D_f: twice fine-tuning, less
        where D_f is smaller than a batch. No extra memory but the activations of both batches.

    Decisions:
        As in the paper's code, both batches are seen in training mode, one after the other, and nothing bounds the
        ascent, by a clip or otherwise; a run that diverges stops with an error. SGD is without momentum and weight
        decay, as there. The code has ``alpha`` 0.9999 where 100 samples of CIFAR-10 are forgotten, the default, and
        0.95 for data sets of some hundred samples, where it also pulls the weights towards the original's, which is
        left out here. Forget sets of thousands need less: 0.97 to 0.99 in the code of Zhao et al. (2024).

    References:
        Towards Unbounded Machine Unlearning (Meghdad Kurmanji, Peter Triantafillou, Jamie Hayes, Eleni Triantafillou,
        2023), https://arxiv.org/abs/2302.09880

    Examples:
        >>> from natmu.testing import problem_for
        >>> unlearned = NegGradPlus(epochs=2)(problem_for("random"))
        >>> round(unlearned.passes.passes, 1)  # over the training set
        2.8
    """

    name = "neggrad_plus"
    paper = Paper("Towards Unbounded Machine Unlearning", "Kurmanji et al.", 2023, "https://arxiv.org/abs/2302.09880")
    presets = published.NEGGRAD_PLUS

    class Config(SGDRetainSettings):
        """Settings of ``neggrad_plus``; the defaults are those of the paper's code for CIFAR-10 and a ResNet."""

        epochs: int = Field(5, ge=1, le=100_000, description="passes over the retain set")
        momentum: float = Field(0, ge=0, lt=1, description="momentum of SGD; the others ignore it")
        weight_decay: float = Field(0, ge=0, le=1, description="weight decay, decoupled for adamw")
        retain_weight: float = Field(
            0.9999, gt=0, lt=1, description="weight of the retain loss; the rest is that of the ascent"
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
