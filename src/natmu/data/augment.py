"""Random crop and horizontal flip, or flips that alternate, for a whole batch at once on its device."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional


@dataclass(frozen=True)
class Shifts:
    """Where each image of an epoch is cropped and whether it is mirrored.

    Attributes:
        down: int64 ``(M,)``, ``0 … 2 * padding``; ``padding`` leaves the image where it is.
        right: int64 ``(M,)``, likewise.
        flip: bool ``(M,)``.
    """

    down: Tensor
    right: Tensor
    flip: Tensor

    def take(self, rows: Tensor) -> Shifts:
        """The shifts of these rows."""
        return Shifts(self.down[rows], self.right[rows], self.flip[rows])

    def to(self, device: torch.device) -> Shifts:
        """The same shifts on the device."""
        return Shifts(self.down.to(device), self.right.to(device), self.flip.to(device))


def crop_padding(image_shape: tuple[int, int, int]) -> int:
    """Padding of the random crop: 4 pixels at 32 px, 8 at 64 px, in proportion elsewhere, at least 1."""
    return max(1, min(image_shape[1:]) // 8)


def draw_shifts(augmented: Tensor, padding: int, generator: torch.Generator) -> Shifts:
    """Draw one crop and one flip per row; rows that are not augmented stay as they are.

    Args:
        augmented: bool ``(M,)``, on the CPU.
        padding: Largest shift in pixels.
        generator: Source of the numbers, on the CPU, so that every device sees the same ones.
    """
    count = len(augmented)
    down = torch.randint(0, 2 * padding + 1, (count,), generator=generator)
    right = torch.randint(0, 2 * padding + 1, (count,), generator=generator)
    flip = torch.rand(count, generator=generator) < 0.5
    still = ~augmented
    return Shifts(down.masked_fill(still, padding), right.masked_fill(still, padding), flip & augmented)


def alternating_flips(augmented: Tensor, rows: Tensor, rounds: Tensor, generator: torch.Generator) -> Shifts:
    """Mirror each augmented row in every second round; a coin decides which is the first. Nothing is cropped.

    So that in two epochs a model sees each image both ways, where random flips show a half of them the same way twice.

    Args:
        augmented: bool ``(M,)``, on the CPU.
        rows: int64 ``(L,)``, which of them are shown.
        rounds: int64 ``(L,)``, how many rounds through all rows came before each.
        generator: Source of the coins, on the CPU and in the same state each time.

    References:
        94% on CIFAR-10 in 3.29 Seconds on a Single GPU (Keller Jordan, 2024), https://arxiv.org/abs/2404.00498
    """
    coins = torch.randint(0, 2, (len(augmented),), generator=generator)
    still = torch.zeros_like(rows)
    return Shifts(still, still, ((coins[rows] + rounds) % 2 == 1) & augmented[rows])


def shift(images_BCHW: Tensor, shifts: Shifts, padding: int, fill: Tensor | None = None) -> Tensor:
    """Crop each padded image at its shift and mirror it where asked, by copying whole lines of pixels.

    Args:
        images_BCHW: Images of any type.
        shifts: One row per image, on the same device.
        padding: Pixels that are added on each side before the crop.
        fill: Their value in each channel, ``(C,)``; 0 if None.
    """
    batch, channels, height, width = images_BCHW.shape
    device = images_BCHW.device
    padded = functional.pad(images_BCHW, (padding,) * 4)
    if fill is not None:
        padded = fill.to(padded).view(1, -1, 1, 1).expand(padded.shape).clone()
        padded[..., padding : padding + height, padding : padding + width] = images_BCHW
    planes_BC1 = torch.arange(batch * channels, device=device).view(batch, channels, 1)
    down_B11, right_B11 = shifts.down.view(-1, 1, 1), shifts.right.view(-1, 1, 1)
    lines_BCH = planes_BC1 * padded.shape[2] + down_B11 + torch.arange(height, device=device)
    starts = (lines_BCH * padded.shape[3] + right_B11).flatten()
    moved = padded.flatten().unfold(0, width, 1).index_select(0, starts).view(images_BCHW.shape)
    chosen = torch.arange(batch, device=device) + shifts.flip * batch
    return torch.cat([moved, moved.flip(3)]).index_select(0, chosen)
