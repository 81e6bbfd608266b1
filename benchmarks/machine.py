"""The machine of a measurement, and how busy other processes kept it."""

import os
import pathlib
import platform
import time


def describe():
    """Return what the numbers depend on: processor, usable cores, operating system."""
    return {
        "processor": _processor(),
        "cores": cores(),
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
