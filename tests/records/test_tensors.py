"""Files of tensors that the machine cannot read now are neither missing nor damaged, and nobody goes on without."""

from __future__ import annotations

import errno
import json
import os
import resource
import struct
from contextlib import contextmanager
from pathlib import Path

import pytest
import torch
from safetensors import SafetensorError
from safetensors.torch import save_file

from engine import fakes
from natmu.engine.checkpoint import Checkpoint, read_weights, save_weights
from natmu.engine.store import Run, Store
from natmu.errors import NatmuError, RunError
from natmu.lineage.same_weights import has_weights
from natmu.machine import OutOfMemoryError, passing
from natmu.records.tensors import open_tensors, read_tensors, room_for
from natmu.requests.checks import is_signed


@contextmanager
def limited(which, value):
    """A limit of the system on this process."""
    before = resource.getrlimit(which)
    resource.setrlimit(which, (value, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(which, before)


def files_left(count):
    """So many more files may be opened."""
    free = [os.open("/", os.O_RDONLY) for _ in range(count + 1)]
    for number in free:
        os.close(number)
    return limited(resource.RLIMIT_NOFILE, free[-1])


def memory_left(megabytes):
    """So much more memory may be asked for."""
    held = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    return limited(resource.RLIMIT_AS, held + (megabytes << 20))


@pytest.fixture
def path(tmp_path):
    """A small file; what reading needs is loaded."""
    path = tmp_path / "some.safetensors"
    save_file({"a": torch.arange(3.0)}, path, {"said": "yes"})
    for framework in ("pt", "numpy"):
        read_tensors(path, framework)
    return path


def test_all_tensors_and_notes_are_read(path):
    tensors, said = read_tensors(path, "pt")
    assert (tensors["a"].tolist(), said) == ([0.0, 1.0, 2.0], {"said": "yes"})
    with open_tensors(path, "numpy") as file:
        assert file.get_tensor("a").tolist() == [0.0, 1.0, 2.0]


@pytest.mark.parametrize(("framework", "left"), [("pt", 0), ("numpy", 0), ("pt", 1)])
def test_too_many_open_files_are_told_with_the_systems_number(path, framework, left):
    with files_left(left), pytest.raises(OSError, match="Too many open files") as raised:
        read_tensors(path, framework)
    assert (raised.value.errno, raised.value.filename) == (errno.EMFILE, str(path))
    assert passing(raised.value) is not None


@pytest.mark.parametrize("framework", ["pt", "numpy"])
def test_memory_that_runs_out_is_an_ordinary_error(tmp_path, framework):
    size = 512 << 20
    head = json.dumps({"a": {"dtype": "U8", "shape": [size], "data_offsets": [0, size]}}).encode()
    path = tmp_path / "large.safetensors"
    path.write_bytes(struct.pack("<Q", len(head)) + head)
    os.truncate(path, 8 + len(head) + size)  # takes no room
    with memory_left(768), pytest.raises((MemoryError, RuntimeError, OSError)) as raised:
        read_tensors(path, framework)
    assert isinstance(passing(raised.value), OutOfMemoryError)


def test_memory_that_runs_out_while_tensors_are_packed_is_an_ordinary_error(tmp_path):
    model = torch.nn.Linear(1 << 16, 1 << 10, bias=False)  # 256 MiB, copied before it is packed
    with memory_left(300), pytest.raises((MemoryError, RuntimeError)) as raised:
        save_weights(model, tmp_path / "model.safetensors")
    assert isinstance(passing(raised.value), OutOfMemoryError)
    assert not list(tmp_path.iterdir())


def test_other_panics_go_on():
    class PanicException(BaseException):
        """As Rust's."""

    for text, kind in (("PyObject pointer is null", MemoryError), ("index out of range", PanicException)):
        with pytest.raises(kind), room_for(1):
            raise PanicException(text)


def test_a_missing_and_a_damaged_file_are_told_apart(tmp_path):
    with pytest.raises(FileNotFoundError):
        read_tensors(tmp_path / "none", "pt")
    (tmp_path / "cut").write_bytes(b"\x09\0\0")
    with pytest.raises(SafetensorError):
        read_tensors(tmp_path / "cut", "numpy")


def test_weights_that_cannot_be_opened_now_are_not_called_missing(path):
    with files_left(0), pytest.raises(RunError, match="but it may be intact"):
        read_weights(path)


def test_a_checkpoint_that_cannot_be_opened_now_is_not_begun_anew(tmp_path):
    model = fakes.model(channels=3)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9)
    checkpoint = Checkpoint(tmp_path / "c", every_seconds=0)
    checkpoint.save(2, model, optimizer, {}, [])
    checkpoint.keep("first", model, [], 1.0)
    assert checkpoint.load(model, optimizer)[0] == 2
    for read in (lambda: checkpoint.load(model, optimizer), lambda: checkpoint.kept("first", model)):
        with files_left(0), pytest.raises(NatmuError, match="Too many files are open"):
            read()
    (tmp_path / "c").write_bytes(b"\x09\0\0")
    assert checkpoint.load(model, optimizer) is None


def test_nobody_goes_on_without_what_cannot_be_opened_now(tmp_path, path):
    run = tmp_path / "store" / "mine"
    run.mkdir(parents=True)
    path.rename(run / "model.safetensors")
    (run / "record.json").write_text("{}")
    (tmp_path / "evidence").write_text("x")
    store = Store(tmp_path / "store")
    asked = {
        "find": lambda: store.find("0" * 32),
        "weights": lambda: has_weights(Run(run), {}),
        "signed": lambda: is_signed(tmp_path / "evidence", tmp_path / "key"),
    }
    for ask in asked.values():
        with files_left(0), pytest.raises((NatmuError, OSError)) as raised:
            ask()
        assert passing(raised.value) is not None
