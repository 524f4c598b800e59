"""The trial that chooses a learning rate: the largest that loses nothing, the same for the same seed."""

from dataclasses import replace
from math import comb

import numpy as np
import pytest
import torch
from torch import nn

from natmu.methods import EUk, FineTune, GradAscent, NatMU
from natmu.methods.base import Method
from natmu.methods.rate_trial import is_open, loses, rate_trial, with_suitable_rate
from natmu.methods.settings import SGDSettings
from natmu.records.settings import TrainSettings
from natmu.testing import problems


class ZeroesAbove(Method):
    """Ruins the model where its rate is above a limit, and notes what it was given."""

    name = "zeroes_above"
    limit = 2e-3
    seen: list = []  # noqa: RUF012 - for the test to read

    class Config(SGDSettings):
        """Settings of ``zeroes_above``."""

        lr: float = 0.01

    def run(self, problem):
        """Zero all weights, or none."""
        type(self).seen.append(problem)
        if self.config.lr > self.limit:
            with torch.no_grad():
                for weight in problem.model.parameters():
                    weight.zero_()
        return problem.model


def problem(**changed):
    ZeroesAbove.seen.clear()
    return replace(problems.problem_for("random"), **changed)


def test_the_largest_rate_that_loses_nothing_is_chosen_and_explicit():
    method, sentence = with_suitable_rate(ZeroesAbove(), problem(), None)
    assert method.config.lr == 1e-3  # 0.01 and 0.00333 ruin the model
    assert method.config.model_dump()["lr"] == 1e-3
    assert sentence.startswith("zeroes_above: lr 0.001 instead of the default 0.01; points of accuracy lost in a short")
    assert list(rate_trial(ZeroesAbove(), problem()).lost) == [0.01, 0.00333, 0.001]
    ZeroesAbove.limit = 1.0
    try:
        assert list(rate_trial(ZeroesAbove(), problem()).lost) == [0.01]
    finally:
        ZeroesAbove.limit = 2e-3


def test_where_every_rate_loses_the_least_loss_is_chosen():
    """EU-k draws its last layers anew and has to learn them: the lower its rate, the more it loses."""
    found = rate_trial(EUk(), problem())
    assert len(found.lost) == 4
    assert found.lr == 0.01


def test_the_trial_sees_neither_what_judges_it_nor_what_was_left_out_and_is_short():
    whole = problem(holdout=None, batch_size=1)
    before = {name: value.clone() for name, value in whole.model.state_dict().items()}
    with_suitable_rate(ZeroesAbove(), whole, None)
    (short, *_), retain = ZeroesAbove.seen, set(whole.retain_positions.tolist())
    seen = set(short.retain_positions.tolist())
    assert len(retain - seen) >= len(retain) // 5
    assert seen < retain
    assert set(short.forget.indices) <= set(whole.forget.indices)
    assert len(seen) + len(short.forget) <= 48 + 1
    assert short.history is not whole.history
    assert all(torch.equal(value, before[name]) for name, value in whole.model.state_dict().items())


def test_where_samples_that_are_kept_may_not_be_read_a_holdout_alone_chooses():
    bound, sentence = with_suitable_rate(ZeroesAbove(), problem(holdout=None), None, forget_only=True)
    assert (bound.config.lr, sentence, ZeroesAbove.seen) == (ZeroesAbove().config.lr, None, [])
    assert with_suitable_rate(ZeroesAbove(), problem(), None, forget_only=True)[1] is not None


def test_a_trial_that_diverges_is_a_rate_that_loses_everything(monkeypatch):
    def run(self, problem):
        with torch.no_grad():
            next(problem.model.parameters()).fill_(float("nan") if self.config.lr > 5e-3 else 0.0)
        return problem.model

    monkeypatch.setattr(ZeroesAbove, "run", run)
    found = rate_trial(ZeroesAbove(), problem())
    assert found.lost[0.01] > 50


@pytest.mark.parametrize(
    ("method", "recipe", "answer"),
    [
        (NatMU(), None, True),
        (NatMU(lr=1e-3), None, False),
        (NatMU(preset="natmu-class"), None, False),
        (NatMU(n=2), None, True),
        (NatMU(), TrainSettings(), False),
        (NatMU(), TrainSettings(optimizer="adamw", lr=1e-5), True),
        (NatMU(), TrainSettings(optimizer="adamw", lr=1e-3), False),
        (FineTune(), TrainSettings(lr=1e-3), True),
        (GradAscent(), None, True),
    ],
)
def test_nothing_is_tried_where_the_rate_or_a_recipe_from_scratch_is_known(method, recipe, answer):
    assert is_open(method, recipe) == answer
    assert not is_open(method, recipe, ["preset"])


def test_loses_is_a_sign_test():
    for worse in range(8):
        for better in range(8):
            before = np.array([True] * worse + [False] * better + [True] * 5)
            after = np.array([False] * worse + [True] * better + [True] * 5)
            total = worse + better
            tail = sum(comb(total, k) for k in range(worse, total + 1)) / 2**total
            assert loses(before, after) == (worse > better and tail <= 0.05)


def test_a_model_that_was_fine_tuned_at_a_low_rate_keeps_what_it_knows():
    """A linear layer of small weights, which AdamW at the default rate overwrites in a few steps."""
    rng = torch.Generator().manual_seed(0)
    images = torch.randint(0, 256, (200, 1, 4, 4), generator=rng, dtype=torch.uint8)
    head = nn.Linear(16, 4, bias=False)
    with torch.no_grad():
        drawn = 3e-3 * torch.randn(4, 16, generator=rng)
        head.weight.copy_(drawn - drawn.mean(1, keepdim=True))  # no class wins by the brightness of all images
    model = nn.Sequential(nn.Flatten(), head)
    with torch.no_grad():
        labels = model(images.float() / 255).argmax(1)
    data = problems.ImageData(images, labels, ("a", "b", "c", "d"))
    asked = problems.problem_of(data, list(range(0, 200, 10)), model=model, batch_size=16)
    method = NatMU(n=1, reuse_partners=True, augment_retain=False)
    found = rate_trial(method, asked)
    assert found.lost[1e-3] > 5
    assert found.lr < 1e-3
    assert found == rate_trial(method, asked)
