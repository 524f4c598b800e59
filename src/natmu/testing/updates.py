"""What should move moves, and what should not does not: properties of some kinds of method."""

from __future__ import annotations

from collections.abc import Collection
from itertools import groupby
from typing import Any, get_args

import torch
from torch import Tensor

from natmu.methods.problem import Problem
from natmu.testing.exact_problems import equipped
from natmu.testing.problems import loss_on, problem_for, state_of, trained, usual
from natmu.testing.recorder import Outcome, Recording, Seen, equal, perform, storages_of
from natmu.testing.row import DRIFT, Row

NOISE_RUNS = 2
"""Seeds whose noise is pooled, so that a wrong scale cannot hide in a few weights."""


def moves_the_weights(row: Row) -> None:
    """Parameters, and not only running statistics, differ from the original's, without the help of weight decay."""
    settings = row.known({"weight_decay": 0})
    outcome = perform(row.build(**{**row.visible, **settings}), problem_for(usual(row.method)), seconds=row.seconds)
    _require_own_optimizer(row, outcome.recording)
    original = dict(outcome.problem.model.named_parameters())
    moved = [name for name, value in outcome.model.named_parameters() if not torch.equal(value, original[name])]
    assert moved, f"{row.name} returns the original's parameters: what it trains is not what it returns"


def _require_own_optimizer(row: Row, recording: Recording) -> None:
    assert not recording.foreign_parameters, (
        f"{row.name} gives the optimiser {recording.foreign_parameters} parameters that are not the student's"
    )


def trains_the_student_in_training_mode(row: Row, augment: str) -> None:
    """Every module of the student is in training mode at each step, those apart of which all is frozen."""
    outcome = _quick(row, augment)
    held = _held_modules(row, outcome.problem)
    odd = {name for seen in outcome.recording.seen for name in seen.evaluating if name not in held}
    assert not odd, f"{row.name} trains with modules of the student in eval mode: {sorted(odd)}"


def _held_modules(row: Row, problem: Problem) -> set[str]:
    """Names of modules whose mode does not matter: all that they hold is frozen, or they hold nothing."""
    held = {name or "the model" for name, module in problem.model.named_modules() if not module.state_dict()}
    if row.frozen is not None:
        whole = {name for name, mask in row.frozen(row.build(), problem).items() if mask is True}
        for name, module in problem.model.named_modules():
            own = {f"{name}.{key}".lstrip(".") for key in module.state_dict()}
            held |= {name or "the model"} if own <= whole else set()
        held |= {"the model"} if whole else set()
    return held


def _quick(row: Row, augment: str) -> Outcome:
    """A run with the quick settings, with or without augmentation, under which teachers cannot answer in advance."""
    return perform(row.augmenting(augment), problem_for(usual(row.method)), seconds=row.seconds)


def keeps_teachers_frozen(row: Row, augment: str) -> None:
    """Networks that a loss follows are in eval mode, share nothing with the student, and stay as they are."""
    teachers = _quick(row, augment).recording.teachers
    if row.teachers is not None and augment in ("", "augmented"):
        assert len(teachers) == row.teachers, (
            f"the loss of {row.name} follows {len(teachers)} networks apart from the student, not {row.teachers}"
        )
    for teacher in teachers:
        assert not teacher.shared, f"a teacher of {row.name} shares storage with the student"
        assert storages_of(teacher.model).isdisjoint(storages_of(teacher.student))
        assert not any(teacher.training), f"a teacher of {row.name} is in training mode"
        moved = [name for name, value in teacher.before.items() if not equal(value, teacher.model.state_dict()[name])]
        assert not moved, f"a teacher of {row.name} has changed in {moved}"


