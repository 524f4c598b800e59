"""The method that obeys its teacher on one part of the data and disobeys it on the other."""

from __future__ import annotations

import torch
from pydantic import Field
from torch import Tensor, nn
from torch.nn import functional

from natmu.data.batches import Batch
from natmu.data.images import ImageData
from natmu.engine.predict import logits_of
from natmu.engine.snapshots import Snapshots
from natmu.errors import SettingError
from natmu.methods import published
from natmu.methods.base import Method, Paper, fine_tune
from natmu.methods.dual_optim import DualOptimSettings, second_optimizer
from natmu.methods.problem import Problem
from natmu.methods.settings import SGDRetainSettings
from natmu.methods.teachers import divergence, softened


class SCRUB(Method):
    """Move away from the original model on the forget set and stay with it on the retain set, in turns.

    Each of the first ``max_steps`` epochs begins with a pass over D_f that *ascends* KL(θ0 ‖ student); every epoch ends
    with a pass over D_r that *descends* ``alpha`` · KL(θ0 ‖ student) + ``gamma`` · CE. The divergence is that of
    answers softened by the temperature, times its square. With ``rewind`` (SCRUB+R) the result is the checkpoint, of
    those at the ends of epochs, whose error on D_f is closest to the last one's error on the holdout.

    When to use:
        As the strong all-round method where the retain set is at hand. Without ``rewind`` the error on D_f becomes as
        high as it gets, which is right for removing wrong labels and biases; for privacy, where an error above that of
        unseen data gives the forget set away, use ``rewind``.

    Cost:
        ``epochs`` passes over D_r and ``max_steps`` over D_f, forward and backward, and one forward pass of the teacher
        over both, or with ``augment_retain`` one over every batch of D_r. Memory for C numbers per sample; with
        ``rewind`` for one copy of the model per epoch, in main memory and in the checkpoint of an unfinished run.

    Decisions:
        - One optimiser with its momentum goes through all passes, as in the official notebooks. (The official
          ``scrub.py``, on the branch ``barebones``, builds it on the weights of the model that it is given, of which
          student and teacher are copies, so that neither ever moves; and it ascends once more often than it is told.)
          The notebooks use Adam or SGD; the defaults are theirs for CIFAR-10, with SGD.
        - With ``forget_lr`` (DualOptim) the ascending passes have an optimiser of their own.
        - Both kinds of pass have the same batch size; the paper tunes them apart.
        - The factor T² is in the code and not in the paper. It matters for ``alpha`` and for how far an ascent goes.
        - Rewinding compares with the holdout at the end of training, as in the paper, whose holdout has the classes of
          the forget set: here the holdout's errors are weighted by how frequent each class, or sub-class where
          sub-classes are forgotten, is in the forget set. Of equally close checkpoints the last is taken, which has
          been repaired the most. The original model is none of them.
        - The history has one row per pass, and errors of training count passes as epochs.

    References:
        Towards Unbounded Machine Unlearning (Meghdad Kurmanji, Peter Triantafillou, Jamie Hayes, Eleni Triantafillou,
        2023), https://arxiv.org/abs/2302.09880

    Examples:
        >>> from natmu.testing import problem_for
        >>> unlearned = SCRUB(epochs=2, max_steps=1, temperature=2)(problem_for("random"))
        >>> round(unlearned.passes.passes, 1)  # over the training set
        2.1
    """

    name = "scrub"
    paper = Paper("Towards Unbounded Machine Unlearning", "Kurmanji et al.", 2023, "https://arxiv.org/abs/2302.09880")
    presets = published.SCRUB

    class Config(SGDRetainSettings, DualOptimSettings):
        """Settings of ``scrub``; the defaults are those that most code uses for CIFAR-10."""

        epochs: int = Field(3, ge=1, le=100_000, description="passes over the retain set")
        max_steps: int = Field(2, ge=1, le=100_000, description="epochs that begin with an ascent on the forget set")
        lr: float = Field(5e-4, gt=0, le=100, description="base learning rate")
        temperature: float = Field(4, gt=0, le=1000, description="divides the logits of teacher and student")
        alpha: float = Field(0.001, ge=0, le=1000, description="weight of the divergence on the retain set")
        gamma: float = Field(0.99, ge=0, le=1000, description="weight of the cross-entropy on the retain set")
        rewind: bool = Field(False, description="return the epoch that errs on the forget set as on unseen data")

    def check(self, problem: Problem) -> None:
        """Refuse to descend on nothing, and to rewind without unseen samples to compare with."""
        super().check(problem)
        if self.config.alpha == self.config.gamma == 0:
            raise SettingError("scrub: alpha and gamma are both 0; give one of them a weight above 0.")
        if not self.config.rewind:
            return
        if problem.holdout is None:
            raise SettingError("scrub: rewind: true compares with a holdout, and there is none; set one aside.")
        if not torch.isin(_kinds(problem, problem.holdout), _forgotten_kinds(problem)).any():
            raise SettingError("scrub: rewind: true needs a holdout with samples of the classes of the forget set.")

    def run(self, problem: Problem) -> nn.Module:
        """Ascend and descend in turns; then rewind where asked."""
        config, teacher = self.config, problem.frozen_copy()
        ascends = ascending_passes(config.epochs, config.max_steps)
        forget, retain = problem.forget_samples(), problem.retain_samples(config)
        temperature, live = config.temperature, config.augment_retain
        away = softened(problem, teacher, forget.positions, temperature)
        near = None if live else softened(problem, teacher, retain.positions, temperature)

        def loss(model: nn.Module, batch: Batch) -> Tensor:
            logits = model(batch.images).float()
            if ascends[batch.epoch]:
                return -divergence(away[batch.rows], logits, temperature)
            if near is None:
                with torch.no_grad():
                    target = (teacher(batch.images).float() / temperature).softmax(1)
            else:
                target = near[batch.rows]
            distance = divergence(target, logits, temperature)
            total: Tensor = config.alpha * distance + config.gamma * functional.cross_entropy(logits, batch.labels)
            return total

        snapshots = Snapshots([number for number, ascent in enumerate(ascends) if not ascent])
        warmup = config.warmup_epochs * len(ascends) / config.epochs
        run = config.model_copy(update={"epochs": len(ascends), "warmup_epochs": warmup})
        climbing = [number for number, ascent in enumerate(ascends) if ascent]
        model = fine_tune(
            self,
            problem,
            [forget if ascent else retain for ascent in ascends],
            loss,
            settings=run,
            snapshots=snapshots if config.rewind else None,
            second=second_optimizer(config, run, epochs=climbing),
        )
        if config.rewind:
            _rewind(problem, model, list(snapshots.taken.values()))
        return model


