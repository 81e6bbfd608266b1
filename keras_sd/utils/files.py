"""Atomic writes, locks, digests, and strict reading of files written by the package."""

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
    """Error for a file of the package that is missing, truncated, or has other content.

    Args:
        path: Path of the file.
        what: String, what is wrong: "is empty".
        remedy: String, what to do about it.
    """

    def __init__(self, path: str | os.PathLike, what: str, remedy: str = "restore it from a copy"):
        super().__init__(f"'{path}' {what}; {remedy}")
        self.path, self.what = path, what


def write_atomically(path: str | os.PathLike, content: bytes | memoryview) -> None:
    """Write bytes atomically: after a crash at any moment, the file has either the new or the previous content.

    Args:
        path: Path of the file, in an existing folder.
        content: Bytes.

    Raises:
        OSError: If the file cannot be written; the previous content is kept.
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
        temporary.unlink(missing_ok=True)  # so that it does not remain on a full disk
        raise
    if os.name == "posix":  # also sync the folder's entry
        folder = os.open(path.parent, os.O_RDONLY)
        os.fsync(folder)
        os.close(folder)


def free_path(root: str | os.PathLike, stem: str) -> Path:
    """Return the first path `<root>/<stem>-<number>`, counting from 1, that does not exist."""
    paths = (Path(root, f"{stem}-{number}") for number in itertools.count(1))
    return next(path for path in paths if not path.exists())


@contextlib.contextmanager
def replacing(path: str | os.PathLike) -> Iterator[Path]:
    """Provide a temporary path for a file or folder in a `with` block, which is moved to `path` if the block succeeds.

    The temporary path is in a hidden folder next to `path`, with the same name, because some writers derive the format
    from it.

    Args:
        path: Path of the file or folder, in an existing folder. A file is replaced; a folder must be new or empty.

    Raises:
        OSError: If nothing can be written there; raised before the block starts.
    """
    path = Path(path)
    with tempfile.TemporaryDirectory(prefix=".keras_sd-", dir=path.parent, ignore_cleanup_errors=True) as folder:
        written = Path(folder, path.name)
        yield written
        os.replace(written, path)


class Lock:
    """An exclusive lock for `with` blocks, which may be nested; it is released on exit, even if the process dies.

    Args:
        path: Path of the lock file, which is not removed.
        refused: Exception to raise if another process has the lock.
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
    """A file in memory. Keras derives its format from the suffix of its name."""

    def __init__(self, name):
        super().__init__()
        self._name = name

    def __str__(self):
        return self._name


def save_atomically(save: Callable, path: str | os.PathLike) -> None:
    """Save a model or its weights atomically.

    The file is made in memory first: on a full disk, h5py ends the process while it writes in place.

    Args:
        save: A model's method `save`, `save_weights`, or another function of a file.
        path: Path of the file; its suffix is the format.

    Raises:
        OSError: If the file cannot be written; the previous content is kept.
    """
    memory = _Memory(Path(path).name)
    save(memory)
    write_atomically(path, memory.getbuffer())


def read_bytes(path: str | os.PathLike, remedy: str = "restore it from a copy") -> bytes:
    """Return the content of a file written by the package.

    Args:
        path: Path of the file.
        remedy: String, what to do if it is damaged.

    Raises:
        DamagedFileError: If it is missing, a folder, or cannot be read.
    """
    try:
        return Path(path).read_bytes()
    except FileNotFoundError:
        raise DamagedFileError(path, "is missing", remedy) from None
    except IsADirectoryError:
        raise DamagedFileError(path, "is a folder, not a file", remedy) from None
    except OSError as error:
        raise DamagedFileError(path, f"cannot be read ({error.strerror})", remedy) from error


def read_json(
    path: str | os.PathLike, remedy: str = "restore it from a copy", kinds: dict | None = None
) -> dict[str, Any]:
    """Return the record in a JSON file, a dictionary.

    Args:
        path: Path of the file.
        remedy: String, what to do if it is damaged.
        kinds: Dictionary from required names of the record to the types of their values.

    Raises:
        DamagedFileError: If the file is missing, cannot be read, is not a JSON object, or lacks one of the names.
    """
    content = read_bytes(path, remedy)
    if not content.strip():
        raise DamagedFileError(path, "is empty", remedy)
    try:
        record = json.loads(content)
    except json.JSONDecodeError as error:
        raise DamagedFileError(
            path, f"is not valid JSON at line {error.lineno}, column {error.colno}", remedy
        ) from error
    except (ValueError, RecursionError) as error:  # bytes that are not text, numbers with thousands of digits
        raise DamagedFileError(path, "is not valid JSON", remedy) from error
    if not isinstance(record, dict):
        raise DamagedFileError(path, f"contains a {type(record).__name__} instead of a JSON object", remedy)
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
        is_flag = isinstance(record[name], bool) and kind not in (bool, object)  # which is an integer in Python
        if is_flag or not isinstance(record[name], kind):
            raise DamagedFileError(path, f"has a `{prefix}{name}` of the wrong type: {_shown(record[name])}", remedy)


def _shown(value):
    text = repr(value)
    return text if len(text) <= 50 else f"{text[:50]}..."
