"""Teach forget samples the predictions that samples as hard get which the model has never seen."""

from __future__ import annotations

import torch
from pydantic import Field
from torch import Tensor, nn
from torch.nn import functional

from natmu.data.batches import Batch, joined
from natmu.engine.predict import logits_of
from natmu.errors import ScenarioError
from natmu.methods.base import Method, fine_tune
from natmu.methods.problem import Problem
from natmu.methods.settings import FineTuneSettings
from natmu.methods.teachers import divergence
from natmu.methods.unseen import required_holdout


class QuantileMatch(Method):
    """Teach each forget sample the predictions that the model makes for an unseen sample that is as hard.

    All training samples are ranked by how hard they were to learn, and the holdout by the model's loss on it. The twin
    of a forget sample is the holdout sample at the same quantile. The forget sample is taught the twin's logits: that
    of the twin's true class for its own, the others in descending order for the classes that the original finds most
    probable beside it. A part of the retain set is taught the original's own logits meanwhile. The loss is KL(target ‖
    student) · T², both sides softened by the temperature T, over both together. Twins' logits are taken anew before
    each epoch, because the model changes on unseen samples too.

    When to use:
        For single samples, where the cost matters and you can keep a holdout that is like the training data. Forget
        samples get the distribution of losses that unseen samples have, not one mean of it. At a random 1 % of CIFAR-10
        it came as close to retrained models as they come to each other, in 0.8 passes over the data. It cannot know
        which of two samples as hard a retrained model would get wrong. Wrong labels stay where the holdout has right
        ones. Whole classes stay too, because the original knows unseen samples of them well. Ten epochs are few steps
        on a small data set: if forget samples stay easier than unseen ones, raise ``epochs`` or ``lr``.

    Cost:
        One forward pass over D_f and ``retain_fraction`` of D_r, then ``epochs`` forward and backward passes over both,
        and before each a forward pass over the holdout. Memory for C numbers per sample of these.

    Decisions:
        - How hard a sample was to learn is minus the mean confidence of the original during its training. Where nobody
          noted that, it is the original's loss. The retain samples that are trained on then stand for all of them.
        - A sample's quantile is that of the middle of all samples as hard. So hard forget sets get hard twins.
        - Batch normalisation is trained, as in fine-tuning.

    References:
        First described here, and measured in benchmarks/results/one-percent.md.

    Examples:
        >>> from natmu.testing import problem_for
        >>> unlearned = QuantileMatch(epochs=2, retain_fraction=0.5)(problem_for("random"))
        >>> round(unlearned.passes.passes, 1)  # over the training set
        1.7
    """

    name = "quantile_match"
    paper = None
    needs_holdout = True
    scenarios = ("random", "hardest", "indices")

    class Config(FineTuneSettings):
        """Settings of ``quantile_match``; the defaults were chosen in benchmarks/results/one-percent.md."""

        epochs: int = Field(10, ge=1, le=100_000, description="passes over the forget set and the fraction")
        lr: float = Field(3.7e-4, gt=0, le=100, description="base learning rate")
        weight_decay: float = Field(0, ge=0, le=1, description="weight decay, decoupled for adamw")
        retain_fraction: float = Field(
            0.05, gt=0, le=1, description="random fraction of the retain set to fine-tune on"
        )
        temperature: float = Field(4, gt=0, description="divides the logits of model and targets")

    def check(self, problem: Problem) -> None:
        """Refuse to do without unseen samples, or to forget a class of which nothing is kept."""
        super().check(problem)
        required_holdout(self.name, problem)
        kept = problem.labels(problem.retain_positions)
        if not bool(torch.isin(problem.labels(problem.forget_positions), kept).all()):
            raise ScenarioError(
                f"{self.name} teaches forget samples what unseen samples of their class look like, and of one class "
                "nothing would be kept; forget whole classes with delete, for example."
            )

    def run(self, problem: Problem) -> nn.Module:
        """Distil matched predictions into the forget set, and the original's into a part of the retain set."""
        config, unseen = self.config, required_holdout(self.name, problem)
        forget, retain = problem.forget_samples(), problem.retain_samples(config)
        rows, count = joined(forget, retain), len(forget)
        original = logits_of(problem.model, problem.data, rows.positions, problem.compute)
        places = self._places(problem, original, rows.labels)
        targets, labels = original.clone(), forget.labels.to(original.device)

        def match(_: int, model: nn.Module) -> bool:
            seen = logits_of(model, unseen, torch.arange(len(unseen)), problem.compute)
            twins = twins_of(places, seen, unseen.labels.to(seen.device))
            targets[:count] = matched(original[:count], labels, seen[twins], unseen.labels.to(seen.device)[twins])
            return True

        def loss(model: nn.Module, batch: Batch) -> Tensor:
            heat = config.temperature
            return divergence((targets[batch.rows] / heat).softmax(1), model(batch.images).float(), heat)

        return fine_tune(self, problem, rows, loss, before_epoch=match, kept={"targets": targets})

    def _places(self, problem: Problem, logits: Tensor, labels: Tensor) -> Tensor:
        """Where the forget samples stand among all, from the easiest at 0 to the hardest at 1, ``(F,)``."""
        count, device = len(problem.forget), logits.device
        if problem.difficulty is not None:
            hardness = torch.from_numpy(problem.difficulty).to(device)
            kept = problem.retain_positions.to(device)
            return quantiles(hardness[problem.forget_positions.to(device)], hardness[kept], 1)
        losses = functional.cross_entropy(logits, labels.to(device), reduction="none")
        weight = len(problem.retain_positions) / (len(losses) - count)
        return quantiles(losses[:count], losses[count:], weight)


def quantiles(values_F: Tensor, others_M: Tensor, weight: float) -> Tensor:
    """Where some values stand among themselves and others: the weight that is below each, and half of what is equal.

    Args:
        values_F: At least one.
        others_M: At least one.
        weight: How many each of the others stands for; one of ``values_F`` stands for itself.

    Returns:
        float64 ``(F,)`` above 0 and below 1.
    """

    def below(sorted_values: Tensor) -> Tensor:
        left, right = (torch.searchsorted(sorted_values, values_F, side=side) for side in ("left", "right"))
        return (left + right).double() / 2

    total = len(values_F) + weight * len(others_M)
    return (below(values_F.sort().values) + weight * below(others_M.sort().values)) / total


def twins_of(places_F: Tensor, logits_HC: Tensor, labels_H: Tensor) -> Tensor:
    """The unseen sample at each place, from the one with the smallest loss at 0 to the largest at 1, int64 ``(F,)``."""
    order = functional.cross_entropy(logits_HC, labels_H, reduction="none").argsort()
    return order[(places_F * len(order)).long()]


def matched(own_FC: Tensor, labels_F: Tensor, twins_FC: Tensor, twin_labels_F: Tensor) -> Tensor:
    """The logits of twins, with their classes in the order of the samples' own.

    Args:
        own_FC: The original's logits for the samples.
        labels_F: Their true classes.
        twins_FC: Logits for their twins.
        twin_labels_F: The twins' true classes.

    Returns:
        ``(F, C)``: at each sample's true class the twin's logit of its true class; the others in the same order as
        ``own_FC``.
    """

    def order(logits: Tensor, labels: Tensor) -> Tensor:
        """The true class, then the others from the most probable on."""
        return logits.scatter(1, labels[:, None], torch.inf).argsort(1, descending=True)

    places, wanted = order(own_FC, labels_F), order(twins_FC, twin_labels_F)
    return torch.empty_like(own_FC).scatter(1, places, twins_FC.gather(1, wanted))
