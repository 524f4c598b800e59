"""Whatever is no regular file is refused in a sentence by all that reads files of users, and nothing waits for it."""

from __future__ import annotations

import os
import socket
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from natmu.data import load, read_class_names
from natmu.data.archives import extract
from natmu.engine.checkpoint import read_weights
from natmu.errors import NatmuError
from natmu.models.containers import read_container
from natmu.models.hub import hub_source
from natmu.records.files import file_digest, read_array, read_arrays, read_rows
from natmu.records.policy import Policy
from natmu.records.service import ServiceRecord
from natmu.requests.keys import ServiceKey
from natmu.samples.indices import read_index_file
from natmu.samples.listed import read_names
from natmu.samples.npy import open_npy
from natmu.samples.tables import read_table
from natmu.studies.recipe import read_recipe
from natmu.user_files import open_file, read_text, require_file

READERS: dict[str, Callable[[Path], Any]] = {
    "indices.txt": lambda path: read_index_file(path, 10),
    "indices.csv": lambda path: read_index_file(path, 10),
    "indices.json": lambda path: read_index_file(path, 10),
    "indices.npy": lambda path: read_index_file(path, 10),
    "names.txt": read_names,
    "names.csv": read_names,
    "table.csv": read_table,
    "array.npy": open_npy,
    "data.npz": lambda path: load(str(path), path.parent),
    "data.csv": lambda path: load(str(path), path.parent),
    "classes.txt": read_class_names,
    "recipe.yaml": read_recipe,
    "policy.yaml": Policy.read,
    "weights.pt": read_container,
    "weights.safetensors": read_container,
    "model.safetensors": read_weights,
    "service.json": ServiceRecord.read,
    "key": ServiceKey.read,
    "forget.npy": read_array,
    "arrays.npz": read_arrays,
    "history.csv": read_rows,
    "any": file_digest,
    "data.tar": lambda path: extract(path, "data", path.parent),
    "config.json": lambda path: hub_source(f"hf:{path.parent}"),
}


def _fifo(path: Path) -> None:
    os.mkfifo(path)


def _socket(path: Path) -> None:
    here = Path.cwd()
    os.chdir(path.parent)  # the names of sockets are short
    try:
        with socket.socket(socket.AF_UNIX) as server:
            server.bind(path.name)
    finally:
        os.chdir(here)


def _device(path: Path) -> None:
    path.symlink_to("/dev/zero")


def _dangling(path: Path) -> None:
    path.symlink_to("nowhere")


KINDS: dict[str, tuple[Callable[[Path], None], str]] = {
    "fifo": (_fifo, "named pipe|no file|no data"),
    "socket": (_socket, "socket|no file|no data"),
    "device": (_device, "device|no file|no data"),
    "dangling": (_dangling, "a link to nowhere|no recipe|not there|no data|no file|no such file"),
}


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("name", READERS)
def test_what_is_no_file_is_refused(tmp_path: Path, name: str, kind: str) -> None:
    make, told = KINDS[kind]
    make(tmp_path / name)
    with pytest.raises(NatmuError, match=rf"(?i){told}"):
        READERS[name](tmp_path / name)


@pytest.mark.parametrize("kind", KINDS)
def test_each_kind_is_named(tmp_path: Path, kind: str) -> None:
    make, told = KINDS[kind]
    make(tmp_path / "x")
    for read in (require_file, open_file):
        with pytest.raises(OSError, match=told.partition("|")[0]):
            read(tmp_path / "x")


def test_a_pipe_that_comes_between_is_not_waited_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    os.mkfifo(tmp_path / "x")
    monkeypatch.setattr("natmu.user_files.require_file", lambda path: None)
    with pytest.raises(OSError, match="named pipe"):
        open_file(tmp_path / "x")


def test_texts_are_read_as_python_reads_them(tmp_path: Path) -> None:
    path = tmp_path / "x"
    path.write_bytes("\ufeffa\r\nb\rc\nd\u2028e".encode())
    assert read_text(path, "utf-8-sig") == path.read_text("utf-8-sig")
