"""Files that are written whole or not at all, locks, digests, and files of ours that are refused where damaged."""

import contextlib
import hashlib
import io
import itertools
import json
import os
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import filelock


def sha256(path: str | os.PathLike) -> str:
    """Return the SHA-256 of a file's content as hexadecimal digits."""
    with open(path, "rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


class DamagedFileError(ValueError):
    """A file that the package wrote is missing, cut, or holds something else.

    Args:
        path: Path of the file.
        what: String, what is wrong: "is empty".
        remedy: String, what to do about it.
    """

    def __init__(self, path: str | os.PathLike, what: str, remedy: str = "restore it from a copy"):
        super().__init__(f"'{path}' {what}; {remedy}")
        self.path, self.what = path, what


def write_atomically(path: str | os.PathLike, content: bytes | memoryview) -> None:
    """Write bytes so that after a crash at any moment the file has all of them, or what it had before.

    Args:
        path: Path of the file, in a folder that exists.
        content: Bytes.

    Raises:
        OSError: The file cannot be written; what was there is kept.
    """
    path = Path(path)
    temporary = path.with_name(f"{path.name}.tmp")
    try:
        with temporary.open("wb") as stream:
            stream.write(content)
            stream.flush()
            os.fsync(stream.fileno())
        os.replace(temporary, path)
    except BaseException:
        temporary.unlink(missing_ok=True)  # on a full disk it is in the way
        raise
    if os.name == "posix":  # the folder's entry, too
        folder = os.open(path.parent, os.O_RDONLY)
        os.fsync(folder)
        os.close(folder)


def free_path(root: str | os.PathLike, stem: str) -> Path:
    """Return the first path `<root>/<stem>-<number>`, from 1 on, where nothing exists."""
    paths = (Path(root, f"{stem}-{number}") for number in itertools.count(1))
    return next(path for path in paths if not path.exists())


@contextlib.contextmanager
def replacing(path: str | os.PathLike) -> Iterator[Path]:
    """Give a `with` block a new path to write a file or folder to, which is moved to its place if the block succeeds.

    The new path has the same name, of which some writers read the format, in a hidden folder next to the place.

    Args:
        path: Path of the file or folder, in a folder that exists. A file is replaced; a folder must be new or empty.

    Raises:
        OSError: Nothing can be written there; raised before the block begins.
    """
    path = Path(path)
    with tempfile.TemporaryDirectory(prefix=".keras_sd-", dir=path.parent, ignore_cleanup_errors=True) as folder:
        written = Path(folder, path.name)
        yield written
        os.replace(written, path)


class Lock:
    """An exclusive lock for `with` blocks, which may be nested; it is released on exit, even if the process dies.

    Args:
        path: Path of the lock's own file, which stays.
        refused: Exception to raise where another process holds the lock.
        timeout: Float, seconds to wait for the other process.
    """

    def __init__(self, path: str | os.PathLike, refused: Exception, timeout: float = 0.0):
        self._lock = filelock.FileLock(path, timeout=timeout)
        self._refused = refused

    def __enter__(self) -> None:
        try:
            self._lock.acquire()
        except filelock.Timeout:
            raise self._refused from None

    def __exit__(self, *error: object) -> None:
        self._lock.release()


class _Memory(io.BytesIO):
    """A file in memory; Keras tells its format by the end of its name."""

    def __init__(self, name):
        super().__init__()
        self._name = name

    def __str__(self):
        return self._name


def save_atomically(save: Callable, path: str | os.PathLike) -> None:
    """Save a model or its weights so that the file is whole, or as it was.

    The file is made in memory first: on a full disk, h5py ends the process while it writes in place.

    Args:
        save: A model's method `save`, `save_weights`, or another function of a file.
        path: Path of the file; its end says the format.

    Raises:
        OSError: The file cannot be written; what was there is kept.
    """
    memory = _Memory(Path(path).name)
    save(memory)
    write_atomically(path, memory.getbuffer())


def read_bytes(path: str | os.PathLike, remedy: str = "restore it from a copy") -> bytes:
    """Return the content of a file of ours.

    Args:
        path: Path of the file.
        remedy: String, what to do where it is damaged.

    Raises:
        DamagedFileError: It is missing, a folder, or cannot be read.
    """
    try:
        return Path(path).read_bytes()
    except FileNotFoundError:
        raise DamagedFileError(path, "is missing", remedy) from None
    except IsADirectoryError:
        raise DamagedFileError(path, "is a folder, and must be a file", remedy) from None
    except OSError as error:
        raise DamagedFileError(path, f"cannot be read ({error.strerror})", remedy) from error


def read_json(
    path: str | os.PathLike, remedy: str = "restore it from a copy", kinds: dict | None = None
) -> dict[str, Any]:
    """Return the record that a file holds, a dictionary.

    Args:
        path: Path of the file.
        remedy: String, what to do where it is damaged.
        kinds: Dictionary from names that the record must have to the types of their values.

    Raises:
        DamagedFileError: The file is missing, cannot be read, is no JSON object, or lacks one of the names.
    """
    content = read_bytes(path, remedy)
    if not content.strip():
        raise DamagedFileError(path, "is empty", remedy)
    try:
        record = json.loads(content)
    except json.JSONDecodeError as error:
        raise DamagedFileError(path, f"is no JSON at line {error.lineno}, column {error.colno}", remedy) from error
    except (ValueError, RecursionError) as error:  # bytes that are no text, numbers of thousands of digits
        raise DamagedFileError(path, "is no JSON", remedy) from error
    if not isinstance(record, dict):
        raise DamagedFileError(path, f"holds no JSON object but a {type(record).__name__}", remedy)
    check_record(path, record, kinds or {}, remedy)
    return record


def check_record(
    path: str | os.PathLike, record: dict, kinds: dict, remedy: str = "restore it from a copy", prefix: str = ""
) -> None:
    """Raise a `DamagedFileError` unless a record from a file has these names, with values of these types.

    Args:
        path: Path of the file, for the message.
        record: Dictionary.
        kinds: Dictionary from names to types, or tuples of types.
        remedy: String, what to do.
        prefix: String, where in the file the record is: "dataset.".
    """
    for name, kind in kinds.items():
        if name not in record:
            raise DamagedFileError(path, f"has no `{prefix}{name}`", remedy)
        is_flag = isinstance(record[name], bool) and kind not in (bool, object)  # which Python takes for an integer
        if is_flag or not isinstance(record[name], kind):
            raise DamagedFileError(path, f"has a `{prefix}{name}` of another kind: {_shown(record[name])}", remedy)


def _shown(value):
    text = repr(value)
    return text if len(text) <= 50 else f"{text[:50]}..."
