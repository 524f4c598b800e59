"""What research code for machine unlearning does today, written afresh, to time natmu against.

It trains, makes NatMU's hybrids, unlearns and scores with the tools that such code is written with, and each choice is
the usual one, made with care:

- images are uint8 arrays in memory; each sample becomes a PIL image, is cropped, flipped, made a tensor and normalised
  by itself, as torchvision's transforms do it, in the worker processes of a ``DataLoader``;
- training is fp32 with torch's defaults: contiguous tensors, optimisers that are not fused, cuDNN's search for the
  fastest kernels, ``.item()`` for loss and accuracy at each step, as a progress bar needs them;
- hybrids are blended one by one in numpy, rounded to uint8, stored and concatenated with the retain set;
- each score makes its own loader and its own forward pass.

Where such code is slow by accident, this is not: partners come from one pool per class instead of being drawn again
until all fit, the test set is not scored after each epoch, and nothing is written to disk. Architectures and initial
weights are natmu's, with torch's own convolutions. Each stage is timed with the start of its worker processes.

    python benchmarks/reference_pipeline.py --images 1024 --model vgg16
"""

from __future__ import annotations

import argparse
import math
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import torch
from PIL import Image, ImageOps
from sklearn.linear_model import LogisticRegression
from torch import Tensor, nn
from torch.utils.data import ConcatDataset, DataLoader, Dataset

from natmu.data import load
from natmu.models import build_model

MEAN, STD = (0.4914, 0.4822, 0.4465), (0.2470, 0.2435, 0.2616)

Ints = npt.NDArray[np.int64]
Bytes = npt.NDArray[np.uint8]
Floats = npt.NDArray[np.float32]
Data = Dataset[tuple[Tensor, int]]
Seconds = dict[str, float]
Factor = Callable[[int, int, int], float]
"""Factor on the learning rate, given the step counted from 1, the steps of the run and the steps of an epoch."""


