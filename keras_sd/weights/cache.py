"""The cache of published files. Files are verified when they are stored, and again before each use.

The cache is the directory `weights` in `KERAS_SD_HOME` (default `~/.keras/keras_sd`). With `KERAS_SD_OFFLINE=1`,
nothing is downloaded. If several processes request the same file at once, one downloads it and the others wait.
"""

from __future__ import annotations

import hashlib
import hmac
import os
import re
from collections.abc import Iterable
from pathlib import Path

from keras_sd.utils.files import Lock
from keras_sd.weights.download import download, published_sha256
from keras_sd.weights.errors import WeightsError
from keras_sd.weights.remote_file import RemoteFile

LOCK_TIMEOUT = 3600.0  # seconds to wait for another process that downloads the same file


def home() -> Path:
    """Return the directory of all cached data, `KERAS_SD_HOME`, which may not exist yet."""
    return Path(os.environ.get("KERAS_SD_HOME") or Path.home() / ".keras" / "keras_sd").expanduser()


def directory() -> Path:
    """Return the directory of the cache, which may not exist yet."""
    return home() / "weights"


def offline() -> bool:
    """Return whether `KERAS_SD_OFFLINE` forbids downloads."""
    return os.environ.get("KERAS_SD_OFFLINE", "").strip().lower() not in ("", "0", "false", "no")


def cached_path(file: RemoteFile) -> Path:
    """Return the path of a file in the cache, whether or not it exists."""
    return directory() / file.filename


def verify(file: RemoteFile, path: str | os.PathLike | None = None) -> str:
    """Check a copy of a published file against its hash.

    Args:
        file: The published file.
        path: The copy; None for the one in the cache.

    Returns:
        The verified hash, such as "sha256 773525d5...".

    Raises:
        WeightsError: If the copy is missing, its hash differs from the published one, or no hash is known.
    """
    path = cached_path(file) if path is None else Path(path)
    expected = file.digest or _stated_digest(path)
    if expected is None:
        raise WeightsError(f"'{path}' cannot be verified: no hash is known for {file.filename}. Download it again.")
    algorithm, wanted = expected
    try:
        with open(path, "rb") as stream:
            found = hashlib.file_digest(stream, lambda: hashlib.new(algorithm, usedforsecurity=False)).hexdigest()
    except OSError as error:
        raise WeightsError(f"'{path}' cannot be verified: {error.strerror}.") from error
    if not hmac.compare_digest(found[: len(wanted)], wanted):  # some publish only the first digits
        raise WeightsError(
            f"'{path}' is not the published file {file.filename}: its {algorithm} is {found}, expected {wanted}"
            f"{'...' if len(wanted) < len(found) else ''}. It is damaged or a different file, and is not used."
        )
    return f"{algorithm} {wanted}"


def _stated_digest(path: Path) -> tuple[str, str] | None:
    """Return the digest that the hub stated when the file was downloaded, in the form of `RemoteFile.digest`."""
    try:
        stated = _stated(path).read_text().strip()
    except (OSError, UnicodeDecodeError):
        return None
    return ("sha256", stated) if re.fullmatch(r"[0-9a-f]{64}", stated) else None


def _stated(path: Path) -> Path:
    return path.with_name(f"{path.name}.sha256")


def fetch(file: RemoteFile, progress: bool | None = None) -> Path:
    """Return the path of a verified copy of a published file, which is downloaded if it is not in the cache.

    A copy with a wrong hash is downloaded again, and replaced once the new one is verified.

    Args:
        file: The published file.
        progress: Whether to show a progress bar on standard error; None: only on a terminal.

    Returns:
        The path in the cache.

    Raises:
        WeightsError: If the file cannot be downloaded or is not the published one. The message states the address,
            the hash and where to save a file downloaded by hand.
    """
    path = cached_path(file)
    if _good(file, path):  # before the lock, so that a read-only cache works
        return path
    if offline():
        raise _by_hand(file, path, "KERAS_SD_OFFLINE is set, and the file is not in the cache or not the published one")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        held = WeightsError(f"Another process has held '{path}.lock' for {LOCK_TIMEOUT:.0f} s.")
        with Lock(f"{path}.lock", held, LOCK_TIMEOUT):
            if not _good(file, path):  # another process may have downloaded it meanwhile
                _fetch(file, path, progress)
    except OSError as error:
        raise _by_hand(file, path, f"'{error.filename or path}': {error.strerror}") from error
    return path


def _good(file: RemoteFile, path: Path) -> bool:
    if not path.exists():
        return False
    try:
        verify(file, path)
    except WeightsError:
        return False
    return True


def _fetch(file: RemoteFile, path: Path, progress: bool | None) -> None:
    """Download next to the final path, verify, then move. The caller must hold the lock."""
    partial = path.with_name(f"{path.name}.part")
    try:
        if file.digest is None:
            if (stated := published_sha256(file.url)) is None:
                raise WeightsError(f"{file.url} states no SHA-256, and none is known: the file cannot be verified.")
            _stated(partial).write_text(stated)
        in_one_piece = download(file.url, partial, progress, file.size)
        try:
            verify(file, partial)
        except WeightsError:
            partial.unlink()
            if in_one_piece:
                raise
            download(file.url, partial, progress, file.size)  # the parts may be from two different files
            verify(file, partial)
    except WeightsError as error:
        raise _by_hand(file, path, str(error)) from error
    except OSError:
        partial.unlink(missing_ok=True)  # disk full, or no write permission: leave nothing behind
        raise
    if _stated(partial).exists():
        os.replace(_stated(partial), _stated(path))
    os.replace(partial, path)


def _by_hand(file: RemoteFile, path: Path, reason: str) -> WeightsError:
    steps = f"fetch {file.url} and save it as '{path}'"
    if file.digest:
        algorithm, digest = file.digest
        steps += f" ({'SHA-256' if algorithm == 'sha256' else 'MD5'} {digest})"
    else:
        steps += f", and the SHA-256 that its page shows as '{_stated(path)}'"
    reason = reason.rstrip(".")
    return WeightsError(f"The file {file.filename} is not available. {reason}. To add it by hand: {steps}.")


def clear(files: Iterable[RemoteFile]) -> list[Path]:
    """Remove files and their companion files from the cache. All other files are kept.

    Args:
        files: The published files to remove.

    Returns:
        The removed paths.
    """
    removed = []
    for file in files:
        path = cached_path(file)
        for suffix in ("", ".part", ".sha256", ".part.sha256"):  # not a lock file, which may be in use
            found = path.with_name(path.name + suffix)
            if found.exists():
                found.unlink()
                removed.append(found)
    return removed
