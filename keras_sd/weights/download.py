"""Download a file over HTTP: resume partial downloads, retry temporary errors, detect wrong content.

Caching and locking are in `keras_sd.weights.cache`.
"""

from __future__ import annotations

import itertools
import re
import shutil
import sys
import time
from contextlib import contextmanager
from pathlib import Path

import requests
from rich.console import Console
from rich.progress import (
    BarColumn,
    DownloadColumn,
    Progress,
    TextColumn,
    TimeRemainingColumn,
    TransferSpeedColumn,
)

from keras_sd.weights.errors import WeightsError, describe_head

CONNECT_TIMEOUT, READ_TIMEOUT = 10.0, 60.0  # seconds
ATTEMPTS = 4
BACKOFF = 1.0  # seconds before the second attempt, doubled for each later one
_CHUNK = 1 << 16  # bytes; at most this much is lost when a connection breaks
_RETRIED = frozenset({408, 425, 429, 500, 502, 503, 504})


_MAX_BYTES = 1 << 32  # for a file of unknown size: no published weights are nearly as large


class _TryAgain(Exception):
    """A temporary error, after which another attempt may succeed."""


def download(url: str, partial: Path, progress: bool | None = None, limit: int | None = None) -> bool:
    """Download a URL to a file, resuming after its existing content.

    Args:
        url: The address.
        partial: The file to write. It is kept when the connection breaks, so that the next call resumes it, and
            removed when its content is useless.
        progress: Whether to show a progress bar on standard error; None: only on a terminal.
        limit: Maximum size of the file in bytes; None: 4 GiB.

    Returns:
        Whether the file was downloaded in one piece: a resumed one may consist of parts of two different files.

    Raises:
        WeightsError: If the address does not provide a file, not within a few attempts, or a larger one than allowed.
        OSError: If the file cannot be written.
    """
    for attempt in range(ATTEMPTS):
        if attempt:
            time.sleep(BACKOFF * 2 ** (attempt - 1))
        try:
            return _attempt(url, partial, progress, limit or _MAX_BYTES)
        except WeightsError:
            raise
        except (
            _TryAgain,
            requests.ConnectionError,
            requests.Timeout,
            requests.exceptions.ChunkedEncodingError,
        ) as error:
            reason = error
        except (requests.RequestException, ValueError) as error:
            # Endless redirects, redirects to file://, broken encodings, malformed headers.
            raise WeightsError(f"{url} could not be downloaded: {_in_words(error)}.") from error
    raise WeightsError(f"{url} could not be downloaded in {ATTEMPTS} attempts: {_in_words(reason)}.")


def _in_words(error: Exception) -> str:
    return " ".join(f"{str(error) or type(error).__name__:.300}".split()).rstrip(".")


def _attempt(url: str, partial: Path, progress: bool | None, limit: int) -> bool:
    start = partial.stat().st_size if partial.exists() else 0
    headers = {"Accept-Encoding": "identity"} | ({"Range": f"bytes={start}-"} if start else {})
    with requests.get(url, headers=headers, stream=True, timeout=(CONNECT_TIMEOUT, READ_TIMEOUT)) as response:
        if response.status_code == 416:  # no bytes after those already here: complete, or part of another file
            if start and response.headers.get("Content-Range") == f"bytes */{start}":
                return False
            partial.unlink(missing_ok=True)
            raise _TryAgain("the server does not have this part of the file")
        if response.status_code in _RETRIED:
            raise _TryAgain(f"the server answered {response.status_code} {response.reason}")
        if response.status_code not in (200, 206):
            raise WeightsError(f"{url} is not available: the server answered {response.status_code} {response.reason}.")
        if response.status_code == 200:  # a server may ignore the range and send the whole file
            start = 0
        elif not re.match(rf"bytes {start}-", response.headers.get("Content-Range", "")):
            partial.unlink(missing_ok=True)  # if kept, the same request would fail again and again
            raise _TryAgain(f"the server did not send the requested part of the file, from byte {start}")
        _save(response, partial, start, progress, limit)
        return start == 0


def _save(response: requests.Response, partial: Path, start: int, progress: bool | None, limit: int) -> None:
    length = response.headers.get("Content-Length", "")
    total = start + int(length) if re.fullmatch(r"[0-9]{1,18}", length) else None  # some servers send nonsense
    too_large = WeightsError(f"{response.url} sends more than the {limit} bytes that are allowed.")
    if max(start, total or 0) > limit:
        raise too_large
    if total is not None and (free := shutil.disk_usage(partial.parent).free) < total - start:
        partial.unlink(missing_ok=True)
        raise OSError(28, f"{total - start} bytes are needed and {free} are free", str(partial.parent))
    chunks = response.iter_content(_CHUNK)
    first = next(chunks, b"")  # before the file is opened, so that a bad response does not change it
    if not start and describe_head(first).startswith("a web page"):
        raise WeightsError(f"{response.url} sent {describe_head(first)}.")
    with (
        _bar(partial.stem, start, total, progress) as advance,
        open(partial, "r+b" if start else "wb") as file,
    ):
        file.seek(start)
        for chunk in itertools.chain([first], chunks):
            if file.tell() + len(chunk) > limit:
                partial.unlink()
                raise too_large
            file.write(chunk)
            advance(len(chunk))
        if total is not None and file.tell() != total:
            raise _TryAgain(f"the connection ended after {file.tell()} of {total} bytes")


@contextmanager
def _bar(name: str, start: int, total: int | None, progress: bool | None):
    if progress is None:
        progress = sys.stderr.isatty()
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        DownloadColumn(),
        TransferSpeedColumn(),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=Console(stderr=True), disable=not progress) as bar:
        task = bar.add_task(name, completed=start, total=total)
        yield lambda count: bar.advance(task, count)


def published_sha256(url: str) -> str | None:
    """Return the SHA-256 that the Hugging Face hub states for a file, without downloading it.

    Args:
        url: An address `https://huggingface.co/.../resolve/...`.

    Returns:
        The SHA-256 in hexadecimal, or None if the server states none, as for small files outside Git LFS.
    """
    try:
        response = requests.head(url, allow_redirects=False, timeout=(CONNECT_TIMEOUT, READ_TIMEOUT))
    except requests.RequestException as error:
        raise WeightsError(f"{url} could not be reached: {_in_words(error)}.") from error
    stated = response.headers.get("X-Linked-ETag", "").strip('"').lower()
    return stated if re.fullmatch(r"[0-9a-f]{64}", stated) else None
