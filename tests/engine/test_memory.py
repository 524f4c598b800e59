"""Data larger than memory: it trains and is predicted on from the file, where reading it whole is refused."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

IMAGES, SHAPE = 30_000, (3, 64, 64)
HEAD_ROOM_MIB = 160

PROGRAM = """
import resource, sys
from pathlib import Path

import numpy as np
import torch
from torch import nn

from natmu.data import ImageData
from natmu.engine.compute import Compute
from natmu.engine.predict import part_of
from natmu.records.settings import TrainSettings
from natmu.engine.training import train_classifier

torch.set_num_threads(1)
path, head_room = sys.argv[1], int(sys.argv[2]) * 2**20
compute = Compute(torch.device("cpu"), "fp32")
settings = TrainSettings(epochs=1, batch_size=64)


def use(images):
    data = ImageData(images, torch.arange(len(images)) % 3, ("a", "b", "c"))
    rows = torch.randperm(len(data))
    model = nn.Sequential(nn.Conv2d(3, 3, 8, stride=8), nn.ReLU(), nn.Flatten(), nn.Linear(192, 3))
    train_classifier(model, data, rows[:512], settings, compute, seed=0)
    return len(part_of(model, data.subset(rows[: 5 * len(data) // 6].numpy()), compute))


def private_memory():
    status = Path("/proc/self/status").read_text()
    return 1024 * int(status.split("VmData:")[1].split()[0])


mapped = np.load(path, mmap_mode="r")
use(mapped[:1024])
limit = private_memory() + head_room
resource.setrlimit(resource.RLIMIT_DATA, (limit, limit))
print("mapped:", use(mapped))
try:
    use(torch.from_numpy(np.load(path)))
except (MemoryError, RuntimeError) as error:
    print("read:", error)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux counts private memory alone against the limit")
def test_data_larger_than_memory_is_used_from_its_file(tmp_path: Path) -> None:
    """The limit is on private memory, of which pages of a file that is mapped read-only are no part."""
    stored = np.lib.format.open_memmap(tmp_path / "images.npy", "w+", np.uint8, (IMAGES, *SHAPE))
    assert stored.nbytes > 2 * HEAD_ROOM_MIB * 2**20
    command = [sys.executable, "-c", PROGRAM, str(tmp_path / "images.npy"), str(HEAD_ROOM_MIB)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    mapped, read = done.stdout.splitlines()
    assert mapped == f"mapped: {5 * IMAGES // 6}"
    assert read.startswith("read: ")
    assert "allocate" in read
