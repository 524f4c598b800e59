"""How many steps of fine-tuning on the forget set bring a model's loss back."""

from __future__ import annotations

import numpy as np
import pytest

from natmu.engine.relearning import SHOWN, STEPS, shown_rows
from natmu.lineage import obtain
from natmu.lineage.relearning import relearned, relearning_steps
from natmu.types import ForgetSet

from . import fakes


def test_models_that_do_not_relearn_in_time_are_left_in():
    assert relearning_steps([3.0, 2.0, 1.04, 0.9], 1.0) == 2
    assert relearning_steps([3.0, 2.0, 1.06], 1.0) == STEPS + 1


def test_the_loss_is_measured_on_a_part_of_a_large_forget_set():
    few, many = (ForgetSet(np.arange(count), "indices:x", "indices") for count in (7, 3 * SHOWN))
    assert shown_rows(few).tolist() == [*range(7)]
    rows = shown_rows(many)
    assert (len(rows), rows[0], rows[-1]) == (SHOWN, 0, 3 * SHOWN - 1)
    assert len({*rows.tolist()}) == SHOWN


@pytest.mark.parametrize("method", ["amnesiac", "retrain"])
def test_a_curve_starts_at_the_model_s_own_loss_and_holds_no_model(tmp_path, method):
    place = fakes.workspace(tmp_path)
    model = fakes.unlearned(place, method)
    run = obtain(relearned(model, fakes.forget(place), 32), place)
    predictions = place.require(model).outputs().split(place.forget_set(fakes.forget(place))).forget
    logits = predictions.logits.astype(np.float64)
    shifted = logits - logits.max(1, keepdims=True)
    losses = np.log(np.exp(shifted).sum(1)) - shifted[np.arange(len(logits)), predictions.labels]
    curve = run.history()
    assert len(curve) == STEPS + 1
    assert curve[0]["loss"] == pytest.approx(losses.mean(), rel=1e-4)
    assert curve[-1]["loss"] < curve[0]["loss"]
    assert not (run.path / "model.safetensors").exists()
    assert run.record.scores == {}
