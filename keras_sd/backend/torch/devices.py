"""Devices on PyTorch: one GPU, or the CPU."""

import contextlib
from typing import Any

import keras
import torch

from keras_sd.backend.one_process import any_process, from_first  # noqa: F401, as in all engines' modules
from keras_sd.utils.checks import refusal

LITTLE_WORK = 0  # size below which one thread per operation is faster: never

connect = None  # Keras on PyTorch has no trainer for several processes

_ALLOWED = "one device on the backend 'torch' (several train with KERAS_BACKEND=tensorflow or jax)"


def accelerators() -> list[str]:
    """Return the names of the GPUs."""
    return [f"gpu:{i}" for i in range(torch.cuda.device_count())]


def split_cpu(count: int) -> None:
    """Raise an error if the CPU is to be split: on PyTorch it is one device."""
    if count != 1:
        raise refusal("devices", _ALLOWED, f"cpu:{count}")


def limit_threads(count: int) -> None:
    """Let each operation use at most this many threads of the CPU."""
    torch.set_num_threads(count)


def cpus() -> list[str]:
    """Return the names of the CPU devices."""
    return ["cpu:0"]


def scope(names: list[str]) -> contextlib.AbstractContextManager:
    """Return the context in which models are built and trained on the device."""
    if len(names) > 1:
        raise refusal("devices", _ALLOWED, ",".join(names))
    return keras.device(names[0])


def place(batches: Any, replicas: int, can_split: bool) -> Any:
    """Return the batches unchanged."""
    return batches