class ImageDataset(Data):
    """Images ``(N, H, W, 3)`` with labels ``(N,)``, made tensors one by one, cropped and flipped where wanted."""

    def __init__(self, images: Bytes, labels: Ints, *, augment: bool) -> None:
        self.images = images
        self.labels = labels
        self.augment = augment

    def __len__(self) -> int:
        return len(self.labels)

    def __getitem__(self, index: int) -> tuple[Tensor, int]:
        image = Image.fromarray(self.images[index])
        if self.augment:
            image = random_flip(random_crop(image, padding=image.height // 8))
        return normalize(to_tensor(image)), int(self.labels[index])


def random_crop(image: Image.Image, padding: int) -> Image.Image:
    """Crop a zero-padded image at a random place to the size it had."""
    padded = ImageOps.expand(image, padding, fill=0)
    top = int(torch.randint(0, 2 * padding + 1, (1,)).item())
    left = int(torch.randint(0, 2 * padding + 1, (1,)).item())
    return padded.crop((left, top, left + image.width, top + image.height))


def random_flip(image: Image.Image) -> Image.Image:
    """Mirror an image from left to right, or not."""
    return image.transpose(Image.Transpose.FLIP_LEFT_RIGHT) if torch.rand(1) < 0.5 else image


def to_tensor(image: Image.Image) -> Tensor:
    """A float32 ``(C, H, W)`` tensor in [0, 1]."""
    pixels = torch.from_numpy(np.array(image, copy=True))
    return pixels.permute(2, 0, 1).contiguous().to(torch.float32).div(255)


def normalize(image: Tensor) -> Tensor:
    """Shift and scale the channels of one image by the training set's mean and deviation."""
    mean, std = (torch.as_tensor(values, dtype=image.dtype).view(-1, 1, 1) for values in (MEAN, STD))
    return image.clone().sub_(mean).div_(std)


@dataclass(frozen=True)
class Setup:
    """How samples reach the model: its device, worker processes (0 for none), samples per step."""

    device: str
    workers: int
    batch_size: int

    def loader(self, data: Data, *, training: bool = False) -> DataLoader[tuple[Tensor, int]]:
        """Batches of a data set: shuffled and with workers that outlive an epoch in training, in order otherwise."""
        keep = training and self.workers > 0
        options = {"num_workers": self.workers, "pin_memory": self._on_cuda, "persistent_workers": keep}
        return DataLoader(data, self.batch_size, shuffle=training, **options)

    def batches(self, loader: DataLoader[tuple[Tensor, int]]) -> Iterator[tuple[Tensor, Tensor]]:
        """One pass over a loader, on the device."""
        for images, labels in loader:
            yield images.to(self.device, non_blocking=True), labels.to(self.device, non_blocking=True)

    @contextmanager
    def timed(self, seconds: Seconds, stage: str) -> Iterator[None]:
        """Note how long the block took until the device had finished."""
        start = time.perf_counter()
        yield
        if self._on_cuda:
            torch.cuda.synchronize(self.device)
        seconds[stage] = time.perf_counter() - start

    @property
    def _on_cuda(self) -> bool:
        return torch.device(self.device).type == "cuda"


def stock_model(name: str, *, num_classes: int, image_size: int, seed: int = 0) -> nn.Module:
    """One of natmu's architectures for normalised images, with torch's own convolutions, on the CPU."""
    shape = (3, image_size, image_size)
    model = build_model(name, num_classes=num_classes, image_shape=shape, mean=MEAN, std=STD, seed=seed)
    for module in model.modules():
        if isinstance(module, nn.Conv2d):
            module.__class__ = nn.Conv2d
    model.normalize = nn.Identity()
    return model


def warmup_and_steps(step: int, steps: int, epoch_steps: int) -> float:
    """Linear warm-up over two epochs, and a tenth of the rate after 60 % and again after 80 % of the steps before."""
    before = step - 1
    decay = 1.0 if before <= 0.6 * steps else 0.1 if before <= 0.8 * steps else 0.01
    return decay * min(1.0, before / (2 * epoch_steps))


def cosine(step: int, steps: int, _epoch_steps: int) -> float:
    """Half a cosine from 1 to 0."""
    return (math.cos(math.pi * step / steps) + 1) / 2


def fit(
    model: nn.Module, data: Data, optimizer: torch.optim.Optimizer, factor: Factor, epochs: int, setup: Setup
) -> list[tuple[float, float]]:
    """Train in place; mean loss and accuracy (0 to 1) of each epoch."""
    loader = setup.loader(data, training=True)
    steps = len(loader)
    schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda done: factor(done + 1, epochs * steps, steps))
    criterion = nn.CrossEntropyLoss()
    history = []
    model.train()
    for _ in range(epochs):
        loss_sum, correct, seen = 0.0, 0, 0
        for images, labels in setup.batches(loader):
            logits = model(images)
            loss = criterion(logits, labels)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            schedule.step()
            seen += len(labels)
            loss_sum += loss.item() * len(labels)
            correct += int((logits.argmax(1) == labels).sum().item())
        history.append((loss_sum / seen, correct / seen))
    return history


@torch.no_grad()
def accuracy(model: nn.Module, data: Data, setup: Setup) -> float:
    """Percent of samples answered correctly."""
    model.eval()
    correct, seen = 0, 0
    for images, labels in setup.batches(setup.loader(data)):
        correct += int((model(images).argmax(1) == labels).sum().item())
        seen += len(labels)
    return 100 * correct / seen


@torch.no_grad()
def log_probabilities(model: nn.Module, data: Data, setup: Setup) -> Tensor:
    """Logarithms of the softmax, ``(N, C)``, on the CPU."""
    model.eval()
    return torch.cat([model(images).log_softmax(1).cpu() for images, _ in setup.batches(setup.loader(data))])


def entropies(model: nn.Module, data: Data, setup: Setup) -> Floats:
    """Entropy of the softmax, ``(N, 1)``."""
    logs = log_probabilities(model, data, setup)
    return (-(logs.exp() * logs).sum(1, keepdim=True)).numpy()


def score(model: nn.Module, retain: Data, forget: Data, test: Data, setup: Setup) -> dict[str, float]:
    """Accuracy on each part, and the share of the forget set that an attack on the entropy calls members, in percent.

    The attack is fitted on retain against test. Six forward passes in all.
    """
    parts = {"retain_acc": retain, "forget_acc": forget, "test_acc": test}
    scores = {name: accuracy(model, data, setup) for name, data in parts.items()}
    members, strangers = entropies(model, retain, setup), entropies(model, test, setup)
    attack = LogisticRegression(class_weight="balanced")
    attack.fit(np.concatenate([members, strangers]), np.repeat([1, 0], [len(members), len(strangers)]))
    return scores | {"mia_entropy": 100 * float(attack.predict(entropies(model, forget, setup)).mean())}


class Hybrids(NamedTuple):
    """Blends in the order of the forget samples: images, labels, and where in the training set the partners are."""

    images: Bytes
    labels: Ints
    partners: Ints


def masks(side: int, delta: float) -> Floats:
    """Weights of the forget image, ``(4, side, side, 1)``: a tent over rows, over columns, and their opposites."""
    places, half = np.arange(side), side // 2
    tent = np.where(places < half, places / half, (half - 1) / half - (places - half) / half)
    rows = np.broadcast_to(tent[:, None], (side, side))
    shapes = np.stack([rows, rows.T, (half - 1) / half - rows, (half - 1) / half - rows.T])
    return (shapes + delta).clip(0, 1).astype(np.float32)[..., None]


def hybrids(
    model: nn.Module,
    images: Bytes,
    labels: Ints,
    forget_indices: Ints,
    n: int = 4,
    delta: float = -0.19,
    *,
    device: str = "cpu",
    workers: int = 2,
    batch_size: int = 128,
    seed: int = 0,
) -> tuple[Hybrids, float]:
    """Blend each forget image with a retain image of each of its ``n`` most probable other classes.

    Args:
        model: The original model, from ``stock_model``.
        images: The training set, ``(N, S, S, 3)`` with an even ``S``.
        labels: ``(N,)``.
        forget_indices: Positions of the forget set, ``(F,)``.
        n: Hybrids per forget sample, 1 to 4.
        delta: Shift of the forget image's weight.
        device: Where the model answers.
        workers: Processes that load samples.
        batch_size: Samples per forward pass.
        seed: Of the choice of partners.

    Returns:
        The stored hybrids, and the seconds they took.

    Raises:
        ValueError: Too few classes have unused retain images left.
    """
    setup, seconds = Setup(device, workers, batch_size), Seconds()
    model.to(device)
    with setup.timed(seconds, "hybrids"):
        forget = ImageDataset(images[forget_indices], labels[forget_indices], augment=False)
        ranked_FC = log_probabilities(model, forget, setup).argsort(dim=1, descending=True).numpy()
        pools = _pools(labels, forget_indices, ranked_FC.shape[1], seed)
        weights = masks(images.shape[1], delta)
        blends, partners = [], []
        for index, ranked_C in zip(forget_indices, ranked_FC, strict=True):
            classes = [c for c in ranked_C if c != labels[index] and pools[c]][:n]
            if len(classes) < n:
                raise ValueError(f"Fewer than {n} other classes have unused retain images left; use a smaller n.")
            for weight, chosen in zip(weights, classes, strict=False):
                partner = pools[chosen].pop()
                blend = images[partner] * (1 - weight) + images[index] * weight
                blends.append(np.rint(blend).clip(0, 255).astype(np.uint8))
                partners.append(partner)
        made = Hybrids(np.stack(blends), labels[partners], np.array(partners))
    return made, seconds["hybrids"]


def _pools(labels: Ints, forget_indices: Ints, num_classes: int, seed: int) -> list[list[int]]:
    """Positions of the retain images of each class, in random order."""
    shuffled = np.random.default_rng(seed).permutation(_rest(labels, forget_indices))
    return [shuffled[labels[shuffled] == number].tolist() for number in range(num_classes)]


def _rest(labels: Ints, forget_indices: Ints) -> Ints:
    """Positions of the retain set."""
    return np.setdiff1d(np.arange(len(labels)), forget_indices)


@torch.backends.cudnn.flags(enabled=True, benchmark=True)
def train_and_score(
    model_name: str,
    images: Bytes,
    labels: Ints,
    test_images: Bytes,
    test_labels: Ints,
    *,
    epochs: int,
    batch_size: int = 128,
    device: str = "cpu",
    workers: int = 2,
    seed: int = 0,
) -> Seconds:
    """Train a classifier from its initial weights, and score it on training and test set.

    Returns:
        Seconds by stage: ``train`` and ``score``.
    """
    setup, seconds = Setup(device, workers, batch_size), Seconds()
    torch.manual_seed(seed)
    classes = int(max(labels.max(), test_labels.max())) + 1
    model = stock_model(model_name, num_classes=classes, image_size=images.shape[1], seed=seed).to(device)
    with setup.timed(seconds, "train"):
        optimizer = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9, weight_decay=5e-4)
        fit(model, ImageDataset(images, labels, augment=True), optimizer, warmup_and_steps, epochs, setup)
    with setup.timed(seconds, "score"):
        accuracy(model, ImageDataset(images, labels, augment=False), setup)
        accuracy(model, ImageDataset(test_images, test_labels, augment=False), setup)
    return seconds


