"""One thread per test process: several of them share the cores, and threads that wait for each other waste them."""

import torch

torch.set_num_threads(1)
