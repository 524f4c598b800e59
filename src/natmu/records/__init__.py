"""Every file that we write, as one typed value with one reader and one writer; nothing here loads PyTorch."""
