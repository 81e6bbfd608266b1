"""The processor of this machine."""

import os
import platform
from pathlib import Path


def cores() -> int:
    """Return the number of cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def processor() -> str:
    """Return the processor's name if Linux provides it, otherwise its architecture."""
    return _cpuinfo("model name") or platform.machine()


def has_amx() -> bool | None:
    """Return whether the CPU has matrix units for bfloat16 (Intel AMX); `None` if Linux does not list its features."""
    features = _cpuinfo("flags")
    return None if features is None else "amx_bf16" in features.split()


def _cpuinfo(name):
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return None
    values = [value.strip() for key, _, value in (line.partition(":") for line in lines) if key.strip() == name]
    return values[0] if values else None
