"""The method that learns the forget set better, several times, and takes back what these runs have in common."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Iterator, Sequence
from typing import Annotated, ClassVar, Literal

import torch
from pydantic import Field
from torch import Tensor, nn
from torch.nn import functional

from natmu.bounds import LARGEST_COUNT
from natmu.data.batches import Batch, joined
from natmu.data.images import ImageData
from natmu.engine.gradients import trainable
from natmu.engine.predict import logits_of
from natmu.engine.step import Gradients, LossFunction
from natmu.errors import SettingError
from natmu.methods.base import Method, Paper, fine_tune
from natmu.methods.presets import Preset
from natmu.methods.problem import Problem
from natmu.records.settings import FitSettings, Schedule
from natmu.types import Settings

SCALES = tuple(step / 20 for step in range(1, 21))
"""What ``search_scale`` tries: 0.05, 0.1, ..., 1."""

KEPT = 0.95
"""The fraction of the original's accuracy on the holdout that it keeps."""

Epochs = Annotated[int, Field(ge=1, le=100_000)]
Share = Annotated[float, Field(ge=0, le=1)]


class NegMerge(Method):
    """Fine-tune on the forget set in several ways, and subtract the changes that have the same sign in all of them.

    From the original's weights ``w``, one model is fine-tuned on D_f alone for each combination of the grids. A
    coordinate is kept if its differences to ``w`` have the same sign in all models, and none is 0. The result is ``w -
    scale · mean`` there, and ``w`` elsewhere.

    When to use:
        No retain data is at hand, and some accuracy on it may be lost. ``scale`` decides how much is forgotten. More
        models agree on fewer weights, and need a larger scale. Where there is a holdout, set ``search_scale``: on the
        digits (one seed) the default of 0.5 hardly forgot anything, and the search went further.

    Cost:
        As many passes over D_f as the models have epochs together: 1,350 by default. For a tenth of the data this
        equals 135 epochs of training. Memory for three copies of the weights, whatever the number of models.
        ``search_scale`` adds 20 forward passes over D_f and the holdout.

    Decisions:
        - The models differ in epochs, weight decay and label smoothing, as in the paper's standard classification. The
          models of ``repeats`` differ in the order of samples alone, as in torchunlearn; each model has its own order.
        - The authors' code searches the scale on validation data. It tries 0.05, 0.1, ..., 1 and takes the one with the
          lowest accuracy on the forget set among those that keep 95 % of the original's accuracy on other data.
          ``search_scale`` does the same with the training images of the forget set and with the holdout, without the
          classes that are forgotten as a whole. If no scale keeps so much, the smallest is taken; of equally good ones
          the smallest, too.
        - Without a search, which needs a holdout, the scale is 0.5, the middle of that range. It is a compromise and
          fits no model in particular: too small a scale has no effect, and too large a one destroys the model.
        - Running statistics of batch normalisation are the original's: they are not weights, and extrapolated variances
          could be negative. During the fine-tuning they follow the forget set, as in all code that we know.
        - A re-implementation that names Appendix A of the paper has these grids, and SGD with momentum at a rate that
          falls from 0.05 to 0 along a cosine. The authors' code leaves this part out.
        - A single forget sample is shown twice in its batch, because batch normalisation cannot learn from one.

    References:
        NegMerge: Sign-Consensual Weight Merging for Machine Unlearning (Hyo Seo Kim, Dongyoon Han, Junsuk Choe, 2025),
        https://arxiv.org/abs/2410.05583

    Examples:
        >>> from natmu.testing import problem_for
        >>> method = NegMerge(epoch_grid=[2], weight_decay_grid=[1e-4], label_smoothing_grid=[0.0, 0.1])
        >>> method(problem_for("random")).passes.passes > 0  # over the training set
        True
    """

    name = "negmerge"
    paper = Paper(
        "NegMerge: Sign-Consensual Weight Merging for Machine Unlearning",
        "Kim et al.",
        2025,
        "https://arxiv.org/abs/2410.05583",
    )
    needs_retain = False
    presets: ClassVar = {
        "torchunlearn": Preset(
            {
                "epoch_grid": [1],
                "weight_decay_grid": [0.0],
                "label_smoothing_grid": [0.0],
                "repeats": 3,
                "lr": 5e-4,
                "schedule": "constant",
                "scale": 1.0,
            },
            "Harry24k/machine-unlearning-pytorch, torchunlearn/unlearn/nontrainers/negmerge.py; CIFAR-10, ResNet-18; "
            "it tries lr 1e-4, 5e-4 and 1e-3",
        )
    }

    class Config(Settings):
        """Settings of ``negmerge``; the grids are those of its paper for CIFAR-10 and ResNet-18."""

        scale: float = Field(0.5, gt=0, le=100, description="lambda, the factor on what is subtracted")
        search_scale: bool = Field(False, description="choose the scale on forget set and holdout")
        epoch_grid: list[Epochs] = Field([40, 50, 60], min_length=1, description="passes over the forget set to try")
        weight_decay_grid: list[Share] = Field([1e-4, 5e-5, 1e-5], min_length=1, description="weight decays to try")
        label_smoothing_grid: list[Share] = Field([0.0, 0.05, 0.1], min_length=1, description="label smoothings to try")
        repeats: int = Field(1, ge=1, le=1000, description="models for each combination")
        optimizer: Literal["sgd", "adam", "adamw"] = Field("sgd", description="update rule")
        lr: float = Field(0.05, gt=0, le=100, description="base learning rate")
        momentum: float = Field(0.9, ge=0, lt=1, description="momentum of SGD; the others ignore it")
        schedule: Schedule = Field("cosine", description="learning-rate schedule")
        batch_size: int | None = Field(
            None, ge=1, le=LARGEST_COUNT, description="samples per step; those of the original's training if none"
        )

    def check(self, problem: Problem) -> None:
        """Refuse to search without unseen samples to hold on to."""
        super().check(problem)
        if self.config.search_scale and not len(_kept_holdout(problem)):
            raise SettingError(
                "negmerge: search_scale: true needs a holdout with samples of classes that are not forgotten as a "
                "whole; set one aside, or give scale."
            )

    def run(self, problem: Problem) -> nn.Module:
        """Fine-tune the models one after the other, and subtract."""
        weights = trainable(problem.model)
        original = [weight.detach().clone() for weight in weights]
        vector = consensus(self._vectors(problem, weights, original))
        scale = self._searched(problem, weights, original, vector) if self.config.search_scale else self.config.scale
        _subtract(weights, original, vector, scale)
        return problem.model

    def _vectors(
        self, problem: Problem, weights: Sequence[nn.Parameter], original: Sequence[Tensor]
    ) -> Iterator[Gradients]:
        """What each fine-tuning adds to the weights; the model is the original again after each."""
        forget = problem.forget_samples()
        rows = forget if len(forget) > 1 else joined(forget, forget)
        state = {name: value.clone() for name, value in problem.model.state_dict().items()}
        for number, (settings, smoothing) in enumerate(self._recipes()):
            fine_tune(self, problem.stage(f"model-{number}"), rows, _smoothed(smoothing), settings=settings)
            yield [weight.detach() - before for weight, before in zip(weights, original, strict=True)]
            problem.model.load_state_dict(state)

    def _recipes(self) -> Iterator[tuple[FitSettings, float]]:
        """Settings and label smoothing of each model."""
        config = self.config
        grids = itertools.product(config.epoch_grid, config.weight_decay_grid, config.label_smoothing_grid)
        shared = {name: getattr(config, name) for name in ("optimizer", "lr", "momentum", "schedule")}
        for epochs, decay, smoothing in grids:
            for _ in range(config.repeats):
                yield FitSettings(epochs=epochs, weight_decay=decay, **shared), smoothing

    def _searched(
        self, problem: Problem, weights: Sequence[nn.Parameter], original: Sequence[Tensor], vector: Sequence[Tensor]
    ) -> float:
        """The scale with the lowest accuracy on the forget set among those that keep enough on the holdout."""
        assert problem.holdout is not None
        unseen, kept = problem.holdout, _kept_holdout(problem)
        floor = KEPT * _accuracy(problem, unseen, kept)
        best, chosen = 2.0, SCALES[0]
        for scale in SCALES:
            _subtract(weights, original, vector, scale)
            if _accuracy(problem, unseen, kept) >= floor:
                accuracy = _accuracy(problem, problem.data, problem.forget_positions)
                best, chosen = min((best, chosen), (accuracy, scale))
        return chosen


