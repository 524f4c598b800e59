"""Which samples a request names: lists and tables of samples, lookup by name, position and class; no PyTorch."""
