"""The steps of every method can be recorded and replayed, as they are on CUDA, and give the same weights."""

from __future__ import annotations

import pytest
import torch

from engine.recorder import TapeRecorder
from natmu.engine import step
from natmu.engine.compute import Compute
from natmu.engine.predict import logits_of
from natmu.methods import method_named

from . import problems


@pytest.mark.parametrize("name", problems.STEPPING)
def test_replayed_steps_give_the_model_of_steps_as_written(name, monkeypatch):
    recorder = TapeRecorder()
    monkeypatch.setattr(step, "CudaGraphs", lambda device: recorder)
    data = problems.noise_data(300)
    problem = problems.problem_of(data, list(range(0, 300, 3)), batch_size=16, holdout=problems.noise_data(60, seed=1))
    method = method_named(name)(**problems.QUICK[name])
    answers = []
    for records in (True, False):
        monkeypatch.setattr(Compute, "records", records)
        model = method(problem).model
        answers.append(logits_of(model, data, torch.arange(len(data)), problem.compute))
    assert recorder.replayed > 0, "its step waits for the device"
    torch.testing.assert_close(*answers, rtol=1e-3, atol=3e-3)  # learning rates are rounded to fp32
