"""An interrupted run that continues is the run that was never interrupted, to the bit."""

from __future__ import annotations

import pytest
import torch
from safetensors import safe_open

from natmu.data.batches import Batches, plain
from natmu.engine.checkpoint import Checkpoint, read_weights, save_weights
from natmu.engine.loop import Watch, fit
from natmu.engine.meter import Meter
from natmu.engine.passes import Counter
from natmu.engine.training import train_classifier
from natmu.errors import RunError, TrainingError
from natmu.records.files import write_atomically
from natmu.records.passes import Shown
from natmu.records.settings import TrainSettings

from . import fakes

EPOCHS, STEPS = 4, 3


def run(checkpoint=None, stop_at=None, steps_seen=None, **changed):
    """Train from the start or from the checkpoint; interrupt before step ``stop_at`` of this call."""
    data = fakes.image_data(channels=3)
    counter = Counter()
    model = counter.attached(fakes.model(channels=3, dropout=0.25))
    meter, history = Meter(len(data), torch.device("cpu")), []
    seen = [] if steps_seen is None else steps_seen

    def loss(model, batch):
        if len(seen) + 1 == stop_at:
            raise KeyboardInterrupt
        seen.append(1)
        return meter.cross_entropy(model, batch)

    settings = fakes.settings(epochs=EPOCHS, **changed)
    batches = fakes.batches(data, augment=True)
    fit(model, batches, loss, settings, fakes.CPU, Watch("train", meter, checkpoint, history))
    assert counter.now() == Shown(trained=EPOCHS * len(data))
    return model, history, meter


def outcome(model, history, meter):
    rows = [{name: value for name, value in row.items() if name != "seconds"} for row in history]
    return fakes.state(model) | {"confidence": meter.confidence()}, rows


OPTIMIZERS = [
    {"optimizer": "sgd"},
    {"optimizer": "sgd", "momentum": 0.0},
    {"optimizer": "adam", "lr": 0.01},
    {"optimizer": "adamw", "lr": 0.01},
    {"optimizer": "adamw", "lr": 0.01, "schedule": "step", "warmup_epochs": 1.5},
]


@pytest.mark.parametrize("changed", OPTIMIZERS, ids=str)
@pytest.mark.parametrize("stop_at", [1, STEPS, STEPS + 1, 2 * STEPS + 2, EPOCHS * STEPS])
def test_resumed_run_equals_uninterrupted_run(tmp_path, changed, stop_at):
    state, rows = outcome(*run(**changed))
    path = tmp_path / "checkpoint.safetensors"
    with pytest.raises(KeyboardInterrupt):
        run(Checkpoint(path, every_seconds=0), stop_at, **changed)
    assert path.exists() == (stop_at > STEPS)
    seen = []
    resumed, resumed_rows = outcome(*run(Checkpoint(path, every_seconds=0), None, seen, **changed))
    assert fakes.same(resumed, state)
    assert resumed_rows == rows
    assert len(seen) == EPOCHS * STEPS - (stop_at - 1) // STEPS * STEPS


def test_a_run_may_be_interrupted_again_and_again(tmp_path):
    state, rows = outcome(*run(optimizer="adamw", lr=0.01))
    path = tmp_path / "checkpoint.safetensors"
    for _ in range(EPOCHS - 1):
        with pytest.raises(KeyboardInterrupt):
            run(Checkpoint(path, every_seconds=0), STEPS + 1, optimizer="adamw", lr=0.01)
    resumed, resumed_rows = outcome(*run(Checkpoint(path, every_seconds=0), optimizer="adamw", lr=0.01))
    assert fakes.same(resumed, state)
    assert resumed_rows == rows


def test_convolutions_are_channels_last_in_both_runs(tmp_path):
    path = tmp_path / "checkpoint.safetensors"
    with pytest.raises(KeyboardInterrupt):
        run(Checkpoint(path, every_seconds=0), STEPS + 2)
    for model in (run()[0], run(Checkpoint(path, every_seconds=0))[0]):
        assert model[4].weight.is_contiguous(memory_format=torch.channels_last)
        assert not model[4].weight.is_contiguous()


def test_a_finished_run_is_not_trained_again(tmp_path):
    path = tmp_path / "checkpoint.safetensors"
    first = run(Checkpoint(path, every_seconds=0))
    seen = []
    again = run(Checkpoint(path, every_seconds=0), None, seen)
    assert not seen
    assert fakes.same(outcome(*again)[0], outcome(*first)[0])


def test_checkpoints_keep_their_distance_in_time(tmp_path):
    path = tmp_path / "checkpoint.safetensors"
    run(Checkpoint(path, every_seconds=3600))
    assert not path.exists()


def test_a_diverged_run_leaves_the_checkpoint_of_the_epoch_before(tmp_path):
    path = tmp_path / "checkpoint.safetensors"
    model, data, calls = fakes.model(), fakes.image_data(), []

    def loss(model, batch):
        calls.append(1)
        return model(batch.images).sum() * (float("nan") if len(calls) > STEPS else 1.0)

    with pytest.raises(TrainingError):
        fit(
            model,
            fakes.batches(data),
            loss,
            fakes.settings(lr=1e-6),
            fakes.CPU,
            Watch("train", checkpoint=Checkpoint(path, every_seconds=0)),
        )
    with safe_open(path, "pt") as file:
        assert file.metadata()["epochs"] == "1"
        assert all(file.get_tensor(name).isfinite().all() for name in file.keys())  # noqa: SIM118


