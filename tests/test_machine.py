"""Which errors pass with a fault of the machine, and what is said of them."""

from __future__ import annotations

import errno
import os
import resource
import subprocess
import sys

import numpy as np
import pytest
import torch

from natmu.errors import (
    LostProcessError,
    ModelError,
    ResourceError,
    RunError,
    SharedMemoryError,
    TrainingError,
    UsageError,
)
from natmu.machine import OutOfMemoryError, cannot_write, ends_all, exit_of, name_too_long, passing, room_in


def system(number, file=None):
    return OSError(number, os.strerror(number), file)


def caused(error, cause):
    error.__cause__ = cause
    return error


@pytest.mark.parametrize(
    ("error", "words"),
    [
        (system(errno.ENOSPC, "a/b"), "No room is left for a/b"),
        (system(errno.EDQUOT), "No room is left for a file"),
        (system(errno.EFBIG, "a/b"), "ulimit -f"),
        (system(errno.EMFILE, "a/b"), "ulimit -n"),
        (system(errno.EIO, "a/b"), "see to the disk"),
        (system(errno.ETIMEDOUT, "a/b"), "or the network"),
        (system(errno.EHOSTDOWN, "a/b"), "or the network"),
        (system(errno.EAGAIN), "end other programs"),
        (RuntimeError("can't start new thread"), "end other programs"),
        (OSError("100000 requested and 109 written"), "No room is left"),
        (caused(RunError("a/b cannot be written; make room."), system(errno.ENOSPC)), "a/b cannot be written"),
        (caused(RunError("Delete a/b."), system(errno.EMFILE, "a/b")), "ulimit -n"),
        (ImportError("libm.so: cannot open shared object file: Too many open files"), "ulimit -n"),
    ],
)
def test_what_the_system_lacks_is_said_with_what_to_do_and_ends_everything(error, words):
    fault = passing(error)
    assert isinstance(fault, ResourceError)
    assert words in str(fault)
    assert ends_all(error)
    assert fault.exit_status == 2


@pytest.mark.parametrize(
    "error",
    [
        MemoryError(),
        np._core._exceptions._ArrayMemoryError((10**9,), np.dtype(float)),
        torch.OutOfMemoryError("CUDA out of memory."),
        system(errno.ENOMEM),
        ImportError("libopenblas.so: failed to map segment from shared object"),
        OSError("libopenblas.so: cannot open shared object file: Cannot allocate memory"),
        caused(ModelError("mine:factory failed; it is called without arguments."), MemoryError()),
    ],
)
def test_memory_that_ran_out_passes_and_something_smaller_may_fit(error):
    assert isinstance(passing(error), OutOfMemoryError)
    assert "smaller --batch-size" in str(passing(error))
    assert ends_all(error) is None


def test_memory_of_the_cpu_is_known_by_what_pytorch_really_says():
    with pytest.raises(RuntimeError) as caught:
        torch.empty(2**60)
    assert isinstance(passing(caught.value), OutOfMemoryError)


@pytest.mark.parametrize(
    "error",
    [
        ValueError("no"),
        FileNotFoundError(errno.ENOENT, "No such file", "x"),
        system(errno.EACCES, "x"),
        RuntimeError("mat1 and mat2 shapes cannot be multiplied"),
        TrainingError("The loss is not finite."),
        caused(RunError("Damaged."), ValueError("no number")),
        OSError("20 requested and 10 read"),
    ],
)
def test_what_would_fail_again_does_not_pass(error):
    assert passing(error) is None


def test_the_error_that_was_handled_when_another_was_raised_counts():
    def read():
        try:
            raise system(errno.EMFILE, "record.json")
        except OSError:
            raise RunError("record.json cannot be read; delete it.") from None

    with pytest.raises(RunError) as caught:
        read()
    assert "ulimit -n" in str(passing(caught.value))


def test_a_process_that_was_ended_and_shared_memory_that_is_full_pass_as_they_are():
    for error in (LostProcessError("Gone."), SharedMemoryError("Full.")):
        assert passing(error) is error