@torch.backends.cudnn.flags(enabled=True, benchmark=True)
def unlearn_and_score(
    model: nn.Module,
    images: Bytes,
    labels: Ints,
    test_images: Bytes,
    test_labels: Ints,
    forget_indices: Ints,
    *,
    epochs: int = 5,
    batch_size: int = 128,
    device: str = "cpu",
    workers: int = 2,
    seed: int = 0,
    n: int = 4,
    delta: float = -0.19,
) -> Seconds:
    """Make the hybrids, fine-tune the model in place on them and the retain set, and score it on all three parts.

    Returns:
        Seconds by stage: ``hybrids``, ``train`` and ``score``.
    """
    setup = Setup(device, workers, batch_size)
    torch.manual_seed(seed)
    options = {"device": device, "workers": workers, "batch_size": batch_size, "seed": seed}
    made, hybrid_seconds = hybrids(model, images, labels, forget_indices, n, delta, **options)
    seconds = {"hybrids": hybrid_seconds}
    rest = _rest(labels, forget_indices)
    with setup.timed(seconds, "train"):
        retain = ImageDataset(images[rest], labels[rest], augment=True)
        data = ConcatDataset([retain, ImageDataset(made.images, made.labels, augment=False)])
        fit(model, data, torch.optim.AdamW(model.parameters(), lr=1e-3, weight_decay=2e-3), cosine, epochs, setup)
    with setup.timed(seconds, "score"):
        retain = ImageDataset(images[rest], labels[rest], augment=False)
        forget = ImageDataset(images[forget_indices], labels[forget_indices], augment=False)
        score(model, retain, forget, ImageDataset(test_images, test_labels, augment=False), setup)
    return seconds