def consensus(vectors: Iterable[Gradients]) -> Gradients:
    """The mean of vectors in the coordinates that have the same sign in all, and 0 in the others.

    Args:
        vectors: At least one, each of the same shapes; one is held at a time.
    """
    totals: Gradients = []
    signs: Gradients = []
    count = 0
    for vector in vectors:
        totals = [total + part for total, part in zip(totals, vector, strict=True)] if count else vector
        each = [part.sign() for part in vector]
        signs = [sign + part for sign, part in zip(signs, each, strict=True)] if count else each
        count += 1
    return [
        torch.where(sign.abs() == count, total / count, torch.zeros_like(total))
        for sign, total in zip(signs, totals, strict=True)
    ]


@torch.no_grad()
def _subtract(
    weights: Sequence[nn.Parameter], original: Sequence[Tensor], vector: Sequence[Tensor], scale: float
) -> None:
    """Set the weights to the original ones less a multiple of a vector."""
    for weight, before, part in zip(weights, original, vector, strict=True):
        weight.copy_(before - scale * part)


def _smoothed(smoothing: float) -> LossFunction:
    """The cross-entropy with labels that are smoothed by so much."""

    def loss(model: nn.Module, batch: Batch) -> Tensor:
        return functional.cross_entropy(model(batch.images).float(), batch.labels, label_smoothing=smoothing)

    return loss


def _kept_holdout(problem: Problem) -> Tensor:
    """Positions in the holdout of the samples whose class, or sub-class, is not forgotten as a whole."""
    unseen = problem.holdout
    if unseen is None:
        return torch.zeros(0, dtype=torch.int64)
    fine = unseen.fine if problem.forget.scenario == "subclass" else None
    labels = unseen.labels if fine is None else fine.labels
    gone = torch.tensor(problem.forget.classes, dtype=torch.int64)
    return (~torch.isin(labels.cpu(), gone)).nonzero().squeeze(1)


def _accuracy(problem: Problem, data: ImageData, positions: Tensor) -> float:
    """The fraction of samples that the model predicts correctly, 0 … 1."""
    predicted = logits_of(problem.model, data, positions, problem.compute).argmax(1).cpu()
    return float((predicted == data.labels[positions].cpu()).double().mean())
