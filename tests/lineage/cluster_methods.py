"""Methods that tell where they run, wait, or take their worker along, as a package that the workers find."""

from __future__ import annotations

import json
import os
import time
from pathlib import Path

from natmu.methods import Method
from natmu.types import Settings

FOLDER = "NATMU_TEST_FOLDER"
"""Names the folder in which the methods leave their traces."""

HOLD = "hold"
"""As long as this file is there, ``held`` waits."""

WORKERS = "workers"
"""This file says for how many workers ``witness`` waits."""


def node() -> str:
    import ray

    return ray.get_runtime_context().get_node_id() if ray.is_initialized() else "no node"


def mapping(address: int) -> tuple[int, int]:
    """What lies at an address: inode of the mapped file, and place in it."""
    for line in Path("/proc/self/maps").read_text().splitlines():
        area, _, offset, _, inode = line.split()[:5]
        first, last = (int(end, 16) for end in area.split("-"))
        if first <= address < last:
            return int(inode), int(offset, 16) + address - first
    raise AssertionError(f"nothing is mapped at {address}")


def write(path: Path, text: str) -> None:
    """Write a file that is complete as soon as it is there."""
    part = path.with_name(f"part-{path.name}")
    part.write_text(text)
    part.rename(path)


def wait_until(holds, seconds=60):
    deadline = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < deadline, "waited in vain"
        time.sleep(0.05)


class Witness(Method):
    """Write down where the images lie; of several workers, wait until all have come here."""

    name = "witness"
    Config = Settings

    def run(self, problem):
        address = problem.data.images.data_ptr()
        inode, place = mapping(address)
        seen = {"node": node(), "pid": os.getpid(), "address": address, "inode": inode, "place": place}
        name = f"witness-{os.getpid()}-{problem.seed}-{problem.forget.digest}.json"
        folder = Path(os.environ[FOLDER])
        write(folder / name, json.dumps(seen))
        wanted = int((folder / WORKERS).read_text())
        wait_until(lambda: len({path.name.split("-")[1] for path in folder.glob("witness-*")}) >= wanted)
        return problem.model


class Held(Method):
    """Wait until a file is gone."""

    name = "held"
    Config = Settings

    def run(self, problem):
        folder = Path(os.environ[FOLDER])
        write(folder / f"held-{problem.seed}-{os.getpid()}", node())
        wait_until(lambda: not (folder / HOLD).exists())
        return problem.model


class Dies(Method):
    """Take the worker along."""

    name = "dies"
    Config = Settings

    def run(self, problem):
        os._exit(7)
