"""Operations that give the same bits in every run."""

import os

import torch


def enable_determinism() -> None:
    """Use only deterministic operations for the rest of the process; PyTorch refuses those that have no such form."""
    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")  # cuBLAS asks for it, before it starts
    torch.use_deterministic_algorithms(True)
