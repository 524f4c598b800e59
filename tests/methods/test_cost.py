"""The rules of costs, against what methods send through the model."""

import pytest
import torch
from torch import nn
from torch.nn.modules.module import register_module_forward_pre_hook

from natmu.methods import METHODS, method_named
from natmu.methods.cost import Cost, cost_of
from natmu.testing import problems

from .problems import QUICK

APPROXIMATE = {"jit", "sfron", "unsir", "amun", "regun", "lotus", "mu_mis"}
"""Methods whose costs depend on what they find, or are rough."""

TRIED_FIRST = {"fisher", "influence", "sfron"}
"""Methods that learn from a few samples how gradients are best computed."""

COUNTED = [method for method in METHODS if not method.needs_shards and not method.needs_head]


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


@pytest.mark.parametrize("kind", COUNTED, ids=lambda kind: kind.name)
def test_what_a_run_counts_is_what_goes_through_the_model_and_costs_what_its_rule_says(kind):
    method = kind(**QUICK[kind.name])
    problem = problems.problem_for(problems.usual(kind))
    made = []
    expected = counted(lambda problem: made.append(method(problem)), problem)
    request, rule = made[0].passes.request, cost_of(method, problem)
    if kind.name == "mu_mis":  # two epochs of one forward pass, and of two gradients that are differentiated again
        assert (request.trained, request.forward) == (expected.trained + 2 * (2 * 2 - 1) * len(problem.forget), 0)
    elif kind.name in TRIED_FIRST:
        assert 0 < expected.trained - request.trained <= 4
    else:
        assert (request.trained, request.forward) == (expected.trained, expected.forward)
    if rule is not None and kind.name not in APPROXIMATE:
        assert request.samples == pytest.approx(rule.samples, rel=0.05)


def test_an_own_part_of_a_method_is_counted_with_it():
    problem = problems.problem_for("random")
    assert method_named("rum")(**QUICK["rum"])(problem).passes.request.trained > len(problem.retain_positions)


def test_what_counts_no_epochs_and_has_no_rule_is_not_known():
    problem = problems.problem_for("random")
    assert cost_of(method_named("rum")(), problem) is None
    assert cost_of(method_named("finetune")(epochs=3), problem) == Cost(3 * len(problem.retain_positions))
