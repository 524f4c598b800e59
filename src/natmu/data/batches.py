"""Derived data sets and their batches: gathered, augmented and blended on the device, never stored as copies."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass

import torch
from torch import Tensor

from natmu.data.augment import Shifts, crop_padding, draw_shifts, shift
from natmu.data.images import ImageData
from natmu.types import seed_for


@dataclass(frozen=True)
class Blend:
    """A second image mixed into each row.

    Attributes:
        others: int64 ``(M,)``, position of the image to mix in; a row's own position where nothing is mixed.
        masks: int64 ``(M,)``, which of ``weights`` applies.
        weights: float32 ``(K, H, W)``, weight of the other image, 0 … 1.
    """

    others: Tensor
    masks: Tensor
    weights: Tensor


@dataclass(frozen=True)
class Samples:
    """A derived data set: rows that point into one source of images.

    Attributes:
        positions: int64 ``(M,)``, the image that each row shows.
        labels: int64 ``(M,)``, what the row is labelled as.
        augmented: bool ``(M,)``, whether the row is cropped and flipped at random.
        blend: A second image mixed in, after augmentation of the first.
    """

    positions: Tensor
    labels: Tensor
    augmented: Tensor
    blend: Blend | None = None

    def __len__(self) -> int:
        return len(self.positions)


@dataclass(frozen=True)
class Batch:
    """One step's rows.

    Attributes:
        images: float32 ``(B, C, H, W)`` in ``[0, 1]``, channels last.
        labels: int64 ``(B,)``.
        rows: int64 ``(B,)``, positions in the derived data set.
        positions: int64 ``(B,)``, positions in the source of images.
    """

    images: Tensor
    labels: Tensor
    rows: Tensor
    positions: Tensor


def plain(positions: Tensor, labels: Tensor, *, augment: bool) -> Samples:
    """Rows that show one image each, all augmented or none."""
    return Samples(positions, labels, torch.full((len(positions),), augment))


def joined(first: Samples, second: Samples) -> Samples:
    """The rows of two derived data sets without blends, one after the other."""
    return Samples(
        torch.cat([first.positions, second.positions]),
        torch.cat([first.labels, second.labels]),
        torch.cat([first.augmented, second.augmented]),
    )


class Batches:
    """Shuffled batches of a derived data set, the same for the same seed and epoch on every device.

    Args:
        data: Source of the images, on the device or mapped from disk.
        samples: The rows, or a function that derives them anew for each epoch; always the same number.
        batch_size: Rows per step. The last step of an epoch takes what is left; a single row left over joins the step
            before it, because batch normalisation cannot learn from one sample.
        seed: Of order and augmentation.
        device: Where the batches are wanted.
    """

    def __init__(
        self,
        data: ImageData,
        samples: Samples | Callable[[int], Samples],
        *,
        batch_size: int,
        seed: int,
        device: torch.device,
    ) -> None:
        self.data = data
        self.batch_size = batch_size
        self.seed = seed
        self.device = device
        self._samples = samples if callable(samples) else lambda _epoch: samples
        self._padding = crop_padding(data.image_shape)
        self.rows = len(self._samples(0))

    @property
    def steps(self) -> int:
        """Steps per epoch."""
        whole, rest = divmod(self.rows, self.batch_size)
        return max(1, whole + (rest > 1))

    def epoch(self, epoch: int) -> Iterator[Batch]:
        """The batches of one epoch, counted from 0."""
        samples = self._samples(epoch)
        generator = torch.Generator().manual_seed(seed_for(self.seed, "epoch", epoch))
        order = torch.randperm(len(samples), generator=generator)
        shifts = draw_shifts(samples.augmented, self._padding, generator).to(self.device)
        on_device = _to(samples, self.device)
        sizes = [self.batch_size] * (self.steps - 1)
        steps = torch.split(order.to(self.device), [*sizes, len(samples) - sum(sizes)])
        make = self._maker(on_device, shifts, bool(samples.augmented.any()))
        if self.data.resident:
            yield from map(make, steps)
        else:
            yield from _ahead(make, steps)

    def _maker(self, samples: Samples, shifts: Shifts, augment: bool) -> Callable[[Tensor], Batch]:
        """The function from rows to their batch."""

        def make(rows: Tensor) -> Batch:
            move = (shifts.take(rows), self._padding) if augment else None
            images = render(self.data, samples, rows, move)
            return Batch(images, samples.labels[rows], rows, samples.positions[rows])

        return make


def render(data: ImageData, samples: Samples, rows: Tensor, move: tuple[Shifts, int] | None = None) -> Tensor:
    """The images of some rows, blended where the rows say so.

    Args:
        data: Source of the images.
        samples: The derived data set, on the device where the images are wanted.
        rows: int64 ``(B,)``, on the same device.
        move: Shifts of these rows and their padding; None for un-augmented images.

    Returns:
        float32 ``(B, C, H, W)`` in ``[0, 1]``, channels last.
    """
    images = data.take(samples.positions[rows]).to(rows.device)
    if move is not None:
        images = shift(images, *move)
    pixels = images.to(torch.float32, memory_format=torch.channels_last)
    if samples.blend is not None:
        weight = samples.blend.weights[samples.blend.masks[rows]].unsqueeze(1)
        others = data.take(samples.blend.others[rows]).to(rows.device)
        pixels = (pixels * (1 - weight) + others * weight).clamp_(0, 255)
    return pixels.div_(255)


def _to(samples: Samples, device: torch.device) -> Samples:
    """The rows on the device."""
    blend = samples.blend
    if blend is not None:
        blend = Blend(blend.others.to(device), blend.masks.to(device), blend.weights.to(device))
    return Samples(samples.positions.to(device), samples.labels.to(device), samples.augmented, blend)


def _ahead(make: Callable[[Tensor], Batch], steps: tuple[Tensor, ...]) -> Iterator[Batch]:
    """Prepare each batch in one thread while the step before it is at work."""
    with ThreadPoolExecutor(1, thread_name_prefix="prefetch") as thread:
        waiting: Future[Batch] = thread.submit(make, steps[0])
        for rows in steps[1:]:
            batch, waiting = waiting.result(), thread.submit(make, rows)
            yield batch
        yield waiting.result()
