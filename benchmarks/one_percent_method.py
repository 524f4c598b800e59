"""NatMU within one pass over the training data: the leads of ``one_percent.py`` as settings of one method."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Literal

import numpy as np
import torch
from pydantic import Field
from torch import Tensor, nn
from torch.nn import functional

from natmu.data.batches import Batch, Samples, joined, plain
from natmu.engine.features import features_of
from natmu.engine.modes import batch_norms
from natmu.engine.predict import logits_of
from natmu.methods import NatMU, Problem
from natmu.methods.base import fine_tune
from natmu.methods.matching import matched, quantiles, twins_of
from natmu.methods.set_gradients import summed_gradient
from natmu.scores.objectives import largest_distance

PROBE = 1000
"""Forget samples, and retain samples, at which a line search and a stop rule look at most, beside the holdout."""

POOL = 0.3
"""Part of the retain set in which near samples and thin margins are looked for."""

TINY = 1e-12
"""Smallest probability of a target, before its logarithm is taken."""

STEPS = (0.2, 0.4, 0.6, 0.8, 1.0)
"""Places between original and result that a line search tries."""


class Lead(NatMU):
    """NatMU with everything that may make it cheap; with the defaults, on a part of the retain set."""

    class Config(NatMU.Config):
        """Settings of the leads, beside those of ``natmu``."""

        choice: Literal["random", "balanced", "neighbours", "thin"] = Field(
            "random", description="which retain samples: any, as many of each class, near forget samples, low margins"
        )
        keep: Literal["labels", "original"] = Field("labels", description="what retain samples are taught")
        hybrids_of: Literal["labels", "original"] = Field("labels", description="what hybrids are taught")
        statistics: Literal["batch", "frozen", "recalibrated"] = Field("batch", description="of batch normalisation")
        matched: bool = Field(False, description="teach forget samples what the original says of unseen ones")
        refreshed: bool = Field(
            False, description="match the holdout of the model before each epoch, not the original's"
        )
        ranked_among: Literal["forget", "all"] = Field(
            "forget", description="which samples a forget sample is ranked among"
        )
        temperature: float = Field(1, gt=0, description="of the softmax of model and targets, as in distillation")
        blends: bool = Field(True, description="hybrids as natmu has them")
        line_search: bool = Field(False, description="go back towards the original as far as the holdout says")
        stop: bool = Field(False, description="end where forget samples look like the holdout")
        blocks: int = Field(0, ge=0, description="last blocks that are trained; all if 0")
        mask: float = Field(1, gt=0, le=1, description="part of the weights that is trained, by the forget gradient")

    def run(self, problem: Problem) -> nn.Module:
        """Fine-tune on hybrids, forget samples with matched targets, and the chosen retain samples."""
        config = self.config
        original = problem.frozen_copy()
        classes_FN = self._classes(problem) if config.blends else None
        parts = [self._retained(problem, original)]
        targets = [self._targets(problem, original, parts[0], config.keep)]
        if config.matched:
            parts.append(problem.forget_samples())
            targets.append(self._matched(problem, original, original))
        if classes_FN is not None:
            rows = self.hybrids(problem, classes_FN, 0)
            parts.append(rows)
            targets.append(self._targets(problem, original, rows, config.hybrids_of))
        samples, table = _joined(parts), torch.cat(targets)

        def loss(model: nn.Module, batch: Batch) -> Tensor:
            heat = config.temperature
            wanted = (table[batch.rows].clamp_min(TINY).log() / heat).softmax(1)
            return functional.cross_entropy(model(batch.images).float() / heat, wanted) * heat**2

        norms = batch_norms(problem.model) if config.statistics == "frozen" else []
        if config.blocks:
            _freeze_all_but(problem.model, config.blocks)
        mask = self._mask(problem) if config.mask < 1 else None
        best = _Best(problem, original) if config.stop else None

        def refresh(epoch: int, model: nn.Module) -> bool:
            if epoch > 0:
                first = len(parts[0].positions)
                table[first : first + len(problem.forget)] = self._matched(problem, original, model)
            return True

        looks = best or (refresh if config.refreshed else None)
        model = fine_tune(
            self,
            problem,
            samples,
            loss,
            in_eval=norms,
            direction=None if mask is None else lambda terms: [g * m for g, m in zip(terms[0], mask, strict=True)],
            before_epoch=looks,
        )
        if best is not None:
            best.restore(model)
        if config.statistics == "recalibrated":
            self._recalibrate(problem, model, parts[0])
        return self._between(problem, original, model) if config.line_search else model

    def _retained(self, problem: Problem, original: nn.Module) -> Samples:
        """The retain samples that are trained on."""
        config, positions = self.config, problem.retain_positions
        count = max(2, round(config.retain_fraction * len(positions)))
        rng = problem.rng("retain share")
        labels = problem.labels(positions).numpy()
        if config.choice == "random":
            chosen = rng.choice(len(positions), count, replace=False)
        elif config.choice == "balanced":
            order = rng.permutation(len(positions))
            rank = np.zeros(len(positions), np.int64)
            for label in np.unique(labels):
                rows = order[labels[order] == label]
                rank[rows] = np.arange(len(rows))
            chosen = np.argsort(rank, kind="stable")[:count]
        else:
            pool = rng.choice(len(positions), round(POOL * len(positions)), replace=False)
            chosen = (self._thin if config.choice == "thin" else self._near)(problem, original, positions[pool], count)
            others = np.setdiff1d(np.arange(len(positions)), pool[chosen])
            chosen = np.concatenate([pool[chosen], rng.choice(others, count - len(chosen), replace=False)])
        positions = positions[torch.from_numpy(np.sort(chosen))]
        return plain(positions, problem.labels(positions), augment=config.augment_retain)

    def _thin(self, problem: Problem, original: nn.Module, positions: Tensor, count: int) -> np.ndarray:
        """Half of the places are those with the smallest margins between the two most probable classes."""
        logits = logits_of(original, problem.data, positions, problem.compute).sort(1).values
        return (logits[:, -1] - logits[:, -2]).argsort()[: count // 2].numpy()

    def _near(self, problem: Problem, original: nn.Module, positions: Tensor, count: int) -> np.ndarray:
        """Half of the places are nearest in the last features to forget samples, each of which has its turn."""
        own = torch.from_numpy(features_of(original, problem.data, problem.forget_positions, problem.compute)[-1])
        others = torch.from_numpy(features_of(original, problem.data, positions, problem.compute)[-1])
        own, others = functional.normalize(own), functional.normalize(others)
        near = torch.cat([(rows @ others.T).topk(min(count, 20)).indices for rows in own.split(500)])
        return near.T.flatten().numpy()[np.sort(np.unique(near.T.flatten().numpy(), return_index=True)[1])][
            : count // 2
        ]

    def _targets(self, problem: Problem, original: nn.Module, rows: Samples, of: str) -> Tensor:
        """What rows are taught, ``(M, C)``."""
        if of == "labels":
            return functional.one_hot(rows.labels, problem.data.num_classes).float()
        return logits_of(original, problem.data, rows.positions, problem.compute).softmax(1)

    def _matched(self, problem: Problem, original: nn.Module, model: nn.Module) -> Tensor:
        """What a model that never saw forget samples may say of them: the profile of a holdout sample as hard.

        As in ``quantile_match``, of which this lead was the beginning, except that forget samples may be ranked among
        themselves alone, and that targets are probabilities.
        """
        assert problem.holdout is not None, "the leads have a holdout"
        own = logits_of(original, problem.data, problem.forget_positions, problem.compute)
        seen = logits_of(model, problem.holdout, torch.arange(len(problem.holdout)), problem.compute)
        labels, unseen_labels = problem.labels(problem.forget_positions), problem.holdout.labels
        twins = twins_of(self._places(problem, own, labels), seen, unseen_labels)
        return matched(own, labels, seen[twins], unseen_labels[twins]).softmax(1)

    def _places(self, problem: Problem, own: Tensor, labels: Tensor) -> Tensor:
        """Where the forget samples stand among themselves, or among all, from the easiest on."""
        if problem.difficulty is None:
            hardness = functional.cross_entropy(own, labels, reduction="none")
            return quantiles(hardness, hardness, 0)
        everyone = torch.from_numpy(problem.difficulty)
        hardness = everyone[problem.forget_positions]
        if self.config.ranked_among == "all":
            return quantiles(hardness, everyone[problem.retain_positions], 1)
        return quantiles(hardness, hardness, 0)

    def _mask(self, problem: Problem) -> list[Tensor]:
        """For each weight, 1 where the forget gradient is among the largest of all, else 0."""
        gradients = summed_gradient(problem, problem.forget_samples())
        sizes = torch.cat([gradient.abs().flatten() for gradient in gradients])
        threshold = sizes.kthvalue(max(1, round((1 - self.config.mask) * len(sizes)))).values
        return [(gradient.abs() > threshold).float() for gradient in gradients]

    def _recalibrate(self, problem: Problem, model: nn.Module, rows: Samples) -> None:
        """Take the running statistics of batch normalisation anew, as means over batches of retain samples."""
        norms = batch_norms(model)
        for norm in norms:
            norm.reset_running_stats()
            norm.momentum, norm.training = None, True
        with torch.no_grad(), problem.compute.autocast():
            for places in rows.positions.split(problem.batch_size):
                if len(places) > 1:
                    model(problem.data.take(places).float() / 255)

    def _between(self, problem: Problem, original: nn.Module, model: nn.Module) -> nn.Module:
        """The model on the line between original and result that forgets best of those tried."""
        start, end = original.state_dict(), copy.deepcopy(model.state_dict())
        probe = _Probe(problem, original)
        values = {}
        for step in STEPS:
            model.load_state_dict(_mixed(start, end, step))
            values[step] = probe(model)
        model.load_state_dict(_mixed(start, end, min(values, key=lambda step: values[step])))
        return model


class _Probe:
    """What can be known of a model without retrained ones: ``no-retrain`` with its own yardstick, in short."""

    def __init__(self, problem: Problem, original: nn.Module) -> None:
        assert problem.holdout is not None, "the leads have a holdout"
        self.problem, self.holdout = problem, problem.holdout
        rng = problem.rng("probe")
        kept = problem.retain_positions
        forget = problem.forget_positions
        self.forget, self.kept = (
            rows[torch.from_numpy(rng.choice(len(rows), min(PROBE, len(rows)), replace=False))]
            for rows in (forget, kept)
        )
        self.before = self._losses(original)

    def __call__(self, model: nn.Module) -> float:
        """Percentage points by which forget samples differ from unseen ones, and by which the rest has lost."""
        (forget, _), (unseen, unseen_right), (_, kept_right) = self._losses(model)
        _, (_, unseen_before), (_, kept_before) = self.before
        apart = 100 * largest_distance(forget, unseen)
        lost = max(0.0, kept_before - kept_right) + max(0.0, unseen_before - unseen_right)
        return apart + lost

    def _losses(self, model: nn.Module) -> list[tuple[np.ndarray, float]]:
        """Losses, and accuracy in percent, on forget set, holdout and the retain samples that are looked at."""
        problem = self.problem
        found = []
        for data, rows in (
            (problem.data, self.forget),
            (self.holdout, torch.arange(len(self.holdout))),
            (problem.data, self.kept),
        ):
            logits, labels = logits_of(model, data, rows, problem.compute), data.labels[rows]
            losses = functional.cross_entropy(logits, labels, reduction="none")
            found.append((losses.numpy(), float((logits.argmax(1) == labels).float().mean()) * 100))
        return found


class _Best:
    """Ends a run where the model has become worse by the probe twice, and keeps the best."""

    def __init__(self, problem: Problem, original: nn.Module) -> None:
        self.probe = _Probe(problem, original)
        self.values: list[float] = []
        self.state: dict[str, Tensor] = {}

    def __call__(self, epoch: int, model: nn.Module) -> bool:  # noqa: ARG002
        """Look at the model before an epoch; whether to go on."""
        self.look(model)
        worse = len(self.values) - 1 - int(np.argmin(self.values))
        return worse < 2

    def look(self, model: nn.Module) -> None:
        """Measure, and keep the state if it is the best."""
        self.values.append(self.probe(model))
        if self.values[-1] == min(self.values):
            self.state = copy.deepcopy(model.state_dict())

    def restore(self, model: nn.Module) -> None:
        """Put the best state back."""
        self.look(model)
        model.load_state_dict(self.state)


def _mixed(start: dict[str, Tensor], end: dict[str, Tensor], step: float) -> dict[str, Tensor]:
    """Weights and statistics between two states; counters are those of the end."""
    return {
        name: torch.lerp(start[name], value, step) if value.is_floating_point() else value
        for name, value in end.items()
    }


def _joined(parts: list[Samples]) -> Samples:
    """All rows, one after the other."""
    rows = parts[0]
    for other in parts[1:]:
        rows = joined(rows, other)
    return rows


def _freeze_all_but(model: nn.Module, blocks: int) -> None:
    """Train the last blocks and the head alone."""
    network: Callable[..., nn.Module] = model.get_submodule
    stages = list(network("blocks").children())
    for parameter in model.parameters():
        parameter.requires_grad_(False)
    for module in (*stages[-blocks:], network("head")):
        module.requires_grad_(True)
