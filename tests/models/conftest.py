from collections.abc import Callable, Iterator

import pytest
import torch
from torch import nn

from natmu.models import build_model


@pytest.fixture(autouse=True)
def rng_untouched() -> Iterator[None]:
    """No function of this floor moves the global generator; a test that draws does so from a generator of its own."""
    before = torch.get_rng_state()
    yield
    assert torch.equal(torch.get_rng_state(), before)


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    """These models are too small to share out, and parallel test processes would fight over the cores."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.fixture
def build() -> Callable[..., nn.Module]:
    def _build(name: str, shape=(3, 32, 32), num_classes=10, seed=0) -> nn.Module:
        channels = shape[0]
        return build_model(
            name, num_classes=num_classes, image_shape=shape, mean=[0.5] * channels, std=[0.25] * channels, seed=seed
        )

    return _build
