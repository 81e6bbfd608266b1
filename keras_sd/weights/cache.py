"""The cache of published weights: every file in it was verified, and is verified again before it is used.

The cache is the directory `weights` under `KERAS_SD_HOME` (default `~/.keras/keras_sd`). With
`KERAS_SD_OFFLINE=1` nothing is fetched. Several processes may ask for one file at once: one fetches it, the
others wait and find it there.
"""

from __future__ import annotations

import hashlib
import hmac
import os
import re
from collections.abc import Iterable
from pathlib import Path

import filelock

from keras_sd.weights.download import download, published_sha256
from keras_sd.weights.errors import WeightsError
from keras_sd.weights.registry import WEIGHTS, WeightsRow

LOCK_TIMEOUT = 3600.0  # seconds to wait for another process that fetches the same file


def directory() -> Path:
    """The directory of the cache, which may not exist yet."""
    home = os.environ.get("KERAS_SD_HOME") or Path.home() / ".keras" / "keras_sd"
    return Path(home).expanduser() / "weights"


def offline() -> bool:
    """Whether `KERAS_SD_OFFLINE` forbids to fetch anything."""
    return os.environ.get("KERAS_SD_OFFLINE", "").strip().lower() not in ("", "0", "false", "no")


def cached_path(row: WeightsRow) -> Path:
    """Where the file of a row lies in the cache, or would lie."""
    return directory() / row.filename


def verify(row: WeightsRow, path: str | os.PathLike | None = None) -> str:
    """Checks a file against the hash of its row.

    Args:
        row: The row.
        path: The file; None: the one in the cache.

    Returns:
        What was checked, such as "sha256 773525d5...".

    Raises:
        WeightsError: If the file is missing, or its hash is another than the published one, or nothing is
            known to check it against.
    """
    path = cached_path(row) if path is None else Path(path)
    expected = _expected(row, path)
    if expected is None:
        raise WeightsError(f"'{path}' cannot be verified: no hash is known for {row.name}. Fetch it again, online.")
    algorithm, wanted = expected
    try:
        with open(path, "rb") as file:
            found = hashlib.file_digest(file, lambda: hashlib.new(algorithm, usedforsecurity=False)).hexdigest()
    except OSError as error:
        raise WeightsError(f"'{path}' cannot be verified: {error.strerror}.") from error
    if not hmac.compare_digest(found[: len(wanted)], wanted):  # for some files only the hash's start is published
        raise WeightsError(
            f"'{path}' is not the published file of {row.name}: its {algorithm} is {found}, expected {wanted}"
            f"{'...' if len(wanted) < len(found) else ''}. It is damaged or another file, and is not used."
        )
    return f"{algorithm} {wanted}"


def _expected(row: WeightsRow, path: Path) -> tuple[str, str] | None:
    """The algorithm and hash to check against: the row's, or what the hub stated beside the file."""
    if row.sha256:
        return "sha256", row.sha256
    if row.md5:
        return "md5", row.md5
    try:
        stated = _stated(path).read_text().strip()
    except (OSError, UnicodeDecodeError):
        return None
    return ("sha256", stated) if re.fullmatch(r"[0-9a-f]{64}", stated) else None


def _stated(path: Path) -> Path:
    return path.with_name(f"{path.name}.sha256")


def fetch(row: WeightsRow, progress: bool | None = None) -> Path:
    """Returns the verified file of a row, fetching it first where it is not in the cache.

    A file in the cache whose hash is wrong is fetched again; until the new one is there and verified, nothing
    changes.

    Args:
        row: The row.
        progress: Whether to draw a bar on the standard error stream; None: when that is a terminal.

    Returns:
        The file's path.

    Raises:
        WeightsError: If the file cannot be had or is not the published one. The message names the address,
            the hash and where to put the file by hand.
    """
    path = cached_path(row)
    if _good(row, path):  # before the lock: a read-only cache serves what it holds
        return path
    if offline():
        raise _by_hand(row, path, "KERAS_SD_OFFLINE is set, and the file is not in the cache or not the published one")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with filelock.FileLock(f"{path}.lock", timeout=LOCK_TIMEOUT):
            if not _good(row, path):  # another process may have fetched it meanwhile
                _fetch(row, path, progress)
    except filelock.Timeout as error:
        raise WeightsError(f"Another process has held '{error.lock_file}' for {LOCK_TIMEOUT:.0f} s.") from error
    except OSError as error:
        raise _by_hand(row, path, f"'{error.filename or path}': {error.strerror}") from error
    return path


def _good(row: WeightsRow, path: Path) -> bool:
    if not path.exists():
        return False
    try:
        verify(row, path)
    except WeightsError:
        return False
    return True


def _fetch(row: WeightsRow, path: Path, progress: bool | None) -> None:
    """Downloads beside the final place, verifies, then moves; called under the lock."""
    partial = path.with_name(f"{path.name}.part")
    try:
        if row.sha256 is None and row.md5 is None:
            if (stated := published_sha256(row.url)) is None:
                raise WeightsError(f"{row.url} states no SHA-256, and none is known: the file could not be verified.")
            _stated(partial).write_text(stated)
        in_one_piece = download(row.url, partial, progress, row.size)
        try:
            verify(row, partial)
        except WeightsError:
            partial.unlink()
            if in_one_piece:
                raise
            download(row.url, partial, progress, row.size)  # the parts may have been of two files
            verify(row, partial)
    except WeightsError as error:
        raise _by_hand(row, path, str(error)) from error
    except OSError:
        partial.unlink(missing_ok=True)  # no room, or no right to write: leave nothing behind
        raise
    if _stated(partial).exists():
        os.replace(_stated(partial), _stated(path))
    os.replace(partial, path)


def _by_hand(row: WeightsRow, path: Path, reason: str) -> WeightsError:
    steps = f"fetch {row.url} and save it as '{path}'"
    if row.sha256 or row.md5:
        steps += f" ({'SHA-256' if row.sha256 else 'MD5'} {row.sha256 or row.md5})"
    else:
        steps += f", and the SHA-256 that its page shows as '{_stated(path)}'"
    reason = reason.rstrip(".")
    return WeightsError(f"The weights {row.name} are not available. {reason}. To put them there by hand: {steps}.")


def clear(rows: Iterable[WeightsRow] | None = None) -> list[Path]:
    """Removes files from the cache, with what belongs to them.

    Args:
        rows: The rows whose files go; None: those of all rows.

    Returns:
        The paths that were removed. Files that this package did not put there stay.
    """
    removed = []
    for row in WEIGHTS.values() if rows is None else rows:
        path = cached_path(row)
        for suffix in ("", ".part", ".sha256", ".part.sha256"):  # a lock file may be held: it stays
            file = path.with_name(path.name + suffix)
            if file.exists():
                file.unlink()
                removed.append(file)
    return removed
