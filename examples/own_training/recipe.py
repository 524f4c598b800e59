"""A training of one's own: a residual network, crops and flips, smoothed labels, AdamW, averaged weights.

`network` is the architecture (`--model recipe:network`), `train` the training (`--trainer recipe:train`).
"""

from __future__ import annotations

import copy

import numpy as np
import torch
from PIL import Image
from torch import Tensor, nn
from torch.nn import functional
from torch.utils.data import DataLoader, Dataset, Subset

SIZE = 16


class Block(nn.Module):
    """Two convolutions around which the input is led past."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.first, self.second = (nn.Conv2d(width, width, 3, padding=1, bias=False) for _ in range(2))
        self.norms = nn.ModuleList(nn.BatchNorm2d(width) for _ in range(2))

    def forward(self, features: Tensor) -> Tensor:
        """The features after the block."""
        inner = functional.relu(self.norms[0](self.first(features)))
        return functional.relu(features + self.norms[1](self.second(inner)))


class SmallResNet(nn.Module):
    """A residual network for images in [0, 1], which it normalises itself."""

    def __init__(self, num_classes: int, width: int = 8) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, width, 3, stride=2, padding=1)
        self.blocks = nn.Sequential(Block(width), nn.MaxPool2d(2), Block(width))
        self.head = nn.Linear(width, num_classes)

    def forward(self, images: Tensor) -> Tensor:
        """Logits of images."""
        features = self.blocks(functional.relu(self.stem((images - 0.5) / 0.25)))
        return self.head(features.mean((2, 3)))


def network(num_classes: int) -> nn.Module:
    """The architecture."""
    return SmallResNet(num_classes)


class Augmented(Dataset):
    """Random crops of photographs in full size, resized and perhaps mirrored."""

    def __init__(self, samples: Subset) -> None:
        self.samples = samples

    def __len__(self) -> int:
        return len(self.samples)

    def __getitem__(self, index: int) -> tuple[Tensor, int]:
        """A crop of a photograph, as the network takes it, and its class."""
        photograph, label = self.samples[index]
        side = int(min(photograph.size) * torch.empty(1).uniform_(0.6, 1).item())
        left, top = (int(torch.randint(0, length - side + 1, (1,))) for length in photograph.size)
        box = (left, top, left + side, top + side)
        crop = photograph.resize((SIZE, SIZE), Image.Resampling.BILINEAR, box)
        image = torch.from_numpy(np.array(crop)).permute(2, 0, 1).float() / 255
        return (image.flip(2) if torch.rand(1) < 0.5 else image), label


def train(samples: Subset, seed: int, start: str = "start.pt", epochs: int = 4, decay: float = 0.9) -> nn.Module:
    """Fine-tune from a pretrained start; returns the average of the weights over the last steps.

    Args:
        samples: Pairs of (PIL image, label), nothing but what may be seen.
        seed: natmu seeds PyTorch, NumPy and Python with it before the call; here it orders the samples too.
        start: File of the weights to start from.
        epochs: Passes over the samples.
        decay: Of the moving average.
    """
    model = network(num_classes=3)
    model.load_state_dict(torch.load(start, weights_only=True))
    average = copy.deepcopy(model)
    order = torch.Generator().manual_seed(seed)
    batches = DataLoader(Augmented(samples), batch_size=32, shuffle=True, drop_last=True, generator=order)
    optimizer = torch.optim.AdamW(model.parameters(), lr=0.01, weight_decay=0.05)
    for _ in range(epochs):
        for images, labels in batches:
            optimizer.zero_grad()
            functional.cross_entropy(model(images), labels, label_smoothing=0.1).backward()
            optimizer.step()
            with torch.no_grad():
                for kept, new in zip(average.state_dict().values(), model.state_dict().values(), strict=True):
                    kept.copy_(torch.lerp(new, kept, decay) if kept.is_floating_point() else new)
    return average