def test_a_file_that_cannot_be_written_for_good_is_no_passing_fault(tmp_path):
    assert isinstance(cannot_write(tmp_path, system(errno.EROFS)), RunError)
    assert "Read-only file system" in str(cannot_write(tmp_path, system(errno.EROFS)))


def test_a_folder_names_what_has_no_file_and_leaves_the_rest_alone(tmp_path):
    with pytest.raises(ResourceError, match=tmp_path.name), room_in(tmp_path):
        raise system(errno.ENOSPC)
    for error in (MemoryError(), ValueError("no"), RunError("no")):
        with pytest.raises(type(error)) as caught, room_in(tmp_path):
            raise error
        assert caught.value is error


def test_the_line_that_ended_the_program_is_named():
    with pytest.raises(SystemExit) as caught:
        sys.exit(0)
    line = sys._getframe().f_lineno - 1
    assert str(exit_of(caught.value)) == (
        f"{__file__}, line {line}, ended the program with sys.exit(0); raise an error there instead."
    )


WRITERS = """
import resource, sys
from pathlib import Path
import numpy as np, safetensors.numpy, sqlite3
from natmu.machine import passing
resource.setrlimit(resource.RLIMIT_FSIZE, (1000, 1000))
folder, big = Path(sys.argv[1]), np.zeros(20_000)
writers = [
    lambda: (folder / "a").write_bytes(bytes(20_000)),
    lambda: np.save(folder / "b.npy", big),
    lambda: np.savez(folder / "c.npz", big),
    lambda: safetensors.numpy.save_file({"a": big}, folder / "d"),
    lambda: sqlite3.connect(folder / "e").executescript("create table t(a); insert into t values (zeroblob(20000));"),
]
for write in writers:
    try:
        write()
    except Exception as error:
        print(passing(error))
"""


def test_whoever_writes_a_file_that_is_too_large_is_understood(tmp_path):
    """A limit of 1,000 bytes stands for a full disk; each library tells of it in its own way."""
    run = subprocess.run([sys.executable, "-c", WRITERS, tmp_path], capture_output=True, text=True, check=True)
    said = run.stdout.splitlines()
    assert len(said) == 5
    assert all("run the same command again" in line for line in said)
    assert resource.getrlimit(resource.RLIMIT_FSIZE)[0] == resource.RLIM_INFINITY


def test_faults_that_pass_end_with_status_2():
    passes = [kind for kind in (LostProcessError, SharedMemoryError, ResourceError) if kind.passes]
    assert {kind.exit_status for kind in passes} == {2}
    assert len(passes) == 3


def test_a_name_that_is_too_long_is_said_once_and_for_all(tmp_path):
    fault = cannot_write(tmp_path, OSError(errno.ENAMETOOLONG, "File name too long", "x"))
    assert str(fault) == "x is too long a name for this file system; give a shorter one."
    assert isinstance(cannot_write(tmp_path, OSError(errno.ENAMETOOLONG, "File name too long")), UsageError)
    assert name_too_long(system(errno.ENOSPC)) is None


WITHOUT_MEMORY = """
import resource, scipy.linalg
from natmu.linear_algebra import load_linear_algebra
size = next(int(line.split()[1]) << 10 for line in open("/proc/self/status") if line.startswith("VmSize"))
resource.setrlimit(resource.RLIMIT_AS, (size + (40 << 20),) * 2)
try:
    load_linear_algebra()
except MemoryError:
    print("no memory")
"""


@pytest.mark.skipif(sys.platform != "linux", reason="address space is measured through /proc")
def test_linear_algebra_without_memory_is_an_ordinary_error():
    """OpenBLAS itself gives up and ends the program, or waits without an end, as it did in a campaign."""
    run = subprocess.run([sys.executable, "-c", WITHOUT_MEMORY], capture_output=True, text=True, timeout=60)
    assert (run.stdout, run.stderr, run.returncode) == ("no memory\n", "", 0)
