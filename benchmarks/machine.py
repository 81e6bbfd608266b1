"""The machine of a measurement, memory of its GPU, and how busy other processes kept it."""

import importlib
import os
import pathlib
import platform
import shutil
import subprocess
import time

# For each engine, given its module: whether it computes on a GPU, and the peak memory of its tensors there.
_GPU = {
    "tensorflow": (
        lambda tf: bool(tf.config.list_physical_devices("GPU")),
        lambda tf: tf.config.experimental.get_memory_info("GPU:0")["peak"],
    ),
    "jax": (
        lambda jax: jax.default_backend() == "gpu",
        lambda jax: jax.devices()[0].memory_stats()["peak_bytes_in_use"],
    ),
    "torch": (lambda torch: torch.cuda.is_available(), lambda torch: torch.cuda.max_memory_allocated()),
}


def describe():
    """Return what the numbers depend on: processor, usable cores, GPU, operating system."""
    return {
        "processor": _processor(),
        "cores": cores(),
        "gpu": gpu_text(),
        "system": platform.system(),
        "kind": platform.machine(),
    }


def cores():
    """Return the number of cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()


def _processor():
    info = pathlib.Path("/proc/cpuinfo")
    lines = info.read_text().splitlines() if info.exists() else []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor()


def gpu_text():
    """Return name, memory and driver of the GPUs, or `None` if `nvidia-smi` finds none."""
    if (program := shutil.which("nvidia-smi")) is None:
        return None
    query = [program, "--query-gpu=name,memory.total,driver_version", "--format=csv,noheader"]
    process = subprocess.run(query, capture_output=True, text=True)
    if process.returncode != 0:
        return None
    gpus = [line.rpartition(", ") for line in process.stdout.splitlines()]
    return "; ".join(dict.fromkeys(f"{name}, driver {driver}" for name, _, driver in gpus)) or None


def has_gpu(engine):
    """Return whether an engine ("tensorflow", "jax" or "torch") computes on a GPU."""
    return _GPU[engine][0](importlib.import_module(engine))


def gpu_peak_bytes(engine):
    """Return the peak memory of an engine's tensors on its first GPU so far, in bytes."""
    return _GPU[engine][1](importlib.import_module(engine))


class OthersShare:
    """Fraction of all cores that others used since creation, without this process and its ended children.

    Baselines that wait by spinning (OpenMP in PyTorch) become many times slower on a busy machine.
    """

    def __init__(self):
        self._start = self._read()

    def value(self):
        """Return a number from 0 to 1, or `None` if the system does not report it."""
        if self._start is None:
            return None
        wall, busy, own = (now - then for now, then in zip(self._read(), self._start))
        return min(1.0, max(0.0, (busy - own) / max(wall * os.cpu_count(), 1e-9)))

    @staticmethod
    def _read():
        """Return wall-clock, busy and own seconds so far."""
        stat = pathlib.Path("/proc/stat")
        if not stat.exists():
            return None
        user, nice, system, _, _, *interrupts = map(int, stat.read_text().split("\n", 1)[0].split()[1:9])
        busy = (user + nice + system + sum(interrupts)) / os.sysconf("SC_CLK_TCK")
        return time.monotonic(), busy, sum(os.times()[:4])
