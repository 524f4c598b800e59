"""What holds for all tests.

One thread per test process: several of them share the cores, and threads that wait for each other waste them. Those of
the processes that tests start wait without spinning. No deadline for a generated example: on a busy machine it would
fail what is right. Ctrl-C is heard: a shell has what it starts in the background ignore it, and so would every process
that a test starts and interrupts.
"""

import os
import signal

os.environ.setdefault("OMP_WAIT_POLICY", "passive")  # read once, when PyTorch is loaded

import torch
from hypothesis import settings

torch.set_num_threads(1)
os.fsync = lambda _: (
    None
)  # a test does not lose its power, and waits for no disk; what is synced when has its own tests
settings.register_profile("natmu", deadline=None)
settings.load_profile("natmu")
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)
