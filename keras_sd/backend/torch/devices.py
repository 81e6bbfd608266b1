"""Devices on PyTorch: one GPU, or the CPU."""

import contextlib
from typing import Any

import keras
import torch

from keras_sd.utils.checks import refusal

LITTLE_WORK = 0  # of which one thread an operation would be faster: none

connect = None  # several processes: Keras on PyTorch has no trainer for them

_ALLOWED = "one device on the backend 'torch' (several train with KERAS_BACKEND=tensorflow or jax)"


def accelerators() -> list[str]:
    """Names of the GPUs."""
    return [f"gpu:{i}" for i in range(torch.cuda.device_count())]


def split_cpu(count: int) -> None:
    """Refuse to split the CPU: PyTorch has it as one device."""
    if count != 1:
        raise refusal("devices", _ALLOWED, f"cpu:{count}")


def limit_threads(count: int) -> None:
    """Let each operation use at most this many threads of the CPU."""
    torch.set_num_threads(count)


def cpus() -> list[str]:
    """Names of the devices of the CPU."""
    return ["cpu:0"]


def scope(names: list[str]) -> contextlib.AbstractContextManager:
    """The context in which a model that is made and trained uses the device."""
    if len(names) > 1:
        raise refusal("devices", _ALLOWED, ",".join(names))
    return keras.device(names[0])


def place(batches: Any, replicas: int, can_split: bool) -> Any:
    """Batches as the trainer is to be given them: as they are."""
    return batches
