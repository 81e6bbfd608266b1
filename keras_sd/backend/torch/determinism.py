"""Deterministic operations."""

import os

import torch


def enable_determinism() -> None:
    """Use only deterministic operations for the rest of the process; PyTorch raises an error for others."""
    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")  # cuBLAS needs it before it starts
    torch.use_deterministic_algorithms(True)
