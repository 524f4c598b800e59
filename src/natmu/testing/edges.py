"""What every method owes at the edge: odd forget sets, models that are not ours, losses that are not finite."""

from __future__ import annotations

import re
import tempfile
from dataclasses import replace
from pathlib import Path

import torch
from torch import Tensor, nn

from natmu.engine.checkpoint import Checkpoint, read_weights
from natmu.errors import ForgetSetError, TrainingError, UsageError
from natmu.methods.base import Method
from natmu.methods.problem import Problem
from natmu.testing.contract import require_apart, require_sound, require_untouched, wired, with_model
from natmu.testing.exact_problems import equipped
from natmu.testing.problems import (
    cropped,
    edge_problem,
    problem_for,
    same_state,
    state_of,
    unnormed_net,
    usual,
)
from natmu.testing.recorder import Gauge, equal, perform, raised, world
from natmu.testing.row import Row


def gives_a_result_or_a_clear_error(row: Row, edge: str) -> None:
    """A sound model or one sentence from a UsageError, in time; an empty forget set is always an error.

    So is a full one, which leaves nothing to retain, for a method that reads retained samples.
    """
    problem = equipped(row.method, edge_problem(row.method, edge))
    before = world(problem)
    outcomes = []
    error = raised(UsageError, lambda: outcomes.append(perform(row.build(), problem, seconds=row.seconds)))
    if edge == "empty" or (edge == "full" and row.build().reads_retain):
        assert isinstance(error, ForgetSetError), f"{row.name} accepts a forget set that is {edge}"
    if edge == "full" and not row.method.needs_retain:
        assert error is None, f"{row.name} declares needs_retain = False, and does not do without: {error}"
    if error is not None:
        assert re.search(r"\w+ \w+.*[.!]$", str(error)), f"{row.name}: no sentence on {edge}: {error}"
        assert equal(before, world(problem)), f"{row.name} has changed something before it refused {edge}"
    for outcome in outcomes:
        require_sound(row, outcome)
        require_untouched(row, outcome)
        require_apart(row, outcome)


def works_on_a_foreign_model_without_batch_norm_on_odd_grey_images(row: Row) -> None:
    """A plain ``nn.Sequential`` that insists on grey images of 7 x 5 pixels."""
    problem = problem_for(usual(row.method))
    data = cropped(problem.data)
    shape, classes = data.image_shape, data.num_classes
    outcome = perform(
        row.build(**row.visible),
        replace(
            problem,
            data=data,
            model=unnormed_net(shape, classes),
            initial_model=lambda: unnormed_net(shape, classes, 1),
            holdout=None if problem.holdout is None else cropped(problem.holdout),
        ),
        seconds=row.seconds,
    )
    require_sound(row, outcome)
    require_untouched(row, outcome)
    moved = not same_state(state_of(outcome.model), state_of(outcome.problem.model))
    assert moved, f"{row.name} returns the original's weights"


class Viewing(nn.Module):
    """Flattens with ``view``, as much code of the field does; it refuses an empty batch."""

    def forward(self, images: Tensor) -> Tensor:
        """The images as rows."""
        assert len(images), "the model is shown an empty batch"
        return images.contiguous().view(images.size(0), -1)


def never_shows_a_model_an_empty_batch(row: Row, augment: str) -> None:
    """Not even where a part of the rows is absent from a step."""
    problem = problem_for(usual(row.method))
    layers = unnormed_net(problem.data.image_shape, problem.data.num_classes)
    layers[2] = Viewing()
    method = row.augmenting(augment)
    outcome = perform(method, with_model(replace(problem, batch_size=7), layers), seconds=row.seconds)
    require_sound(row, outcome)


def stops_on_a_loss_that_is_not_finite(row: Row, when: str) -> None:
    """A model that answers NaN, from its first or only in its last forward pass of training, ends the run.

    The error names method, step and settings, and nothing that is not finite is written or left behind.
    """
    gauge = Gauge()
    problem = problem_for(usual(row.method))
    perform(row.build(), with_model(problem, wired(problem.model, gauge)), seconds=row.seconds)
    if gauge.training:
        spoilt = Gauge()
        spoilt.spoil_at = 1 if when == "first" else gauge.training
        _require_stop(row, row.build(), with_model(problem, wired(problem.model, spoilt)), "")


def stops_when_it_diverges(row: Row) -> None:
    """Settings under which weights grow without bound end the run with the same error."""
    assert row.diverging is not None
    settings = row.known(row.diverging)
    problem = problem_for(usual(row.method))
    shape, classes = problem.data.image_shape, problem.data.num_classes
    wild = unnormed_net(shape, classes)
    with torch.no_grad():
        wild[0].get_parameter("weight").mul_(1e3)
    name, value = next(iter(settings.items()))
    _require_stop(row, row.build(**settings), with_model(problem, wild), rf"\b{name}={value}\b")


def _require_stop(row: Row, method: Method, problem: Problem, names: str) -> None:
    """A run that ends with a TrainingError that names method, step and settings, and leaves nothing broken."""
    with tempfile.TemporaryDirectory() as folder:
        checkpoint = Checkpoint(Path(folder) / "state.safetensors", every_seconds=0)
        watched = replace(problem, checkpoint=checkpoint)
        error = raised(TrainingError, lambda: perform(method, watched, seconds=row.seconds))
        assert error is not None, f"{row.name} gives a model after a loss that is not finite"
        _require_named(row, str(error), names)
        broken = [file.name for file in Path(folder).iterdir() if not _finite(read_weights(file))]
        assert not broken, f"{row.name} has written a model that is not finite to {broken}"
    written = [value for line in problem.history for value in line.values()]
    assert bool(torch.isfinite(torch.tensor(written)).all()), f"{row.name} leaves a history that is not finite"


def _require_named(row: Row, message: str, names: str) -> None:
    assert message.startswith(f"{row.method.name}: "), (
        f"{row.name}: the error does not begin with the method: {message}"
    )
    assert re.search(r"\bstep \d+", message), f"{row.name}: the error names no step: {message}"
    assert re.search(names or r"\b\w+=\S", message), f"{row.name}: the error names no settings: {message}"


def _finite(tensors: dict[str, Tensor]) -> bool:
    """Whether the model in a file is; its optimisers' sums of squares may be too large for numbers and do no harm."""
    return all(
        bool(torch.isfinite(value).all())
        for name, value in tensors.items()
        if not name.startswith(("optimizer/", "extra/second/"))
    )
