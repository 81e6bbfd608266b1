"""Processes find each other, and learn how the others end. Here they are threads."""

import concurrent.futures
import socket
import threading
import time
import types

import pytest
from helpers import ENGINE, only_jax
from test_devices import free_address

from keras_sd.cli import together

if ENGINE == "jax":
    from keras_sd.backend.jax.peers import meet

pytestmark = only_jax


def close(peers):
    for connection in peers._connections.values():
        connection.close()


@pytest.fixture
def three():
    """The `Peers` of three processes."""
    address = free_address()
    with concurrent.futures.ThreadPoolExecutor(3) as pool:
        peers = list(pool.map(lambda index: meet(address, 3, index, 20), range(3)))
    yield peers
    for one in peers:
        close(one)


def test_an_exit_code_is_reported_and_a_lost_process_is_noticed(three):
    three[1].report(3)
    reports = three[0].reports()
    assert next(reports) == (1, 3)
    close(three[1])
    assert next(reports) == (1, None)
    close(three[2])
    assert list(reports) == [(2, None)]


def test_a_process_that_has_finished_is_not_lost(three):
    three[0].report(0)
    close(three[0])
    assert list(three[2].reports()) == [(0, 0)]


def test_process_0_leaves_last(three):
    three[1].leave(20)  # at once
    with concurrent.futures.ThreadPoolExecutor(1) as pool:
        left = pool.submit(three[0].leave, 20)
        assert list(three[2].reports()) == [(0, None)]
        assert not left.done()
        three[2].leave(20)
        close(three[2])
        left.result(timeout=10)


def test_process_0_does_not_wait_for_a_process_that_does_not_end(three):
    three[0].leave(1)


def test_an_old_process_0_is_waited_for():
    """What still listens at the address is not a process 0 that gathers others: the next one is."""
    address = free_address()
    port = int(address.rpartition(":")[2])

    def answer_once():
        with server, server.accept()[0] as connection:
            connection.recv(64)
            connection.sendall(b"\x00\x00\x12\x04")

    server = socket.create_server(("", port))
    old = threading.Thread(target=answer_once)
    old.start()
    with concurrent.futures.ThreadPoolExecutor(2) as pool:
        second = pool.submit(meet, address, 2, 1, 20)
        old.join()
        first = pool.submit(meet, address, 2, 0, 20)
        peers = [first.result(), second.result()]
    for one in peers:
        close(one)


@pytest.mark.parametrize(("index", "count"), [(1, 5), (2, 2), ("x", 2)])
def test_a_process_of_another_run_is_refused(index, count):
    address = free_address()
    with concurrent.futures.ThreadPoolExecutor(2) as pool:
        first = pool.submit(meet, address, 2, 0, 3)
        with pytest.raises(ConnectionError, match=f"process {index} of {count} is of another run, or a duplicate"):
            meet(address, count, index, 3)
        with pytest.raises(ConnectionError, match="1 did not connect"):
            first.result()


def test_reports_of_a_failure_are_answered_once(monkeypatch):
    """Otherwise two processes would answer each other without end, each time with a new thread."""
    sent, codes, over = [], [], threading.Event()

    class TwoFailed:
        def reports(self):
            yield from [(1, 2), (2, 3), (1, 2)]
            over.set()

        def report(self, code):
            sent.append(code)

        def leave(self, seconds):
            pass

    monkeypatch.setattr(together, "_GRACE", 0)
    monkeypatch.setattr(together, "os", types.SimpleNamespace(_exit=codes.append))
    with together.ending_together(TwoFailed(), []):
        assert over.wait(10)
        while not codes:
            time.sleep(0.01)
    assert sent == [2, 0]
    assert codes == [2]
