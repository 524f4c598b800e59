"""Largest numbers that are taken from users where they reach code that is not Python's."""

from __future__ import annotations

LARGEST_SEED = 2**63 - 1
"""What every generator of random numbers takes."""

LARGEST_COUNT = 2**31 - 1
"""Of samples, steps and the like: what a C ``int`` holds."""

MOST_THREADS = 1024
"""Threads of a process; PyTorch ends in a segmentation fault where there are far more than the machine can have."""
