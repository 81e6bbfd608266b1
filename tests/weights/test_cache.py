"""The cache: what is in it is the published file, and every fault leaves it as it was."""

import dataclasses
import errno
import hashlib
import multiprocessing
import os
import socket
import tempfile
from pathlib import Path

import pytest

from keras_sd.weights import cache, download
from keras_sd.weights.errors import WeightsError
from keras_sd.weights.remote_file import RemoteFile


@pytest.fixture(autouse=True)
def keras_state():
    """Nothing here touches Keras, so there is no state to restore."""


def files(home):
    return sorted(path.name for path in home.rglob("*") if path.is_file() and path.suffix != ".lock")


def refused(file, *parts):
    """Fetching fails, with a message that says all that a user needs to put the file there by hand."""
    with pytest.raises(WeightsError) as error:
        cache.fetch(file)
    for part in (file.url, file.sha256 or file.md5 or "", str(cache.cached_path(file)), *parts):
        assert part in str(error.value)


def test_fetch_and_find_again(server, file, home):
    path = cache.fetch(file)
    assert path == home / "weights" / "file.th"
    assert path.read_bytes() == server.content
    assert cache.fetch(file) == path
    assert len(server.requests) == 1
    assert files(home) == ["file.th"]
    assert cache.verify(file) == f"sha256 {file.sha256}"


def test_home_defaults_to_the_directory_of_keras(monkeypatch):
    monkeypatch.delenv("KERAS_SD_HOME", raising=False)
    assert cache.directory() == Path.home() / ".keras" / "keras_sd" / "weights"


def test_md5_and_published_start_of_a_sha256(server, file, home):
    cache.fetch(dataclasses.replace(file, sha256=file.sha256[:8]))
    md5 = hashlib.md5(server.content).hexdigest()
    assert cache.verify(dataclasses.replace(file, sha256=None, md5=md5)) == f"md5 {md5}"
    with pytest.raises(WeightsError, match="expected 00000000"):
        cache.verify(dataclasses.replace(file, sha256="00000000"))


@pytest.mark.parametrize("manner", ["flip", "web page", 404, 403, 500])
def test_a_wrong_answer_is_not_kept(server, file, home, manner):
    server.behave = [manner]
    found = {"flip": "not the published file", "web page": "web page"}.get(manner, str(manner))
    refused(file, found)
    assert files(home) == []
    assert len(server.requests) == (download.ATTEMPTS if manner == 500 else 1)


def test_a_damaged_file_in_the_cache_is_replaced_only_by_a_good_one(server, file, home):
    path = cache.fetch(file)
    damaged = bytearray(server.content)
    damaged[1_000_000] ^= 1
    for content in (bytes(damaged), server.content[:-1], b""):
        path.write_bytes(content)
        server.behave = ["flip"]
        refused(file, "not the published file")
        assert path.read_bytes() == content  # unchanged, and not used
        server.behave = ["well"]
        assert cache.fetch(file).read_bytes() == server.content


def test_resumes_where_the_server_stopped(server, file, home):
    server.behave = ["stop half way", "stop half way", "well"]
    assert cache.fetch(file).read_bytes() == server.content
    starts = [int(wanted[len("bytes=") : -1]) for _, _, wanted in server.requests[1:]]
    sent = len(server.content) // 2, 3 * len(server.content) // 4
    assert len(starts) == 2
    assert all(0 <= end - start <= 2 * download._CHUNK for start, end in zip(starts, sent))
    assert files(home) == ["file.th"]


def test_resumes_in_a_later_call(server, file, home, monkeypatch):
    monkeypatch.setattr(download, "ATTEMPTS", 1)
    server.behave = ["stop half way"]
    refused(file, "1 attempts")
    assert files(home) == ["file.th.part"]
    server.behave = ["well"]
    assert cache.fetch(file).read_bytes() == server.content
    assert server.requests[-1][2].startswith("bytes=14")


def test_a_server_that_ignores_the_range(server, file, home):
    server.behave = ["stop half way", "ignore range"]
    assert cache.fetch(file).read_bytes() == server.content


@pytest.mark.parametrize("left", ["of another file", "longer than the file", "whole"])
def test_what_an_earlier_call_left(server, file, home, left):
    partial = cache.cached_path(file).with_name("file.th.part")
    partial.parent.mkdir(parents=True)
    contents = {"of another file": b"x" * 1000, "longer than the file": server.content + b"x", "whole": server.content}
    partial.write_bytes(contents[left])
    assert cache.fetch(file).read_bytes() == server.content
    assert files(home) == ["file.th"]


ODD = ("redirect to a file", "redirect loop", "redirect nowhere", "broken gzip", 416, "endless")


@pytest.mark.parametrize("manner", ODD)
def test_an_odd_answer_leaves_what_was_there(server, file, home, manner):
    file = dataclasses.replace(file, size=len(server.content))
    path = cache.cached_path(file)
    path.parent.mkdir(parents=True)
    path.write_bytes(b"an older file")
    server.behave = [manner]
    refused(file)
    with pytest.raises(WeightsError) as error:
        cache.fetch(file)
    assert "None" not in str(error.value)
    assert "\n" not in str(error.value)
    assert len(str(error.value)) < 1500
    assert path.read_bytes() == b"an older file"
    part = path.with_name("file.th.part")
    part.write_bytes(server.content[:1000])
    refused(file)
    if manner in ODD[:4]:
        assert part.read_bytes() == server.content[:1000]
    server.behave = ["well"]
    assert cache.fetch(file).read_bytes() == server.content


