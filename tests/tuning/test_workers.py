"""Chief and workers on one machine: a worker that is killed, and what goes wrong before anything begins."""

import collections
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest
from fake_search import TRIALS, FakeSearch, lines

from keras_sd.tuning import workers


@pytest.fixture
def address():
    return "127.0.0.1", workers.free_port()


@pytest.mark.slow
def test_the_trial_of_a_killed_worker_is_run_by_the_other(tmp_path, address):
    folder = tmp_path / "search"
    command = [sys.executable, Path(__file__).parent / "fake_search.py", "worker", str(address[1]), folder, "0.3"]
    processes = [subprocess.Popen(command) for _ in range(2)]
    killed = []

    def kill_one():
        """Kills the worker that began the latest trial, once both have had some; says whether both are gone."""
        begun = lines(folder / "begun.txt")
        if not killed and len({pid for pid, _ in begun}) == 2 and len(begun) == len(lines(folder / "trained.txt")) + 2:
            killed.append(begun[-1])
            next(process for process in processes if process.pid == begun[-1][0]).kill()
        return all(process.poll() is not None for process in processes)

    try:
        with workers.part_of("chief", address):
            chief = FakeSearch(folder, "random", lease=2.0)
            workers.serve(chief, address, kill_one)
    finally:
        for process in processes:
            process.kill()
            process.wait()
    ((pid, trial_id),) = killed
    trained = collections.defaultdict(list)
    for worker, number, _ in lines(folder / "trained.txt"):
        trained[number].append(worker)
    assert sorted(trained) == sorted(chief.oracle.trials) == sorted(chief.oracle.end_order)
    assert len(trained) == TRIALS
    assert all(len(pids) == 1 for pids in trained.values())
    assert pid not in trained[trial_id]
    assert all(trial.status == "COMPLETED" for trial in chief.oracle.trials.values())


def test_a_port_in_use_is_an_error_before_anything_is_served(tmp_path, address):
    with socket.socket() as other, workers.part_of("chief", address):
        other.bind(address)
        other.listen()
        with pytest.raises(
            ValueError, match=f"one where a chief can listen .*Received: address='127.0.0.1:{address[1]}'"
        ):
            workers.serve(FakeSearch(tmp_path, "random", lease=2.0), address)


def test_a_chief_that_is_not_there_is_an_error_after_the_time_given(address, monkeypatch):
    monkeypatch.setattr(workers.oracle_client, "TIMEOUT", 60)
    start = time.perf_counter()
    with pytest.raises(ValueError, match=f"none answered within 0.3 seconds.*'127.0.0.1:{address[1]}'"):
        workers.wait_for_chief(address, 0.3)
    assert time.perf_counter() - start < 10


def test_a_search_whose_workers_are_all_gone_ends(tmp_path, address):
    with workers.part_of("chief", address), pytest.raises(RuntimeError, match="all workers have ended before"):
        workers.serve(FakeSearch(tmp_path, "random", lease=2.0), address, lambda: True)


@pytest.mark.parametrize("text", ["8000", "host", "host:", "host:0", "host:70000", ":8000", "host:port"])
def test_an_address_must_be_host_and_port(text):
    with pytest.raises(ValueError, match="`address` must be HOST:PORT"):
        workers.parse_address(text)


def test_the_environment_is_as_it_was_afterwards(address, monkeypatch):
    monkeypatch.setenv("KERASTUNER_TUNER_ID", "mine")
    with workers.part_of("worker", address) as name:
        assert name.startswith("worker-")
        assert workers.os.environ["KERASTUNER_TUNER_ID"] == name
    assert workers.os.environ["KERASTUNER_TUNER_ID"] == "mine"
    assert "KERASTUNER_ORACLE_IP" not in workers.os.environ


def test_a_worker_ends_when_its_chief_is_gone(address):
    """Whatever it does, and though the shell that began it ignores Ctrl-C for it."""
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    start = time.perf_counter()
    try:
        with (
            pytest.raises(RuntimeError, match=r"the chief at 127\.0\.0\.1:\d+ does not answer"),
            workers.watched(address, 0.4),
        ):
            time.sleep(20)
        assert signal.getsignal(signal.SIGINT) is signal.SIG_IGN
    finally:
        signal.signal(signal.SIGINT, before)
    assert time.perf_counter() - start < 10


def test_a_chief_that_listens_is_there_though_it_answers_nothing(address):
    with socket.socket() as chief:
        chief.bind(address)
        chief.listen()
        with workers.watched(address, 0.4):
            time.sleep(1)
