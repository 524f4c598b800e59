"""The rules of costs, against what methods send through the model."""

import pytest
import torch
from torch import nn
from torch.nn.modules.module import register_module_forward_pre_hook

from natmu.methods import method_named
from natmu.methods.cost import Cost, cost_of
from natmu.testing import problems

COUNTED = {
    "retrain": {},
    "natmu": {"epochs": 2, "n": 3},
    "amnesiac": {"epochs": 2},
    "salun": {"epochs": 2},
    "scrub": {"epochs": 3, "max_steps": 2},
    "delete": {"epochs": 2},
    "jit": {"epochs": 2, "draws": 3},
    "neggrad_plus": {"epochs": 2},
    "finetune": {"epochs": 2, "retain_fraction": 0.5},
    "boundary_expand": {"epochs": 2},
}


def counted(method, problem):
    """Samples that go through any network of the kind, with gradients and without."""
    trained, forward = 0, 0

    def note(module, inputs):
        nonlocal trained, forward
        one_colour = bool((inputs[0] == inputs[0].flatten()[0]).all())  # which finds out what the model is like
        if isinstance(module, nn.Sequential) and not one_colour:
            if torch.is_grad_enabled():
                trained += len(inputs[0])
            else:
                forward += len(inputs[0])

    hook = register_module_forward_pre_hook(note)
    try:
        method(problem)
    finally:
        hook.remove()
    return Cost(trained, forward)


@pytest.mark.parametrize("name", COUNTED)
def test_a_cost_is_what_goes_through_the_model(name):
    method = method_named(name)(**COUNTED[name])
    problem = problems.problem_for("random")
    assert cost_of(method, problem).samples == pytest.approx(counted(method, problem).samples, rel=0.05)


def test_what_counts_no_epochs_and_has_no_rule_is_not_known():
    problem = problems.problem_for("random")
    assert cost_of(method_named("rum")(), problem) is None
    assert cost_of(method_named("finetune")(epochs=3), problem) == Cost(3 * len(problem.retain_positions))