def keeps_what_is_frozen(row: Row, optimizer: str) -> None:
    """To the bit, under momentum and strong weight decay, by every optimiser; something else moves."""
    assert row.frozen is not None
    settings = row.known({**row.visible, **DRIFT, **({"optimizer": optimizer} if optimizer else {})})
    method, problem = row.build(**settings), problem_for(usual(row.method))
    masks = row.frozen(method, problem)
    outcome = perform(method, problem, seconds=row.seconds)
    before, after = outcome.before["a parameter or buffer of the original"], state_of(outcome.model)
    unknown = sorted(masks.keys() - before.keys())
    assert not unknown, f"{row.name}: the row says that {unknown} are frozen, which the model has not"
    differs = {name: before[name] != after[name] for name in before}
    moved = [name for name, mask in masks.items() if bool((differs[name] & mask).any())]
    assert not moved, f"{row.name} moves what should be frozen, in {moved}"
    names = {name for name, _ in outcome.model.named_parameters()}
    free = [bool((differs[name] & ~torch.as_tensor(masks.get(name, False))).any()) for name in names]
    assert any(free), f"{row.name} moves nothing at all"


def optimizers_of(row: Row) -> list[str]:
    """The optimisers that a method's settings know."""
    field = row.method.Config.model_fields.get("optimizer")
    return [""] if field is None else [str(value) for value in get_args(field.annotation)]


def raises_the_forget_loss(row: Row) -> None:
    """The mean cross-entropy on the forget set is higher afterwards, by a tenth at least."""
    before, after = _losses(row, problem_for(usual(row.method)), forget=True)
    assert after > 1.1 * before + 0.01, f"{row.name} takes the loss of the forget set from {before:.4f} to {after:.4f}"


def lowers_the_retain_loss(row: Row) -> None:
    """The mean cross-entropy on the retain set is lower afterwards, from an original that is half trained."""
    scenario = usual(row.method)
    half = trained(paired=scenario == "subclass", epochs=2)
    before, after = _losses(row, problem_for(scenario, model=half), forget=False)
    assert after < 0.99 * before, f"{row.name} takes the loss of the retain set from {before:.4f} to {after:.4f}"


def _losses(row: Row, problem: Problem, *, forget: bool) -> tuple[float, float]:
    positions = problem.forget_positions if forget else problem.retain_positions
    outcome = perform(row.build(**row.visible), problem, seconds=row.seconds)
    return loss_on(problem.model, problem.data, positions), loss_on(outcome.model, problem.data, positions)


def passes_over_the_samples_in_the_stated_order(row: Row) -> None:
    """Each epoch of the loop shows the part of the data that the row says."""
    assert row.passes is not None
    outcome = perform(row.build(), problem_for(usual(row.method)), seconds=row.seconds)
    forgotten = set(outcome.problem.forget_positions.tolist())
    found = [
        _shown([*seen], forgotten)
        for _, seen in groupby(outcome.recording.seen, key=lambda seen: (seen.run, seen.batch.epoch))
    ]
    assert found == [*row.passes], f"the passes of {row.name} show {found}, not {[*row.passes]}"


def _shown(seen: Collection[Seen], forgotten: set[int]) -> str:
    """What the rows of a pass show, and what comes with them."""
    paired = [one.batch.paired.positions for one in seen if one.batch.paired is not None]
    shown = _part([one.batch.positions for one in seen], forgotten)
    return f"{shown} with {_part(paired, forgotten)}" if paired else shown


def _part(positions: list[Tensor], forgotten: set[int]) -> str:
    inside = {position in forgotten for position in torch.cat(positions).tolist()}
    return "both" if len(inside) == 2 else "forget" if inside == {True} else "retain"


def draws_labels_by_the_seed(row: Row) -> None:
    """The labels of forget samples stay or change from pass to pass as stated, and are others for another seed."""
    first, second = _forget_labels(row, seed=0)
    other = _forget_labels(row, seed=1)[0]
    assert first, f"{row.name} trains on no forget sample"
    if row.draws_labels == "once":
        assert first == second, f"{row.name} draws labels anew, which are meant to stay"
    else:
        assert first != second, f"{row.name} keeps the labels that it should draw anew for each pass"
    assert first != other, f"{row.name} ignores the seed where it draws labels"


