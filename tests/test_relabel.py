"""Wrong labels from Python: a mapping in the place of the forget set, for methods, own training and audits."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.utils.data import Dataset

import natmu
from natmu.data import ImageData, load
from natmu.errors import UsageError
from natmu.records.forgotten import read_corrections

COUNT = 40
Pairs = Counter[tuple[bytes, int]]


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> ImageData:
    """Forty digits, the first three with wrong labels."""
    train = load("digits", tmp_path_factory.mktemp("data"), train_size=COUNT).train
    labels = train.labels.clone()
    labels[:3] = (labels[:3] + 1) % 10
    return ImageData(train.images, labels, train.class_names)


@pytest.fixture(scope="module")
def right(data: ImageData) -> dict[int, int]:
    """The right labels."""
    return {row: (int(data.labels[row]) - 1) % 10 for row in range(3)}


class Own(Dataset[Any]):
    """The digits as a user has them: float images and labels."""

    def __init__(self, data: ImageData) -> None:
        self.pairs = [
            (image[None].float().div(255)[0], int(label)) for image, label in zip(data.images, data.labels, strict=True)
        ]

    def __len__(self) -> int:
        return len(self.pairs)

    def __getitem__(self, index: int) -> tuple[Tensor, int]:
        return self.pairs[index]


class Network(nn.Module):
    """A linear model, which four steps let learn a little."""

    def __init__(self) -> None:
        super().__init__()
        self.linear = nn.Linear(64, 10)

    def forward(self, images: Tensor) -> Tensor:
        """Logits."""
        logits: Tensor = self.linear(images.flatten(1))
        return logits


def trained(samples: Any, seed: int, seen: list[Pairs] | None = None) -> Network:
    """Train a model, and note what it saw."""
    pairs = [samples[row] for row in range(len(samples))]
    images, labels = torch.stack([image for image, _ in pairs]), torch.tensor([label for _, label in pairs])
    if seen is not None:
        seen.append(Counter((image.numpy().tobytes(), label) for image, label in pairs))
    torch.manual_seed(seed)
    model = Network()
    optimizer = torch.optim.SGD(model.parameters(), 0.5)
    for _ in range(30):
        optimizer.zero_grad()
        functional.cross_entropy(model(images), labels).backward()  # type: ignore[no-untyped-call]
        optimizer.step()
    return model.eval()


def seeing(seen: list[Pairs]) -> Callable[[Any, int], nn.Module]:
    """The training as a user's function."""

    def train(samples: Any, seed: int) -> nn.Module:
        return trained(samples, seed, seen)

    return train


def test_references_of_the_users_own_training_see_the_corrected_pairs(data: ImageData, right: dict[int, int]) -> None:
    own, seen = Own(data), list[Pairs]()
    everything = Counter((image.numpy().tobytes(), label) for image, label in own.pairs)
    corrected = Counter(
        (image.numpy().tobytes(), right.get(row, label)) for row, (image, label) in enumerate(own.pairs)
    )
    model = trained(own, 0)
    quiet: dict[str, Any] = {"device": "cpu", "precision": "fp32", "progress": False}
    again = natmu.unlearn(model, own, right, "retrain", trainer=seeing(seen), force=True, **quiet)
    assert seen == [corrected]
    answered = again.model(torch.stack([own[row][0] for row in range(3)])).argmax(1)
    assert again.summary["result"]["corrected_acc"] == pytest.approx(
        100 * sum(int(answered[row]) == label for row, label in right.items()) / 3
    )
    assert again.summary["result"].keys() - again.summary["original"].keys() == set()

    seen.clear()
    result = natmu.unlearn(model, own, right, "finetune", epochs=1, lr=0.01, force=True, **quiet)
    found = natmu.audit(
        result, own, own, result.forget, trainer=seeing(seen), references=2, original=model, force=True, **quiet
    )
    # two retrained models and, for the repetition of the method, another original, which knows the wrong pairs
    assert sorted(map(sorted, seen)) == sorted(map(sorted, [corrected, corrected, everything]))
    assert found.scores["corrected_acc"] == pytest.approx(result.summary["result"]["corrected_acc"])
    with pytest.raises(UsageError, match="audit at the level standard"):
        natmu.audit(result, own, own, result.forget, trainer=seeing(seen), level="full", force=True, **quiet)

    seen.clear()
    second: dict[str, Any] = {"already_forgotten": result.forget, "trainer": seeing(seen), "force": True}
    natmu.unlearn(result.model, own, [10, 11], "retrain", **second, **quiet)
    gone = Counter((own[row][0].numpy().tobytes(), own[row][1]) for row in (10, 11))
    assert seen == [corrected - gone]


def test_a_result_is_saved_with_its_right_labels(tmp_path: Path, data: ImageData, right: dict[int, int]) -> None:
    settings: dict[str, Any] = {
        "device": "cpu",
        "precision": "fp32",
        "progress": False,
        "force": True,
        "epochs": 1,
        "lr": 0.01,
    }
    result = natmu.unlearn(trained(Own(data), 0), (data.images, data.labels), right, "finetune", **settings)
    saved = result.save(tmp_path / "saved")
    assert dict(read_corrections(saved / "corrections.npy").tolist()) == right
    page = result.report(tmp_path / "page.html").read_text()
    assert "corrected_acc" in page
    wrong = np.array([[0, 5], [0, 5]])
    np.save(tmp_path / "corrections.npy", wrong)
    with pytest.raises(ValueError, match="ascending order"):
        read_corrections(tmp_path / "corrections.npy")
