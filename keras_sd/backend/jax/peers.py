"""The other processes of a run: how they find each other, and the reports of their ends."""

import contextlib
import selectors
import socket
import time
from collections.abc import Iterator

from keras_sd.utils.checks import refusal, shown

_GREETING, _REFUSAL = "keras-sd", "refused: "
# A host that has lost power or network does not close its connections: ask after 10 s of silence, give up 30 s later.
_KEEP_ALIVE = {"SO_KEEPALIVE": 1, "TCP_KEEPIDLE": 10, "TCP_KEEPINTVL": 10, "TCP_KEEPCNT": 3}


class Peers:
    """Connections between process 0 and each other process, on which a process reports its exit code.

    Args:
        connections: Dictionary of sockets by process index: to all others in process 0, to process 0 in the others.
    """

    def __init__(self, connections: dict[int, socket.socket]) -> None:
        self._connections = connections
        for connection in connections.values():
            connection.settimeout(None)
            for name, value in _KEEP_ALIVE.items():
                if hasattr(socket, name):  # not all systems have all of them
                    level = socket.SOL_SOCKET if name.startswith("SO_") else socket.IPPROTO_TCP
                    connection.setsockopt(level, getattr(socket, name), value)

    def report(self, code: int) -> None:
        """Report to the connected processes that this one ends with an exit code."""
        for connection in self._connections.values():
            with contextlib.suppress(OSError):  # that process has ended
                connection.sendall(bytes([code]))

    def leave(self, seconds: int) -> None:
        """End the connections; process 0 then waits, for some seconds at most, until the others have ended theirs."""
        end = time.monotonic() + seconds
        for connection in self._connections.values():
            with contextlib.suppress(OSError):  # that process has ended
                connection.shutdown(socket.SHUT_WR)
        if 0 in self._connections:
            return
        for connection in self._connections.values():
            with contextlib.suppress(OSError):  # that process has ended, or does not end in time
                connection.settimeout(max(0.01, end - time.monotonic()))
                while connection.recv(64):
                    pass

    def reports(self) -> Iterator[tuple[int, int | None]]:
        """Yield index and exit code of each connected process when it ends.

        If a process is lost, or gone after it has reported a failure, the code is `None`.
        """
        with selectors.DefaultSelector() as selector:
            for index, connection in self._connections.items():
                selector.register(connection, selectors.EVENT_READ, index)
            while selector.get_map():
                for key, _ in selector.select():
                    code = _code(self._connections[key.data])
                    if not code:
                        selector.unregister(key.fileobj)
                    yield key.data, code


def _code(connection):
    """Return the exit code that a process reported; `None` if it ended without a report."""
    try:
        report = connection.recv(1)
    except OSError:
        return None
    return report[0] if report else None


def meet(coordinator: str, count: int, index: int, timeout: int) -> Peers:
    """Connect this process to process 0, or process 0 to all others.

    Args:
        coordinator: "HOST:PORT", the address at which process 0 listens until all have connected.
        count: Integer, number of processes.
        index: Integer, index of this process.
        timeout: Integer, seconds to wait for the others.

    Raises:
        ConnectionError: If the others cannot be reached in time.
    """
    end = time.monotonic() + timeout
    return Peers({0: _join(coordinator, count, index, end)} if index else _gather(coordinator, count, end))


def _gather(coordinator, count, end):
    """Process 0: wait until all others have reported, then let them continue; return the connections by index."""
    _, port = _address(coordinator)
    indices = {(str(i), str(count)): i for i in range(1, count)}
    waiting = {}
    try:
        with contextlib.ExitStack() as opened, socket.create_server(("", port)) as server:
            while len(waiting) < count - 1:
                server.settimeout(max(0.01, end - time.monotonic()))
                connection = opened.enter_context(server.accept()[0])
                hello = _heard(connection)
                if len(hello) != 3 or hello[0] != _GREETING:
                    continue
                index = indices.get((hello[1], hello[2]))
                if index is None or index in waiting:
                    reason = f"process {hello[1]} of {hello[2]} is of another run, or a duplicate"
                    connection.sendall(f"{_REFUSAL}{reason}".encode())
                    continue
                waiting[index] = connection
            for connection in waiting.values():
                connection.sendall(_GREETING.encode())
            opened.pop_all()
    except OSError as error:
        missing = ", ".join(str(i) for i in range(1, count) if i not in waiting)
        allowed = f"an address that all {count} processes reach in time; {missing} did not connect ({error})"
        raise refusal("coordinator", allowed, coordinator, ConnectionError) from error
    return waiting


def _heard(connection):
    """Return the words that a connected process sends; an empty list if it sends nothing in time."""
    connection.settimeout(5)
    try:
        return connection.recv(64).decode(errors="replace").split()
    except OSError:
        return []


def _join(coordinator, count, index, end):
    """Other processes: report to process 0, and wait until it lets them continue; return the connection."""
    while True:
        left = max(0.01, end - time.monotonic())
        try:
            with contextlib.ExitStack() as opened:
                connection = opened.enter_context(socket.create_connection(_address(coordinator), timeout=left))
                connection.sendall(f"{_GREETING} {index} {count}".encode())
                answer = connection.recv(256).decode(errors="replace")
                if answer.startswith(_GREETING):
                    opened.pop_all()
                    return connection
                if not answer.startswith(_REFUSAL):  # the process 0 of an ended run may still be there for seconds
                    raise ConnectionError(f"it answered {shown(answer)}")
        except OSError as error:
            if time.monotonic() >= end:
                allowed = f"the address of process 0, which must be running; it was not reached in time ({error})"
                raise refusal("coordinator", allowed, coordinator, ConnectionError) from error
            time.sleep(0.2)
            continue
        allowed = f"that of a process 0 that accepts this process; it answered: {answer.removeprefix(_REFUSAL)}"
        raise refusal("coordinator", allowed, coordinator, ConnectionError)


def _address(coordinator):
    host, _, port = coordinator.rpartition(":")
    return host.strip("[]"), int(port)