@pytest.mark.parametrize("manners", [["odd length"], ["long length"], ["stop half way", "odd range", "well"]])
def test_odd_headers_of_a_whole_file(server, file, home, manners):
    server.behave = manners
    assert cache.fetch(file).read_bytes() == server.content


def test_the_second_half_of_another_file(server, file, home):
    """What was put together from two files is fetched once again, whole."""
    server.behave = ["stop half way", "another file", "well"]
    assert cache.fetch(file).read_bytes() == server.content
    assert [bool(wanted) for _, _, wanted in server.requests] == [False, True, False]


def test_redirect(server, file, home):
    server.behave = ["redirect"]
    assert cache.fetch(file).read_bytes() == server.content
    assert [path for _, path, _ in server.requests] == ["/file.th", "/elsewhere"]


def test_a_busy_server_is_asked_again(server, file, home):
    server.behave = [503, 429, "well"]
    assert cache.fetch(file).read_bytes() == server.content


def test_no_network(file, home, monkeypatch):
    monkeypatch.setattr(download, "BACKOFF", 0.0)
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        port = listener.getsockname()[1]
    refused(dataclasses.replace(file, url=f"http://127.0.0.1:{port}/file.th"), "4 attempts")
    assert files(home) == []


def test_offline(server, file, home, monkeypatch):
    monkeypatch.setenv("KERAS_SD_OFFLINE", "1")
    refused(file, "KERAS_SD_OFFLINE")
    assert server.requests == []
    path = cache.cached_path(file)
    path.parent.mkdir(parents=True)
    path.write_bytes(server.content[:-1])
    refused(file, "KERAS_SD_OFFLINE")
    path.write_bytes(server.content)  # put there by hand
    assert cache.fetch(file) == path


def test_the_hub_states_the_hash(server, home):
    file = RemoteFile(server.url)
    refused(file, "states no SHA-256")
    server.stated = "0" * 64
    refused(file, "not the published file")
    assert not any(name.startswith("file.th") and name.endswith("th") for name in files(home))
    server.stated = hashlib.sha256(server.content).hexdigest()
    path = cache.fetch(file)
    assert cache.verify(file) == f"sha256 {server.stated}"
    path.with_name("file.th.sha256").write_text("")  # no hash is no proof
    with pytest.raises(WeightsError, match="no hash is known"):
        cache.verify(file)


def test_full_disk(server, file, home):
    partial = cache.cached_path(file).with_name("file.th.part")
    partial.parent.mkdir(parents=True)
    partial.symlink_to("/dev/full")  # every write fails, as on a full disk
    refused(file, os.strerror(errno.ENOSPC))
    assert files(home) == []
    assert not partial.is_symlink()


def test_a_disk_too_small_is_seen_before_anything_is_written(server, file, home, monkeypatch):
    usage = type("Usage", (), {"free": 1000})
    monkeypatch.setattr(download.shutil, "disk_usage", lambda _: usage)
    refused(file, "3000000 bytes are needed and 1000 are free")
    assert files(home) == []


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() != 0, reason="needs to become another user")
def test_read_only_cache(server, file, monkeypatch):
    with tempfile.TemporaryDirectory() as directory:
        os.chmod(directory, 0o755)
        monkeypatch.setenv("KERAS_SD_HOME", directory)
        os.seteuid(65534)
        try:
            refused(file, "Permission denied")
            assert os.listdir(directory) == []
            os.seteuid(0)
            cache.fetch(file)
            os.seteuid(65534)
            assert cache.fetch(file).read_bytes() == server.content  # it serves what it holds
        finally:
            os.seteuid(0)


def test_a_home_that_is_a_file(server, file, home):
    home.write_text("")
    refused(file, "Not a directory")


def fetch_and_report(file, home, barrier, queue):
    os.environ["KERAS_SD_HOME"] = str(home)
    barrier.wait()
    queue.put(cache.fetch(file).stat().st_size)


def test_several_processes_fetch_once(server, file, home):
    server.behave = ["stop half way", "well"]
    context = multiprocessing.get_context("fork")
    barrier, queue = context.Barrier(3), context.Queue()
    processes = [context.Process(target=fetch_and_report, args=(file, home, barrier, queue)) for _ in range(3)]
    for process in processes:
        process.start()
    sizes = [queue.get(timeout=60) for _ in processes]
    for process in processes:
        process.join()
    assert sizes == [len(server.content)] * 3
    assert len(server.requests) == 2  # one process asked, and resumed once
    assert files(home) == ["file.th"]


def test_clear(server, file, home):
    path = cache.fetch(file)
    mine = path.with_name("mine.h5")
    mine.write_text("")
    assert cache.clear([file]) == [path]
    assert files(home) == ["mine.h5"]
    assert cache.clear([file]) == []
