"""Derived data sets and their batches: gathered, augmented and blended on the device, never stored as copies."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial

import torch
from torch import Tensor

from natmu.data.augment import Shifts, alternating_flips, crop_padding, draw_shifts, shift
from natmu.data.images import ImageData
from natmu.data.inputs import InputRange, channels_last
from natmu.data.own_augmentation import Augmentation, augmented, check_augmentation
from natmu.data.prefetch import prefetched
from natmu.data.sharing import blended_places, steps_of
from natmu.errors import SettingError
from natmu.types import seed_for


@dataclass(frozen=True)
class Blend:
    """A second image mixed into each of the last ``L`` rows; the sum of bytes is rounded down to whole ones.

    Attributes:
        others: int64 ``(L,)``, position of the image to mix in.
        masks: int64 ``(L,)``, which of ``weights`` applies.
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
        augmented: bool ``(M,)``, whether the row is cropped and flipped at random, or changed by the user's function.
        blend: A second image mixed into the last rows, after crop and flip of the first.
        in_order: Whether batches take the rows as they come; they are shuffled otherwise.
    """

    positions: Tensor
    labels: Tensor
    augmented: Tensor
    blend: Blend | None = None
    in_order: bool = False

    def __len__(self) -> int:
        return len(self.positions)

    @property
    def unblended(self) -> int:
        """Number of rows, all before the blended ones, that show one image alone."""
        return len(self) - (0 if self.blend is None else len(self.blend.others))


@dataclass(frozen=True)
class Batch:
    """One step's rows.

    Attributes:
        images: float32 ``(B, C, H, W)`` as the model is given them, channels last.
        labels: int64 ``(B,)``.
        rows: int64 ``(B,)``, positions in the derived data set.
        positions: int64 ``(B,)``, positions in the source of images.
        weight: What a mean over these rows counts for in the step: 1, or with several processes their number times this
            one's share of the step's rows.
        epoch: The epoch that it belongs to, counted from 0.
        paired: Rows of the second derived data set, where this step has any.
    """

    images: Tensor
    labels: Tensor
    rows: Tensor
    positions: Tensor
    weight: float = 1.0
    epoch: int = 0
    paired: Batch | None = None


def plain(positions: Tensor, labels: Tensor, *, augment: bool) -> Samples:
    """Rows that show one image each, all augmented or none."""
    return Samples(positions, labels, torch.full((len(positions),), augment))


def joined(first: Samples, second: Samples) -> Samples:
    """The rows of two derived data sets, one after the other; the first is without blends."""
    assert first.blend is None
    return Samples(
        torch.cat([first.positions, second.positions]),
        torch.cat([first.labels, second.labels]),
        torch.cat([first.augmented, second.augmented]),
        second.blend,
    )


Derived = Samples | Sequence[Samples] | Callable[[int], Samples]
Maker = Callable[[Tensor, Tensor, Callable[[], Batch] | None], Batch]


class Batches:
    """Shuffled batches of a derived data set, the same for the same seed and epoch on every device.

    Several processes see every row once an epoch between them, each with the same crop as one process would see.

    Args:
        data: Source of the images, on the device or mapped from disk.
        samples: The rows; or those of each epoch; or a function that derives them anew for each epoch, always the same
            number.
        batch_size: Rows per step, over all processes. The last step of an epoch takes what is left; a single row left
            over joins the step before it, because batch normalisation cannot learn from one sample. With several
            processes, less than two rows for each join it.
        seed: Of order and augmentation.
        device: Where the batches are wanted.
        share: Number of this process, and how many divide the rows of each step among them.
        paired: A second derived data set. Steps get as many of its rows as a batch has, or all of them where they are
            fewer, shuffled, and begin it again when it is through; where there are less than two rows for each process,
            some come twice, because batch normalisation cannot learn from one.
        paired_every: Every how many steps, from the first of each epoch on.
        augmentation: The user's own, of augmented rows, in place of crop and flip.
        alternate: Whether augmented rows are mirrored in every second epoch, in place of random crop and flip.

    Raises:
        SettingError: There are not two rows of each step for every process, or the user's augmentation does not work.
    """

    def __init__(
        self,
        data: ImageData,
        samples: Derived,
        *,
        batch_size: int,
        seed: int,
        device: torch.device,
        share: tuple[int, int] = (0, 1),
        paired: Samples | None = None,
        paired_every: int = 1,
        augmentation: Augmentation | None = None,
        alternate: bool = False,
    ) -> None:
        self.data = data
        self.batch_size = batch_size
        self.seed = seed
        self.device = device
        self._samples = samples
        self._alternate = alternate
        self._padding = 0 if alternate else crop_padding(data.image_shape)
        self._rank, self._processes = share
        self._paired, self._paired_every = paired, paired_every
        self._rows = [len(epoch) for epoch in samples] if isinstance(samples, Sequence) else [len(self.samples(0))]
        fewest = min(self._rows)
        if self._processes > 1 and min(fewest, batch_size) < 2 * self._processes:
            raise SettingError(
                f"{self._processes} processes need at least {2 * self._processes} rows in each step, not "
                f"{min(fewest, batch_size)}; start fewer processes or use a larger batch size."
            )
        self._augmentation = augmentation
        if augmentation is not None:
            first = self.samples(0)
            rows = torch.arange(min(len(first), batch_size), device=device)
            check_augmentation(augmentation, render(data, _to(first, device), rows))

    def samples(self, epoch: int) -> Samples:
        """The rows of an epoch, counted from 0."""
        if callable(self._samples):
            return self._samples(epoch)
        return self._samples[epoch] if isinstance(self._samples, Sequence) else self._samples

    def rows(self, epoch: int) -> int:
        """Number of rows of an epoch."""
        return self._rows[epoch if isinstance(self._samples, Sequence) else 0]

    def steps(self, epoch: int) -> int:
        """Number of steps of an epoch."""
        return self._steps(self.rows(epoch))

    def epoch(self, epoch: int) -> Iterator[Batch]:
        """The batches of one epoch, counted from 0."""
        samples = self.samples(epoch)
        count = self._steps(len(samples))
        generator = torch.Generator().manual_seed(seed_for(self.seed, "epoch", epoch))
        shuffled = torch.randperm(len(samples), generator=generator)
        order = torch.arange(len(samples)) if samples.in_order else shuffled
        shifts = self._shifts(samples.augmented, torch.arange(len(samples)), epoch, generator)
        on_device = _to(samples, self.device)
        sizes = [self.batch_size] * (count - 1)
        steps = torch.split(order.to(self.device), [*sizes, len(samples) - sum(sizes)])
        cropped = self._augmentation is None and bool(samples.augmented.any())
        make = self._maker(on_device, shifts, cropped, epoch)
        share = self._rank, self._processes
        blended = blended_places(order >= samples.unblended, count, self.batch_size, share, self.device)
        work = steps, blended, self._pairs(epoch, count)
        batches = map(make, *work) if self.data.resident else prefetched(make, list(zip(*work, strict=True)))
        yield from batches if self._augmentation is None else self._changed(batches, samples, epoch)

    def _changed(self, batches: Iterator[Batch], samples: Samples, epoch: int) -> Iterator[Batch]:
        """The batches after the user's augmentation; in this thread, because its random numbers are the global ones."""
        assert self._augmentation is not None
        which = samples.augmented.to(self.device)
        paired = None if self._paired is None else self._paired.augmented.to(self.device)
        for number, batch in enumerate(batches):
            seed = partial(seed_for, self.seed, "augment", epoch, number, self._rank)
            images, pair = augmented(self._augmentation, batch.images, which[batch.rows], seed()), batch.paired
            if pair is not None and paired is not None:
                changed = augmented(self._augmentation, pair.images, paired[pair.rows], seed("paired"))
                pair = replace(pair, images=changed)
            yield replace(batch, images=images, paired=pair)

    def _shifts(self, augmented: Tensor, rows: Tensor, before: int, generator: torch.Generator) -> Shifts:
        """How these rows are moved and mirrored, after so many rounds through all of them."""
        if not self._alternate:
            return draw_shifts(augmented[rows], self._padding, generator).to(self.device)
        rounds = before + torch.arange(len(rows)) // len(augmented)
        coins = torch.Generator().manual_seed(seed_for(self.seed, "flips"))
        return alternating_flips(augmented, rows, rounds, coins).to(self.device)

    def _steps(self, rows: int) -> int:
        """Steps that so many rows take."""
        return steps_of(rows, self.batch_size, self._processes)

    def _pairs(self, epoch: int, steps: int) -> list[Callable[[], Batch] | None]:
        """For each step, what makes its paired rows; None where it has none."""
        if self._paired is None:
            return [None] * steps
        samples = self._paired
        size = max(2 * self._processes, min(self.batch_size, len(samples)))
        generator = torch.Generator().manual_seed(seed_for(self.seed, "paired", epoch))
        needed = size * -(-steps // self._paired_every)
        rounds = -(-needed // len(samples))
        order = torch.cat([torch.randperm(len(samples), generator=generator) for _ in range(rounds)])[:needed]
        shifts = self._shifts(samples.augmented, order, epoch * rounds, generator)
        moves = self._augmentation is None and bool(samples.augmented.any())
        on_device, order = _to(samples, self.device), order.to(self.device)

        def make(start: int) -> Batch:
            own = torch.arange(start + self._rank, start + size, self._processes, device=self.device)
            images = render(self.data, on_device, order[own], (shifts.take(own), self._padding) if moves else None)
            rows, weight = order[own], self._processes * len(own) / size
            return Batch(images, on_device.labels[rows], rows, on_device.positions[rows], weight, epoch)

        starts = itertools.count(0, size)
        return [partial(make, next(starts)) if step % self._paired_every == 0 else None for step in range(steps)]

    def _maker(self, samples: Samples, shifts: Shifts, augment: bool, epoch: int) -> Maker:
        """The function from a step's rows, the places of the blended ones and its pair to this process's batch."""

        def make(step: Tensor, blended: Tensor, pair: Callable[[], Batch] | None) -> Batch:
            rows = step[self._rank :: self._processes]
            weight = self._processes * len(rows) / len(step)
            move = (shifts.take(rows), self._padding) if augment else None
            images = render(self.data, samples, rows, move, blended)
            paired = None if pair is None else pair()
            return Batch(images, samples.labels[rows], rows, samples.positions[rows], weight, epoch, paired)

        return make


def render(
    data: ImageData,
    samples: Samples,
    rows: Tensor,
    move: tuple[Shifts, int] | None = None,
    blended: Tensor | None = None,
) -> Tensor:
    """The images of some rows, blended where the rows say so.

    A blend of bytes is computed in float32 and rounded down to bytes, as images are stored: its pixels are those of a
    blend that the research code of NatMU writes as uint8, to the bit. A blend of floats stays in the data's range. What
    a crop adds beside an image is the lowest value of its channel, which for bytes is 0.

    Args:
        data: Source of the images.
        samples: The derived data set, on the device where the images are wanted.
        rows: int64 ``(B,)``, on the same device.
        move: Shifts of these rows and their padding; None for un-augmented images.
        blended: int64, the places in ``rows`` of the blended ones, on the same device; None to look for them, which
            waits for a GPU.

    Returns:
        float32 ``(B, C, H, W)`` as the model is given them, channels last.
    """
    images = data.take(samples.positions[rows]).to(rows.device)
    if move is not None:
        images = shift(images, *move, data.bounds[0].to(rows.device) if data.floating else None)
    pixels = channels_last(images)
    if samples.blend is not None:
        places = (rows >= samples.unblended).nonzero().squeeze(1) if blended is None else blended
        tail = rows[places] - samples.unblended
        weight = samples.blend.weights.index_select(0, samples.blend.masks[tail]).unsqueeze(1)
        others = data.take(samples.blend.others[tail]).to(rows.device)
        mixed = images.index_select(0, places) * (1 - weight) + others * weight
        mixed = InputRange.of(data, rows.device).clip(mixed) if data.floating else mixed.clamp_(0, 255).floor_()
        pixels.index_copy_(0, places, channels_last(mixed))
    return pixels if data.floating else pixels.div_(255)


def _to(samples: Samples, device: torch.device) -> Samples:
    """The rows on the device."""
    blend = samples.blend
    if blend is not None:
        blend = Blend(blend.others.to(device), blend.masks.to(device), blend.weights.to(device))
    return Samples(samples.positions.to(device), samples.labels.to(device), samples.augmented, blend)
