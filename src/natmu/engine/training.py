"""Training a classifier from its initial weights."""

from __future__ import annotations

from torch import Tensor, nn

from natmu.data.batches import Batches, plain
from natmu.data.images import ImageData
from natmu.engine import processes
from natmu.engine.checkpoint import Checkpoint
from natmu.engine.compute import Compute
from natmu.engine.loop import Watch, fit
from natmu.engine.meter import Meter
from natmu.engine.reach import require_learning
from natmu.records.run import History
from natmu.records.settings import TrainSettings, flips_alternate, own_augmentation


def train_classifier(
    model: nn.Module,
    data: ImageData,
    positions: Tensor,
    settings: TrainSettings,
    compute: Compute,
    *,
    seed: int,
    label: str = "train",
    checkpoint: Checkpoint | None = None,
    history: History | None = None,
) -> Meter:
    """Train in place on the samples at ``positions`` and note how hard each was to learn.

    Args:
        model: With its initial weights.
        data: Source of the images.
        positions: int64 ``(M,)``, the samples to train on; no other is read.
        settings: The recipe.
        compute: Device and precision.
        seed: Of order, augmentation and dropout.
        label: Name of the work, for progress and errors.
        checkpoint: Where an unfinished run is kept.
        history: Filled with one row per epoch.

    Returns:
        The meter, with each sample's mean confidence during training.

    Raises:
        ModelError: The model cannot learn these classes.
        TrainingError: A loss is not finite.
    """
    assert settings.sharding is None, "shards are trained one by one"
    require_learning(model, data.image_shape, data.num_classes, compute)
    samples = plain(positions, data.labels[positions], augment=bool(settings.augment))
    batches = Batches(
        data,
        samples,
        batch_size=settings.batch_size,
        seed=seed,
        device=compute.device,
        share=processes.share(),
        augmentation=own_augmentation(settings),
        alternate=flips_alternate(settings),
    )
    meter = Meter(len(data), compute.device)
    fit(model, batches, meter.cross_entropy, settings, compute, Watch(label, meter, checkpoint, history))
    return meter
