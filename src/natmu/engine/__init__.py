"""The one training loop, prediction, precision and device, checkpoints and run folders."""
