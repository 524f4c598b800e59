"""What holds for all tests.

One thread per test process: several of them share the cores, and threads that wait for each other waste them. No
deadline for a generated example: on a busy machine it would fail what is right.
"""

import torch
from hypothesis import settings

torch.set_num_threads(1)
settings.register_profile("natmu", deadline=None)
settings.load_profile("natmu")
