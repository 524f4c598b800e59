"""Values that change from step to step, counted on the device."""

import torch

from natmu.methods.step_values import step_values


def test_values_come_in_order_and_begin_anew_where_an_epoch_does():
    take = step_values([1.0, 2.0, 3.0, 4.0, 5.0], 2, torch.device("cpu"))
    assert [float(take(epoch)) for epoch in (0, 0, 1, 1, 2)] == [1, 2, 3, 4, 5]
    resumed = step_values([1.0, 2.0, 3.0, 4.0, 5.0], 2, torch.device("cpu"))
    assert [float(resumed(epoch)) for epoch in (1, 1, 2)] == [3, 4, 5]
