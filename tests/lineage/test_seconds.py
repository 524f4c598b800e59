"""What starts up once in a process is not counted as the time of the model that happens to be the first."""

import time

import pytest
import torch

from natmu.opening import Place, Source
from natmu.verbs import Asked, train_run, unlearn_run

PAUSE = 1000.0
"""Seconds that the clock goes on while the first optimiser loads; nothing here takes so long."""

DATA = {"source": "digits", "train_size": 60}
TINY = {"epochs": 1, "batch_size": 32, "augment": False}


@pytest.fixture
def slow_to_begin(monkeypatch):
    """PyTorch as in a new process, whose first optimiser loads for a while by the clock."""
    begun, clock, late = [], time.perf_counter, [0.0]
    monkeypatch.setattr(time, "perf_counter", lambda: clock() + late[0])

    class Slow(torch.optim.SGD):
        def __init__(self, *args, **settings):
            if not begun:
                late[0] += PAUSE
            begun.append(True)
            super().__init__(*args, **settings)

    monkeypatch.setattr(torch.optim, "SGD", Slow)
    return begun


@pytest.mark.parametrize("sharding", [None, {"shards": 2}])
def test_start_up_is_no_time_of_the_first_model(tmp_path, slow_to_begin, sharding):
    place = Place(tmp_path, tmp_path / "runs", "one", device="cpu", precision="fp32")
    run = train_run(data=DATA, model="small_cnn", training=TINY | {"sharding": sharding}, seed=0, place=place)
    assert slow_to_begin
    assert 0 < run.record.seconds < PAUSE
    if sharding is None:
        slow_to_begin.clear()
        asked = Asked("random:10%", "finetune", {"epochs": 1, "lr": 0.01})
        other = Place(tmp_path, tmp_path / "runs", "two", device="cpu", precision="fp32")
        unlearned = unlearn_run(asked, Source(run.path), other)
        assert slow_to_begin
        assert 0 < unlearned.record.seconds < PAUSE
