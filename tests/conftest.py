"""What holds for all tests.

One thread per test process: several of them share the cores, and threads that wait for each other waste them. Those of
the processes that tests start wait without spinning. No deadline for a generated example: on a busy machine it would
fail what is right. Ctrl-C is heard: a shell has what it starts in the background ignore it, and so would every process
that a test starts and interrupts. The folder of caches is one of their own, in which it is settled that this machine
computes in fp32, and in bf16 with PyTorch's convolutions: no test depends on a measurement or leaves one to the user.
"""

import atexit
import os
import shutil
import signal
import tempfile
from pathlib import Path

os.environ.setdefault("OMP_WAIT_POLICY", "passive")  # read once, when PyTorch is loaded

import torch
from hypothesis import settings

from natmu.engine.precision import described, processor_of
from natmu.records.precision import NEVER, PrecisionChoice, cache_folder, choice_file_name

torch.set_num_threads(1)
os.fsync = lambda _: (
    None
)  # a test does not lose its power, and waits for no disk; what is synced when has its own tests
settings.register_profile("natmu", deadline=None)
settings.load_profile("natmu")
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)


def settle_precision():
    """Make the folder of caches of this run and of all processes that it starts."""
    folder, owner = tempfile.mkdtemp(prefix="natmu-cache-"), os.getpid()
    os.environ["XDG_CACHE_HOME"] = folder
    atexit.register(lambda: os.getpid() == owner and shutil.rmtree(folder, ignore_errors=True))
    processor = processor_of(described())
    choice = PrecisionChoice(processor=processor, precision="fp32", speedup=1.0, products=NEVER)
    choice.write(Path(cache_folder()) / choice_file_name(processor))


if "PYTEST_XDIST_WORKER" not in os.environ:  # a worker has the folder of the process that started it
    settle_precision()
