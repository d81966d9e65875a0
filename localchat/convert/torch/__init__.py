"""PyTorch's own files of weights, read without PyTorch."""