@pytest.mark.parametrize("content", [b"", b"\x00" * 40, b"not safetensors at all"])
def test_a_damaged_checkpoint_means_starting_over(tmp_path, content):
    path = tmp_path / "checkpoint.safetensors"
    path.write_bytes(content)
    assert fakes.same(outcome(*run(Checkpoint(path, every_seconds=0)))[0], outcome(*run())[0])


def test_training_from_initial_weights_resumes_too(tmp_path):
    data = fakes.image_data()
    settings = TrainSettings(epochs=3, batch_size=8, lr=0.05, warmup_epochs=1)
    positions = torch.arange(2, 22)

    def train(checkpoint=None):
        model, history = fakes.model(), []
        meter = train_classifier(
            model, data, positions, settings, fakes.CPU, seed=3, checkpoint=checkpoint, history=history
        )
        return model, history, meter

    model, history, meter = train()
    assert meter.confidence().isnan().tolist() == [True] * 2 + [False] * 20
    assert meter.visits.tolist() == [0.0] * 2 + [3.0] * 20
    assert [row["epoch"] for row in history] == [1, 2, 3]
    expected = fakes.model()
    rows = plain(positions, data.labels[positions], augment=True)
    batches = Batches(data, rows, batch_size=8, seed=3, device=torch.device("cpu"))
    fit(expected, batches, Meter(22, torch.device("cpu")).cross_entropy, settings, fakes.CPU, Watch("x"))
    assert fakes.same(fakes.state(model), fakes.state(expected))


def brighter(images):
    return images + torch.rand(len(images), 1, 1, 1)


def test_training_with_an_augmentation_of_the_users_own_resumes_to_the_same_weights(tmp_path):
    data, positions = fakes.image_data(), torch.arange(22)
    settings = TrainSettings(epochs=3, batch_size=8, lr=0.05, warmup_epochs=1, augment=brighter)

    def train(watched=None, function=settings):
        model = fakes.model()
        train_classifier(model, data, positions, function, fakes.CPU, seed=3, checkpoint=watched)
        return fakes.state(model)

    class Stops(Checkpoint):
        def save(self, *arguments, **more):
            super().save(*arguments, **more)
            raise KeyboardInterrupt

    path = tmp_path / "checkpoint.safetensors"
    with pytest.raises(KeyboardInterrupt):
        train(Stops(path, every_seconds=0))
    whole = train()
    assert path.exists()
    assert fakes.same(train(Checkpoint(path, every_seconds=0)), whole)
    assert not fakes.same(train(function=settings.model_copy(update={"augment": False})), whole)


def test_weights_on_disk_are_the_weights(tmp_path):
    model = fakes.CPU.place(fakes.model(channels=3))
    save_weights(model, tmp_path / "model.safetensors")
    assert fakes.same(read_weights(tmp_path / "model.safetensors"), fakes.state(model))
    assert [path.name for path in tmp_path.iterdir()] == ["model.safetensors"]


@pytest.mark.parametrize("content", [None, b"", b"x" * 100])
def test_damaged_weights_are_named_in_one_sentence(tmp_path, content):
    path = tmp_path / "model.safetensors"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(RunError, match=r"model\.safetensors.*compute that again\.$"):
        read_weights(path)


def test_a_file_is_replaced_whole_or_not_at_all(tmp_path, monkeypatch):
    path = tmp_path / "table.json"
    write_atomically(path, b"first")
    monkeypatch.setattr("pathlib.Path.replace", lambda *_: (_ for _ in ()).throw(KeyboardInterrupt))
    with pytest.raises(KeyboardInterrupt):
        write_atomically(path, b"second")
    assert path.read_bytes() == b"first"


def test_a_run_that_ends_when_asked_to_resumes_with_what_it_remembers(tmp_path):
    """The third epoch does not begin, in a run that is interrupted in the second one too."""

    def run(checkpoint=None, interrupted=False):
        model, visits = fakes.model(), torch.zeros(())

        def goes_on(epoch, asked):
            assert asked is model
            if interrupted and epoch == 1:
                raise KeyboardInterrupt
            visits.add_(1)
            return float(visits) < 3

        def loss(model, batch):
            return model(batch.images).square().mean()

        history = []
        watch = Watch("train", None, checkpoint, history, before_epoch=goes_on, kept={"visits": visits})
        fit(model, fakes.batches(fakes.image_data()), loss, fakes.settings(epochs=9), fakes.CPU, watch)
        return fakes.state(model), len(history)

    whole, epochs = run()
    assert epochs == 2
    checkpoint = Checkpoint(tmp_path / "state.safetensors", every_seconds=0)
    with pytest.raises(KeyboardInterrupt):
        run(checkpoint, interrupted=True)
    resumed, again = run(checkpoint)
    assert fakes.same(resumed, whole)
    assert again == 2