def ascending_passes(epochs: int, max_steps: int) -> list[bool]:
    """For each pass of all epochs in turn, whether it ascends on the forget set or descends on the retain set."""
    alternating = min(epochs, max_steps)
    return [True, False] * alternating + [False] * (epochs - alternating)


def matched_error(wrong: Tensor, kinds: Tensor, wanted: Tensor) -> float:
    """The error on samples as if their classes were as frequent as in another set.

    Args:
        wrong: bool ``(N,)``, whether a sample is predicted wrongly.
        kinds: int64 ``(N,)``, its class.
        wanted: int64 ``(M,)``, the classes of the other set; at least one of them is among ``kinds``.

    Returns:
        A share, 0 … 1; classes that have no sample do not count.
    """
    size = 1 + int(torch.cat([kinds, wanted]).max())
    present = torch.bincount(kinds, minlength=size).double()
    missed = torch.bincount(kinds[wrong], minlength=size).double()
    weights = torch.bincount(wanted, minlength=size).double() * (present > 0)
    return float((weights * missed / present.clamp(min=1)).sum() / weights.sum())


def last_closest(errors: list[float], target: float) -> int:
    """The place of the number closest to the target; the last of them where several are."""
    distances = [abs(error - target) for error in errors]
    return len(errors) - 1 - distances[::-1].index(min(distances))


def _kinds(problem: Problem, data: ImageData) -> Tensor:
    """The labels, on the CPU, that make samples alike: the sub-classes where sub-classes are forgotten."""
    fine = data.fine if problem.forget.scenario == "subclass" else None
    return (data.labels if fine is None else fine.labels).cpu()


def _forgotten_kinds(problem: Problem) -> Tensor:
    """Likewise of the forget set."""
    return _kinds(problem, problem.data)[problem.forget_positions]


def _rewind(problem: Problem, model: nn.Module, states: list[dict[str, Tensor]]) -> None:
    """Put that of the states into the model which errs on the forget set as the present one does on unseen samples."""
    assert problem.holdout is not None
    unseen = _mistakes(problem, model, problem.holdout, torch.arange(len(problem.holdout)))
    target = matched_error(unseen, _kinds(problem, problem.holdout), _forgotten_kinds(problem))
    errors = []
    for state in states:
        model.load_state_dict(state)
        errors.append(float(_mistakes(problem, model, problem.data, problem.forget_positions).double().mean()))
    model.load_state_dict(states[last_closest(errors, target)])


def _mistakes(problem: Problem, model: nn.Module, data: ImageData, positions: Tensor) -> Tensor:
    """Whether each of some samples is predicted wrongly, bool on the CPU."""
    predicted = logits_of(model, data, positions, problem.compute).argmax(1).cpu()
    return predicted != data.labels[positions].cpu()
