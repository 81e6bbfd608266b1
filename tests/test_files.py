"""Files that are written whole or not at all, and the lock of a folder."""

import os
import subprocess
import sys

import pytest

from keras_sd.utils.files import Lock, replacing

HOLDER = """
import sys, time, filelock
with filelock.FileLock(sys.argv[1]):
    print("held", flush=True)
    time.sleep(10)
"""


@pytest.fixture
def path(tmp_path):
    """A file with content, alone in its folder."""
    path = tmp_path / "old.weights.h5"
    path.write_text("old")
    return path


def test_file_takes_its_place_at_the_end_of_the_block(path):
    with replacing(path) as written:
        written.write_text("new")
        assert written.name == "old.weights.h5"
        assert path.read_text() == "old"
        assert all(name.startswith(".") for name in os.listdir(path.parent) if name != path.name)
    assert path.read_text() == "new"
    assert os.listdir(path.parent) == [path.name]


def test_folder_takes_its_place_at_the_end_of_the_block(tmp_path):
    path = tmp_path / "exported"
    with replacing(path) as written:
        written.mkdir()
        (written / "config.json").write_text("{}")
        assert not path.exists()
    assert (path / "config.json").read_text() == "{}"
    assert os.listdir(tmp_path) == ["exported"]


@pytest.mark.parametrize("error", [OSError, KeyboardInterrupt])
def test_block_that_fails_leaves_what_was_there(path, error):
    def fail(written):
        written.write_text("half")
        raise error

    with pytest.raises(error), replacing(path) as written:
        fail(written)
    assert path.read_text() == "old"
    assert os.listdir(path.parent) == [path.name]


def test_two_that_write_one_file_at_once_do_not_mix(path):
    with replacing(path) as first, replacing(path) as second:
        first.write_text("first")
        second.write_text("second")
    assert path.read_text() == "first"
    assert os.listdir(path.parent) == [path.name]


def test_folder_that_is_missing_is_an_error_before_the_block(tmp_path):
    with pytest.raises(FileNotFoundError), replacing(tmp_path / "missing" / "weights.h5"):
        pytest.fail("the block began")


def test_lock_refuses_where_another_process_holds_it_until_that_dies(tmp_path):
    path = str(tmp_path / "run.lock")
    lock, other = Lock(path, BlockingIOError("held")), Lock(path, BlockingIOError("still held"))
    with subprocess.Popen([sys.executable, "-c", HOLDER, path], stdout=subprocess.PIPE) as holder:
        assert holder.stdout.readline() == b"held\n"
        with pytest.raises(BlockingIOError, match="held"), lock:
            pytest.fail("two hold the lock")
        holder.kill()
    with lock:
        with lock:
            pass
        with pytest.raises(BlockingIOError, match="still held"), other:  # leaving an inner block releases nothing
            pytest.fail("two hold the lock")
    with other:
        pass
