"""Chief and workers: KerasTuner's protocol, with errors instead of endless waiting."""

import contextlib
import os
import signal
import socket
import threading
import time
import uuid
from collections.abc import Callable, Iterator
from concurrent import futures

import grpc
from keras_tuner.src import protos
from keras_tuner.src.distribute import oracle_chief, oracle_client

from keras_sd.tuning.search import Search
from keras_sd.utils.checks import refusal

_ASK_SECONDS = 5.0
_VARIABLES = ("KERASTUNER_TUNER_ID", "KERASTUNER_ORACLE_IP", "KERASTUNER_ORACLE_PORT")


def parse_address(text: str) -> tuple[str, int]:
    """Return host and port of a text `HOST:PORT`.

    Raises:
        ValueError: If the text does not have this form.
    """
    host, _, port = str(text).rpartition(":")
    if not host or not port.isdecimal() or not 0 < int(port) < 2**16:
        raise refusal("address", "HOST:PORT, such as 127.0.0.1:8000", text)
    return host, int(port)


@contextlib.contextmanager
def part_of(role: str, address: tuple[str, int]) -> Iterator[str]:
    """Make each `Search` in a `with` block a chief or a worker, by the environment variables that KerasTuner reads.

    Args:
        role: "chief" or "worker".
        address: Pair of the chief's host and port.
    """
    before = {name: os.environ.get(name) for name in _VARIABLES}
    name = "chief" if role == "chief" else f"worker-{uuid.uuid4().hex[:8]}"
    os.environ.update(zip(_VARIABLES, (name, address[0], str(address[1]))))
    try:
        yield name
    finally:
        for variable, value in before.items():
            if value is None:
                del os.environ[variable]
            else:
                os.environ[variable] = value


def free_port(host: str = "127.0.0.1") -> int:
    """Return a port that is currently unused."""
    with socket.socket() as probe:
        probe.bind((host, 0))
        return probe.getsockname()[1]


def check_port(address: tuple[str, int]) -> None:
    """Check that a chief can listen on an address. gRPC itself would share the port of another chief.

    Raises:
        ValueError: If it cannot.
    """
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(address)
        except OSError as error:
            allowed = f"one where a chief can listen ({error.strerror})"
            raise refusal("address", allowed, f"{address[0]}:{address[1]}") from error


def wait_for_chief(address: tuple[str, int], seconds: float = 60.0) -> None:
    """Wait until a chief answers, and limit the time of all later requests to it.

    Args:
        address: Pair of host and port.
        seconds: Float, time limit.

    Raises:
        ValueError: If no chief answers in time.
    """
    with grpc.insecure_channel(f"{address[0]}:{address[1]}") as channel:
        try:
            grpc.channel_ready_future(channel).result(seconds)
        except grpc.FutureTimeoutError:
            allowed = f"that of a chief; none answered within {seconds:g} seconds"
            raise refusal("address", allowed, f"{address[0]}:{address[1]}") from None
    oracle_client.TIMEOUT = seconds  # an hour per request in KerasTuner


@contextlib.contextmanager
def watched(address: tuple[str, int], seconds: float = 30.0) -> Iterator[None]:
    """Interrupt a `with` block once the chief's machine has refused connections for some time.

    A request to a killed chief waits for its time limit, and a worker in training sends no requests for hours.

    Args:
        address: Pair of the chief's host and port.
        seconds: Float, time without a connection.

    Raises:
        RuntimeError: If the chief does not answer.
    """
    over, is_gone = threading.Event(), []

    def watch():
        seen = time.monotonic()
        while not over.wait(min(_ASK_SECONDS, seconds / 4)):
            with contextlib.suppress(OSError):
                socket.create_connection(address, timeout=_ASK_SECONDS).close()
                seen = time.monotonic()
            if time.monotonic() - seen > seconds and not over.is_set():
                is_gone.append(True)
                signal.pthread_kill(threading.main_thread().ident, signal.SIGINT)  # interrupts any wait
                return

    # SIGINT is ignored in commands that a shell starts in the background.
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    threading.Thread(target=watch, daemon=True).start()
    try:
        yield
    except KeyboardInterrupt:
        if not is_gone:
            raise
        raise RuntimeError(f"the chief at {address[0]}:{address[1]} does not answer") from None
    finally:
        over.set()
        signal.signal(signal.SIGINT, before)


def serve(search: Search, address: tuple[str, int], is_over: Callable[[], bool] = lambda: False) -> None:
    """Assign trials as the chief until none are left and all workers know it.

    KerasTuner's own loop checks every 20 seconds, and does not end if a worker has died.

    Args:
        search: The chief's `Search`.
        address: Pair of host and port to listen on.
        is_over: Function that returns whether there are no more workers to wait for.

    Raises:
        RuntimeError: If too many trials failed, or all workers ended before the search.
    """
    check_port(address)
    oracle = search.oracle
    search.save()
    servicer = oracle_chief.OracleServicer(oracle)
    server = grpc.server(futures.ThreadPoolExecutor(max_workers=1), options=[("grpc.so_reuseport", 0)])
    protos.get_service_grpc().add_OracleServicer_to_server(servicer, server)
    server.add_insecure_port(f"{address[0]}:{address[1]}")
    server.start()
    try:
        ended = None
        while True:
            time.sleep(0.2)
            if oracle.failure:
                raise RuntimeError(oracle.failure)
            if servicer.stop_triggered and not oracle.ongoing_trials:
                ended = ended or time.monotonic()
                # Idle workers ask twice a second; a worker that does not ask has ended.
                if not oracle.tuner_ids or is_over() or time.monotonic() - ended > oracle.lease:
                    return
            elif is_over():
                raise RuntimeError("all workers have ended before the search; it can be resumed")
    finally:
        server.stop(1).wait()
        search.save()
