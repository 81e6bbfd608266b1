"""Processes find each other, and learn how the others end. Here they are threads."""

import concurrent.futures
import socket
import threading

import pytest
from helpers import ENGINE, only_jax
from test_devices import free_address

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


def test_a_process_of_another_run_is_refused():
    address = free_address()
    with concurrent.futures.ThreadPoolExecutor(2) as pool:
        first = pool.submit(meet, address, 2, 0, 3)
        with pytest.raises(ConnectionError, match="process 1 of 5 is of another run, or a duplicate"):
            meet(address, 5, 1, 3)
        with pytest.raises(ConnectionError, match="1 did not connect"):
            first.result()
