"""The machine that the numbers belong to, and how busy others kept it meanwhile."""

import os
import pathlib
import platform
import time


def describe():
    """What the numbers depend on: processor, cores that may be used, operating system."""
    return {
        "processor": _processor(),
        "cores": cores(),
        "system": platform.system(),
        "kind": platform.machine(),
    }


def cores():
    """Number of cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()


def _processor():
    info = pathlib.Path("/proc/cpuinfo")
    lines = info.read_text().splitlines() if info.exists() else []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor()


class OthersShare:
    """What share of all cores others used since the object was made: not this process, nor its ended children.

    Peers that wait by spinning (OpenMP in PyTorch) become many times slower on a machine with other work.
    """

    def __init__(self):
        self._start = self._read()

    def value(self):
        """A number from 0 to 1, or `None` where the system does not tell."""
        if self._start is None:
            return None
        wall, busy, own = (now - then for now, then in zip(self._read(), self._start))
        return min(1.0, max(0.0, (busy - own) / max(wall * os.cpu_count(), 1e-9)))

    @staticmethod
    def _read():
        """Wall-clock, busy and own seconds so far."""
        stat = pathlib.Path("/proc/stat")
        if not stat.exists():
            return None
        user, nice, system, _, _, *interrupts = map(int, stat.read_text().split("\n", 1)[0].split()[1:9])
        busy = (user + nice + system + sum(interrupts)) / os.sysconf("SC_CLK_TCK")
        return time.monotonic(), busy, sum(os.times()[:4])