def main(arguments: Sequence[str] | None = None) -> None:
    """Run both functions on random images or on CIFAR-10, and print seconds and images per second."""
    options = _parser().parse_args(arguments)
    data = images, labels, _, test_labels = _images(options)
    count, total, epochs = len(labels), len(labels) + len(test_labels), options.epochs
    common = {key: getattr(options, key) for key in ("epochs", "batch_size", "device", "workers", "seed")}
    print(f"{options.model}, {count} training images, {torch.get_num_threads()} threads, torch {torch.__version__}")
    _show("train", {"train": epochs * count, "score": total}, train_and_score(options.model, *data, **common))
    classes = int(max(labels.max(), test_labels.max())) + 1
    model = stock_model(options.model, num_classes=classes, image_size=images.shape[1], seed=options.seed)
    forget = np.random.default_rng(options.seed).permutation(count)[: round(options.forget * count)]
    shown = {"hybrids": 4 * len(forget), "train": epochs * (count + 3 * len(forget)), "score": total}
    _show("unlearn", shown, unlearn_and_score(model, *data, forget, **common))


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=main.__doc__)
    parser.add_argument("--model", default="vgg16", help="one of natmu's architectures")
    parser.add_argument("--data-dir", type=Path, help="where CIFAR-10 is; random images without it")
    parser.add_argument("--images", type=int, default=1024, help="training images, and twice the test images")
    parser.add_argument("--forget", type=float, default=0.1, help="share of the training images to forget")
    parser.add_argument("--device", default="cpu")
    for name, default in (("--epochs", 1), ("--batch-size", 128), ("--workers", 2), ("--seed", 0)):
        parser.add_argument(name, type=int, default=default)
    return parser


def _images(options: argparse.Namespace) -> tuple[Bytes, Ints, Bytes, Ints]:
    """Images and labels of training and test set."""
    count, test_count = options.images, options.images // 2
    if options.data_dir is None:
        rng = np.random.default_rng(options.seed)
        images = rng.integers(0, 256, (count + test_count, 32, 32, 3), np.uint8)
        labels = rng.integers(0, 10, len(images))
        return images[:count], labels[:count], images[count:], labels[count:]
    splits = load("cifar10", options.data_dir)
    images, test_images = (
        np.ascontiguousarray(np.moveaxis(np.asarray(part.images), 1, -1)) for part in (splits.train, splits.test)
    )
    labels, test_labels = np.asarray(splits.train.labels), np.asarray(splits.test.labels)
    return images[:count], labels[:count], test_images[:test_count], test_labels[:test_count]


def _show(what: str, images: dict[str, int], seconds: Seconds) -> None:
    """One line per stage; in scoring each image counts once, however often the model sees it."""
    for stage, count in images.items():
        print(f"{what:8} {stage:8} {seconds[stage]:8.2f} s {count / seconds[stage]:10.1f} images/s")


if __name__ == "__main__":
    main()
