"""The one training loop, prediction, precision and device, checkpoints and run folders."""

import numpy  # noqa: F401 - first, because Ctrl-C is lost while PyTorch imports it
