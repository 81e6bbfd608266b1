"""Several processes of one run: one is killed or stopped, all end, and the restarted run ends with the bits of another.

Processes and signals are real; the hosts are this one.
"""

import signal
import subprocess
import sys
import time

import numpy as np
import pytest
from helpers import only_jax
from test_devices import environment, finish, free_address
from test_kill import ARGUMENTS, end, newest_step

from keras_sd.cli.console import PREEMPTED
from keras_sd.training import checkpoint

pytestmark = [only_jax, pytest.mark.large]


def start_alone(out, *arguments):
    code = "import keras_sd_command; keras_sd_command.main()"
    return subprocess.Popen(
        [sys.executable, "-c", code, *ARGUMENTS, out, *arguments],
        env=environment("jax"),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def start(out, count=2):
    """Start the processes; only the first one is told the folder."""
    together = ("--coordinator", free_address(), "--num-processes", str(count), "--process-id")
    return [start_alone("nowhere" if i else str(out), *together, str(i)) for i in range(count)]


def wait_for_step(out, step, processes):
    while newest_step(out) < step:
        assert all(process.poll() is None for process in processes), [p.communicate() for p in processes]
        time.sleep(0.002)


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory):
    out = tmp_path_factory.mktemp("undisturbed") / "run"
    finish(*start(out))
    return out


def test_processes_that_are_stopped_or_lost(tmp_path, undisturbed):
    out = tmp_path / "run"
    for step, index, number in ((1, 1, signal.SIGTERM), (40, 1, signal.SIGKILL), (70, 0, signal.SIGKILL)):
        processes = start(out)
        wait_for_step(out, step, processes)
        processes[index].send_signal(number)
        begin = time.monotonic()
        outputs = [process.communicate(timeout=60) for process in processes]
        assert time.monotonic() - begin < 60
        expected = [PREEMPTED, PREEMPTED]
        if number == signal.SIGKILL:
            expected[index] = -number
            assert f"process {index} is lost" in outputs[1 - index][1]
        assert [process.returncode for process in processes] == expected, outputs
        assert newest_step(out) < 120
    assert "test accuracy" in finish(*start(out))[0]
    assert end(out) == end(undisturbed)


def weights(out):
    return checkpoint.Checkpoints(out / "checkpoints").newest().arrays["model"]


@pytest.mark.parametrize("count", [1, 4])
def test_a_run_continues_with_another_number_of_processes(tmp_path, undisturbed, count):
    out = tmp_path / "run"
    processes = start(out)
    wait_for_step(out, 90, processes)
    processes[0].send_signal(signal.SIGTERM)
    for process in processes:
        process.communicate(timeout=60)
    finish(*([start_alone(str(out))] if count == 1 else start(out, count)))
    for array, expected in zip(weights(out), weights(undisturbed), strict=True):
        np.testing.assert_allclose(array, expected, rtol=1e-3, atol=1e-4)


def test_a_run_that_cannot_be_resumed_ends_all_processes(tmp_path):
    out = tmp_path / "run"
    out.mkdir()
    (out / "config.json").write_text("{")
    processes = start(out)
    outputs = [process.communicate(timeout=120) for process in processes]
    assert [process.returncode for process in processes] == [2, 2], outputs
    assert "config.json" in outputs[0][1]