def _forget_labels(row: Row, seed: int) -> list[dict[int, int]]:
    """What each forget sample is labelled as in the first and the second pass over them."""
    outcome = perform(row.build(), problem_for(usual(row.method), seed=seed), seconds=row.seconds)
    forgotten = set(outcome.problem.forget_positions.tolist())
    passes: dict[tuple[int, int], dict[int, int]] = {}
    for seen in outcome.recording.seen:
        labelled = zip(seen.batch.positions.tolist(), seen.batch.labels.tolist(), strict=True)
        known = {position: label for position, label in labelled if position in forgotten}
        if known:
            passes.setdefault((seen.run, seen.batch.epoch), {}).update(known)
    return [*passes.values(), {}, {}][:2]


def follows_the_stated_loss(row: Row) -> None:
    """At every step of a run of quick length, loss and gradient are those of the slow computation."""
    assert row.loss is not None
    method, problem = row.build(**{**row.visible, **row.settings}), problem_for(usual(row.method))
    compared = 0
    for number, seen in enumerate(perform(method, problem, seconds=row.seconds, closely=True).recording.seen):
        assert seen.student is not None
        assert seen.gradients is not None
        wanted = row.loss(method, problem, seen)
        if wanted is None:
            continue
        compared += 1
        _require_close(
            seen.loss, wanted.detach().to(seen.loss), 1e-3, 1e-5, f"{row.name}: the loss at step {number + 1}"
        )
        if not seen.directed:
            _require_gradients(row, seen, wanted, number + 1)
    assert compared, f"{row.name} took no step that the row describes"


def _require_gradients(row: Row, seen: Seen, wanted: Tensor, number: int) -> None:
    assert seen.student is not None
    assert seen.gradients is not None
    parameters = {name: value for name, value in seen.student.named_parameters() if value.requires_grad}
    slow = torch.autograd.grad(wanted, [*parameters.values()], allow_unused=True, materialize_grads=True)
    for (name, parameter), gradient in zip(parameters.items(), slow, strict=True):
        followed = seen.gradients.get(name, torch.zeros_like(parameter))
        _require_close(
            followed, gradient.to(followed), 1e-2, 1e-5, f"{row.name}: the gradient of {name} at step {number}"
        )


def returns_the_stated_weights(row: Row) -> None:
    """Those of the slow computation, to 1e-5 of the largest weight of each tensor."""
    assert row.weights is not None
    method, problem = row.build(**row.visible), equipped(row.method, problem_for(usual(row.method)))
    described = {name: value for name, value in row.weights(method, problem).items() if value is not None}
    assert described, f"{row.name}: the row describes no weight"
    returned = state_of(perform(method, problem, seconds=row.seconds).model)
    for name, wanted in described.items():
        scale = float(wanted.detach().abs().max())
        _require_close(returned[name], wanted.to(returned[name]), 1e-5, 1e-5 * scale, f"{row.name}: {name}")


def adds_noise_of_the_stated_scale(row: Row) -> None:
    """The difference to the original, over the stated deviation, has mean 0 and variance 1; none moves elsewhere."""
    assert row.noise is not None
    pooled = []
    for seed in range(NOISE_RUNS):
        method, problem = row.build(**row.visible), problem_for(usual(row.method), seed=seed)
        scales = row.noise(method, problem)
        outcome = perform(method, problem, seconds=row.seconds)
        before: dict[str, Any] = outcome.before["a parameter or buffer of the original"]
        for name, scale in scales.items():
            added = (state_of(outcome.model)[name] - before[name]).double()
            quiet = scale == 0
            assert not bool(added[quiet].any()), f"{row.name} adds noise to {name} where there should be none"
            pooled.append((added / scale)[~quiet])
    noise = torch.cat(pooled).detach()
    mean, variance, count = float(noise.mean()), float(noise.var()), len(noise)
    assert abs(mean) < 5 / count**0.5, f"{row.name}: the noise has mean {mean:.3f} of its stated deviation"
    assert abs(variance - 1) < 5 * (2 / count) ** 0.5, (
        f"{row.name}: the noise has {variance:.3f} of its stated variance"
    )


def _require_close(found: Tensor, wanted: Tensor, rtol: float, atol: float, what: str) -> None:
    torch.testing.assert_close(found, wanted, rtol=rtol, atol=atol, msg=lambda text: f"{what} is another. {text}")
